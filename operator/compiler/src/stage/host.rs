//! Hosts, the default Host among them, with their TLS resolved.

use crate::db::Db;
use crate::incr::Reads;
use crate::parse::{InsecureAction, Labels, Parsed, ParsedHost, SecretRef, Selector, TlsSettings};
use crate::stage::tls::{self, PemSource, ResolvedTls};
use ir::{Kind, ObjectKey, Problem, ProblemKind};
use std::sync::Arc;

/// A Host that may be attached to Listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct HostRow {
    /// The Host.
    pub key: ObjectKey,
    /// `<name>.<namespace>`: upstream's order of objects.
    pub load_key: Arc<str>,
    /// Domain of its virtual host.
    pub hostname: Arc<str>,
    /// Name in the TLS handshake.
    pub sni: Arc<str>,
    /// Which Mappings it takes; `None`: by host name only.
    pub selector: Option<Selector>,
    /// What happens to clear text.
    pub insecure: InsecureAction,
    /// TLS, if it terminates any.
    pub tls: Option<HostTls>,
    /// Its labels, for Listeners.
    pub labels: Arc<Labels>,
    /// Seconds since 1970.
    pub created: i64,
    /// Whether it is the synthesized one.
    pub default: bool,
    /// Findings.
    pub problems: Vec<Problem>,
}

/// TLS of a Host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTls {
    /// Settings.
    pub resolved: ResolvedTls,
    /// The settings cannot be honoured as written, so nothing is served over this chain.
    pub closed: bool,
}

/// Name of the synthesized Host.
pub const DEFAULT_HOST: &str = "default-host";
const FALLBACK_SECRET: &str = "fallback-self-signed-cert";

/// Row of `hosts`.
pub fn row(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<HostRow>> {
    let Some(parsed) = db.parsed.get(&db.graph, reads, key) else { return default_host(db, reads, key) };
    let Some(Parsed::Host(host)) = &parsed.value else { return None };
    let mut problems = Vec::new();
    let tls = host_tls(db, reads, key, host, &mut problems);
    Some(Arc::new(HostRow {
        key: key.clone(),
        load_key: format!("{}.{}", key.name, key.namespace).into(),
        hostname: host.hostname.clone(),
        sni: host.sni.clone(),
        selector: host.selector.clone(),
        insecure: host.insecure,
        tls,
        labels: parsed.labels.clone(),
        created: parsed.created,
        default: false,
        problems,
    }))
}

/// Upstream synthesizes an open Host when no Host survives. Here it needs that there is none at all: an invalid Host
/// must not open everything.
fn default_host(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<HostRow>> {
    if *key != db.default_host_key() || db.by_kind.get(&db.graph, reads, &Kind::Host).is_some() {
        return None;
    }
    let secret = ObjectKey::new(Kind::Secret, db.options.namespace.clone(), FALLBACK_SECRET);
    let fallback = db.objects.get(&db.graph, reads, &secret).is_some();
    let tls = fallback.then(|| {
        let source = PemSource::Secret(secret.namespace.clone(), secret.name.clone());
        HostTls { resolved: tls::resolve(&key.namespace, Some(source), &TlsSettings::default(), false), closed: false }
    });
    Some(Arc::new(HostRow {
        key: key.clone(),
        load_key: DEFAULT_HOST.into(),
        hostname: "*".into(),
        sni: "*".into(),
        selector: None,
        insecure: if fallback { InsecureAction::Redirect } else { InsecureAction::Route },
        tls,
        labels: Arc::default(),
        created: 0,
        default: true,
        problems: Vec::new(),
    }))
}

fn host_tls(
    db: &Db,
    reads: &Reads,
    key: &ObjectKey,
    host: &ParsedHost,
    problems: &mut Vec<Problem>,
) -> Option<HostTls> {
    let namespace = &key.namespace;
    let secret = host.tls_secret.as_ref().map(|reference| tls::secret_source(namespace, reference));
    if let Some(name) = &host.tls_context {
        return context_tls(db, reads, key, name, secret, problems);
    }
    let secret = secret?;
    if let Some(settings) = &host.tls {
        // Upstream splits dotted names in the inline form whenever the Secret's namespace is written out.
        let written = host.tls_secret.as_ref().is_some_and(|SecretRef { namespace, .. }| namespace.is_some());
        let namespacing = written || db.secret_namespacing(reads);
        return Some(HostTls {
            resolved: tls::resolve(namespace, Some(secret), settings, namespacing),
            closed: settings.closed,
        });
    }
    let implicit: Arc<str> = format!("{}-context", key.name).into();
    if tls::find_context(db, reads, namespace, &implicit).is_some() {
        return context_tls(db, reads, key, &implicit, Some(secret), problems);
    }
    Some(HostTls { resolved: tls::resolve(namespace, Some(secret), &TlsSettings::default(), false), closed: false })
}

fn context_tls(
    db: &Db,
    reads: &Reads,
    key: &ObjectKey,
    name: &Arc<str>,
    secret: Option<PemSource>,
    problems: &mut Vec<Problem>,
) -> Option<HostTls> {
    let at = "spec.tlsContext.name";
    // A context may ask for client certificates: without it the Host's certificate alone must not open the chain.
    let closed = |resolved| Some(HostTls { resolved, closed: true });
    let bare = |secret: Option<PemSource>| tls::resolve(&key.namespace, secret, &TlsSettings::default(), false);
    let found = tls::find_context(db, reads, &key.namespace, name);
    let Some(context_key) = found else {
        problems.push(Problem::degraded(
            key,
            at,
            ProblemKind::MissingReference,
            format!("TLSContext `{name}` does not exist; nothing is served over TLS"),
        ));
        return closed(bare(secret));
    };
    let Some(context) = db.contexts.get(&db.graph, reads, &context_key) else {
        problems.push(Problem::degraded(
            key,
            at,
            ProblemKind::MissingReference,
            format!("{context_key} is not accepted; nothing is served over TLS"),
        ));
        return closed(bare(secret));
    };
    let own = secret.map(|source| tls::resolve(&key.namespace, Some(source), &TlsSettings::default(), false));
    let mut resolved = context.tls.clone();
    match (own.and_then(|own| own.certificate), &resolved.certificate) {
        (Some(own), Some(other)) if own != *other => {
            let detail =
                format!("TLSContext `{name}` names the Secret {}, the Host names {}", other.name(), own.name());
            problems.push(Problem::degraded(key, at, ProblemKind::ConflictingFields, detail));
            return closed(resolved);
        }
        (Some(own), None) => resolved.certificate = Some(own),
        _ => {}
    }
    let hosts = &context.parsed.hosts;
    if !hosts.is_empty() && !hosts.iter().any(|host| **host == *key.name || db.hostname_is(reads, key, host)) {
        let detail =
            format!("TLSContext `{name}` is for {}, not for this host; it is used all the same", hosts.join(", "));
        problems.push(Problem::notice(key, at, ProblemKind::InvalidValue, detail));
    }
    if resolved.certificate.is_none() {
        problems.push(Problem::degraded(
            key,
            at,
            ProblemKind::MissingReference,
            format!("neither the Host nor TLSContext `{name}` names a Secret"),
        ));
        return None;
    }
    Some(HostTls { resolved, closed: false })
}

impl Db {
    /// Key of the synthesized Host.
    pub fn default_host_key(&self) -> ObjectKey {
        ObjectKey::new(Kind::Host, self.options.namespace.clone(), DEFAULT_HOST)
    }

    fn hostname_is(&self, reads: &Reads, key: &ObjectKey, name: &str) -> bool {
        let row = self.parsed.get(&self.graph, reads, key);
        matches!(row.and_then(|row| row.value.as_ref()), Some(Parsed::Host(host)) if *host.hostname == *name)
    }
}
