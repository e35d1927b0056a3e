//! From names of Secrets, files and TLSContexts to TLS settings, and the Secrets themselves as Envoy gets them.

use crate::change::{FileContent, WantedName};
use crate::check::pem;
use crate::db::Db;
use crate::incr::Reads;
use crate::object::Body;
use crate::parse::{Parsed, ParsedTlsContext, SecretRef, TlsSettings};
use ir::{ClientTls, Kind, ObjectKey, Problem, ProblemKind, SecretName, Sensitive, ServerTls, TlsSecret};
use std::sync::Arc;

/// Where PEM text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PemSource {
    /// A Secret: namespace, name.
    Secret(Arc<str>, Arc<str>),
    /// A file.
    File(Arc<str>),
}

impl PemSource {
    fn text(&self) -> String {
        match self {
            PemSource::Secret(namespace, name) => format!("{namespace}/{name}"),
            PemSource::File(path) => format!("file:{path}"),
        }
    }

    fn wanted(&self) -> WantedName {
        match self {
            PemSource::Secret(namespace, name) => {
                WantedName::Secret { namespace: namespace.clone(), name: name.clone() }
            }
            PemSource::File(path) => WantedName::File(path.clone()),
        }
    }
}

/// One SDS resource, by where its parts come from. Its name is stable over rotation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SdsKey {
    /// Certificate chain and key. For a Secret both are the same source.
    Certificate(PemSource, PemSource),
    /// CA bundle, and a revocation list.
    Validation(PemSource, Option<PemSource>),
}

impl SdsKey {
    /// The SDS name.
    pub fn name(&self) -> SecretName {
        match self {
            SdsKey::Certificate(chain, key) if chain == key => chain.text().into(),
            SdsKey::Certificate(chain, key) => format!("{}+{}", chain.text(), key.text()).into(),
            SdsKey::Validation(ca, None) => format!("{}/ca", ca.text()).into(),
            SdsKey::Validation(ca, Some(crl)) => format!("{}/ca+{}", ca.text(), crl.text()).into(),
        }
    }

    /// What has to be fetched for it.
    pub fn wanted(&self) -> Vec<WantedName> {
        match self {
            SdsKey::Certificate(chain, key) if chain == key => vec![chain.wanted()],
            SdsKey::Certificate(chain, key) => vec![chain.wanted(), key.wanted()],
            SdsKey::Validation(ca, crl) => std::iter::once(ca).chain(crl).map(PemSource::wanted).collect(),
        }
    }
}

/// One SDS resource, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct SdsRow {
    /// What Envoy gets.
    pub secret: Option<Arc<TlsSecret>>,
    /// What is wrong; said to everybody who names it.
    pub problem: Option<(ProblemKind, String)>,
}

/// The TLS settings that a Host or TLSContext comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolvedTls {
    /// Own certificate.
    pub certificate: Option<SdsKey>,
    /// What verifies the other side.
    pub validation: Option<SdsKey>,
    /// The rest.
    pub settings: TlsSettings,
}

impl ResolvedTls {
    /// As a server.
    pub fn server(&self) -> ServerTls {
        let settings = &self.settings;
        ServerTls {
            certificate: self.certificate.as_ref().map(SdsKey::name),
            validation: self.validation.as_ref().map(SdsKey::name),
            require_client_certificate: settings.cert_required.unwrap_or(false),
            alpn: settings.alpn.clone(),
            min_version: settings.min_version,
            max_version: settings.max_version,
            cipher_suites: settings.cipher_suites.clone(),
            ecdh_curves: settings.ecdh_curves.clone(),
        }
    }

    /// As a client.
    pub fn client(&self) -> ClientTls {
        let settings = &self.settings;
        ClientTls {
            certificate: self.certificate.as_ref().map(SdsKey::name),
            validation: self.validation.as_ref().map(SdsKey::name),
            sni: settings.sni.clone(),
            alpn: settings.alpn.clone(),
            min_version: settings.min_version,
            max_version: settings.max_version,
            cipher_suites: settings.cipher_suites.clone(),
            ecdh_curves: settings.ecdh_curves.clone(),
        }
    }

    /// All SDS resources it names.
    pub fn sds(&self) -> impl Iterator<Item = &SdsKey> {
        self.certificate.iter().chain(&self.validation)
    }
}

/// A TLSContext with its names resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextRow {
    /// Its settings.
    pub tls: ResolvedTls,
    /// As written.
    pub parsed: Arc<ParsedTlsContext>,
}

/// Row of `contexts`.
pub fn context(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<ContextRow>> {
    let row = db.parsed.get(&db.graph, reads, key)?;
    let Some(Parsed::TlsContext(parsed)) = &row.value else { return None };
    let namespacing = parsed.secret_namespacing.unwrap_or_else(|| db.secret_namespacing(reads));
    let certificate = parsed.secret.as_ref().map(|name| secret_key(&key.namespace, name, namespacing));
    let tls = resolve(&key.namespace, certificate, &parsed.settings, namespacing);
    Some(Arc::new(ContextRow { tls, parsed: parsed.clone() }))
}

/// The context with that name: in the object's own namespace, else the oldest anywhere, as upstream's names are flat.
pub fn find_context(db: &Db, reads: &Reads, namespace: &Arc<str>, name: &Arc<str>) -> Option<ObjectKey> {
    let own = ObjectKey::new(Kind::TLSContext, namespace.clone(), name.clone());
    if db.parsed.get(&db.graph, reads, &own).is_some() {
        return Some(own);
    }
    let named = db.contexts_by_name.get(&db.graph, reads, name)?;
    named.iter().next().map(|(_, key)| key.clone())
}

fn secret_key(namespace: &Arc<str>, name: &str, namespacing: bool) -> PemSource {
    match name.rsplit_once('.') {
        Some((name, namespace)) if namespacing => PemSource::Secret(namespace.into(), name.into()),
        _ => PemSource::Secret(namespace.clone(), name.into()),
    }
}

/// A typed reference: a dot in the name is part of the name.
pub fn secret_source(namespace: &Arc<str>, reference: &SecretRef) -> PemSource {
    PemSource::Secret(reference.namespace.clone().unwrap_or_else(|| namespace.clone()), reference.name.clone())
}

/// TLS settings with a certificate from outside them (`None`: from their own files, if they name any).
pub fn resolve(
    namespace: &Arc<str>,
    certificate: Option<PemSource>,
    settings: &TlsSettings,
    namespacing: bool,
) -> ResolvedTls {
    let files = || Some((settings.cert_chain_file.clone()?, settings.private_key_file.clone()?));
    let certificate = match certificate {
        Some(source) => Some(SdsKey::Certificate(source.clone(), source)),
        None => files().map(|(chain, key)| SdsKey::Certificate(PemSource::File(chain), PemSource::File(key))),
    };
    let from = |secret: &Option<Arc<str>>, file: &Option<Arc<str>>| {
        let secret = secret.as_ref().map(|name| secret_key(namespace, name, namespacing));
        secret.or_else(|| file.clone().map(PemSource::File))
    };
    let ca = from(&settings.ca_secret, &settings.ca_file);
    let crl = from(&settings.crl_secret, &settings.crl_file);
    ResolvedTls { certificate, validation: ca.map(|ca| SdsKey::Validation(ca, crl)), settings: settings.clone() }
}

/// Row of `sds`.
pub fn sds(db: &Db, reads: &Reads, key: &SdsKey) -> Option<Arc<SdsRow>> {
    db.sds_users.get(&db.graph, reads, key)?;
    let judged = match key {
        SdsKey::Certificate(chain, private) => certificate(db, reads, chain, private),
        SdsKey::Validation(ca, crl) => validation(db, reads, ca, crl.as_ref()),
    };
    Some(Arc::new(match judged {
        Ok(secret) => SdsRow { secret: Some(Arc::new(secret)), problem: None },
        Err(problem) => SdsRow { secret: None, problem: Some(problem) },
    }))
}

type Judged<T> = Result<T, (ProblemKind, String)>;

fn certificate(db: &Db, reads: &Reads, chain: &PemSource, key: &PemSource) -> Judged<TlsSecret> {
    let chain_pem = pem_of(db, reads, chain, &["tls.crt", "cert-chain.pem"])?;
    let key_pem = pem_of(db, reads, key, &["tls.key", "key.pem"])?;
    let bad = |text: String| (ProblemKind::InvalidCertificate, format!("{}: {text}", chain.text()));
    pem::certificate_with_key(&chain_pem.0, &key_pem.0).map_err(bad)?;
    Ok(TlsSecret::Certificate { chain: chain_pem, key: key_pem })
}

fn validation(db: &Db, reads: &Reads, ca: &PemSource, crl: Option<&PemSource>) -> Judged<TlsSecret> {
    // Upstream reads `tls.crt` only; `ca.crt` is where the ecosystem puts it.
    let ca_pem = pem_of(db, reads, ca, &["ca.crt", "tls.crt", "root-cert.pem", "cert-chain.pem"])?;
    pem::ca_bundle(&ca_pem.0).map_err(|text| (ProblemKind::InvalidCertificate, format!("{}: {text}", ca.text())))?;
    let crl_pem = match crl {
        None => None,
        Some(source) => {
            let found = pem_of(db, reads, source, &["crl.pem", "user.key"])?;
            pem::revocation_list(&found.0)
                .map_err(|text| (ProblemKind::InvalidCertificate, format!("{}: {text}", source.text())))?;
            Some(found)
        }
    };
    Ok(TlsSecret::Validation { ca: ca_pem, crl: crl_pem })
}

fn pem_of(db: &Db, reads: &Reads, source: &PemSource, names: &[&str]) -> Judged<Sensitive> {
    let missing = |what: String| (ProblemKind::MissingReference, what);
    match source {
        PemSource::File(path) => match db.files.get(&db.graph, reads, path) {
            Some(FileContent::Bytes(bytes)) => Ok(Sensitive(bytes.clone())),
            Some(FileContent::Assumed) => {
                Err((ProblemKind::NoEffect, format!("file `{path}` is assumed to exist; its content is not known")))
            }
            None => Err(missing(format!("file `{path}` cannot be read"))),
        },
        PemSource::Secret(namespace, name) => {
            if db.options.certs_single_namespace && *namespace != db.options.namespace {
                let detail = format!(
                    "Secret {namespace}/{name} is outside the namespace `{}`, and only that one is read",
                    db.options.namespace
                );
                return Err((ProblemKind::ReferenceNotAllowed, detail));
            }
            let key = ObjectKey::new(Kind::Secret, namespace.clone(), name.clone());
            let object = db
                .objects
                .get(&db.graph, reads, &key)
                .ok_or_else(|| missing(format!("Secret {namespace}/{name} does not exist")))?;
            let Body::Secret(decoded) = &object.body else {
                return Err(missing(format!("Secret {namespace}/{name} does not exist")));
            };
            let secret = decoded.value.as_ref().map_err(|problem| {
                (ProblemKind::Malformed, format!("Secret {namespace}/{name}: {}: {}", problem.path, problem.message))
            })?;
            let found = names.iter().find_map(|name| secret.data.get(*name).filter(|bytes| !bytes.is_empty()));
            let bytes = found.ok_or_else(|| {
                (
                    ProblemKind::InvalidCertificate,
                    format!("Secret {namespace}/{name} has none of the keys {}", names.join(", ")),
                )
            })?;
            Ok(Sensitive(Arc::from(bytes.as_slice())))
        }
    }
}

/// Findings about the SDS resources that an object names, at the given fields.
pub fn sds_problems(db: &Db, reads: &Reads, about: &ObjectKey, named: &[(&str, &SdsKey)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, key) in named {
        if let Some(row) = db.sds.get(&db.graph, reads, key)
            && let Some((kind, detail)) = &row.problem
        {
            let make = if *kind == ProblemKind::NoEffect { Problem::notice } else { Problem::degraded };
            let at: &str = at;
            problems.push(make(about, at, *kind, detail.clone()));
        }
    }
    problems
}
