//! What goes wrong can be seen, and does not spread.

use crate::scene::{GATEWAY, installed, wait_until};
use crate::serving::log;

#[test]
fn a_gateway_that_cannot_start_says_why_and_replaces_nobody() {
    let Some(scene) = installed("a gateway that cannot start") else { return };
    let deployment = "deployment/emissary-ingress";
    let before = scene.pods(GATEWAY);
    scene.kubectl(&["set", "env", "-n", GATEWAY, deployment, "ENVOY_CONCURRENCY=many"]);
    let mut crashing = String::new();
    wait_until("a pod that crashes", || {
        let list = scene.get(&["pods", "-n", GATEWAY]);
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let status = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0].clone();
        // Another test may have made one of those restart that were there before.
        let is_new = |pod: &serde_json::Value| before.iter().all(|(name, _)| pod["metadata"]["name"] != name.as_str());
        let restarted = |pod: &serde_json::Value| status(pod)["restartCount"].as_u64().is_some_and(|count| count >= 1);
        let found = pods.iter().find(|pod| is_new(pod) && restarted(pod));
        crashing = found.map_or("", |pod| pod["metadata"]["name"].as_str().unwrap()).to_owned();
        !crashing.is_empty()
    });
    wait_until("the reason in its log", || {
        let said = log(&scene, GATEWAY, &crashing);
        said.contains("many") && said.contains("--concurrency")
    });
    let now = scene.pods(GATEWAY);
    assert!(before.iter().all(|pod| now.contains(pod)), "{before:?} {now:?}");
    assert_eq!(scene.ask("http://emissary-ingress.emissary/hello/").0, 200);
    scene.kubectl(&["rollout", "undo", "-n", GATEWAY, deployment]);
    scene.rolled_out(GATEWAY, "emissary-ingress");
    wait_until("the end of the crashing pod", || scene.get(&["pod", "-n", GATEWAY, &crashing]).is_null());
}

#[test]
fn a_gateway_that_hangs_gets_no_requests_and_is_restarted() {
    let Some(scene) = installed("a gateway that hangs") else { return };
    let deployment = "deployment/emissary-ingress";
    // The probes of the manifest, but in a hurry.
    let hurry = |probe: &str, failures: u32| {
        format!(r#""{probe}":{{"periodSeconds":1,"timeoutSeconds":2,"failureThreshold":{failures}}}"#)
    };
    let probes = format!("{},{}", hurry("readinessProbe", 1), hurry("livenessProbe", 6));
    let patch =
        format!(r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"emissary-ingress",{probes}}}]}}}}}}}}"#);
    scene.kubectl(&["patch", "-n", GATEWAY, deployment, "-p", &patch]);
    scene.rolled_out(GATEWAY, "emissary-ingress");
    wait_until("the end of the old pods", || {
        scene.get(&["pods", "-n", GATEWAY])["items"].as_array().is_some_and(|pods| pods.len() == 2)
    });
    let (victim, address) = scene.pods(GATEWAY).remove(0);
    let stop = format!(
        "for process in $(pgrep -f 'nuncio control-plan[e]'); do \
         if tr '\\0' '\\n' < /proc/$process/environ | grep -qx POD_NAME={victim}; then kill -STOP $process && echo stopped; fi; done"
    );
    assert_eq!(String::from_utf8_lossy(&scene.script(&stop).stdout).trim(), "stopped");
    let endpoint = |wanted: bool| {
        let list = scene.get(&["endpointslices", "-n", GATEWAY, "-l", "kubernetes.io/service-name=emissary-ingress"]);
        let slices = list["items"].as_array().cloned().unwrap_or_default();
        let mut all = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        all.any(|one| one["addresses"][0] == address.as_str() && one["conditions"]["ready"] == wanted)
    };
    wait_until("an endpoint that is not ready", || endpoint(false));
    assert_eq!(scene.ask("http://emissary-ingress.emissary/hello/").0, 200);
    wait_until("a restart", || {
        scene.get(&["pod", "-n", GATEWAY, &victim])["status"]["containerStatuses"][0]["restartCount"] == 1
    });
    wait_until("an endpoint that is ready again", || endpoint(true));
    scene.kubectl(&["rollout", "undo", "-n", GATEWAY, deployment]);
    scene.rolled_out(GATEWAY, "emissary-ingress");
}
