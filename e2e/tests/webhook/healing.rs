//! Two replicas under load while everything around them is spoilt.

use crate::support::{
    admit, apply, assert_same, cluster, define, definitions, install_service, kubectl, nuncio, objects, read, replica,
    retire, run, snapshot, wait_until,
};
use e2e::cluster::Cluster;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn replicas_heal_what_others_spoil_without_a_failed_request() {
    let Some((cluster, _turn)) = cluster("healing") else { return };
    install_service(&cluster);
    define(&cluster, &definitions());
    let first = replica(&cluster, 1);
    let second = replica(&cluster, 2);
    let objects = objects();
    apply(&cluster, &objects);
    for object in objects.iter().filter(|object| object["apiVersion"] != "getambassador.io/v3alpha1") {
        // Stored in v3alpha1, an old object is still what it was, its id aside.
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap().to_lowercase());
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = format!("/apis/{version}/namespaces/default/{kind}s/{name}");
        let mut read: Value = serde_json::from_str(&kubectl(&cluster, ["get", "--raw", &path])).unwrap();
        let mut spec = object["spec"].clone();
        for spec in [&mut read["spec"], &mut spec] {
            spec.as_object_mut().unwrap().remove("ambassador_id");
        }
        assert_eq!(read["spec"], spec, "{path}");
    }
    let before = snapshot(&cluster);

    let (done, answered, failures) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let output =
                    run(cluster.command("kubectl").args(["get", "--raw", "/apis/getambassador.io/v2/mappings"]));
                if !output.status.success() {
                    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
                    failures.fetch_add(1, Ordering::Relaxed);
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        let more = |what: &str, count: usize| {
            let goal = answered.load(Ordering::Relaxed) + count;
            wait_until(what, || answered.load(Ordering::Relaxed) >= goal);
        };
        more("requests", 3);
        let old = authority(&cluster);
        // Somebody writes rubbish over the authority, and somebody else deletes it.
        for (spoil, what) in [
            (&["patch", "-p", r#"{"data":{"tls.crt":"cnViYmlzaA==","tls.key":"cnViYmlzaA=="}}"#][..], "rubbish"),
            (&["delete"], "deleted"),
        ] {
            let [verb, rest @ ..] = spoil else { unreachable!() };
            let target = ["secret", "emissary-ingress-webhook-ca", "-n", "emissary-system"];
            kubectl(&cluster, [&[*verb][..], &target, rest].concat());
            wait_until(what, || {
                authority(&cluster).is_some_and(|now| now.contains("LS0tLS1CRUdJTi") && Some(&now) != old.as_ref())
            });
            wait_until("CRDs that trust the new authority", || {
                bundle(&cluster)
                    .is_some_and(|bundle| bundle.starts_with(&authority(&cluster).unwrap().trim_end_matches('=')[..40]))
            });
            more("requests after it", 5);
        }
        // The two replicas in turn; the one that stays takes over.
        retire(&cluster, 1, first);
        more("requests without the first replica", 5);
        let first = replica(&cluster, 1);
        admit(&cluster, 1);
        more("requests with both", 5);
        retire(&cluster, 2, second);
        more("requests without the second replica", 5);
        done.store(true, Ordering::Relaxed);
        drop(first);
    });
    assert_eq!(failures.load(Ordering::Relaxed), 0, "of {} requests", answered.load(Ordering::Relaxed));

    // Both were away. A definition that somebody overwrites meanwhile is put right by the next one.
    let spoilt = json!([{"op": "remove", "path": "/spec/conversion/webhook/clientConfig/caBundle"}]).to_string();
    let spoil = || drop(kubectl(&cluster, ["patch", "crd", "mappings.getambassador.io", "--type=json", "-p", &spoilt]));
    spoil();
    let _again = replica(&cluster, 1);
    wait_until("a repaired definition", || bundle(&cluster).is_some());
    spoil();
    wait_until("a definition that is repaired again", || bundle(&cluster).is_some());
    wait_until("conversions", || {
        run(cluster.command("kubectl").args(["get", "--raw", "/apis/getambassador.io/v2/mappings"])).status.success()
    });
    assert_same(&before, &snapshot(&cluster), "in the end");
    a_migration_that_something_forbids_can_be_taken_up_later(&cluster);
}

fn a_migration_that_something_forbids_can_be_taken_up_later(cluster: &Cluster) {
    let crds = run(cluster.command(nuncio()).args(["crds", "--conversion", "webhook", "--storage", "v2"]));
    define(cluster, &read(&String::from_utf8(crds.stdout).unwrap()));
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "frozen"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["getambassador.io"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["mappings"],
            }]},
            "validations": [{"expression": "object.metadata.name != 'mapping-1'", "message": "it is frozen"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "frozen"}, "spec": {"policyName": "frozen", "validationActions": ["Deny"]},
    });
    apply(cluster, &[policy, binding]);
    let touch = || run(cluster.command("kubectl").args(["patch", "mapping", "mapping-1", "--type=merge", "-p", "{}"]));
    wait_until("a policy in force", || !touch().status.success());
    let migrate = || {
        let output = run(cluster.command(nuncio()).args(["migrate-storage", "Mapping", "--remove", "v3alpha1"]));
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let stored =
        || kubectl(cluster, ["get", "crd", "mappings.getambassador.io", "-o", "jsonpath={.status.storedVersions}"]);
    let (code, text) = migrate();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("default/mapping-1: ") && text.contains("it is frozen"), "{text}");
    assert!(text.contains("mappings.getambassador.io: v3alpha1 stays: objects may still be stored in it"), "{text}");
    assert_eq!(stored(), r#"["v3alpha1","v2"]"#);
    kubectl(cluster, ["delete", "validatingadmissionpolicy/frozen", "validatingadmissionpolicybinding/frozen"]);
    wait_until("a policy that is gone", || touch().status.success());
    let (code, text) = migrate();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("mappings: without v3alpha1 now"), "{text}");
    assert_eq!(stored(), r#"["v2"]"#);
}

/// The certificate in the Secret, as it is written there.
fn authority(cluster: &Cluster) -> Option<String> {
    let arguments =
        ["get", "secret", "emissary-ingress-webhook-ca", "-n", "emissary-system", "-o", r"jsonpath={.data.tls\.crt}"];
    let output = run(cluster.command("kubectl").args(arguments));
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn bundle(cluster: &Cluster) -> Option<String> {
    let path = "jsonpath={.spec.conversion.webhook.clientConfig.caBundle}";
    Some(kubectl(cluster, ["get", "crd", "mappings.getambassador.io", "-o", path])).filter(|bundle| !bundle.is_empty())
}
