//! What a user finds after the first two commands.

use crate::scene::{GATEWAY, Scene, installed, run, wait_until};
use serde_json::Value;

#[test]
fn the_quickstart_answers_by_address_and_by_name() {
    let Some(scene) = installed("the quickstart") else { return };
    let service = scene.get(&["service", "-n", GATEWAY, "emissary-ingress"]);
    let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10.96."), "{address}");
    for host in [&address, "emissary-ingress.emissary", "emissary-ingress.emissary.svc.cluster.local"] {
        wait_until("an answer of the application", || {
            let (status, body) = scene.ask(&format!("http://{host}/hello/"));
            status == 200 && body.contains("\"service\": \"hello\"")
        });
    }
    for kind in ["mappings", "hosts", "listeners"] {
        wait_until("statuses", || {
            let list = scene.get(&[kind]);
            let all = list["items"].as_array().unwrap();
            let names: Vec<&str> = all.iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect();
            !names.is_empty() && names.iter().all(|name| scene.condition(&[kind, name], "Ready") == "True")
        });
    }
    let (status, body) = scene.ask("http://emissary-ingress-admin.emissary:8877/metrics");
    assert!(status == 200 && body.contains("nuncio_"), "{body}");
}

#[test]
fn the_rights_are_enough_and_no_more() {
    let Some(scene) = installed("the rights") else { return };
    // Last good versions are remembered when something is refused that served before.
    let mapping = |prefix: &str| {
        scene.apply(&format!(
            "{{apiVersion: getambassador.io/v3alpha1, kind: Mapping, metadata: {{name: remembered}}, \
             spec: {{hostname: '*', prefix: '{prefix}', prefix_regex: true, service: hello}}}}"
        ));
    };
    mapping("/remembered/");
    wait_until("a Mapping", || scene.condition(&["mapping", "remembered"], "Ready") == "True");
    mapping("/remembered/(");
    wait_until("its refusal", || scene.condition(&["mapping", "remembered"], "Accepted") == "False");
    wait_until("its memory", || {
        scene.get(&["configmap", "-n", GATEWAY, "nuncio-memory"])["data"].to_string().contains("/remembered/")
    });
    // Also in a replica that an earlier test has just started, and that may have seen the mistake only.
    let serves = |(_, address): &(String, String)| scene.ask(&format!("http://{address}:8080/remembered/")).0 == 200;
    wait_until("the version before in every replica", || scene.pods(GATEWAY).iter().all(serves));
    scene.kubectl(&["delete", "mapping", "remembered"]);
    wait_until("the end of the memory", || {
        !scene.get(&["configmap", "-n", GATEWAY, "nuncio-memory"])["data"].to_string().contains("/remembered/")
    });

    let lease = scene.get(&["lease", "-n", GATEWAY, "nuncio"]);
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    let pods = scene.pods(GATEWAY);
    assert!(pods.iter().any(|(name, _)| holder.starts_with(name.as_str())), "{holder}: {pods:?}");
    for (name, address) in &pods {
        // What cannot be listed is said here; and what is read is there.
        let status: Value =
            serde_json::from_str(&scene.ask(&format!("http://{address}:8877/api/v1/status")).1).unwrap();
        assert_eq!(status["source_problems"], serde_json::json!([]), "{name}");
        assert_eq!(status["overview"]["waiting_for"], serde_json::json!([]), "{name}");
        assert!(status["objects"].as_array().unwrap().iter().any(|object| object["name"] == "hello"), "{name}");
        let log = log(&scene, GATEWAY, name);
        assert!(!log.to_lowercase().contains("forbidden"), "{name}: {log}");
    }

    let may = |account: &str, words: &[&str]| {
        let account = format!("system:serviceaccount:{account}");
        let mut command = scene.cluster.command("kubectl");
        run(command.args(["auth", "can-i", "--as", &account]).args(words)).status.success()
    };
    let gateway = "emissary:emissary-ingress";
    assert!(may(gateway, &["list", "secrets", "-A"]) && may(gateway, &["patch", "mappings", "--subresource=status"]));
    for words in [
        &["get", "secrets", "-A"][..],
        &["update", "secrets", "-A"],
        &["update", "mappings", "-A"],
        &["create", "mappings", "-A"],
        &["delete", "mappings", "-A"],
        &["patch", "mappings", "-A"],
        &["patch", "services", "-A"],
        &["list", "configmaps", "-n", GATEWAY],
        &["patch", "configmaps", "-n", GATEWAY],
        &["patch", "configmap/nuncio-memory", "-n", "default"],
        &["update", "lease/another", "-n", GATEWAY],
        &["create", "pods", "-n", GATEWAY],
        &["list", "customresourcedefinitions"],
        &["get", "customresourcedefinition/others.example.com"],
    ] {
        assert!(!may(gateway, words), "{words:?}");
    }
    let webhook = "emissary-system:emissary-apiext";
    assert!(may(webhook, &["update", "customresourcedefinition/mappings.getambassador.io"]));
    for words in [
        &["update", "customresourcedefinition/others.example.com"][..],
        &["list", "secrets", "-n", "emissary-system"],
        &["get", "secret/another", "-n", "emissary-system"],
        &["list", "mappings", "-A"],
        &["get", "secrets", "-n", GATEWAY],
    ] {
        assert!(!may(webhook, words), "{words:?}");
    }
}

#[test]
fn a_backend_of_every_size_answers() {
    let Some(scene) = installed("sizes") else { return };
    scene.apply(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: sized}
spec:
  replicas: 1
  selector: {matchLabels: {app: sized}}
  template:
    metadata: {labels: {app: sized}}
    spec:
      containers:
      - {name: app, image: sample-app, args: ['sized=v1@0.0.0.0:8080'], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}
---
{apiVersion: v1, kind: Service, metadata: {name: sized}, spec: {selector: {app: sized}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: getambassador.io/v3alpha1, kind: KubernetesEndpointResolver, metadata: {name: endpoints}, spec: {}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: sized}
spec: {hostname: '*', prefix: /sized/, service: sized}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: sized-by-endpoints}
spec: {hostname: '*', prefix: /endpoints/, service: sized, resolver: endpoints, load_balancer: {policy: round_robin}}
",
    );
    let answers = |status: u16| {
        wait_until(&format!("answers with {status}"), || {
            ["sized", "endpoints"]
                .iter()
                .all(|path| scene.ask(&format!("http://emissary-ingress.emissary/{path}/")).0 == status)
        });
    };
    // Of the slices that the controller wrote, and of what the gateway makes of them.
    let ready = || {
        let list = scene.get(&["endpointslices", "-l", "kubernetes.io/service-name=sized"]);
        let slices = list["items"].as_array().cloned().unwrap_or_default();
        let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count()
    };
    let known = || {
        let (_, text) = scene.ask("http://emissary-ingress-admin.emissary:8877/api/v1/envoy");
        let envoy: Value = serde_json::from_str(&text).unwrap_or_default();
        let of_service =
            envoy["endpoints"].as_array().into_iter().flatten().find(|one| one.to_string().contains("/sized/"));
        of_service.map_or(0, |one| one.to_string().matches("\"port_value\"").count())
    };
    scene.rolled_out("default", "sized");
    answers(200);
    for size in [50, 0, 1] {
        scene.kubectl(&["scale", "deployment/sized", &format!("--replicas={size}")]);
        scene.rolled_out("default", "sized");
        wait_until(&format!("{size} endpoints"), || ready() == size);
        wait_until(&format!("{size} endpoints in Envoy's configuration, not {}", known()), || known() == size);
        answers(if size == 0 { 503 } else { 200 });
    }
    scene.kubectl(&["delete", "deployment/sized", "mapping/sized", "mapping/sized-by-endpoints", "service/sized"]);
}

/// What the containers of a pod have written, by the command that people use.
pub fn log(scene: &Scene, namespace: &str, pod: &str) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cluster"));
    command.args(["logs", "--name", scene.cluster.state().name(), "-n", namespace, pod]);
    String::from_utf8_lossy(&run(&mut command).stdout).into_owned()
}
