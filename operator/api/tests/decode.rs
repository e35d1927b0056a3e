//! Paths, messages and bounds of decoding problems, in both forms of input.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use api::decode::{MAX_DEPTH, MAX_MESSAGE, MAX_PATH, MAX_UNKNOWN};
use api::v3alpha1::{AmbassadorId, MappingSpec};
use api::{DecodeProblem, Decoded, Raw, Spec, decode, decode_kind};
use serde_json::{Value, json};

/// Decodes text and value, which must agree.
fn both(kind: &str, spec: &Value) -> Decoded<Spec> {
    let (text, value) = (spec.to_string(), decode_kind(kind, spec));
    assert_eq!(decode_kind(kind, text.as_str()), value, "text and value disagree on {spec}");
    value
}

fn problem(kind: &str, spec: &Value) -> DecodeProblem {
    both(kind, spec).value.unwrap_err()
}

fn mapping(field: &str, value: &Value) -> Value {
    json!({"prefix": "/", "service": "a", field: value})
}

#[test]
fn a_wrong_value_is_named_by_its_path() {
    let cases = [
        ("Mapping", mapping("weight", &json!("ten")), "weight", r#"invalid type: string "ten", expected an integer"#),
        ("Mapping", mapping("timeout_ms", &json!(1.5)), "timeout_ms", "invalid value: floating point `1.5`, expected"),
        ("Mapping", mapping("timeout_ms", &json!(1e30)), "timeout_ms", "invalid value: floating point `1e+30`"),
        ("Mapping", mapping("weight", &json!(u64::MAX)), "weight", "invalid value: integer `18446744073709551615`"),
        ("Mapping", mapping("grpc", &json!("true")), "grpc", r#"invalid type: string "true", expected a boolean"#),
        ("Mapping", mapping("headers", &json!({"x-a": true})), "headers.x-a", "invalid type: boolean `true`"),
        ("Mapping", mapping("modules", &json!([{}, 7])), "modules[1]", "invalid type: integer `7`, expected an object"),
        (
            "Mapping",
            mapping("retry_policy", &json!({"retry_on": "always"})),
            "retry_policy.retry_on",
            "unknown variant",
        ),
        ("Mapping", json!({"prefix": null, "service": "a"}), "prefix", "invalid type: null, expected a string"),
        (
            "Mapping",
            mapping("labels", &json!({"d": [{"g": [{"generic_key": {"key": "k"}}]}]})),
            "labels.d[0].g[0].generic_key.value",
            "missing field `value`",
        ),
        (
            "Mapping",
            mapping("labels", &json!({"d": [{"g": [{"remote_address": {"key": "other"}}]}]})),
            "labels.d[0].g[0].remote_address.key",
            "unknown variant `other`, expected `remote_address`",
        ),
        (
            "Mapping",
            mapping("labels", &json!({"d": [{"g": ["short"]}]})),
            "labels.d[0].g[0]",
            r#"invalid type: string "short", expected an object"#,
        ),
        ("Mapping", mapping("labels", &json!({"d": [{}]})), "labels.d[0]", "exactly one key, this one has 0"),
        ("Mapping", mapping("labels", &json!({"d": [{"g": [{}]}]})), "labels.d[0].g[0]", "this one has 0"),
        (
            "Mapping",
            mapping("labels", &json!({"d": [{"a": [], "b": []}]})),
            "labels.d[0]",
            "exactly one key, this one has 2",
        ),
        (
            "Mapping",
            mapping("health_checks", &json!([{"health_check": {"tcp": {}}}])),
            "health_checks[0].health_check",
            "exactly one of `http` and `grpc`, this one has 0",
        ),
        (
            "Mapping",
            mapping("health_checks", &json!([{"health_check": {"http": {"path": "/", "hostname": 1}}}])),
            "health_checks[0].health_check.http.hostname",
            "invalid type: integer `1`, expected a string",
        ),
        (
            "Listener",
            json!({"port": 4_294_967_296_i64, "securityModel": "XFP", "hostBinding": {}}),
            "port",
            "invalid value: integer `4294967296`, expected an integer of 32 bits",
        ),
        (
            "Listener",
            json!({"port": 1, "securityModel": "XFP", "hostBinding": {}, "protocolStack": ["TLS", "http"]}),
            "protocolStack[1]",
            "unknown variant `http`, expected one of `HTTP`",
        ),
        ("Host", json!({"ambassador_id": 7}), "ambassador_id", "invalid type: integer `7`, expected a list of strings"),
        ("Host", json!({"ambassador_id": ["a", 7]}), "ambassador_id[1]", "invalid type: integer `7`"),
        ("Host", json!({"tlsSecret": "cert"}), "tlsSecret", r#"invalid type: string "cert", expected"#),
        ("Module", json!({"config": ["a"]}), "config", "invalid type: sequence, expected an object"),
        ("Module", json!({"config": null}), "config", "invalid type: null, expected an object"),
        ("Host", json!([]), "", "invalid type: sequence, expected an object"),
        ("Host", json!({"tlsSecret": ["cert"]}), "tlsSecret", "invalid type: sequence, expected an object"),
        (
            "AuthService",
            json!({"auth_service": "a", "include_body": [1, true]}),
            "include_body",
            "invalid type: sequence, expected an object",
        ),
        (
            "Mapping",
            mapping("labels", &json!({"d": [{"g": [{"generic_key": ["v", null, null]}]}]})),
            "labels.d[0].g[0].generic_key",
            "invalid type: sequence, expected an object",
        ),
        ("Host", json!("text"), "", r#"invalid type: string "text", expected an object"#),
    ];
    for (kind, spec, path, message) in cases {
        let found = problem(kind, &spec);
        assert_eq!(found.path, path, "{spec}: {}", found.message);
        assert!(found.message.contains(message), "{spec}: {}", found.message);
    }
}

#[test]
fn null_reads_as_absent_and_integral_numbers_as_integers() {
    let spec = mapping("weight", &json!(30.0));
    let Spec::Mapping(spec) = both("Mapping", &spec).value.unwrap() else { panic!("a Mapping") };
    assert_eq!(spec.weight, Some(30));
    let nulls = json!({
        "prefix": "/", "service": "a", "weight": null, "grpc": null, "headers": null, "labels": null, "cors": null,
        "ambassador_id": null, "priority": null, "circuit_breakers": null, "v2ExplicitTLS": null,
    });
    let Spec::Mapping(spec) = both("Mapping", &nulls).value.unwrap() else { panic!("a Mapping") };
    assert_eq!(*spec, MappingSpec { prefix: "/".to_owned(), service: "a".to_owned(), ..Default::default() });
}

#[test]
fn an_ambassador_id_may_be_a_plain_string() {
    let Spec::Host(spec) = both("Host", &json!({"ambassador_id": "one"})).value.unwrap() else { panic!("a Host") };
    assert_eq!(spec.ambassador_id, Some(AmbassadorId(vec!["one".to_owned()])));
    assert_eq!(json!(spec), json!({"ambassador_id": ["one"]}));
}

#[test]
fn a_missing_spec_reads_as_an_empty_one() {
    let empty = decode_kind("Host", &json!({}));
    assert!(empty.value.is_ok());
    assert_eq!(decode_kind("Host", Raw::MISSING), empty);
    assert_eq!(decode_kind("Host", None::<&Value>), empty);
    assert_eq!(both("Host", &Value::Null), empty);
    assert_eq!(problem("Mapping", &Value::Null).path, "prefix");
}

#[test]
fn a_kind_nobody_knows_is_a_problem() {
    let found = problem("Mappings", &json!({}));
    assert_eq!(
        (found.path.as_str(), found.message.as_str()),
        ("kind", "`Mappings` is no kind of getambassador.io/v3alpha1")
    );
    assert!(problem(&"K".repeat(100_000), &json!({})).message.len() < 200);
}

#[test]
fn unknown_fields_are_tolerated_and_listed() {
    let spec = json!({
        "prefix": "/", "service": "a", "prefx_rewrite": "/", "tls_": {"a": 1},
        "circuit_breakers": [{}, {"max_conections": 1}],
        "add_request_headers": {"x-a": {"vallue": "1"}},
        "labels": {"d": [{"g": [{"generic_key": {"value": "v", "kee": "k"}}]}]},
        "envoy_override": {"anything": "goes"},
    });
    let decoded = both("Mapping", &spec);
    assert!(decoded.value.is_ok());
    let mut unknown = decoded.unknown;
    unknown.sort();
    let expected = [
        "add_request_headers.x-a.vallue",
        "circuit_breakers[1].max_conections",
        "labels.d[0].g[0].generic_key.kee",
        "prefx_rewrite",
        "tls_",
    ];
    assert_eq!(unknown, expected);
}

#[test]
fn what_is_reported_is_bounded() {
    let mut spec = mapping("weight", &json!("1"));
    for number in 0..1000 {
        spec[format!("a{number}")] = json!(number);
    }
    spec["a".repeat(100_000)] = json!(1);
    let decoded = both("Mapping", &spec);
    assert_eq!(decoded.unknown.len(), MAX_UNKNOWN);
    assert!(decoded.unknown.iter().all(|path| path.len() <= MAX_PATH), "{:?}", decoded.unknown);

    let long = "ä\"`, expected ".repeat(100_000);
    for value in [mapping("weight", &json!(long)), mapping("retry_policy", &json!({"retry_on": long}))] {
        let found = problem("Mapping", &value);
        assert!(found.message.len() <= MAX_MESSAGE, "{}", found.message.len());
        let repeated = found.message.matches("ä").count();
        assert!((1..=80).contains(&repeated), "{}", found.message);
    }
    // What was expected stands behind the value, and must be there still.
    let found = problem("Mapping", &mapping("weight", &json!("x".repeat(100_000))));
    assert!(found.message.ends_with("…\", expected an integer of 64 bits"), "{}", found.message);
    assert!(found.message.matches('x').count() <= 80, "{}", found.message);
    let found = problem("Mapping", &mapping("headers", &json!({"k".repeat(100_000): 1})));
    assert!(found.path.starts_with("headers.kkk") && found.path.len() <= MAX_PATH, "{}", found.path);
}

/// Nested levels, few enough for the recursion with which a value is written and released.
fn nested(levels: usize, array: bool) -> Value {
    (0..levels).fold(json!(1), |inner, _| if array { json!([inner]) } else { json!({"a": inner}) })
}

#[test]
fn nesting_is_bounded_in_both_forms() {
    for array in [false, true] {
        let config = |levels| json!({"config": {"deep": nested(levels, array)}});
        let two = 2; // The spec and its config are levels as well.
        assert!(both("Module", &config(MAX_DEPTH - two - 1)).value.is_ok());
        for levels in [MAX_DEPTH - two + 1, 1000] {
            let found = problem("Module", &config(levels));
            assert_eq!(found.message, "nested more than 128 levels deep");
            // Also where nobody looks at it.
            assert_eq!(problem("Host", &json!({"unknown": config(levels)})), found);
        }
    }
    let text = format!("{{\"config\":{}", "{\"a\":".repeat(1_000_000));
    assert_eq!(decode_kind("Module", text.as_str()).value.unwrap_err().message, "nested more than 128 levels deep");
    // Brackets inside strings, with escaped quotes, nest nothing.
    let brackets = json!({"hostname": "\\\"[{".repeat(1000)});
    assert!(both("Host", &brackets).value.is_ok());
}

#[test]
fn text_that_is_no_json_is_a_problem() {
    for text in
        ["", " ", "{", "{}}", "{} {}", "nul", "{\"a\":}", "\u{0}", "{\"hostname\":\"\\ud800\"}", "[", "1e", "\"\\"]
    {
        let found = decode_kind("Host", text).value.unwrap_err();
        assert!(!found.message.is_empty() && found.message.len() <= MAX_MESSAGE, "{text:?}: {found:?}");
    }
}

/// No shape of value at any place makes decoding panic, and each place it refuses is named.
#[test]
fn odd_values_everywhere_are_problems_and_never_panics() {
    fn replace_each(value: &Value, odd: &Value, with: &mut dyn FnMut(Value)) {
        with(odd.clone());
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    replace_each(inner, odd, &mut |changed| {
                        let mut fields = fields.clone();
                        fields.insert(name.clone(), changed);
                        with(Value::Object(fields));
                    });
                }
            }
            Value::Array(items) => {
                for (index, inner) in items.iter().enumerate() {
                    replace_each(inner, odd, &mut |changed| {
                        let mut items = items.clone();
                        items[index] = changed;
                        with(Value::Array(items));
                    });
                }
            }
            _ => {}
        }
    }
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}\u{202e}"),
        json!([]),
        json!({}),
        json!([null]),
        json!({"": null}),
    ];
    let (mut tried, mut refused) = (0, 0);
    for kind in api::KINDS {
        let path = format!("{}/tests/maximal/{kind}.yaml", env!("CARGO_MANIFEST_DIR"));
        let spec = api::yaml::documents(&std::fs::read_to_string(path).unwrap(), 1).unwrap().remove(0);
        for odd in &odd {
            replace_each(&spec, odd, &mut |changed| {
                tried += 1;
                if let Err(found) = both(kind, &changed).value {
                    refused += 1;
                    let whole = changed == *odd;
                    assert!(whole || !found.path.is_empty(), "{kind}: {found:?} in {changed}");
                }
            });
        }
    }
    assert!(tried > 4000 && refused > tried / 2, "{tried} tried, {refused} refused");
}

#[test]
fn other_types_decode_the_same_way() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Pair {
        left: Option<u8>,
    }
    let raw: Box<serde_json::value::RawValue> = serde_json::from_str(r#"{"left": 1, "right": 2}"#).unwrap();
    let decoded: Decoded<Pair> = decode(&*raw);
    assert_eq!(decoded.value, Ok(Pair { left: Some(1) }));
    assert_eq!(decoded.unknown, ["right"]);
}
