//! Host: a name, its certificate, and what happens to clear text.

use super::report::Report;
use super::{InsecureAction, ParsedHost, SecretRef, Selector, tls_context};
use crate::check::{hostname, limits};
use api::v3alpha1::{HostSpec, InsecureAction as Written, LabelSelector};
use ir::ProblemKind;
use std::sync::Arc;

/// Judges a Host.
pub fn host(spec: &HostSpec, report: &mut Report) -> Option<ParsedHost> {
    let hostname: Arc<str> = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or("*").into();
    let hostname = match hostname::glob(&hostname) {
        Ok(()) => Some(hostname),
        Err(reason) => {
            report.refuse("hostname", ProblemKind::InvalidValue, reason);
            None
        }
    };
    let tls_secret = spec.tls_secret.as_ref().and_then(|reference| {
        let name = report.text("tlsSecret.name", reference.name.as_ref(), limits::HOSTNAME)?;
        Some(SecretRef {
            namespace: report.text("tlsSecret.namespace", reference.namespace.as_ref(), limits::HOSTNAME),
            name,
        })
    });
    let reference = spec.tls_context.as_ref().and_then(|reference| reference.name.as_ref());
    let tls_context = report.text("tlsContext.name", reference, limits::HOSTNAME * 2);
    let tls = spec.tls.as_ref().map(|settings| tls_context::inline(settings, report));
    // Without a Secret the inline settings have no effect, so there is nothing to choose.
    if tls_context.is_some() && tls.is_some() && tls_secret.is_some() {
        report.refuse("tls", ProblemKind::ConflictingFields, "`tls` and `tlsContext` exclude each other");
    }
    if tls.is_some() && tls_secret.is_none() {
        report.degrade("tls", ProblemKind::NoEffect, "`tls` has no effect without `tlsSecret`; no TLS is terminated");
    }
    let insecure = spec.request_policy.as_ref().and_then(|policy| policy.insecure.as_ref());
    report.no_effect(
        "requestPolicy.insecure.additionalPort",
        insecure.is_some_and(|insecure| insecure.additional_port.is_some()),
    );
    report.no_effect("previewUrl", spec.preview_url.is_some());
    if spec
        .acme_provider
        .as_ref()
        .and_then(|acme| acme.authority.as_deref())
        .is_some_and(|authority| authority != "none")
    {
        report.note(
            "acmeProvider",
            ProblemKind::NoEffect,
            "certificates are not fetched by ACME here; `tlsSecret` has to exist",
        );
    }
    let account = spec.acme_provider.as_ref().and_then(|acme| acme.private_key_secret.as_ref());
    report.no_effect("acmeProvider.privateKeySecret", account.is_some());
    let selector = match (
        selector("mappingSelector", &spec.mapping_selector, report),
        selector("selector", &spec.selector, report),
    ) {
        (Some(own), old) => {
            if old.is_some() {
                report.note("selector", ProblemKind::NoEffect, "`mappingSelector` is set, so `selector` has no effect");
            }
            Some(own)
        }
        (None, old) => {
            if old.is_some() {
                report.note(
                    "selector",
                    ProblemKind::Deprecated,
                    "`selector` is deprecated; `mappingSelector` takes its place",
                );
            }
            old
        }
    };
    let hostname = hostname?;
    Some(ParsedHost {
        sni: hostname
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(hostname.clone(), |(name, _)| name.into()),
        hostname,
        selector,
        tls_secret,
        tls_context,
        tls,
        insecure: match insecure.and_then(|insecure| insecure.action) {
            None | Some(Written::Redirect) => InsecureAction::Redirect,
            Some(Written::Route) => InsecureAction::Route,
            Some(Written::Reject) => InsecureAction::Reject,
        },
    })
}

/// A selector as upstream reads it: `{}` counts as absent, `matchExpressions` are not looked at.
pub fn selector(field: &str, selector: &Option<LabelSelector>, report: &mut Report) -> Option<Selector> {
    let selector = selector.as_ref()?;
    if selector.match_expressions.is_some() {
        report.note(&format!("{field}.matchExpressions"), ProblemKind::NoEffect, "only `matchLabels` is looked at");
    }
    if selector.match_labels.is_none() && selector.match_expressions.is_none() {
        return None;
    }
    let labels = selector.match_labels.iter().flatten();
    Some(Selector(labels.map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()))
}

#[cfg(test)]
mod tests;
