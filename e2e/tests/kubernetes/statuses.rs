//! What an edit does to traffic and to the status of its object.

use crate::scene::{BACKEND, Scene, mapping};

#[test]
fn a_refused_edit_is_told_and_the_old_version_serves_on() {
    let Some(scene) = Scene::start("refused-edit", &[]) else { return };
    scene.apply(&mapping("one", "/one/", BACKEND, ""));
    scene.wait_until("the route", || scene.get("/one/") == 200);
    scene.wait_until("its status", || scene.condition("mapping", "one", "Ready").0 == "True");
    // Admission has no word on regular expressions.
    scene.apply(&mapping("one", "'/one/('", BACKEND, ", prefix_regex: true"));
    scene.wait_until("the refusal", || scene.condition("mapping", "one", "Accepted").0 == "False");
    let (_, reason, message) = scene.condition("mapping", "one", "Accepted");
    assert_eq!(reason, "InvalidRegex");
    assert!(message.contains("spec.prefix"), "{message}");
    assert_eq!(scene.get("/one/"), 200);
    // It does so after the control plane was killed, too, once that is written down, which takes a second.
    scene.wait_until("its memory", || scene.object("configmap", "nuncio-memory").contains("/one/"));
    scene.kill("control-plane");
    scene.wait_until("the new control plane", || scene.diagnostics("/ambassador/v0/check_ready").contains("200 OK"));
    assert_eq!(scene.get("/one/"), 200);
    scene.kubectl(&["delete", "mapping", "one"]);
    scene.wait_until("the end of the route", || scene.get("/one/") == 404);
    scene.end();
}

#[test]
fn a_service_without_endpoints_shows_in_the_status() {
    let Some(scene) = Scene::start("no-endpoints", &[]) else { return };
    scene.apply("{apiVersion: v1, kind: Service, metadata: {name: empty}, spec: {ports: [{port: 80}]}}");
    scene.apply(&mapping("empty", "/empty/", "empty", ""));
    scene.wait_until("the condition", || scene.condition("mapping", "empty", "BackendsReady").0 == "False");
    assert_eq!(scene.condition("mapping", "empty", "BackendsReady").1, "NoEndpoints");
    assert_eq!(scene.condition("mapping", "empty", "Ready").0, "True", "the route itself is in order");
    scene.apply(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
         metadata: {name: empty-1, labels: {kubernetes.io/service-name: empty}}, \
         ports: [{port: 18080, protocol: TCP}], endpoints: [{addresses: [10.244.0.1], conditions: {ready: true}}]}",
    );
    scene.wait_until("traffic", || scene.get("/empty/") == 200);
    scene.wait_until("the condition", || scene.condition("mapping", "empty", "BackendsReady").0 == "True");
}

#[test]
fn what_envoy_refuses_is_named_and_everything_else_stays() {
    // What only Envoy would refuse is let through to it.
    let Some(scene) = Scene::start("refused-by-envoy", &[("NUNCIO_TEST_UNCHECKED", "true")]) else { return };
    scene.apply(&mapping("good", "/good/", BACKEND, ""));
    scene.wait_until("the route", || scene.get("/good/") == 200);
    let bad = ", add_request_headers: {x-bad: {value: '%NOT_A_COMMAND%'}}";
    scene.apply(&format!("{}{}", mapping("bad", "/bad/", BACKEND, bad), mapping("later", "/later/", BACKEND, "")));
    scene.wait_until("the other route", || scene.get("/later/") == 200);
    scene.wait_until("the name of the guilty", || {
        let (status, _, message) = scene.condition("mapping", "bad", "Ready");
        status == "False" && message.contains("NOT_A_COMMAND")
    });
    assert_eq!((scene.get("/good/"), scene.get("/bad/")), (200, 404));
    scene.kill("envoy");
    scene.wait_until("the routes after a restart", || scene.get("/good/") == 200 && scene.get("/later/") == 200);
    let refusals = |text: String| {
        let line = text.lines().find(|line| line.starts_with("nuncio_xds_nacks_total")).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.trim().parse::<u64>().ok())
    };
    // A loop would have refused again by the time that another edit is live.
    let before = refusals(scene.diagnostics("/metrics"));
    scene.apply(&mapping("last", "/last/", BACKEND, ""));
    scene.wait_until("one more route", || scene.get("/last/") == 200);
    assert_eq!(refusals(scene.diagnostics("/metrics")), before);
}
