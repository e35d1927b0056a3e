//! What a user finds in the cluster.

use crate::support::{apply, inside, output, repository, run, script, shared, wait_until};

#[test]
fn the_control_plane_is_the_real_one() {
    let Some(cluster) = shared("the control plane") else { return };
    let namespaces = output(cluster.command("kubectl").args(["get", "namespaces", "-o", "name"]));
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        assert!(namespaces.contains(&format!("namespace/{name}\n")), "{namespaces}");
    }
    let version = output(cluster.command("kubectl").args(["version", "-o", "json"]));
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    for side in ["clientVersion", "serverVersion"] {
        assert_eq!(
            (&version[side]["gitVersion"], &version[side]["minor"]),
            (&"v1.36.3".into(), &"36".into()),
            "{version}"
        );
    }
}

#[test]
fn our_definitions_are_served() {
    let Some(cluster) = shared("our definitions") else { return };
    let folder = repository().join("manifests/crds");
    output(cluster.command("kubectl").args(["apply", "--server-side", "-f"]).arg(&folder));
    script(cluster, "kubectl wait --for=condition=Established --timeout=60s crd --all");
    apply(
        cluster,
        "{apiVersion: getambassador.io/v3alpha1, kind: Mapping, metadata: {name: one}, \
         spec: {hostname: '*', prefix: /, service: one}}",
    );
    let columns = output(cluster.command("kubectl").args(["get", "mappings"]));
    assert!(columns.lines().next().is_some_and(|line| line.contains("PREFIX")), "{columns}");
}

#[test]
fn a_service_answers_by_address_and_by_name() {
    let Some(cluster) = shared("Services and names") else { return };
    let _application = inside(cluster, env!("CARGO_BIN_EXE_sample-app"), &["hello=v7@10.244.0.1:18080"]);
    apply(
        cluster,
        "{apiVersion: v1, kind: Service, metadata: {name: hello}, spec: {ports: [{name: http, port: 80}]}}\n---\n\
         {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
         metadata: {name: hello-1, labels: {kubernetes.io/service-name: hello}}, \
         ports: [{name: http, port: 18080, protocol: TCP}], endpoints: [{addresses: [10.244.0.1], conditions: {ready: true}}]}",
    );
    let ask = |host: &str| {
        let request = "GET /x HTTP/1.0\\r\\nhost: x\\r\\n\\r\\n";
        let script = format!("exec 3<>/dev/tcp/{host}/80; printf '{request}' >&3; timeout 10 cat <&3");
        let answer = run(cluster.command("bash").args(["-c", &script]));
        String::from_utf8_lossy(&answer.stdout).contains("\"v7\"")
    };
    let address =
        output(cluster.command("kubectl").args(["get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}"]));
    assert!(address.starts_with("10.96."), "{address}");
    wait_until("an answer at the Service's address", || ask(&address));
    wait_until("an answer by the short name", || ask("hello"));
    assert!(ask("hello.default.svc.cluster.local"));

    // An EndpointSlice without ready endpoints takes the Service away.
    script(cluster, r#"kubectl patch endpointslice hello-1 --type merge -p '{"endpoints": []}'"#);
    wait_until("no answer without endpoints", || !ask(&address));
}

#[test]
fn nothing_leads_outside() {
    let Some(cluster) = shared("isolation") else { return };
    let outside = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = outside.local_addr().unwrap().port();
    let answer = run(cluster.command("bash").args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]));
    assert!(!answer.status.success(), "a listener of the machine was reached");
    let devices = script(cluster, "ip -brief link | cut -d' ' -f1 | cut -d@ -f1");
    assert!(devices.lines().all(|name| name == "lo" || name == "cluster0" || name.starts_with("pod")), "{devices}");
    // The API server inside cannot be reached from here.
    let kubeconfig = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    assert!(kubeconfig.contains("https://127.0.0.1:6443"));
}
