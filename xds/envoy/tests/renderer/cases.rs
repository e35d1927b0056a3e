//! The golden cases: what the rows are. Their resources stand in `tests/cases/`.

use crate::rows::*;
use ir::*;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Name and rows of every case.
pub fn all() -> Vec<(&'static str, RowChanges)> {
    vec![
        ("small", small()),
        ("matching", matching()),
        ("implied-authority", implied_authority()),
        ("actions", actions()),
        ("policies", policies()),
        ("error-responses", error_responses()),
        ("health-checks", health_checks()),
        ("headers", headers()),
        ("canary", canary()),
        ("matcher-tree", matcher_tree()),
        ("insecure-actions", insecure_actions()),
        ("forwarded-proto", forwarded_proto()),
        ("clusters", clusters()),
        ("upstream-tls", upstream_tls()),
        ("endpoints", endpoints()),
        ("server-tls", server_tls()),
        ("listener-settings", listener_settings()),
        ("module-filters", module_filters()),
        ("json-access-log", json_access_log()),
        ("quic", quic()),
        ("tcp", tcp()),
    ]
}

/// One Host with TLS, clear text redirected, one Mapping.
fn small() -> RowChanges {
    let routes = list_id("a.example.com");
    let shop = "default/l8080/default/shop";
    let clear = "default/l8080/cleartext";
    let mut http = http();
    http.stat_prefix = "ingress_https".into();
    let mut front = listener(
        "default/l8080",
        8080,
        vec![clear_text(clear), tls_chain("default/shop", "a.example.com", "default/shop-cert", shop)],
    );
    front.filters = vec![ListenerFilter::TlsInspector];
    front.http = Arc::new(http);
    let mut to_shop = forward_to("cluster_shop_default");
    to_shop.rewrite = Some(PathRewrite::Prefix("/".into()));
    Rows::default()
        .listener(front)
        .table(table(clear, vec![host("a.example.com", VirtualHostBody::RedirectToHttps { acme: routes.clone() })]))
        .table(table(shop, vec![host("a.example.com", VirtualHostBody::Routes(routes.clone()))]))
        .list(flat(&routes, vec![group("shop", on(prefix("/shop/")), Action::Forward(to_shop))]))
        .cluster(cluster("cluster_shop_default"))
        .secret("default/shop-cert", certificate())
        .0
}

fn matching() -> RowChanges {
    let go = || Action::Forward(forward_to("cluster_a"));
    let mut by_headers = on(prefix("/headers"));
    by_headers.authority = Some(TextMatch::Regex("[a-z]+\\.example\\.com".into()));
    by_headers.headers = vec![
        named("x-exact", exact("yes")),
        named("x-empty", exact("")),
        named("x-prefix", TextMatch::Prefix("v".into())),
        named("x-suffix", TextMatch::Suffix("z".into())),
        named("x-regex", TextMatch::Regex("a+b".into())),
        named("x-present", TextMatch::Present),
        named("x-empty-prefix", TextMatch::Prefix("".into())),
        named(":method", exact("GET")),
    ];
    let mut by_query = on(prefix("/query"));
    by_query.query = vec![
        named("exact", exact("1")),
        named("present", TextMatch::Present),
        named("regex", TextMatch::Regex("[0-9]+".into())),
    ];
    let mut any_case = group("any-case", on(prefix("/Any")), go());
    any_case.routes[0].case_sensitive = false;
    let mut any_case_regex = group("any-case-regex", on(PathMatch::Regex("/[A-Z]+".into())), go());
    any_case_regex.routes[0].case_sensitive = false;
    let id = list_id("*");
    Rows::default()
        .serve(8080, vec![host("*", VirtualHostBody::Routes(id.clone()))])
        .list(flat(
            &id,
            vec![
                group("exact", on(PathMatch::Exact("/exact".into())), go()),
                group("regex", on(PathMatch::Regex("/re/[0-9]+".into())), go()),
                group("headers", by_headers, go()),
                group("query", by_query, go()),
                any_case,
                any_case_regex,
                group("root", on(prefix("/")), go()),
            ],
        ))
        .cluster(cluster("cluster_a"))
        .0
}

/// The same groups in three lists: nothing implied, one glob implied, all globs implied.
fn implied_authority() -> RowChanges {
    let with = |name: &str, authority: TextMatch| {
        let mut matches = on(prefix(&format!("/{name}")));
        matches.authority = Some(authority);
        Arc::new(group(name, matches, direct(200, name)))
    };
    let groups = [
        with("exact", exact("a.example.com")),
        with("suffix", TextMatch::Suffix(".example.com".into())),
        with("prefix", TextMatch::Prefix("a.".into())),
        with("regex", TextMatch::Regex("a\\..*".into())),
    ];
    let lists = [
        ("all", ImpliedAuthority::AllGlobs),
        ("glob", ImpliedAuthority::Glob("*.example.com".into())),
        ("none", ImpliedAuthority::Nothing),
    ];
    let hosts = lists.iter().map(|(name, _)| host(&format!("{name}.test"), VirtualHostBody::Routes(list_id(name))));
    let rows = Rows::default().serve(8080, hosts.collect());
    lists
        .into_iter()
        .fold(rows, |rows, (name, implied)| rows.list(list(&list_id(name), implied, vec![bucket("", &groups)])))
        .0
}

fn actions() -> RowChanges {
    let rewrite = || RegexRewrite { pattern: "^/(.*)$".into(), substitution: "/v1/\\1".into() };
    let forward = |change: fn(&mut Forward)| {
        let mut to = forward_to("cluster_a");
        change(&mut to);
        Action::Forward(to)
    };
    let redirect = |path, code| Action::Redirect(Redirect { host: "other.example.com".into(), path, code });
    let mut regex_rewrite = forward_to("cluster_a");
    regex_rewrite.rewrite = Some(PathRewrite::Regex(rewrite()));
    let all = [
        ("plain", forward(|_| {})),
        ("no-timeout", forward(|to| to.timeout_ms = 0)),
        ("idle", forward(|to| to.idle_timeout_ms = Some(1500))),
        ("prefix-rewrite", forward(|to| to.rewrite = Some(PathRewrite::Prefix("/new".into())))),
        ("regex-rewrite", Action::Forward(regex_rewrite)),
        ("host-rewrite", forward(|to| to.host_rewrite = Some(HostRewrite::Literal("inner".into())))),
        ("auto-host", forward(|to| to.host_rewrite = Some(HostRewrite::Auto))),
        ("redirect-301", redirect(None, 301)),
        ("redirect-302", redirect(Some(RedirectPath::Path("/there".into())), 302)),
        ("redirect-303", redirect(Some(RedirectPath::Prefix("/there".into())), 303)),
        ("redirect-307", redirect(Some(RedirectPath::Regex(rewrite())), 307)),
        ("redirect-308", redirect(None, 308)),
        ("direct", direct(503, "closed\n")),
        ("direct-without-text", direct(403, "")),
    ];
    let groups = all.into_iter().map(|(name, action)| group(name, on(prefix(&format!("/{name}"))), action)).collect();
    let id = list_id("*");
    Rows::default()
        .serve(8080, vec![host("*", VirtualHostBody::Routes(id.clone()))])
        .list(flat(&id, groups))
        .cluster(cluster("cluster_a"))
        .0
}

fn policies() -> RowChanges {
    let with = |name: &str, options: ForwardOptions| {
        let mut to = forward_to("cluster_a");
        to.options = options.boxed();
        group(name, on(prefix(&format!("/{name}"))), Action::Forward(to))
    };
    let none = ForwardOptions::default;
    let cors = CorsPolicy {
        origins: vec!["https://a.example.com".into(), "*".into()],
        methods: Some("GET, POST".into()),
        headers: Some("x-a".into()),
        exposed_headers: Some("x-b, x-c".into()),
        credentials: true,
        max_age: Some(600),
    };
    let retry = RetryPolicy { retry_on: "5xx", num_retries: Some(3), per_try_timeout_ms: Some(1500) };
    let plain_retry = RetryPolicy { retry_on: "gateway-error", num_retries: None, per_try_timeout_ms: None };
    let mirror = |percent| Some(Mirror { cluster: "cluster_b".into(), percent });
    let cookie =
        |path: Option<&str>, ttl_ms| Some(HashOn::Cookie { name: "sticky".into(), path: path.map(Arc::from), ttl_ms });
    let all = vec![
        with("nothing", none()),
        with("retry", ForwardOptions { retry: Some(retry.into()), ..none() }),
        with("retry-once", ForwardOptions { retry: Some(plain_retry.into()), ..none() }),
        with("cors", ForwardOptions { cors: Some(cors.into()), ..none() }),
        with("hash-cookie", ForwardOptions { hash_on: cookie(Some("/a"), Some(60_000)), ..none() }),
        with("hash-own-cookie", ForwardOptions { hash_on: cookie(None, None), ..none() }),
        with("hash-header", ForwardOptions { hash_on: Some(HashOn::Header("x-user".into())), ..none() }),
        with("hash-address", ForwardOptions { hash_on: Some(HashOn::SourceIp), ..none() }),
        with("priority", ForwardOptions { high_priority: true, ..none() }),
        with("upgrade", ForwardOptions { upgrades: ["websocket".into(), "spdy/3.1".into()].into(), ..none() }),
        with("mirror", ForwardOptions { mirror: mirror(100), ..none() }),
        with("mirror-some", ForwardOptions { mirror: mirror(10), ..none() }),
    ];
    let id = list_id("*");
    Rows::default()
        .serve(8080, vec![host("*", VirtualHostBody::Routes(id.clone()))])
        .list(flat(&id, all))
        .cluster(cluster("cluster_a"))
        .cluster(cluster("cluster_b"))
        .0
}

fn error_responses() -> RowChanges {
    let rule = |status, body, content_type: Option<&str>| ErrorRule {
        status,
        body,
        content_type: content_type.map(Arc::from),
    };
    let object = [("a".into(), "%RESPONSE_CODE%".into()), ("b".into(), "no".into())];
    let own: Arc<[ErrorRule]> = [
        rule(404, ErrorBody::Text("not %REQ(:PATH)%".into()), Some("text/html; q=100%")),
        rule(401, ErrorBody::Json(object.into()), None),
        rule(503, ErrorBody::Text("".into()), None),
    ]
    .into();
    let with = |name: &str, options: ForwardOptions| {
        let mut to = forward_to("cluster_a");
        to.options = options.boxed();
        let mut group = group(name, on(prefix(&format!("/{name}"))), Action::Forward(to));
        let edit = HeaderValue { name: "vary".into(), value: "x".into(), append: true };
        group.headers = HeaderEdits { add_response: vec![edit], ..HeaderEdits::default() };
        group
    };
    let none = ForwardOptions::default;
    let all = vec![
        with("module", none()),
        with("bypass", ForwardOptions { without_default_errors: true, ..none() }),
        with("own", ForwardOptions { errors: Some(own.clone()), without_default_errors: true, ..none() }),
    ];
    let id = list_id("*");
    let mut front = listener("default/l8080", 8080, vec![clear_text("default/l8080/cleartext")]);
    let module = [rule(404, ErrorBody::Text("the Module's".into()), None)];
    front.http = Arc::new(HttpSettings { errors: module.into(), ..http() });
    Rows::default()
        .listener(front)
        .table(table("default/l8080/cleartext", vec![host("*", VirtualHostBody::Routes(id.clone()))]))
        .list(flat(&id, all))
        .cluster(cluster("cluster_a"))
        .0
}

fn health_checks() -> RowChanges {
    let check = |probe| HealthCheck {
        timeout_ms: 3000,
        interval_ms: 5000,
        healthy_threshold: 1,
        unhealthy_threshold: 2,
        probe,
    };
    let plain = check(HealthProbe::Http {
        path: "/health".into(),
        host: None,
        add_headers: vec![],
        remove_headers: vec![],
        expected: vec![],
    });
    let full = check(HealthProbe::Http {
        path: "/health".into(),
        host: Some("shop.example.com".into()),
        add_headers: vec![HeaderValue { name: "x-probe".into(), value: "1".into(), append: false }],
        remove_headers: vec!["user-agent".into()],
        expected: vec![(200, 204), (301, 301)],
    });
    let grpc = check(HealthProbe::Grpc { service: "shop".into(), authority: Some("shop".into()) });
    let checked = [("a-plain", plain), ("b-full", full), ("c-grpc", grpc)].map(|(name, check)| {
        let mut checked = cluster(name);
        checked.discovery = Discovery::Endpoints("k8s/default/shop/80".into());
        checked.http2 = true;
        checked.health_checks = [check].into();
        checked
    });
    let set = EndpointSet { name: "k8s/default/shop/80".into(), endpoints: vec![] };
    checked.into_iter().fold(Rows::default(), Rows::cluster).endpoints(set).0
}

fn headers() -> RowChanges {
    let value = |name: &str, value: &str, append| HeaderValue { name: name.into(), value: value.into(), append };
    let mut edited = group("edited", on(prefix("/")), direct(200, "ok"));
    edited.headers = HeaderEdits {
        add_request: vec![value("x-a", "%DOWNSTREAM_REMOTE_ADDRESS%", true), value("x-b", "set", false)],
        add_response: vec![value("x-empty", "", true)],
        remove_request: vec!["x-gone".into()],
        remove_response: vec!["server-timing".into(), "x-powered-by".into()],
    };
    let id = list_id("*");
    Rows::default().serve(8080, vec![host("*", VirtualHostBody::Routes(id.clone()))]).list(flat(&id, vec![edited])).0
}

/// Shares are cumulative; a member without a share is left out.
fn canary() -> RowChanges {
    let mut split = group("split", on(prefix("/")), direct(200, "a"));
    split.routes = [("none", 0), ("a", 10), ("b", 40), ("c", 100)]
        .map(|(name, fraction)| Route { fraction, ..member(name, direct(200, name)) })
        .into();
    let id = list_id("*");
    Rows::default().serve(8080, vec![host("*", VirtualHostBody::Routes(id.clone()))]).list(flat(&id, vec![split])).0
}

/// Groups of a list in three buckets. `/` is in all of them.
pub fn tree(id: &ListId, body: &str) -> RouteList {
    let at = |path: &str| Arc::new(group(path, on(prefix(path)), direct(200, &format!("{body} {path}"))));
    let (root, a, ab, b, acme) = (at("/"), at("/a/"), at("/a/b/"), at("/b/"), at("/.well-known/acme-challenge/"));
    list(
        id,
        ImpliedAuthority::Nothing,
        vec![
            bucket("", std::slice::from_ref(&root)),
            bucket("/.well-known/", &[acme, root.clone()]),
            bucket("/a/", &[ab, a, root.clone()]),
            bucket("/b/", &[b, root]),
        ],
    )
}

fn matcher_tree() -> RowChanges {
    let id = list_id("*");
    Rows::default().serve(8080, vec![host("*", VirtualHostBody::Routes(id.clone()))]).list(tree(&id, "tree")).0
}

fn insecure_actions() -> RowChanges {
    let id = list_id("big");
    let acme = id.clone();
    let redirecting = ListId { class: "some".into(), variant: ProtoVariant::RedirectAsIs };
    let mut shared = group("shared", on(prefix("/shared/")), Action::Forward(forward_to("cluster_a")));
    shared.routes[0].fraction = 30;
    let every = vec![
        shared,
        group("challenge", on(prefix(ACME_PREFIX)), direct(200, "challenge")),
        group(
            "elsewhere",
            on(prefix("/old/")),
            Action::Redirect(Redirect { host: "x.test".into(), path: None, code: 302 }),
        ),
    ];
    Rows::default()
        .serve(
            8080,
            vec![
                host("every-route.test", VirtualHostBody::Routes(redirecting.clone())),
                host("acme-only.test", VirtualHostBody::AcmeOnly(id.clone())),
                host("closed.test", VirtualHostBody::Closed { status: 503 }),
                host("redirect.test", VirtualHostBody::RedirectToHttps { acme }),
            ],
        )
        .list(tree(&id, "tree"))
        .list(flat(&redirecting, every))
        .cluster(cluster("cluster_a"))
        .0
}

/// All combinations of a secure list, flat or a tree, with what is done to everything else; and a user's own condition
/// on the header in either variant.
fn forwarded_proto() -> RowChanges {
    let of = |class: &str, variant| ListId { class: class.into(), variant };
    let (secure, insecure) = (of("big", ProtoVariant::Secure), of("big", ProtoVariant::Insecure));
    let (own_secure, own_insecure) = (of("own", ProtoVariant::Secure), of("own", ProtoVariant::Insecure));
    let by = |secure: &ListId, insecure| VirtualHostBody::ByForwardedProto {
        secure: secure.clone(),
        insecure: Box::new(insecure),
    };
    let own = |id: &ListId| {
        let with = |name: &str, more: bool| {
            let mut matches = on(prefix(&format!("/{name}")));
            matches.headers = vec![named("X-Forwarded-Proto", exact("https"))];
            if more {
                matches.headers.push(named("x-more", exact("1")));
            }
            group(name, matches, direct(200, name))
        };
        flat(id, vec![with("only", false), with("with-more", true)])
    };
    Rows::default()
        .serve(
            8080,
            vec![
                host("acme-only.test", by(&secure, VirtualHostBody::AcmeOnly(insecure.clone()))),
                host("closed.test", by(&secure, VirtualHostBody::Closed { status: 403 })),
                host("own.test", by(&own_secure, VirtualHostBody::Routes(own_insecure.clone()))),
                host("redirect.test", by(&secure, VirtualHostBody::RedirectToHttps { acme: insecure.clone() })),
                host("route.test", by(&secure, VirtualHostBody::Routes(insecure.clone()))),
            ],
        )
        .list(tree(&secure, "secure"))
        .list(tree(&insecure, "insecure"))
        .list(own(&own_secure))
        .list(own(&own_insecure))
        .0
}

fn clusters() -> RowChanges {
    let dns = |host: &str, logical, respect_ttl| Discovery::Dns { host: host.into(), port: 8080, logical, respect_ttl };
    let mut all = vec![cluster("a-static-v4"), cluster("a-static-v6")];
    all[1].discovery = Discovery::Static { address: "fd00::1".parse().unwrap(), port: 443, hostname: None };
    let mut strict = cluster("b-strict");
    strict.discovery = dns("shop.default", false, true);
    strict.dns_family = DnsFamily::Auto;
    let mut logical = cluster("b-logical");
    logical.discovery = dns("example.com", true, false);
    logical.dns_family = DnsFamily::V6Only;
    let mut endpoints = cluster("c-endpoints");
    endpoints.discovery = Discovery::Endpoints("k8s/default/shop/8080".into());
    endpoints.load_balancing = LoadBalancing::LeastRequest;
    let mut everything = cluster("d-everything");
    everything.http2 = true;
    everything.idle_timeout_ms = Some(5_500);
    everything.max_connection_ms = Some(60_000);
    everything.circuit_breakers = vec![
        CircuitBreaker { max_connections: Some(10), max_retries: Some(0), ..Default::default() },
        CircuitBreaker {
            high_priority: true,
            max_pending_requests: Some(5),
            max_requests: Some(7),
            ..Default::default()
        },
    ];
    everything.keepalive = Some(Keepalive { probes: Some(3), idle_time_s: Some(60), interval_s: Some(10) });
    everything.load_balancing = LoadBalancing::Maglev;
    let mut idle = cluster("d-idle-http1");
    idle.idle_timeout_ms = Some(0);
    idle.load_balancing = LoadBalancing::RingHash;
    let mut grpc = cluster("d-grpc");
    grpc.http2 = true;
    all.extend([logical, strict, endpoints, everything, grpc, idle]);
    all.into_iter().fold(Rows::default(), Rows::cluster).0
}

fn upstream_tls() -> RowChanges {
    let mut plain = cluster("a-unverified");
    plain.tls = Some(ClientTls::default());
    let mut full = cluster("b-full");
    full.tls = Some(ClientTls {
        certificate: Some("default/client".into()),
        validation: Some("default/ca/ca".into()),
        sni: Some("inner.example.com".into()),
        alpn: vec!["h2".into(), "http/1.1".into()],
        min_version: Some(TlsVersion::V1_2),
        max_version: Some(TlsVersion::V1_3),
        cipher_suites: vec!["ECDHE-ECDSA-AES128-GCM-SHA256".into()],
        ecdh_curves: vec!["X25519".into()],
    });
    let mut missing = cluster("c-missing");
    missing.tls = Some(ClientTls { validation: Some("default/absent/ca".into()), ..Default::default() });
    Rows::default()
        .cluster(plain)
        .cluster(full)
        .cluster(missing)
        .secret("default/ca/ca", authority_certificate())
        .secret("default/client", certificate())
        .0
}

fn endpoints() -> RowChanges {
    use EndpointHealth::{Draining, Healthy};
    let at = |address: &str, health, zone: &str| Endpoint {
        address: address.parse().unwrap(),
        port: 8080,
        health,
        zone: zone.into(),
    };
    let set = |name: &str, endpoints| EndpointSet { name: name.into(), endpoints };
    let rows = Rows::default()
        .endpoints(set("k8s/default/all-drain/80", vec![at("10.0.0.1", Draining, ""), at("10.0.0.2", Draining, "a")]))
        .endpoints(set("k8s/default/empty/80", vec![]))
        .endpoints(set("k8s/default/plain/80", vec![at("10.0.0.1", Healthy, ""), at("fd00::2", Healthy, "")]))
        .endpoints(set(
            "k8s/default/zones/80",
            vec![
                at("10.0.0.1", Healthy, "b"),
                at("10.0.0.2", Healthy, "a"),
                at("10.0.0.3", Draining, "a"),
                at("10.0.0.4", Healthy, ""),
                at("10.0.0.5", Healthy, "a"),
            ],
        ));
    let mut used = cluster("cluster_zones");
    used.discovery = Discovery::Endpoints("k8s/default/zones/80".into());
    rows.cluster(used).0
}

fn server_tls() -> RowChanges {
    let id = list_id("*");
    let all = "default/l8443/all";
    let chain = |name: &str, sni: &[&str], tls| Chain {
        name: name.into(),
        matches: ChainMatch::Tls(sni.iter().map(|name| Arc::from(*name)).collect()),
        tls: Some(tls),
        body: ChainBody::Http { table: all.into() },
    };
    let full = ServerTls {
        certificate: Some("default/cert".into()),
        validation: Some("default/ca/ca".into()),
        require_client_certificate: true,
        alpn: vec!["h2".into(), "http/1.1".into()],
        min_version: Some(TlsVersion::V1_1),
        max_version: Some(TlsVersion::V1_3),
        cipher_suites: vec!["ECDHE-RSA-AES128-GCM-SHA256".into()],
        ecdh_curves: vec!["P-256".into()],
    };
    let absent = ServerTls { certificate: Some("default/absent".into()), ..Default::default() };
    let mut front = listener(
        "default/l8443",
        8443,
        vec![
            chain("default/absent", &["absent.example.com"], absent),
            chain("default/any", &[], ServerTls { certificate: Some("default/cert".into()), ..Default::default() }),
            chain("default/full", &["*.example.com", "example.com"], full),
            chain("default/unnamed", &["unnamed.example.com"], ServerTls::default()),
        ],
    );
    front.filters = vec![ListenerFilter::ProxyProtocol, ListenerFilter::TlsInspector];
    front.buffer_limit_bytes = Some(65_536);
    Rows::default()
        .listener(front)
        .table(table(all, vec![host("*", VirtualHostBody::Routes(id.clone()))]))
        .list(flat(&id, vec![group("root", on(prefix("/")), direct(200, "ok"))]))
        .secret("default/ca/ca", authority_certificate())
        .secret("default/cert", certificate())
        .0
}

fn listener_settings() -> RowChanges {
    let mut front = listener("default/l8080", 8080, vec![clear_text("default/l8080/cleartext")]);
    front.http = Arc::new(HttpSettings {
        xff_num_trusted_hops: 2,
        use_remote_address: false,
        server_name: "gateway".into(),
        accept_http_10: true,
        allow_chunked_length: true,
        preserve_external_request_id: true,
        strip_matching_host_port: true,
        merge_slashes: true,
        reject_escaped_slashes: true,
        suppress_envoy_headers: true,
        max_request_headers_kb: Some(96),
        idle_timeout_ms: Some(0),
        headers_with_underscores: Some(UnderscoreAction::RejectRequest),
        max_concurrent_streams: Some(100),
        proper_case: true,
        client_certificate: ClientCertificateHeader {
            mode: Some(ForwardCertificate::SanitizeSet),
            subject: true,
            dns: true,
            ..ClientCertificateHeader::default()
        },
        ..http()
    });
    let closed = vec![host("*", VirtualHostBody::Closed { status: 404 })];
    Rows::default().listener(front).table(table("default/l8080/cleartext", closed)).0
}

/// One listener for each combination.
fn module_filters() -> RowChanges {
    let service = |name: &str, methods: &[&str]| GrpcService {
        name: name.into(),
        methods: methods.iter().map(|name| Arc::from(*name)).collect(),
    };
    let counted = |methods, upstream| Some(GrpcStats { methods, upstream });
    let none = ModuleFilters::default;
    let some = GrpcMethods::Of(vec![service("echo.Echo", &["Say", "Hear"]), service("b", &["C"])]);
    let gzip = Gzip {
        memory_level: Some(1),
        level: Some(9),
        strategy: Some(GzipStrategy::HuffmanOnly),
        window_bits: Some(9),
        min_content_length: Some(0),
        content_types: vec!["text/html".into(), "application/json".into()],
        not_with_etag: true,
        remove_accept_encoding: true,
    };
    [
        ModuleFilters { grpc_stats: counted(GrpcMethods::Unnamed, false), ..none() },
        ModuleFilters { grpc_web: true, grpc_stats: counted(GrpcMethods::All, true), ..none() },
        ModuleFilters { grpc_http1_bridge: true, grpc_web: true, grpc_stats: counted(some, false), ..none() },
        ModuleFilters { gzip: Some(Gzip::default()), ..none() },
        ModuleFilters {
            grpc_http1_bridge: true,
            grpc_web: true,
            grpc_stats: counted(GrpcMethods::Unnamed, false),
            gzip: Some(gzip),
            buffer_bytes: NonZeroU32::new(65_536),
        },
    ]
    .into_iter()
    .zip(8080..)
    .fold(Rows::default(), |rows, (filters, port)| {
        let name = format!("default/l{port}");
        let routes = format!("{name}/cleartext");
        let mut front = listener(&name, port, vec![clear_text(&routes)]);
        front.http = Arc::new(HttpSettings { filters: Some(filters.into()), ..http() });
        rows.listener(front).table(table(&routes, vec![]))
    })
    .0
}

fn json_access_log() -> RowChanges {
    let format = |typed| {
        let text: Arc<str> =
            r#"{"b":"%PROTOCOL%","a":"%RESPONSE_CODE%","nested":{"z":"%DURATION%","c":"text"}}"#.into();
        if typed { AccessLogFormat::TypedJson(text) } else { AccessLogFormat::Json(text) }
    };
    [("default/json", 8080, false), ("default/typed", 8081, true)]
        .into_iter()
        .fold(Rows::default(), |rows, case| {
            let (name, port, typed) = case;
            let routes = format!("{name}/cleartext");
            let mut front = listener(name, port, vec![clear_text(&routes)]);
            front.http = Arc::new(HttpSettings {
                access_log: AccessLog { path: "/dev/null".into(), format: format(typed) },
                ..http()
            });
            rows.listener(front).table(table(&routes, vec![]))
        })
        .0
}

fn quic() -> RowChanges {
    let routes = "default/quic/default/h";
    let mut front =
        listener("default/quic", 8443, vec![tls_chain("default/h", "a.example.com", "default/cert", routes)]);
    front.bind.udp = true;
    // The ALPN of TCP does not count here.
    let mut chain = (*front.chains[0]).clone();
    chain.tls.as_mut().unwrap().alpn = vec!["h2".into()];
    front.chains = vec![chain.into()];
    let closed = || vec![host("*", VirtualHostBody::Closed { status: 404 })];
    let beside = "default/tcp/default/h";
    let tcp = listener("default/tcp", 8443, vec![tls_chain("default/h", "a.example.com", "default/cert", beside)]);
    let advertised = RouteTable { advertises_http3: true, ..table(beside, closed()) };
    Rows::default()
        .listener(front)
        .listener(tcp)
        .table(table(routes, closed()))
        .table(advertised)
        .secret("default/cert", certificate())
        .0
}

fn tcp() -> RowChanges {
    let chain = |name: &str, matches, tls, clusters: &[(&str, u32)], idle_timeout_ms| Chain {
        name: name.into(),
        matches,
        tls,
        body: ChainBody::Tcp(Arc::new(TcpProxy {
            stat_prefix: "ingress_tls_9000".into(),
            clusters: clusters.iter().map(|(name, weight)| (Arc::from(*name), *weight)).collect(),
            idle_timeout_ms,
        })),
    };
    let tls = ServerTls { certificate: Some("default/cert".into()), ..Default::default() };
    let named = ChainMatch::Tls(vec!["db.example.com".into()]);
    let split = chain("tcp:db.example.com", named, Some(tls), &[("a", 10), ("b", 90)], Some(0));
    let mut front = listener(
        "listener-127.0.0.1-9000",
        9000,
        vec![chain("tcp", ChainMatch::Rest, None, &[("a", 100)], None), split],
    );
    front.filters = vec![ListenerFilter::TlsInspector];
    Rows::default().listener(front).cluster(cluster("a")).cluster(cluster("b")).secret("default/cert", certificate()).0
}
