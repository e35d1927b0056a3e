//! Everything is replaced under load, and nobody notices.

use crate::scene::{GATEWAY, Scene, WEBHOOK, installed, wait_until};

#[test]
fn a_rollout_of_the_backend_loses_no_request() {
    let Some(scene) = installed("a rollout of the backend") else { return };
    under_load(&scene, "/hello/", || {
        scene.kubectl(&["rollout", "restart", "deployment/hello"]);
        scene.rolled_out("default", "hello");
        settled(&scene, "default", 2);
    });
}

#[test]
fn a_rollout_of_the_gateway_loses_no_request() {
    let Some(scene) = installed("a rollout of the gateway") else { return };
    under_load(&scene, "/echo/", || {
        let before = scene.pods(GATEWAY);
        scene.kubectl(&["rollout", "restart", "-n", GATEWAY, "deployment/emissary-ingress"]);
        scene.rolled_out(GATEWAY, "emissary-ingress");
        settled(&scene, GATEWAY, 2);
        let after = scene.pods(GATEWAY);
        assert!(after.iter().all(|pod| !before.contains(pod)), "{before:?} {after:?}");
        // Without a rollout: somebody deletes the replica that writes statuses.
        let holder = || scene.get(&["lease", "-n", GATEWAY, "nuncio"])["spec"]["holderIdentity"].to_string();
        let leader = |(name, _): &&(String, String)| holder().contains(name.as_str());
        wait_until("a leader", || scene.pods(GATEWAY).iter().any(|pod| leader(&pod)));
        let pods = scene.pods(GATEWAY);
        let (name, _) = pods.iter().find(leader).unwrap();
        scene.kubectl(&["delete", "pod", "-n", GATEWAY, name]);
        settled(&scene, GATEWAY, 2);
        wait_until("another leader", || !holder().contains(name.as_str()) && holder().contains("emissary-ingress-"));
    });
}

#[test]
fn a_rollout_of_the_webhook_fails_no_conversion() {
    let Some(scene) = installed("a rollout of the webhook") else { return };
    let asking = "good=0; bad=0; first=\n\
        while read -r -t 0.01 line; [ -z \"$line\" ]; do\n\
          if out=$(kubectl get --raw /apis/getambassador.io/v2/mappings 2>&1 >/dev/null); then good=$((good+1))\n\
          else bad=$((bad+1)); first=${first:-$out}; fi\n\
        done\n\
        echo \"$bad $good $first\"";
    let mut command = scene.cluster.command("bash");
    command.args(["-c", asking]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    scene.kubectl(&["rollout", "restart", "-n", WEBHOOK, "deployment/emissary-apiext"]);
    scene.rolled_out(WEBHOOK, "emissary-apiext");
    settled(&scene, WEBHOOK, 2);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"end\n").unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let mut words = said.split_whitespace();
    let mut number = || words.next().unwrap().parse::<u32>().unwrap();
    let (bad, good) = (number(), number());
    assert!(bad == 0 && good > 10, "{said}");
}

/// Runs it under load, which has to be answered throughout.
fn under_load(scene: &Scene, path: &str, change: impl FnOnce()) {
    let url = format!("http://emissary-ingress.emissary{path}");
    wait_until("an answer", || scene.ask(&url).0 == 200);
    let load = scene.load(path);
    change();
    let tally = load.end().unwrap();
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{path}: {} requests\n", tally.good).as_bytes());
    assert!(tally.bad == 0 && tally.good > 100, "{tally:?}");
}

/// Waits until the pods that go are gone, too.
fn settled(scene: &Scene, namespace: &str, pods: usize) {
    wait_until("the end of the old pods", || {
        let list = scene.get(&["pods", "-n", namespace]);
        let all = list["items"].as_array().cloned().unwrap_or_default();
        let ready = |pod: &&serde_json::Value| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        all.len() == pods && all.iter().filter(ready).count() == pods
    });
}
