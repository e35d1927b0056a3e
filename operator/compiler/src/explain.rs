//! Which Mapping answers a request, and why the others do not: what Envoy does with the rows, done by hand.
//!
//! ```text
//! path        what becomes of the path before routes are looked at
//! condition   the conditions of a route
//! ```
//!
//! Listeners are asked for their chain, the chain's table for the virtual host, and its routes in order. A test compares
//! the outcome with a real Envoy's on random Mappings and requests.

mod condition;
mod path;

use condition::{Seen, failures, is_implied, path_fits};
use ir::{
    Action, ChainBody, ChainMatch, ImpliedAuthority, ListId, ListenerRow, ObjectKey, OrderKey, RouteGroup, RouteTable,
    RowChanges, VirtualHost, VirtualHostBody,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most near misses that are told.
const NEAR_MISSES: usize = 20;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The `Host` header, a port included if there is one. Its name is the server name of TLS.
    pub host: String,
    /// The request target: path and query.
    pub path: String,
    /// The method.
    pub method: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Whether it comes over TLS.
    pub tls: bool,
}

/// What one listener does with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Its port.
    pub port: u16,
    /// The filter chain that takes the connection.
    pub chain: Option<Arc<str>>,
    /// The domain of the virtual host.
    pub domain: Option<Arc<str>>,
    /// The outcome.
    pub answer: Answer,
    /// Routes of the virtual host that do not answer for one reason only, in order.
    pub near_misses: Vec<NearMiss>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No chain takes the connection.
    NoChain,
    /// No virtual host has the name: 404.
    NoHost,
    /// No route matches: 404.
    NoRoute,
    /// It is no HTTP: the connection goes to clusters, by weight.
    Tcp(Vec<(Arc<str>, u32)>),
    /// The Host redirects clear text to https.
    RedirectToHttps,
    /// Answered with this status: the Host is closed, or the path not allowed.
    Refused(u16),
    /// Mappings answer, each its share.
    Routes(Vec<Share>),
}

/// A Mapping's share of a request's fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Percent.
    pub percent: u32,
    /// The Mapping.
    pub source: ObjectKey,
    /// What it does.
    pub action: Action,
}

/// A Mapping that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// The Mapping.
    pub source: ObjectKey,
    /// Why.
    pub reason: String,
}

/// Rows, sorted for questions.
pub struct Explainer<'r> {
    listeners: Vec<&'r ListenerRow>,
    tables: BTreeMap<&'r str, &'r RouteTable>,
    lists: BTreeMap<&'r ListId, (&'r ImpliedAuthority, Vec<&'r Arc<RouteGroup>>)>,
}

impl<'r> Explainer<'r> {
    /// Takes all rows of a compiler.
    pub fn new(rows: &'r RowChanges) -> Self {
        let tables = rows.tables.iter().filter_map(|(name, row)| Some((&**name, row.as_deref()?))).collect();
        let lists = rows.lists.iter().filter_map(|(id, row)| {
            let row = row.as_deref()?;
            // Buckets are only a way to find routes faster; what counts is the order of all groups.
            let mut groups: BTreeMap<(&OrderKey, &Arc<str>), &Arc<RouteGroup>> = BTreeMap::new();
            for group in row.buckets.iter().flat_map(|bucket| &bucket.groups) {
                groups.insert((&group.order, &group.id), group);
            }
            Some((id, (&row.implied, groups.into_values().collect())))
        });
        let listeners = rows.listeners.iter().filter_map(|(_, row)| row.as_deref()).filter(|row| !row.bind.udp);
        Self { listeners: listeners.collect(), tables, lists: lists.collect() }
    }

    /// What every TCP listener does with the request, ordered by name.
    pub fn why(&self, request: &Request) -> Vec<Explanation> {
        self.listeners.iter().map(|listener| self.listener(listener, request)).collect()
    }

    fn listener(&self, listener: &ListenerRow, request: &Request) -> Explanation {
        let mut out = Explanation {
            listener: listener.name.clone(),
            port: listener.bind.port,
            chain: None,
            domain: None,
            answer: Answer::NoChain,
            near_misses: Vec::new(),
        };
        let chain = listener.chains.iter().filter_map(|chain| Some((rank(&chain.matches, request)?, chain)));
        let Some((_, chain)) = chain.max_by_key(|(rank, _)| *rank) else { return out };
        out.chain = Some(chain.name.clone());
        let table = match &chain.body {
            ChainBody::Tcp(proxy) => {
                out.answer = Answer::Tcp(proxy.clusters.clone());
                return out;
            }
            ChainBody::Http { table } => table,
        };
        if listener.http.reject_escaped_slashes && path::has_escaped_slash(&request.path) {
            out.answer = Answer::Refused(400);
            return out;
        }
        let own_port = format!(":{}", listener.bind.port);
        let stripped = request.host.strip_suffix(&own_port).filter(|_| listener.http.strip_matching_host_port);
        let authority = stripped.unwrap_or(&request.host);
        out.answer = Answer::NoHost;
        let hosts = self.tables.get(&**table).map(|table| table.virtual_hosts.as_slice()).unwrap_or_default();
        let Some((domain, host)) = virtual_host(hosts, authority) else { return out };
        out.domain = Some(domain);
        let (path, query) = path::split(&request.path, listener.http.merge_slashes);
        let by_connection = if request.tls { "https" } else { "http" };
        let headers = request.headers.iter();
        let sent = headers.rev().find(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-proto"));
        // The connection says it, unless proxies in front are trusted.
        let trusted = !listener.http.use_remote_address || listener.http.xff_num_trusted_hops > 0;
        let proto = sent.filter(|_| trusted).map_or(by_connection, |(_, value)| value);
        let seen = Seen { request, authority, path: &path, query: query.as_deref(), proto };
        self.body(&host.body, &seen, &mut out);
        out
    }

    fn body(&self, body: &VirtualHostBody, seen: &Seen, out: &mut Explanation) {
        match body {
            VirtualHostBody::Routes(list) => self.routes(list, seen, |_| true, out),
            VirtualHostBody::ByForwardedProto { secure, .. } if seen.proto == "https" => {
                self.routes(secure, seen, |_| true, out);
            }
            VirtualHostBody::ByForwardedProto { insecure, .. } => self.body(insecure, seen, out),
            VirtualHostBody::AcmeOnly(list) => self.routes(list, seen, is_acme, out),
            VirtualHostBody::RedirectToHttps { acme } => {
                self.routes(acme, seen, is_acme, out);
                if out.answer == Answer::NoRoute {
                    out.answer = Answer::RedirectToHttps;
                }
            }
            VirtualHostBody::Closed { status } => out.answer = Answer::Refused(*status),
        }
    }

    /// One random number decides for all routes of a request, so shares of one group continue those of the one before.
    fn routes(&self, list: &ListId, seen: &Seen, served: impl Fn(&RouteGroup) -> bool, out: &mut Explanation) {
        let mut shares: Vec<Share> = Vec::new();
        let mut given = 0;
        let mut redirected = false;
        let nothing = (&ImpliedAuthority::Nothing, Vec::new());
        let (implied, groups) = self.lists.get(list).unwrap_or(&nothing);
        for group in groups.iter().filter(|group| served(group)) {
            let mut failed = failures(group, seen, list.variant);
            if is_implied(group, implied) {
                failed.retain(|reason| !reason.starts_with("the host "));
            }
            let source = group.routes.first().map(|route| route.source.clone());
            let mut tell = |reason: String| {
                if out.near_misses.len() < NEAR_MISSES {
                    out.near_misses.extend(source.clone().map(|source| NearMiss { source, reason }));
                }
            };
            match failed.as_slice() {
                [] if given < 100 => {
                    redirected |= shares.is_empty() && list.variant.redirects() && !is_acme(group);
                    for route in &group.routes {
                        let fits = path_fits(&group.matches.path, seen.path, route.case_sensitive);
                        if fits && route.fraction > given {
                            let (source, action) = (route.source.clone(), route.action.clone());
                            shares.push(Share { percent: route.fraction - given, source, action });
                            given = route.fraction;
                        }
                    }
                }
                [] => {
                    let winner = shares.first().map(|share| share.source.path()).unwrap_or_default();
                    tell(format!("it matches as well, and {winner} comes first"));
                }
                [only] => tell(only.clone()),
                _ => {}
            }
        }
        out.answer = match shares.is_empty() {
            true => Answer::NoRoute,
            false if redirected => Answer::RedirectToHttps,
            false => Answer::Routes(shares),
        };
    }
}

/// How well a chain fits a connection; `None`: not at all. Envoy takes the most specific server name.
fn rank(matches: &ChainMatch, request: &Request) -> Option<usize> {
    let server_name = host_name(&request.host);
    match matches {
        ChainMatch::Rest => (!request.tls).then_some(0),
        ChainMatch::Tls(_) if !request.tls => None,
        ChainMatch::Tls(names) if names.is_empty() => Some(1),
        ChainMatch::Tls(names) => names
            .iter()
            .filter_map(|name| match name.strip_prefix('*') {
                Some(suffix) => {
                    (server_name.len() > suffix.len() && server_name.ends_with(suffix)).then(|| 1 + suffix.len())
                }
                None => (server_name == **name).then_some(usize::MAX),
            })
            .max(),
    }
}

fn host_name(host: &str) -> String {
    let port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, digits)| port(digits)).map_or(host, |(name, _)| name);
    name.to_ascii_lowercase()
}

/// Envoy's order of domains: exact, longest `*suffix`, longest `prefix*`, `*`. Case does not count.
fn virtual_host<'r>(hosts: &'r [VirtualHost], authority: &str) -> Option<(Arc<str>, &'r VirtualHost)> {
    let name = authority.to_ascii_lowercase();
    let rank = |domain: &str| -> Option<(u8, usize)> {
        let domain = domain.to_ascii_lowercase();
        if domain == "*" {
            return Some((0, 0));
        }
        let longer = |part: &str| name.len() > part.len();
        match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (Some(suffix), _) => (longer(suffix) && name.ends_with(suffix)).then_some((2, suffix.len())),
            (None, Some(prefix)) => (longer(prefix) && name.starts_with(prefix)).then_some((1, prefix.len())),
            (None, None) => (domain == name).then_some((3, 0)),
        }
    };
    let domains = hosts.iter().flat_map(|host| host.domains.iter().map(move |domain| (domain, host)));
    let ranked = domains.filter_map(|(domain, host)| Some((rank(domain)?, domain, host)));
    ranked.max_by_key(|(rank, ..)| *rank).map(|(_, domain, host)| (domain.clone(), host))
}

fn is_acme(group: &RouteGroup) -> bool {
    group.matches.path.is_acme()
}
