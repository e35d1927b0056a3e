//! One Mapping with all defaults applied: which group it belongs to, where it stands, where it sends.

use crate::check::{regex, service};
use crate::db::{Db, SelectorTerm};
use crate::incr::Reads;
use crate::parse::{
    HostCondition, Labels, Parsed, ParsedLoadBalancer, ParsedMapping, ParsedProbe, ResolverKind, RouteDefaults,
    ServiceRef,
};
use crate::stage::settings::{Setting, Slice};
use crate::stage::upstream::{Upstream, UpstreamKey, UpstreamOptions, UpstreamTls};
use crate::stage::{error_response, policy, tls};
use ir::{
    Action, ErrorRule, Forward, HashOn, HeaderEdits, HeaderValue, HealthCheck, HealthProbe, HostRewrite, Kind,
    NamedMatch, ObjectKey, OrderKey, PathMatch, PathRewrite, Problem, ProblemKind, Redirect, RedirectPath, RouteMatch,
    TextMatch,
};
use sha1::{Digest, Sha1};
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

/// A route before it is grouped.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Upstream's group id.
    pub group: Arc<str>,
    /// Position among all groups.
    pub order: OrderKey,
    /// The Mapping without defaults: conditions, weight, and what has to be equal in a group.
    pub mapping: Arc<ParsedMapping>,
    /// Labels, which decide about Hosts, as the host condition does.
    pub labels: Arc<Labels>,
    /// True for the built-in routes, which every Host has.
    pub probe: bool,
    /// What happens.
    pub action: Action,
    /// The cluster it needs, if it forwards.
    pub upstream: Option<Arc<Upstream>>,
    /// Header edits.
    pub headers: HeaderEdits,
    /// Seconds since 1970.
    pub created: i64,
    /// Findings that need more than the object itself.
    pub problems: Vec<Problem>,
}

/// What nearly every Mapping rewrites its prefix to.
static ROOT: LazyLock<Arc<str>> = LazyLock::new(|| "/".into());

/// Names of the probe routes, in the order of [`crate::parse::ParsedModule::probes`].
pub const PROBES: [&str; 3] =
    ["internal_liveness_probe_mapping", "internal_readiness_probe_mapping", "internal_diagnostics_probe_mapping"];

/// Row of `rules`.
pub fn row(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<Rule>> {
    let Some(parsed) = db.parsed.get(&db.graph, reads, key) else { return probe(db, reads, key) };
    let Some(Parsed::Mapping(mapping)) = &parsed.value else { return None };
    let defaults = db.route_defaults(reads);
    let mut problems = Vec::new();
    if mapping.program_size > defaults.regex_max_size {
        program_sizes(key, mapping, defaults.regex_max_size, &mut problems);
    }
    let upstream = db.interned(upstream(db, reads, key, mapping, &defaults, &mut problems));
    let errors = errors(db, reads, key, mapping, &mut problems);
    let action = action(db, reads, mapping, &upstream, errors, &defaults);
    let forwards = matches!(action, Action::Forward(_)) || mapping.shadow;
    Some(Arc::new(Rule {
        group: group_id(db, reads, mapping, &parsed.labels),
        order: order_key(mapping),
        mapping: mapping.clone(),
        labels: parsed.labels.clone(),
        probe: false,
        action,
        headers: headers(mapping, &defaults, &upstream.key),
        upstream: forwards.then_some(upstream),
        created: parsed.created,
        problems,
    }))
}

/// How large a regular expression may become is the Module's to say, so it is not known when the Mapping is parsed.
fn program_sizes(key: &ObjectKey, mapping: &ParsedMapping, most: u32, problems: &mut Vec<Problem>) {
    let mut judge = |at: String, text: &str| {
        if let Err(reason) = regex::judge(text, most) {
            problems.push(Problem::refused(key, at, ProblemKind::InvalidRegex, reason));
        }
    };
    if let PathMatch::Regex(text) = &mapping.path {
        judge("spec.prefix".into(), text);
    }
    if let HostCondition::Regex(text) = &mapping.host {
        judge("spec.host".into(), text);
    }
    for (field, conditions) in [("regex_headers", &mapping.headers), ("regex_query_parameters", &mapping.query)] {
        for condition in conditions {
            if let TextMatch::Regex(text) = &condition.value {
                judge(format!("spec.{field}.{}", condition.name), text);
            }
        }
    }
    if let Some(TextMatch::Regex(text)) = &mapping.method {
        judge("spec.method".into(), text);
    }
    if let Some(rewrite) = &mapping.regex_rewrite {
        judge("spec.regex_rewrite.pattern".into(), &rewrite.pattern);
    }
    if let Some(RedirectPath::Regex(rewrite)) = mapping.redirect.as_ref().and_then(|redirect| redirect.path.as_ref()) {
        judge("spec.regex_redirect.pattern".into(), &rewrite.pattern);
    }
}

/// The Mapping's own rules for bodies of errors; `None` without a usable one, as the Module's apply then.
fn errors(
    db: &Db,
    reads: &Reads,
    key: &ObjectKey,
    mapping: &ParsedMapping,
    problems: &mut Vec<Problem>,
) -> Option<Arc<[ErrorRule]>> {
    let rules = &mapping.policies.as_ref()?.errors;
    if rules.is_empty() {
        return None;
    }
    let found = error_response::resolve(db, reads, key, "spec.error_response_overrides", rules, problems);
    (!found.is_empty()).then_some(found)
}

fn action(
    db: &Db,
    reads: &Reads,
    mapping: &ParsedMapping,
    upstream: &Upstream,
    errors: Option<Arc<[ErrorRule]>>,
    defaults: &RouteDefaults,
) -> Action {
    if let Some(guard) = closed(db, reads, mapping, defaults) {
        return Action::Direct { status: 500, body: guard };
    }
    if let Some(redirect) = &mapping.redirect
        && !mapping.shadow
    {
        let text = &upstream.key.text;
        let host = text.split_once("://").map_or(&**text, |(_, rest)| rest);
        return Action::Redirect(Redirect { host: host.into(), path: redirect.path.clone(), code: redirect.code });
    }
    let rewrite = match (&mapping.regex_rewrite, &mapping.rewrite) {
        (Some(regex), _) => Some(PathRewrite::Regex((**regex).clone())),
        (None, Some(text)) if text.is_empty() => None,
        (None, Some(text)) => Some(PathRewrite::Prefix(text.clone())),
        (None, None) => Some(PathRewrite::Prefix(ROOT.clone())),
    };
    let host_rewrite = match (&mapping.host_rewrite, mapping.auto_host_rewrite) {
        (Some(host), _) => Some(HostRewrite::Literal(host.clone())),
        (None, Some(true)) => Some(HostRewrite::Auto),
        _ => None,
    };
    Action::Forward(Forward {
        cluster: upstream.name.clone(),
        timeout_ms: mapping.timeout_ms.unwrap_or(defaults.timeout_ms),
        idle_timeout_ms: mapping.idle_timeout_ms,
        rewrite,
        host_rewrite,
        options: policy::options(mapping, hash_on(&upstream.key), errors, defaults).boxed(),
    })
}

fn hash_on(upstream: &UpstreamKey) -> Option<HashOn> {
    upstream.load_balancer.as_ref().and_then(|balancer| balancer.hash_on.clone())
}

/// A guard that is asked for and cannot be applied closes the route. The text must not tell clients more than that.
fn closed(db: &Db, reads: &Reads, mapping: &ParsedMapping, defaults: &RouteDefaults) -> Option<Arc<str>> {
    if defaults.closed.is_some() {
        return Some(CLOSED.into());
    }
    if !mapping.bypass_auth
        && mapping.redirect.is_none()
        && let Some(Setting::Auth(_)) = db.settings.get(&db.graph, reads, &Slice::Auth)
    {
        return Some(CLOSED.into());
    }
    if (!mapping.label_domains.is_empty() || !defaults.default_labels.is_empty())
        && let Some(Setting::RateLimit(domains)) = db.settings.get(&db.graph, reads, &Slice::RateLimit)
        && domains
            .iter()
            .any(|domain| mapping.label_domains.contains(domain) || defaults.default_labels.contains(domain))
    {
        return Some(CLOSED.into());
    }
    None
}

const CLOSED: &str = "this route is guarded by a setting that is not in force\n";

/// Why a Mapping's requests are refused, for its owner.
pub fn closed_problem(db: &Db, reads: &Reads, key: &ObjectKey, rule: &Rule) -> Option<Problem> {
    let Action::Direct { .. } = &rule.action else { return None };
    let defaults = db.route_defaults(reads);
    let why = match (&defaults.closed, db.settings.get(&db.graph, reads, &Slice::Auth)) {
        (Some(field), _) => format!("the Module's `{field}` is not supported yet"),
        (None, Some(Setting::Auth(text))) => text.to_string(),
        _ => "guarded by a RateLimitService with `failure_mode_deny`, which is not supported yet".to_owned(),
    };
    let detail = format!("requests are answered with 500: {why}");
    Some(Problem::degraded(key, "", ProblemKind::NotSupported, detail))
}

/// The settings of the cluster that a Mapping names.
pub fn upstream(
    db: &Db,
    reads: &Reads,
    key: &ObjectKey,
    mapping: &ParsedMapping,
    defaults: &RouteDefaults,
    problems: &mut Vec<Problem>,
) -> UpstreamKey {
    let resolver_name =
        mapping.resolver.clone().or_else(|| defaults.resolver.clone()).unwrap_or_else(|| "kubernetes-service".into());
    let known = match db.settings.get(&db.graph, reads, &Slice::Resolvers) {
        Some(Setting::Resolvers(known)) => known.get(&resolver_name).copied(),
        _ => None,
    };
    let resolver = match known {
        Some(found) => found,
        None => {
            let detail = format!("resolver `{resolver_name}` does not exist");
            problems.push(Problem::refused(key, "spec.resolver", ProblemKind::MissingReference, detail));
            ResolverKind::Service
        }
    };
    if resolver == ResolverKind::Consul {
        let detail = format!("resolver `{resolver_name}` reads from Consul, which is not supported yet");
        problems.push(Problem::refused(key, "spec.resolver", ProblemKind::NotSupported, detail));
    }
    let qualified = service::qualify(
        &mapping.service,
        &key.namespace,
        &db.options.namespace,
        defaults.own_namespace_for_services,
        resolver != ResolverKind::Consul,
    );
    let tls = upstream_tls(db, reads, key, mapping, &qualified, problems);
    let port = qualified.port.unwrap_or(if tls == UpstreamTls::ClearText { 80 } else { 443 });
    let streams = resolver == ResolverKind::Endpoint && !is_address(&qualified.host);
    let load_balancer = load_balancer(db, reads, key, mapping, streams, problems);
    let cluster_defaults = db.cluster_defaults(reads);
    let hidden_context = match &tls {
        UpstreamTls::Context(context) if qualified.tls_scheme.is_some() => Some(context.clone()),
        _ => None,
    };
    UpstreamKey {
        port,
        scheme: qualified.tls_scheme.is_some(),
        host_rewrite: mapping.host_rewrite.clone().filter(|_| tls != UpstreamTls::ClearText),
        namespace: key.namespace.clone(),
        tag: if mapping.shadow { Some("shadow".into()) } else { mapping.cluster_tag.clone() },
        circuit_breakers: mapping
            .circuit_breakers
            .clone()
            .or_else(|| cluster_defaults.circuit_breakers.clone())
            .unwrap_or_default(),
        options: UpstreamOptions {
            grpc: mapping.grpc,
            connect_timeout_ms: mapping.connect_timeout_ms.filter(|ms| *ms != 3000),
            idle_timeout_ms: mapping.cluster_idle_timeout_ms,
            max_connection_ms: mapping.cluster_max_connection_ms,
            keepalive: mapping.keepalive.clone(),
            logical_dns: mapping.logical_dns,
            respect_dns_ttl: mapping.respect_dns_ttl,
            stats_name: mapping.stats_name.clone().or_else(|| defaults.stats_name.clone()),
            enable_ipv4: mapping.enable_ipv4,
            enable_ipv6: mapping.enable_ipv6,
            hidden_context,
            endpoints: streams && load_balancer.is_none(),
            health_checks: health_checks(key, mapping, streams, problems),
        },
        load_balancer,
        resolver: if streams { ResolverKind::Endpoint } else { ResolverKind::Service },
        service: service_of(&qualified.host, key, db, defaults),
        host: qualified.host.clone(),
        text: qualified.text.clone(),
        tls,
    }
}

/// Namespace and name of the Service that a host stands for; `None` for addresses and `localhost`.
fn service_of(host: &Arc<str>, key: &ObjectKey, db: &Db, defaults: &RouteDefaults) -> Option<(Arc<str>, Arc<str>)> {
    if is_address(host) || **host == *"localhost" {
        return None;
    }
    let mut parts = host.split('.');
    let name = parts.next().filter(|name| !name.is_empty())?;
    let own = if defaults.own_namespace_for_services { &db.options.namespace } else { &key.namespace };
    let Some(namespace) = parts.next() else { return Some((own.clone(), name.into())) };
    // `a.b`, `a.b.svc`, `a.b.svc.cluster.local` are Services of namespace b; other names with more labels are not.
    match parts.next() {
        None => Some((namespace.into(), name.into())),
        Some("svc") => Some((namespace.into(), name.into())),
        Some(_) => None,
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
}

fn upstream_tls(
    db: &Db,
    reads: &Reads,
    key: &ObjectKey,
    mapping: &ParsedMapping,
    service: &ServiceRef,
    problems: &mut Vec<Problem>,
) -> UpstreamTls {
    let by_scheme = if service.tls_scheme == Some(true) { UpstreamTls::Plain } else { UpstreamTls::ClearText };
    let Some(name) = &mapping.tls else { return by_scheme };
    let found = tls::find_context(db, reads, &key.namespace, name);
    let Some(context) = found.filter(|context| db.contexts.get(&db.graph, reads, context).is_some()) else {
        let detail = format!("TLSContext `{name}` does not exist or is not accepted");
        // Serving over clear text, or without the verification that the context may ask for, is not what was meant.
        problems.push(Problem::refused(key, "spec.tls", ProblemKind::MissingReference, detail));
        return by_scheme;
    };
    if service.tls_scheme == Some(false) {
        let detail = format!("the service is `http://…` and `tls` names `{name}`: TLS is used");
        problems.push(Problem::notice(key, "spec.tls", ProblemKind::ConflictingFields, detail));
    }
    UpstreamTls::Context(context)
}

fn load_balancer(
    db: &Db,
    reads: &Reads,
    key: &ObjectKey,
    mapping: &ParsedMapping,
    streams: bool,
    problems: &mut Vec<Problem>,
) -> Option<Box<ParsedLoadBalancer>> {
    match &mapping.load_balancer {
        Some(_) if !streams => {
            let detail = "a load balancer needs an endpoint resolver; the Service balances itself";
            problems.push(Problem::degraded(key, "spec.load_balancer", ProblemKind::NoEffect, detail));
            None
        }
        Some(balancer) => Some(balancer.clone()),
        // Upstream applies the Module's to every cluster, also where it balances nothing.
        None => db.cluster_defaults(reads).load_balancer.clone().map(Box::new),
    }
}

/// Only of streamed endpoints one or the other can be left out.
fn health_checks(
    key: &ObjectKey,
    mapping: &ParsedMapping,
    streams: bool,
    problems: &mut Vec<Problem>,
) -> Arc<[HealthCheck]> {
    let checks = mapping.policies.as_ref().map(|policies| policies.health_checks.clone()).unwrap_or_default();
    if checks.is_empty() {
        return checks;
    }
    if streams {
        let speaks = |check: &HealthCheck| mapping.grpc || !matches!(check.probe, HealthProbe::Grpc { .. });
        if checks.iter().all(speaks) {
            return checks;
        }
        let detail = "a gRPC health check needs `grpc: true`; it is left out";
        problems.push(Problem::degraded(key, "spec.health_checks", ProblemKind::ConflictingFields, detail));
        return checks.iter().filter(|check| speaks(check)).cloned().collect();
    }
    let detail = "health checks need an endpoint resolver; they have no effect on a Service as a whole";
    problems.push(Problem::degraded(key, "spec.health_checks", ProblemKind::NoEffect, detail));
    Arc::default()
}

/// The conditions of a Mapping in the form of a route.
pub fn matches_of(mapping: &ParsedMapping) -> RouteMatch {
    let mut headers = mapping.headers.clone();
    if let Some(method) = &mapping.method {
        headers.push(NamedMatch { name: ":method".into(), value: method.clone() });
    }
    RouteMatch {
        path: mapping.path.clone(),
        case_sensitive: mapping.case_sensitive.unwrap_or(true),
        authority: authority(&mapping.host),
        headers,
        query: mapping.query.clone(),
    }
}

fn authority(host: &HostCondition) -> Option<TextMatch> {
    match host {
        HostCondition::None => None,
        HostCondition::Regex(regex) => Some(TextMatch::Regex(regex.clone())),
        HostCondition::Glob(glob) => match ir::glob_shape(glob) {
            ir::GlobShape::Any => None,
            ir::GlobShape::Suffix => Some(TextMatch::Suffix(ir::tail(glob).into())),
            ir::GlobShape::Prefix => Some(TextMatch::Prefix(ir::head(glob).into())),
            _ => Some(TextMatch::Exact(glob.clone())),
        },
    }
}

fn host_text(host: &HostCondition) -> Option<(&str, bool)> {
    match host {
        HostCondition::None => None,
        HostCondition::Glob(glob) => Some((glob, false)),
        HostCondition::Regex(regex) => Some((regex, true)),
    }
}

/// Header conditions as upstream lists them for ids and order: name, value, whether it is a regex. Headers come first,
/// then `:authority`, then `:method`.
fn conditions(mapping: &ParsedMapping) -> impl Iterator<Item = (&str, Option<&str>, bool)> {
    fn listed<'a>(name: &'a str, value: &'a TextMatch) -> (&'a str, Option<&'a str>, bool) {
        (name, text_of(value), matches!(value, TextMatch::Regex(_)))
    }
    let headers = mapping.headers.iter().map(|header| listed(&header.name, &header.value));
    let host = host_text(&mapping.host).map(|(text, regex)| (":authority", Some(text), regex));
    headers.chain(host).chain(mapping.method.as_ref().map(|method| listed(":method", method)))
}

fn text_of(value: &TextMatch) -> Option<&str> {
    match value {
        TextMatch::Exact(text) | TextMatch::Prefix(text) | TextMatch::Suffix(text) | TextMatch::Regex(text) => {
            Some(text)
        }
        TextMatch::Present => None,
    }
}

/// Upstream's group id: SHA-1 over the conditions without separators (vectors in the reference, appendix A.1).
fn group_id(db: &Db, reads: &Reads, mapping: &ParsedMapping, labels: &Labels) -> Arc<str> {
    let mut hash = Sha1::new();
    hash.update(b"HTTP-GET");
    hash.update(mapping.path.text().as_bytes());
    for (name, value, _) in conditions(mapping) {
        hash.update(name.as_bytes());
        hash.update(value.unwrap_or_default().as_bytes());
    }
    for parameter in &mapping.query {
        hash.update(parameter.name.as_bytes());
        hash.update(text_of(&parameter.value).unwrap_or_default().as_bytes());
    }
    if !matches!(mapping.host, HostCondition::Glob(_)) && !labels.is_empty() {
        for (_, selector) in selecting(db, reads, labels) {
            for (name, value) in selector.iter() {
                hash.update(name.as_bytes());
                hash.update(value.as_bytes());
            }
        }
    }
    if mapping.precedence != 0 {
        hash.update(mapping.precedence.to_string().as_bytes());
    }
    let mut id = String::with_capacity(40);
    for byte in hash.finalize() {
        let _ = write!(id, "{byte:02x}");
    }
    id.into()
}

type SelectorPairs = Vec<(Arc<str>, Arc<str>)>;

/// Host selectors that match these labels, in upstream's order of Hosts.
fn selecting(db: &Db, reads: &Reads, labels: &Labels) -> Vec<(Arc<str>, SelectorPairs)> {
    let mut found = Vec::new();
    let mut terms = vec![SelectorTerm::All];
    terms.extend(labels.iter().map(|(name, value)| SelectorTerm::Label(name.clone(), value.clone())));
    for term in terms {
        for (load_key, selector) in db.selecting_hosts.get(&db.graph, reads, &term).into_iter().flatten() {
            if db.selects(selector, labels) {
                found.push((load_key.clone(), selector.0.clone()));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Upstream sorts descending by (precedence, length of the prefix, sum over headers, sum over query parameters, texts).
/// The bytes are made so that ascending comparison gives that order; the group id makes the order total.
fn order_key(mapping: &ParsedMapping) -> OrderKey {
    let mut bytes = Vec::with_capacity(96);
    let descending = |number: i64| (!((number as u64) ^ (1 << 63))).to_be_bytes();
    let length = |text: &str| text.chars().count() as i64;
    let weigh =
        |name: &str, value: Option<&str>, regex: bool| length(name) + value.map_or(1, length) + i64::from(regex);
    bytes.extend(descending(mapping.precedence));
    bytes.extend(descending(length(mapping.path.text())));
    bytes.extend(descending(conditions(mapping).map(|(name, value, regex)| weigh(name, value, regex)).sum()));
    let query = mapping.query.iter();
    bytes.extend(descending(
        query.map(|found| weigh(&found.name, text_of(&found.value), matches!(found.value, TextMatch::Regex(_)))).sum(),
    ));
    let mut text = |text: &str| {
        bytes.extend(text.bytes().map(|byte| !byte));
        // Of two texts, one the beginning of the other, the longer comes first.
        bytes.push(0xff);
    };
    text(mapping.path.text());
    for (name, value, _) in conditions(mapping) {
        text(&format!("{name}-{}", value.unwrap_or("*")));
    }
    for parameter in &mapping.query {
        text(&format!("{}-{}", parameter.name, text_of(&parameter.value).unwrap_or("*")));
    }
    OrderKey(bytes.into())
}

fn headers(mapping: &ParsedMapping, defaults: &RouteDefaults, upstream: &UpstreamKey) -> HeaderEdits {
    let either = |own: &Option<Vec<HeaderValue>>, default: &Option<Vec<HeaderValue>>| {
        own.clone().or_else(|| default.clone()).unwrap_or_default()
    };
    let names = |own: &Option<Vec<Arc<str>>>, default: &Option<Vec<Arc<str>>>| {
        own.clone().or_else(|| default.clone()).unwrap_or_default()
    };
    let mut add_request = either(&mapping.add_request_headers, &defaults.add_request_headers);
    if mapping.add_linkerd_headers.unwrap_or(defaults.add_linkerd_headers) {
        // Upstream looks at the scheme only, not at `tls`.
        let by_scheme = if mapping.service.tls_scheme == Some(true) { 443 } else { 80 };
        let value = format!("{}:{}", upstream.host, mapping.service.port.unwrap_or(by_scheme));
        add_request.push(HeaderValue { name: "l5d-dst-override".into(), value: value.into(), append: true });
    }
    HeaderEdits {
        add_request,
        add_response: either(&mapping.add_response_headers, &defaults.add_response_headers),
        remove_request: names(&mapping.remove_request_headers, &defaults.remove_request_headers),
        remove_response: names(&mapping.remove_response_headers, &defaults.remove_response_headers),
    }
}

/// The first setting that members of a group must share and in which a newcomer differs from the first member.
/// Upstream compares those that the newcomer has; what it leaves out fits any.
pub fn disagreement(newcomer: &ParsedMapping, first: &ParsedMapping) -> Option<&'static str> {
    fn differs<T: PartialEq>(own: &Option<T>, first: &Option<T>) -> bool {
        own.is_some() && own != first
    }
    let is_regex = |header: &NamedMatch| matches!(header.value, TextMatch::Regex(_));
    let method_regex = |mapping: &ParsedMapping| matches!(mapping.method, Some(TextMatch::Regex(_)));
    let host_regex = |mapping: &ParsedMapping| matches!(mapping.host, HostCondition::Regex(_));
    let headers = |mapping: &ParsedMapping| mapping.headers.iter().map(is_regex).collect::<Vec<_>>();
    let fields = [
        ("prefix_regex", std::mem::discriminant(&newcomer.path) != std::mem::discriminant(&first.path)),
        ("headers", headers(newcomer) != headers(first) || method_regex(newcomer) != method_regex(first)),
        ("host_regex", host_regex(newcomer) != host_regex(first)),
        ("bypass_auth", newcomer.bypass_auth && !first.bypass_auth),
        ("circuit_breakers", differs(&newcomer.circuit_breakers, &first.circuit_breakers)),
        ("connect_timeout_ms", differs(&newcomer.connect_timeout_ms, &first.connect_timeout_ms)),
        ("cluster_idle_timeout_ms", differs(&newcomer.cluster_idle_timeout_ms, &first.cluster_idle_timeout_ms)),
        (
            "cluster_max_connection_lifetime_ms",
            differs(&newcomer.cluster_max_connection_ms, &first.cluster_max_connection_ms),
        ),
        ("keepalive", differs(&newcomer.keepalive, &first.keepalive)),
        ("load_balancer", differs(&newcomer.load_balancer, &first.load_balancer)),
        ("labels", newcomer.labels_hash != 0 && newcomer.labels_hash != first.labels_hash),
    ];
    fields.into_iter().find(|(_, differs)| *differs).map(|(field, _)| field)
}

/// The built-in routes are Mappings of the gateway's namespace that no object stands for.
fn probe(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<Rule>> {
    let index = PROBES.iter().position(|name| *key.name == **name).filter(|_| key.namespace == db.options.namespace)?;
    let probes = match db.settings.get(&db.graph, reads, &Slice::Probes) {
        Some(Setting::Probes(probes)) => probes.clone(),
        _ => Arc::new(db.default_module.probes.clone()),
    };
    let probe: &ParsedProbe = probes.get(index).filter(|probe| probe.enabled)?;
    let mapping = Arc::new(probe_mapping(probe));
    let defaults = RouteDefaults { add_linkerd_headers: false, ..(*db.route_defaults(reads)).clone() };
    let upstream = db.interned(upstream(db, reads, key, &mapping, &defaults, &mut Vec::new()));
    let forward = Forward {
        cluster: upstream.name.clone(),
        timeout_ms: 10_000,
        idle_timeout_ms: None,
        rewrite: Some(PathRewrite::Prefix(probe.rewrite.clone())),
        host_rewrite: None,
        options: policy::options(&mapping, hash_on(&upstream.key), None, &defaults).boxed(),
    };
    Some(Arc::new(Rule {
        group: group_id(db, reads, &mapping, &Labels::new()),
        order: order_key(&mapping),
        labels: Arc::default(),
        probe: true,
        action: Action::Forward(forward),
        headers: headers(&mapping, &defaults, &upstream.key),
        upstream: Some(upstream),
        created: i64::MIN,
        mapping,
        problems: Vec::new(),
    }))
}

fn probe_mapping(probe: &ParsedProbe) -> ParsedMapping {
    ParsedMapping {
        host: HostCondition::Glob("*".into()),
        ..ParsedMapping::new(PathMatch::Prefix(probe.prefix.clone()), probe.service.clone())
    }
}

/// Keys of the probe routes.
pub fn probe_keys(namespace: &Arc<str>) -> impl Iterator<Item = ObjectKey> {
    PROBES.iter().map(move |name| ObjectKey::new(Kind::Mapping, namespace.clone(), *name))
}
