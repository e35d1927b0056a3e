//! Spliced bytes are those of the message that `prost` alone would have written.

use crate::cases::{self, tree};
use crate::rows::*;
use envoy::{Options, Renderer};
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use envoy_types::pb::envoy::{config, extensions};
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_tree::{MatchMap, TreeType};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::on_match::OnMatch as To;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherTree, MatcherType, OnMatch};
use envoy_types::util::pack_any;
use ir::*;
use prost::Message;
use xds::ResourceType;

#[test]
fn all_bytes_are_what_prost_would_write() {
    for (name, rows) in cases::all() {
        for resource in Renderer::new(Options::default()).apply(&rows, 1).upserts {
            let bytes = resource.payload.to_vec();
            // Decoding drops what is not known, so equal lengths mean that nothing else was in it. The maps of a
            // matcher may come out of `prost` in another order.
            let again = match resource.kind {
                ResourceType::Cluster => config::cluster::v3::Cluster::decode(&*bytes).unwrap().encode_to_vec(),
                ResourceType::Endpoint => {
                    config::endpoint::v3::ClusterLoadAssignment::decode(&*bytes).unwrap().encode_to_vec()
                }
                ResourceType::Secret => {
                    extensions::transport_sockets::tls::v3::Secret::decode(&*bytes).unwrap().encode_to_vec()
                }
                ResourceType::Listener => config::listener::v3::Listener::decode(&*bytes).unwrap().encode_to_vec(),
                ResourceType::Route => route::RouteConfiguration::decode(&*bytes).unwrap().encode_to_vec(),
                ResourceType::ExtensionConfig => unreachable!("none is rendered"),
            };
            assert_eq!(again.len(), bytes.len(), "{name} {}", resource.name);
            if resource.kind != ResourceType::Route {
                assert_eq!(again, bytes, "{name} {}", resource.name);
            }
        }
    }
}

fn input(header: &str) -> Option<TypedExtensionConfig> {
    let config = HttpRequestHeaderMatchInput { header_name: header.into() };
    Some(TypedExtensionConfig { name: header.into(), typed_config: Some(pack_any(config)) })
}

fn on_match(to: To) -> OnMatch {
    OnMatch { on_match: Some(to), keep_matching: false }
}

fn routes(routes: Vec<route::Route>) -> OnMatch {
    let list = pack_any(route::RouteList { routes });
    on_match(To::Action(TypedExtensionConfig { name: "routes".into(), typed_config: Some(list) }))
}

fn matcher(header: &str, tree: fn(MatchMap) -> TreeType, map: Vec<(&str, OnMatch)>, rest: OnMatch) -> Matcher {
    let map = MatchMap { map: map.into_iter().map(|(key, to)| (key.to_string(), to)).collect() };
    Matcher {
        matcher_type: Some(MatcherType::MatcherTree(MatcherTree { input: input(header), tree_type: Some(tree(map)) })),
        on_no_match: Some(Box::new(rest)),
    }
}

/// The route that `tree` has for a path.
fn answer(body: &str, path: &str) -> route::Route {
    use config::core::v3::{DataSource, data_source::Specifier};
    let body = DataSource { specifier: Some(Specifier::InlineString(format!("{body} {path}"))), ..Default::default() };
    route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix(path.into())),
            ..Default::default()
        }),
        action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
            status: 200,
            body: Some(body),
            ..Default::default()
        })),
        ..Default::default()
    }
}

#[test]
fn a_spliced_matcher_is_the_message_built_field_by_field() {
    let (secure, insecure) = (list_id("secure"), list_id("insecure"));
    let body = VirtualHostBody::ByForwardedProto {
        secure: secure.clone(),
        insecure: Box::new(VirtualHostBody::AcmeOnly(insecure.clone())),
    };
    let rows = Rows::default()
        .table(table("t", vec![host("a.test", body)]))
        .list(tree(&insecure, "insecure"))
        .list(tree(&secure, "secure"));
    let delta = Renderer::new(Options::default()).apply(&rows.0, 1);
    let spliced = route::RouteConfiguration::decode(&*delta.upserts[0].payload.to_vec()).unwrap();

    let run = |paths: &[&str]| routes(paths.iter().map(|path| answer("secure", path)).collect());
    let challenge = "/.well-known/acme-challenge/";
    let by_path = matcher(
        ":path",
        TreeType::PrefixMatchMap,
        vec![
            ("/.well-known/", run(&[challenge, "/"])),
            ("/a/", run(&["/a/b/", "/a/", "/"])),
            ("/b/", run(&["/b/", "/"])),
        ],
        run(&["/"]),
    );
    let by_proto = matcher(
        "x-forwarded-proto",
        TreeType::ExactMatchMap,
        vec![("https", on_match(To::Matcher(Box::new(by_path))))],
        routes(vec![answer("insecure", challenge)]),
    );
    let want = route::RouteConfiguration {
        name: "t".into(),
        virtual_hosts: vec![route::VirtualHost {
            name: "a.test".into(),
            domains: vec!["a.test".into()],
            matcher: Some(by_proto),
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(spliced, want);
}
