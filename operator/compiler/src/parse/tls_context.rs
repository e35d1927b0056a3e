//! TLSContext, and the inline `tls` of a Host, which has the same settings.

use super::report::Report;
use super::{ParsedTlsContext, TlsSettings};
use crate::check::{hostname, limits, text::quote, tls};
use api::v3alpha1::{HostTls, TlsContextSpec, TlsVersion as Written};
use ir::{ProblemKind, TlsVersion};
use std::sync::Arc;

/// Judges a TLSContext. `None` when a setting that protects traffic cannot be honoured.
pub fn tls_context(spec: &TlsContextSpec, report: &mut Report) -> ParsedTlsContext {
    let mut hosts = Vec::new();
    let written = spec.hosts.as_ref().map_or(0, Vec::len);
    if written > limits::ITEMS {
        let detail = format!("{written} hosts, at most {} are accepted", limits::ITEMS);
        report.refuse("hosts", ProblemKind::TooLarge, detail);
    }
    for (index, host) in spec.hosts.iter().flatten().enumerate().take(limits::ITEMS) {
        match hostname::glob(host) {
            Ok(()) => hosts.push(Arc::from(host.as_str())),
            Err(reason) => report.degrade(&format!("hosts[{index}]"), ProblemKind::InvalidValue, reason),
        }
    }
    let version = |version: Option<Written>| {
        version.map(|version| match version {
            Written::V1_0 => TlsVersion::V1_0,
            Written::V1_1 => TlsVersion::V1_1,
            Written::V1_2 => TlsVersion::V1_2,
            Written::V1_3 => TlsVersion::V1_3,
        })
    };
    let texts = Texts {
        cert_chain_file: &spec.cert_chain_file,
        private_key_file: &spec.private_key_file,
        ca_secret: &spec.ca_secret,
        cacert_chain_file: &spec.cacert_chain_file,
        crl_secret: &spec.crl_secret,
        alpn_protocols: &spec.alpn_protocols,
        sni: &spec.sni,
        cipher_suites: &spec.cipher_suites,
        ecdh_curves: &spec.ecdh_curves,
        prefix: "",
    };
    let mut settings = texts.read(report);
    settings.cert_required = spec.cert_required;
    settings.min_version = version(spec.min_tls_version);
    settings.max_version = version(spec.max_tls_version);
    versions("", &settings, report);
    report.no_effect("redirect_cleartext_from", spec.redirect_cleartext_from.is_some());
    let secret = report.text("secret", spec.secret.as_ref(), limits::HOSTNAME * 2);
    if secret.is_some() && settings.cert_chain_file.is_some() {
        let detail = "`secret` and `cert_chain_file` exclude each other";
        report.refuse("cert_chain_file", ProblemKind::ConflictingFields, detail);
    }
    if settings.cert_required == Some(true) && settings.ca_secret.is_none() && settings.ca_file.is_none() {
        let detail = "client certificates are required, and neither `ca_secret` nor `cacert_chain_file` says whose";
        report.refuse("cert_required", ProblemKind::ConflictingFields, detail);
    }
    ParsedTlsContext { hosts, secret, secret_namespacing: spec.secret_namespacing, settings }
}

/// Judges the inline settings of a Host.
pub fn inline(spec: &HostTls, report: &mut Report) -> TlsSettings {
    let texts = Texts {
        cert_chain_file: &spec.cert_chain_file,
        private_key_file: &spec.private_key_file,
        ca_secret: &spec.ca_secret,
        cacert_chain_file: &spec.cacert_chain_file,
        crl_secret: &spec.crl_secret,
        alpn_protocols: &spec.alpn_protocols,
        sni: &spec.sni,
        cipher_suites: &spec.cipher_suites,
        ecdh_curves: &spec.ecdh_curves,
        prefix: "tls.",
    };
    let mut settings = texts.read(report);
    settings.cert_required = spec.cert_required;
    settings.min_version = written_version("tls.min_tls_version", &spec.min_tls_version, report);
    settings.max_version = written_version("tls.max_tls_version", &spec.max_tls_version, report);
    versions("tls.", &settings, report);
    report.no_effect("tls.redirect_cleartext_from", spec.redirect_cleartext_from.is_some());
    if settings.cert_required == Some(true) && settings.ca_secret.is_none() && settings.ca_file.is_none() {
        let detail = "client certificates are required, and neither `ca_secret` nor `cacert_chain_file` says whose";
        report.degrade(
            "tls.cert_required",
            ProblemKind::ConflictingFields,
            format!("{detail}; nothing is served over TLS"),
        );
        settings.closed = true;
    }
    settings
}

fn written_version(field: &str, text: &Option<String>, report: &mut Report) -> Option<TlsVersion> {
    match text.as_deref() {
        None | Some("") => None,
        Some("v1.0") => Some(TlsVersion::V1_0),
        Some("v1.1") => Some(TlsVersion::V1_1),
        Some("v1.2") => Some(TlsVersion::V1_2),
        Some("v1.3") => Some(TlsVersion::V1_3),
        Some(other) => {
            report.refuse(
                field,
                ProblemKind::InvalidValue,
                format!("{} is none of v1.0, v1.1, v1.2, v1.3", quote(other)),
            );
            None
        }
    }
}

fn versions(prefix: &str, settings: &TlsSettings, report: &mut Report) {
    if let (Some(min), Some(max)) = (settings.min_version, settings.max_version)
        && min > max
    {
        let detail = "the lowest version is above the highest";
        report.refuse(&format!("{prefix}min_tls_version"), ProblemKind::ConflictingFields, detail);
    }
}

/// The fields that both forms have, under one set of names.
struct Texts<'a> {
    cert_chain_file: &'a Option<String>,
    private_key_file: &'a Option<String>,
    ca_secret: &'a Option<String>,
    cacert_chain_file: &'a Option<String>,
    crl_secret: &'a Option<String>,
    alpn_protocols: &'a Option<String>,
    sni: &'a Option<String>,
    cipher_suites: &'a Option<Vec<String>>,
    ecdh_curves: &'a Option<Vec<String>>,
    prefix: &'static str,
}

impl Texts<'_> {
    fn read(&self, report: &mut Report) -> TlsSettings {
        let at = |name: &str| format!("{}{name}", self.prefix);
        let settings = TlsSettings {
            cert_chain_file: report.text(&at("cert_chain_file"), self.cert_chain_file.as_ref(), limits::FILE),
            private_key_file: report.text(&at("private_key_file"), self.private_key_file.as_ref(), limits::FILE),
            ca_secret: report.text(&at("ca_secret"), self.ca_secret.as_ref(), limits::HOSTNAME * 2),
            ca_file: report.text(&at("cacert_chain_file"), self.cacert_chain_file.as_ref(), limits::FILE),
            crl_secret: report.text(&at("crl_secret"), self.crl_secret.as_ref(), limits::HOSTNAME * 2),
            sni: report.text(&at("sni"), self.sni.as_ref(), limits::HOSTNAME),
            alpn: self.alpn(report),
            cipher_suites: names(&at("cipher_suites"), self.cipher_suites, tls::cipher_suite, report),
            ecdh_curves: names(&at("ecdh_curves"), self.ecdh_curves, tls::group, report),
            ..TlsSettings::default()
        };
        if settings.cert_chain_file.is_some() != settings.private_key_file.is_some() {
            let detail = "`cert_chain_file` and `private_key_file` need each other";
            report.refuse(&at("cert_chain_file"), ProblemKind::ConflictingFields, detail);
        }
        if settings.crl_secret.is_some() && settings.ca_secret.is_none() && settings.ca_file.is_none() {
            report.refuse(&at("crl_secret"), ProblemKind::ConflictingFields, "a revocation list needs `ca_secret`");
        }
        settings
    }

    fn alpn(&self, report: &mut Report) -> Vec<Arc<str>> {
        let mut found = Vec::new();
        for name in
            self.alpn_protocols.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty())
        {
            let fine = name.len() <= limits::ALPN && name.bytes().all(|byte| byte.is_ascii_graphic());
            if fine && found.len() < limits::HEADERS {
                found.push(Arc::from(name));
            } else {
                let field = format!("{}alpn_protocols", self.prefix);
                report.degrade(&field, ProblemKind::InvalidValue, format!("{} is no protocol name", quote(name)));
            }
        }
        found
    }
}

/// Names that Envoy knows. When none is left of a list, its restriction would be lost, so that refuses the object.
fn names(field: &str, list: &Option<Vec<String>>, known: fn(&str) -> bool, report: &mut Report) -> Vec<Arc<str>> {
    let mut found: Vec<Arc<str>> = Vec::new();
    let list: &[String] = list.as_deref().unwrap_or_default();
    if list.len() > limits::ITEMS {
        let detail = format!("{} names, at most {} are accepted", list.len(), limits::ITEMS);
        report.refuse(field, ProblemKind::TooLarge, detail);
    }
    for (index, name) in list.iter().enumerate().take(limits::ITEMS) {
        if known(name) {
            found.push(name.as_str().into());
        } else {
            let detail = format!("{} is not known to Envoy", quote(name));
            report.degrade(&format!("{field}[{index}]"), ProblemKind::InvalidValue, detail);
        }
    }
    if found.is_empty() && !list.is_empty() {
        report.refuse(field, ProblemKind::InvalidValue, "none of the names is known, so the restriction would be lost");
    }
    found
}

#[cfg(test)]
mod tests;
