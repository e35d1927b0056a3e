use crate::parse::module::tests::{found, parsed, table};
use ir::{GrpcMethods, GrpcService, GrpcStats, Gzip, GzipStrategy, ModuleFilters};
use serde_json::{Value, json};
use std::num::NonZeroU32;

#[test]
fn bad_filters_are_left_out_alone() {
    table(&[
        (json!({"enable_grpc_web": false}), &["Notice spec.config.enable_grpc_web NoEffect"]),
        (json!({"enable_grpc_http11_bridge": "on"}), &["Notice spec.config.enable_grpc_http11_bridge NoEffect"]),
        (json!({"enable_grpc_web": true, "enable_grpc_http11_bridge": true, "grpc_stats": {}}), &[]),
        (json!({"grpc_stats": true}), &["Degraded spec.config.grpc_stats InvalidValue"]),
        (
            json!({"grpc_stats": {"all_methods": 1, "upstream_stats": [], "services": {}, "x": 1}}),
            &[
                "Degraded spec.config.grpc_stats.all_methods InvalidValue",
                "Degraded spec.config.grpc_stats.upstream_stats InvalidValue",
                "Degraded spec.config.grpc_stats.services InvalidValue",
                "Notice spec.config.grpc_stats.x UnknownField",
            ],
        ),
        (
            json!({"grpc_stats": {"all_methods": true, "services": []}}),
            &["Notice spec.config.grpc_stats.all_methods NoEffect"],
        ),
        (
            json!({"grpc_stats": {"services": [
                5, {}, {"name": "a"}, {"name": "a", "method_names": []}, {"name": "", "method_names": ["b"]},
                {"name": "a", "method_names": ["b", "", 1, "c\u{0}"], "x": 1}, {"name": ["a"], "method_names": "b"},
            ]}}),
            &[
                "Degraded spec.config.grpc_stats.services[0] InvalidValue",
                "Degraded spec.config.grpc_stats.services[1] InvalidValue",
                "Degraded spec.config.grpc_stats.services[2] InvalidValue",
                "Degraded spec.config.grpc_stats.services[3] InvalidValue",
                "Degraded spec.config.grpc_stats.services[4] InvalidValue",
                "Degraded spec.config.grpc_stats.services[5].method_names[1] InvalidValue",
                "Degraded spec.config.grpc_stats.services[5].method_names[2] InvalidValue",
                "Degraded spec.config.grpc_stats.services[5].method_names[3] InvalidValue",
                "Notice spec.config.grpc_stats.services[5].x UnknownField",
                "Degraded spec.config.grpc_stats.services[6].name InvalidValue",
                "Degraded spec.config.grpc_stats.services[6].method_names InvalidValue",
                "Degraded spec.config.grpc_stats.services[6] InvalidValue",
            ],
        ),
        (json!({"buffer": {"max_request_bytes": 5}}), &[]),
        (json!({"buffer": []}), &["Degraded spec.config.buffer InvalidValue"]),
        (json!({"buffer": {}}), &["Degraded spec.config.buffer.max_request_bytes InvalidValue"]),
        (
            json!({"buffer": {"max_request_bytes": 0, "max_request_time": 5, "x": 1}}),
            &[
                "Degraded spec.config.buffer.max_request_bytes InvalidValue",
                "Notice spec.config.buffer.max_request_time NoEffect",
                "Notice spec.config.buffer.x UnknownField",
            ],
        ),
        (json!({"gzip": 5}), &["Degraded spec.config.gzip InvalidValue"]),
        (json!({"gzip": {"enabled": true, "memory_level": null}}), &[]),
        (
            json!({"gzip": {
                "enabled": false, "memory_level": 10, "compression_level": "BEST", "compression_strategy": 1,
                "window_bits": 8, "min_content_length": -1, "content_type": ["a/b", "c/d; e=f", ""],
                "disable_on_etag_header": 1, "remove_accept_encoding_header": [], "chunk_size": 4096,
            }}),
            &[
                "Notice spec.config.gzip.enabled NoEffect",
                "Degraded spec.config.gzip.memory_level InvalidValue",
                "Degraded spec.config.gzip.compression_level InvalidValue",
                "Degraded spec.config.gzip.compression_strategy InvalidValue",
                "Degraded spec.config.gzip.window_bits InvalidValue",
                "Degraded spec.config.gzip.min_content_length InvalidValue",
                "Degraded spec.config.gzip.content_type[2] InvalidValue",
                "Notice spec.config.gzip.content_type NoEffect",
                "Degraded spec.config.gzip.disable_on_etag_header InvalidValue",
                "Degraded spec.config.gzip.remove_accept_encoding_header InvalidValue",
                "Notice spec.config.gzip.chunk_size UnknownField",
            ],
        ),
        (json!({"gzip": {"content_type": "a/b"}}), &["Degraded spec.config.gzip.content_type InvalidValue"]),
        (json!({"gzip": {"content_type": vec!["a/b"; 1025]}}), &["Degraded spec.config.gzip.content_type TooLarge"]),
    ]);
}

#[test]
fn filters_are_there_while_their_key_is() {
    let filters = |config: Value| found(config).0.http.filters.as_deref().cloned();
    let none = ModuleFilters::default;
    assert_eq!(filters(json!({"enable_grpc_web": null, "grpc_stats": null})), None);
    assert_eq!(filters(json!({"grpc_stats": "x"})), None);
    let bridge = ModuleFilters { grpc_http1_bridge: true, ..none() };
    assert_eq!(filters(json!({"enable_grpc_http11_bridge": true})), Some(bridge));
    let web = ModuleFilters { grpc_web: true, ..none() };
    assert_eq!(filters(json!({"enable_grpc_web": false})), Some(web), "its value does not count");

    let stats = |config: Value| filters(json!({"grpc_stats": config})).and_then(|found| found.grpc_stats);
    let counted = |methods, upstream| Some(GrpcStats { methods, upstream });
    assert_eq!(stats(json!({})), counted(GrpcMethods::Unnamed, false));
    assert_eq!(stats(json!({"all_methods": true, "upstream_stats": true})), counted(GrpcMethods::All, true));
    assert_eq!(stats(json!({"all_methods": true, "services": 5})), counted(GrpcMethods::All, false));
    let echo = GrpcService { name: "echo.Echo".into(), methods: vec!["Say".into()] };
    assert_eq!(
        stats(
            json!({"all_methods": true, "services": [{"name": "echo.Echo", "method_names": ["Say", ""]}, {"name": "b"}]})
        ),
        counted(GrpcMethods::Of(vec![echo]), false)
    );
    assert_eq!(stats(json!({"all_methods": true, "services": [{}]})), counted(GrpcMethods::Unnamed, false));
}

#[test]
fn compression_takes_envoys_names_and_ranges() {
    let gzip = |config: Value| {
        let module = parsed(json!({"gzip": config}));
        module.http.filters.as_deref().and_then(|found| found.gzip.clone()).expect("a filter")
    };
    assert_eq!(gzip(json!({})), Gzip::default());
    let full = gzip(json!({
        "memory_level": 9, "compression_level": "BEST_COMPRESSION", "compression_strategy": "HUFFMAN_ONLY",
        "window_bits": 15.0, "min_content_length": 0, "content_type": ["text/html", "a/b"],
        "disable_on_etag_header": true, "remove_accept_encoding_header": "yes",
    }));
    let expected = Gzip {
        memory_level: Some(9),
        level: Some(9),
        strategy: Some(GzipStrategy::HuffmanOnly),
        window_bits: Some(15),
        min_content_length: Some(0),
        content_types: vec!["text/html".into(), "a/b".into()],
        not_with_etag: true,
        remove_accept_encoding: true,
    };
    assert_eq!(full, expected);
    let level = |level: Value| gzip(json!({"compression_level": level})).level;
    for (written, expected) in [
        (json!("DEFAULT_COMPRESSION"), None),
        (json!(0), None),
        (json!("BEST_SPEED"), Some(1)),
        (json!("COMPRESSION_LEVEL_1"), Some(1)),
        (json!("COMPRESSION_LEVEL_9"), Some(9)),
        (json!(9), Some(9)),
    ] {
        assert_eq!(level(written), expected);
    }
    for wrong in [json!("COMPRESSION_LEVEL_0"), json!("COMPRESSION_LEVEL_10"), json!("COMPRESSION_LEVEL_05"), json!(10)]
    {
        let (module, problems) = found(json!({"gzip": {"compression_level": wrong}}));
        assert_eq!(problems, ["Degraded spec.config.gzip.compression_level InvalidValue"]);
        assert_eq!(module.http.filters.as_deref().and_then(|found| found.gzip.clone()), Some(Gzip::default()));
    }
    let buffer = |config: Value| found(json!({"buffer": config})).0.http.filters.as_deref().cloned();
    let of = |bytes| Some(ModuleFilters { buffer_bytes: NonZeroU32::new(bytes), ..ModuleFilters::default() });
    assert_eq!(buffer(json!({"max_request_bytes": 4_294_967_295_u32})), of(u32::MAX));
    assert_eq!(buffer(json!({"max_request_bytes": 4_294_967_296_u64})), None);
    assert_eq!(buffer(json!({"max_request_bytes": "x"})), None);
}

/// It stands in every chain, so its size is bounded in sum, and so are the findings about it.
#[test]
fn methods_of_a_list_are_bounded_in_sum() {
    let names = |count: usize| (0..count).map(|number| format!("m{number}")).collect::<Vec<_>>();
    let service = |count| json!({"name": "a", "method_names": names(count)});
    let listed = |services: Vec<Value>| {
        let (module, problems) = found(json!({"grpc_stats": {"services": services}}));
        let Some(filters) = &module.http.filters else { panic!("filters") };
        let Some(GrpcStats { methods: GrpcMethods::Of(services), .. }) = &filters.grpc_stats else { panic!("a list") };
        (services.iter().map(|service| service.methods.len()).collect::<Vec<_>>(), problems)
    };
    assert_eq!(listed(vec![service(1024)]), (vec![1024], vec![]));
    let (methods, problems) = listed(vec![service(1000), service(30), service(1), service(1)]);
    assert_eq!(methods, [1000, 24]);
    assert_eq!(
        problems,
        [
            "Degraded spec.config.grpc_stats.services[1].method_names TooLarge",
            "Degraded spec.config.grpc_stats.services[2] TooLarge",
        ]
    );
    let (methods, problems) = listed(vec![service(1); 1025]);
    assert_eq!(methods.len(), 1024);
    assert_eq!(problems, ["Degraded spec.config.grpc_stats.services TooLarge"]);
    let bad = json!({"name": "a", "method_names": vec![""; 1024]});
    let (_, problems) = found(json!({"grpc_stats": {"services": vec![bad; 1024]}}));
    assert_eq!(problems.len(), 1024 + 2);
}
