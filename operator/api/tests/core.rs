//! Views of core objects.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use api::Decoded;
use api::core::{
    AddressType, Endpoint, EndpointPort, EndpointSlice, IntOrString, MAX_SECRET_BYTES, Namespace, Protocol, Secret,
    Service, ServicePort, ServiceType,
};
use serde_json::{Value, json};

fn path<T: std::fmt::Debug>(decoded: Decoded<T>) -> String {
    decoded.value.unwrap_err().path
}

#[test]
fn service_keeps_what_is_read() {
    let object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "quote"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "selector": {"app": "quote"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP", "nodePort": 30000},
                {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"},
                {"port": 81.0, "targetPort": 0},
                {"port": 82, "name": null, "targetPort": null, "protocol": null},
            ],
        },
        "status": {"loadBalancer": {}},
    });
    let decoded = Service::decode(&object);
    assert_eq!(decoded.unknown, Vec::<String>::new());
    let port =
        |name: &str, port, protocol, target_port| ServicePort { name: name.to_owned(), port, protocol, target_port };
    let expected = Service {
        type_: ServiceType::LoadBalancer,
        cluster_ip: Some("10.0.0.1".to_owned()),
        external_name: None,
        ports: vec![
            port("http", 80, Protocol::Tcp, IntOrString::String("web".to_owned())),
            port("dns", 53, Protocol::Udp, IntOrString::Int(5353)),
            port("", 81, Protocol::Tcp, IntOrString::Int(81)),
            port("", 82, Protocol::Tcp, IntOrString::Int(82)),
        ],
        has_selector: true,
    };
    assert_eq!(decoded.value, Ok(expected.clone()));
    assert_eq!(Service::decode(object.to_string().as_str()).value, Ok(expected));
}

#[test]
fn service_kinds_stay_apart() {
    let decode = |spec: Value| Service::decode(&json!({"spec": spec})).value.unwrap();
    assert!(decode(json!({"clusterIP": "None"})).is_headless());
    let none = decode(json!({"clusterIP": "", "selector": {}}));
    assert_eq!((none.cluster_ip.clone(), none.is_headless(), none.has_selector), (None, false, false));
    let external = decode(json!({"type": "ExternalName", "externalName": "example.com"}));
    assert_eq!((external.type_, external.external_name.as_deref()), (ServiceType::ExternalName, Some("example.com")));
    assert_eq!(Service::decode(&json!({})).value, Ok(Service::default()));
}

#[test]
fn service_problems_name_the_field() {
    let decode = |spec: Value| path(Service::decode(&json!({"spec": spec})));
    assert_eq!(decode(json!({"ports": [{"port": 80}, {"port": 65536}]})), "spec.ports[1].port");
    assert_eq!(decode(json!({"ports": [{"port": -1}]})), "spec.ports[0].port");
    assert_eq!(decode(json!({"ports": [{}]})), "spec.ports[0].port");
    assert_eq!(decode(json!({"ports": [{"port": 80, "protocol": "tcp"}]})), "spec.ports[0].protocol");
    assert_eq!(decode(json!({"type": "Cluster"})), "spec.type");
    assert_eq!(decode(json!({"selector": "app=a"})), "spec.selector");
}

#[test]
fn endpoint_slice_fills_in_what_absent_conditions_mean() {
    let object = json!({
        "metadata": {"name": "quote-1", "labels": {"kubernetes.io/service-name": "quote", "other": "x"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}, {"name": "", "port": null}],
        "endpoints": [
            {"addresses": ["10.1.0.1"]},
            {"addresses": ["10.1.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true},
             "zone": "a", "nodeName": "n1", "targetRef": {"kind": "Pod"}},
            {"addresses": ["10.1.0.3"], "conditions": {"ready": null}},
        ],
    });
    let endpoint = |address: &str, ready, terminating, zone: Option<&str>, node: Option<&str>| Endpoint {
        addresses: vec![address.to_owned()],
        ready,
        serving: true,
        terminating,
        zone: zone.map(str::to_owned),
        node: node.map(str::to_owned),
    };
    let expected = EndpointSlice {
        service: "quote".to_owned(),
        address_type: AddressType::Ipv4,
        ports: vec![
            EndpointPort { name: "http".to_owned(), port: Some(8080), protocol: Protocol::Tcp },
            EndpointPort { name: String::new(), port: None, protocol: Protocol::Tcp },
        ],
        endpoints: vec![
            endpoint("10.1.0.1", true, false, None, None),
            endpoint("10.1.0.2", false, true, Some("a"), Some("n1")),
            endpoint("10.1.0.3", true, false, None, None),
        ],
    };
    assert_eq!(EndpointSlice::decode(&object).value, Ok(expected));
}

#[test]
fn endpoint_slice_without_lists_is_empty_and_problems_name_the_field() {
    // The API server writes null for an empty list.
    let empty = json!({"metadata": {}, "addressType": "FQDN", "ports": null, "endpoints": null});
    let slice = EndpointSlice::decode(&empty).value.unwrap();
    assert_eq!((slice.service.as_str(), slice.ports.len(), slice.endpoints.len()), ("", 0, 0));
    assert_eq!(path(EndpointSlice::decode(&json!({}))), "addressType");
    assert_eq!(path(EndpointSlice::decode(&json!({"addressType": "ipv4"}))), "addressType");
    let wrong = json!({"addressType": "IPv4", "endpoints": [{"addresses": [7]}]});
    assert_eq!(path(EndpointSlice::decode(&wrong)), "endpoints[0].addresses[0]");
    let wrong = json!({"addressType": "IPv4", "metadata": {"labels": {"a": 1}}});
    assert_eq!(path(EndpointSlice::decode(&wrong)), "metadata.labels.a");
}

#[test]
fn secret_decodes_data_and_text() {
    let object = json!({
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": "Y2VydA==", "tls.key": "a2\nV5\r\n", "empty": "", "none": null, "both": "b2xk"},
        "stringData": {"both": "new", "text": "ä"},
    });
    let secret = Secret::decode(&object).value.unwrap();
    assert_eq!(secret.type_, "kubernetes.io/tls");
    let data: Vec<(&str, &[u8])> = secret.data.iter().map(|(key, data)| (key.as_str(), data.as_slice())).collect();
    let expected: [(&str, &[u8]); 6] = [
        ("both", b"new"),
        ("empty", b""),
        ("none", b""),
        ("text", "ä".as_bytes()),
        ("tls.crt", b"cert"),
        ("tls.key", b"key"),
    ];
    assert_eq!(data, expected);
    assert_eq!(Secret::decode(&json!({})).value.unwrap().type_, "Opaque");
}

#[test]
fn secrets_never_show() {
    let secret = Secret::decode(&json!({"stringData": {"key": "hunter2"}})).value.unwrap();
    let shown = format!("{secret:?} {secret:#?}");
    assert!(shown.contains("key") && shown.contains("7 bytes"), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");

    let wrong = [
        (json!({"data": {"key": "hunter2!"}}), "data.key"),
        (json!({"data": {"key": "aHVudGVyMg"}}), "data.key"),
        (json!({"data": {"key": {"hunter2": 1}}}), "data.key"),
        (json!({"data": {"key": 42424242}}), "data.key"),
        (json!({"data": "hunter2, expected hunter2"}), "data"),
        (json!({"data": ["hunter2"]}), "data"),
        (json!({"stringData": {"key": 42424242}}), "stringData.key"),
        (json!({"stringData": {"key": ["hunter2"]}}), "stringData.key"),
        (json!({"stringData": "hunter2"}), "stringData"),
    ];
    for (object, at) in wrong {
        for decoded in [Secret::decode(&object), Secret::decode(object.to_string().as_str())] {
            let problem = decoded.value.clone().unwrap_err();
            assert_eq!(problem.path, at, "{problem:?}");
            let shown = format!("{decoded:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("42424242") && !shown.contains("aHVu"), "{shown}");
        }
    }
    // Text that is cut off in the middle of a value.
    let shown = format!("{:?}", Secret::decode(r#"{"stringData": {"key": "hunter2"#));
    assert!(shown.contains("Err") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn secret_size_is_bounded() {
    let of = |bytes: usize| json!({"stringData": {"a": "x".repeat(bytes - 1), "b": "y"}});
    assert!(Secret::decode(&of(MAX_SECRET_BYTES)).value.is_ok());
    assert_eq!(path(Secret::decode(&of(MAX_SECRET_BYTES + 1))), "data");
}

#[test]
fn namespace_has_its_labels() {
    let namespace = Namespace::decode(&json!({"metadata": {"name": "a", "labels": {"team": "red"}}})).value.unwrap();
    assert_eq!(namespace.labels.into_iter().collect::<Vec<_>>(), [("team".to_owned(), "red".to_owned())]);
    assert_eq!(Namespace::decode(&json!({"metadata": {"labels": null}})).value, Ok(Namespace::default()));
    assert_eq!(path(Namespace::decode(&json!({"metadata": {"labels": []}}))), "metadata.labels");
}
