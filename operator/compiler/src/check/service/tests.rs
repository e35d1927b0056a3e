use super::*;
use proptest::prelude::*;

fn read(text: &str) -> ServiceRef {
    parse(text).unwrap_or_else(|reason| panic!("{reason}")).value
}

/// Appendix A.5 of the routing reference: gateway in `default`, Mapping in `other`.
#[test]
fn services_are_qualified_as_upstream_does() {
    let table = [
        ("foo", "foo.other", "foo"),
        ("FOO", "foo.other", "foo"),
        ("foo:80", "foo.other:80", "foo:80"),
        ("foo:0", "foo.other", "foo"),
        ("http://foo", "http://foo.other", "http://foo"),
        ("HTTPS://Foo", "https://foo.other", "https://foo"),
        ("foo.bar", "foo.bar", "foo.bar"),
        ("foo.bar.svc.cluster.local:99", "foo.bar.svc.cluster.local:99", "foo.bar.svc.cluster.local:99"),
        ("localhost", "localhost", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:80", "[::1]:80", "[::1]:80"),
        ("foo/path", "foo.other", "foo"),
        ("http://foo/path?x", "http://foo.other", "http://foo"),
        ("foo%2Ebar", "foo.bar", "foo.bar"),
        ("user@foo", "foo.other", "foo"),
        ("//foo:1", "foo.other:1", "foo:1"),
        ("ftp://foo:21", "ftp://foo.other:21", "ftp://foo:21"),
        ("foo:", "foo.other", "foo"),
        ("http://http", "http://http.other", "http://http"),
    ];
    for (text, kubernetes, consul) in table {
        let service = read(text);
        let seen = qualify(&service, "other", "default", false, true);
        assert_eq!(&*seen.text, kubernetes, "{text}");
        assert_eq!(read(kubernetes).host, seen.host, "{text}: host and text agree");
        assert_eq!(&*qualify(&service, "other", "default", false, false).text, consul, "{text}, Consul");
        assert_eq!(qualify(&service, "default", "default", false, true), service, "{text}, same namespace");
        assert_eq!(qualify(&service, "other", "default", true, true), service, "{text}, own namespace");
        assert_eq!(qualify(&service, "", "default", false, true), service, "{text}, no namespace");
    }
}

#[test]
fn the_parts_are_told_apart() {
    let service = read("https://Foo.Bar:8443");
    assert_eq!((service.tls_scheme, &*service.host, service.port), (Some(true), "foo.bar", Some(8443)));
    let service = read("[2001:db8::1]");
    assert_eq!((service.tls_scheme, &*service.host, service.port), (None, "2001:db8::1", None));
    assert_eq!(read("http://foo").tls_scheme, Some(false));
}

#[test]
fn what_has_no_effect_is_said() {
    for (text, remarks) in [("ftp://foo", 1), ("foo/x", 1), ("foo?x", 1), ("foo/", 0), ("foo", 0), ("ftp://foo/x", 2)] {
        assert_eq!(parse(text).unwrap().remarks.len(), remarks, "{text}");
    }
    assert_eq!(read("ftp://foo").tls_scheme, None, "an unknown scheme means http");
}

#[test]
fn malformed_services_are_named() {
    let table = [
        ("foo:abc", "port `abc` is not a number"),
        ("foo:99999", "port `99999` is above 65535"),
        ("foo:-1", "port `-1` is not a number"),
        ("http://", "there is no host"),
        (":80", "there is no host"),
        ("", "there is no host"),
        ("[::1", "a `]` is missing"),
        ("[::1]x", "`x` follows the `]`"),
        ("[foo]", "`foo` is not an IPv6 address"),
        ("::1", "an IPv6 address has to stand in brackets"),
        ("foo%2", "a `%` is not followed by two hexadecimal digits"),
        ("foo%zz", "a `%` is not followed by two hexadecimal digits"),
        ("foo%ff", "the host is not text"),
        ("foo bar", "the host contains ` `"),
        ("foo\nbar", "the host contains `\\n`"),
        ("f\u{f6}\u{f6}", "the host contains `ö`"),
        ("1x://foo", "`1x` is not a scheme"),
        ("foo%2Fbar", "the host contains `/`"),
    ];
    for (text, reason) in table {
        assert_eq!(parse(text), Err(format!("service {} is malformed: {reason}", quote(text))));
    }
    assert!(parse(&"a".repeat(limits::HOSTNAME + 1)).unwrap_err().ends_with("the host is longer than 253 bytes"));
    assert!(parse(&"a".repeat(limits::SERVICE + 1)).unwrap_err().ends_with("is longer than 1024 bytes"));
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader_and_the_canonical_text_is_stable(text in "\\PC{0,40}|[a-z0-9.:/@%\\[\\]-]{0,30}") {
        if let Ok(service) = parse(&text) {
            let again = parse(&service.value.text).expect("canonical text reads");
            prop_assert_eq!(again.value, service.value);
        }
    }
}
