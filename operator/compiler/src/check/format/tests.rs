use super::commands::{PLAIN, TIMES, WITH_OPTION};
use super::*;
use proptest::prelude::*;

/// Every line was tried with Envoy 1.40 (`--mode validate`, `request_headers_to_add`).
#[test]
fn format_strings_are_those_that_envoy_takes() {
    let good = [
        "",
        "plain",
        "a\tb",
        "é",
        "%%",
        "%%%%",
        "a%%b",
        "100%%",
        "%%PROTOCOL%%",
        "%REQ(x)%",
        "%REQ(x)%%%",
        "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "%REQ(?y)%",
        "%REQ(x?)%",
        "%REQ(?)%",
        "%REQ(x):0%",
        "%REQ(x):4294967296%",
        "%REQ(x):5%y",
        "%PROTOCOL%x",
        " %PROTOCOL%",
        "(%PROTOCOL%)",
        "%PROTOCOL%%PROTOCOL%",
        "%PROTOCOL()%",
        "%DOWNSTREAM_REMOTE_ADDRESS%:%PROTOCOL%",
        "%START_TIME%",
        "%START_TIME()%",
        "%START_TIME(%Y/%m/%dT%H:%M:%S%z)%",
        "%START_TIME(%s.%3f)%",
        "%START_TIME(%)%",
        "%START_TIME(%%)%",
        "%START_TIME(n)%",
        "%START_TIME(%Y)(%d)%",
        "%START_TIME(%10n)%",
        "%START_TIME(%EOn)%",
        "%DYNAMIC_METADATA(a:b):5%",
        "%DYNAMIC_METADATA([\"a\",\"b\"])%",
        "%DYNAMIC_METADATA(a)b)%",
        "%UPSTREAM_METADATA([\"a\", \"b\"])%",
        "%CLUSTER_METADATA(a:b)%",
        "%FILTER_STATE(a)%",
        "%FILTER_STATE(a:PLAIN):5%",
        "%FILTER_STATE(a:TYPED)%",
        "%FILTER_STATE(a:FIELD:b)%",
        "%FILTER_STATE(a:FIELD:b:c)%",
        "%UPSTREAM_FILTER_STATE(a:PLAIN)%",
        "%PER_REQUEST_STATE(a)%",
        "%ENVIRONMENT(X)%",
        "%ENVIRONMENT(X):3%",
        "%GRPC_STATUS%",
        "%GRPC_STATUS(CAMEL_STRING)%",
        "%GRPC_STATUS(NUMBER)%",
        "%METADATA(ROUTE:a:b)%",
        "%METADATA(LISTENER:a:b):5%",
        "%METADATA(ROUTE)%",
        "%QUERY_PARAM(x):3%",
        "%PATH%",
        "%PATH:5%",
        "%PATH(NQ)%",
        "%PATH(WQ:ORIG_OR_PATH):5%",
        "%PATH(NQ:)%",
        "%QUERY_PARAMS(DECODED)%",
        "%COMMON_DURATION(DS_RX_BEG:DS_RX_END)%",
        "%COMMON_DURATION(A:B:us)%",
        "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(MASK_PREFIX_LEN=16)%",
        "%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%",
        "%TRACE_ID%",
        "%STREAM_INFO_REQ(x)%",
    ];
    for text in good {
        assert_eq!(header_value(text), Ok(()), "{text:?}");
    }
    let bad = [
        "100%",
        "%",
        "%%%",
        "50%off",
        "a\nb",
        "a\rb",
        "a\0b",
        "%REQ(x)",
        "%REQ(x%",
        "%REQ(x)%%",
        "%REQ%",
        "%REQ()%",
        "%REQ(x?y?z)%",
        "%REQ(a b)%",
        "%REQ(a:b)%",
        "%REQ(:)%",
        "%REQ(é)%",
        "%req(x)%",
        "%Req(x)%",
        "%PROTOCOL %",
        "%PROTOCOL%%",
        "%REQ(x):-1%",
        "%REQ(x):abc%",
        "%REQ(x):99999999999999999999999%",
        "%REQ(x)):5%",
        "%START_TIME(a):99999999999999999999%%GRPC_STATUS(a)%)",
        "%REQ(x(y))%",
        "%REQ(x)y)%",
        "%REQ(x)%)%",
        "%REQ(x)%:5%",
        "%UNKNOWN%",
        "%REQ_WITHOUT_QUERY(x)%",
        "%START_TIME(%n)%",
        "%START_TIME(%En)%",
        "%START_TIME(%-1n)%",
        "%START_TIME(%%n)%",
        "%START_TIME(%12En)%",
        "%START_TIME(%Y):5%",
        "%START_TIME(%Y)x%",
        "%DYNAMIC_METADATA()%",
        "%UPSTREAM_METADATA()%",
        "%FILTER_STATE(a:X)%",
        "%FILTER_STATE(a:PLAIN:c)%",
        "%FILTER_STATE(:PLAIN)%",
        "%FILTER_STATE(a:FIELD)%",
        "%FILTER_STATE(a:FIELD:)%",
        "%PER_REQUEST_STATE(a):5%",
        "%PER_REQUEST_STATE(a:PLAIN)%",
        "%GRPC_STATUS(x)%",
        "%METADATA(X:a)%",
        "%METADATA()%",
        "%COMMON_DURATION(a)%",
        "%COMMON_DURATION(a:b:c)%",
        "%COMMON_DURATION(a:b:ms:c)%",
        "%PATH(X)%",
        "%PATH(WQ:x)%",
        "%QUERY_PARAMS(x)%",
        "%PROTOCOL:5%",
        "%PROTOCOL(a)%",
        "%PROTOCOL()x%",
        "%CLUSTER_METADATA(a):5%",
        "%SECRET(x)%",
        "%ENVIRONMENT(a\nb)%",
    ];
    for text in bad {
        assert!(header_value(text).is_err(), "{text:?}");
    }
}

/// Envoy has these two, but what stands in them is a program or a document, and a mistake in it would be Envoy's to find.
#[test]
fn commands_that_cannot_be_judged_are_not_taken() {
    assert_eq!(format_string("%CEL(request.path)%"), Err("format `%CEL(request.path)%`: CEL is not available".into()));
    assert!(format_string("%COALESCE({\"operators\":[\"PROTOCOL\"]})%").is_err());
}

#[test]
fn control_characters_that_envoy_lets_through_are_refused_too() {
    for text in ["a\u{1}b", "a\u{7f}b", "a\u{85}b"] {
        assert!(header_value(text).is_err(), "{text:?}");
        assert_eq!(format_string(text), Ok(()), "{text:?} in a log");
    }
}

#[test]
fn the_reason_names_the_place() {
    assert_eq!(format_string("a 100% b"), Err("`% b` in format `a 100% b` begins no command; write %% for %".into()));
    assert_eq!(format_string("%FOO%"), Err("format `%FOO%`: `FOO` is not a command of Envoy".into()));
    assert_eq!(format_string("%REQ(a b)%"), Err("format `%REQ(a b)%`: `a b` is not what REQ takes".into()));
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(header_value(&"v".repeat(limits::HEADER_VALUE)), Ok(()));
    assert!(header_value(&"v".repeat(limits::HEADER_VALUE + 1)).is_err());
}

#[test]
fn tables_are_sorted_because_they_are_searched_by_halving() {
    for table in [PLAIN, TIMES, WITH_OPTION] {
        assert!(table.is_sorted_by(|left, right| left < right));
        for command in table {
            assert_eq!(format_string(&format!("%{command}%")), Ok(()), "{command}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_judge(text in "\\PC{0,40}|[%A-Z()a-z:?0-9\\n]{0,40}|%[A-Z_]{1,12}\\([^)]{0,8}\\)(:[0-9]{1,3})?%") {
        let judged = format_string(&text);
        prop_assert_eq!(judged.is_ok() && !text.contains('%'), !text.contains('%'));
    }
}
