//! The manifests themselves, without a cluster.

use crate::scene::repository;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

fn documents(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(repository().join("manifests/install").join(file)).unwrap();
    serde_saphyr::from_multiple::<Value>(&text).unwrap()
}

#[test]
fn the_image_is_that_of_this_release() {
    let kustomization = &documents("Kustomization")[0];
    assert_eq!(kustomization["images"][0]["newTag"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn pods_have_as_little_as_they_need() {
    let mut containers = 0;
    for file in ["gateway.yaml", "webhook.yaml"] {
        for object in documents(file).iter().filter(|object| object["kind"] == "Deployment") {
            let pod = &object["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(object["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
            for container in pod["containers"].as_array().unwrap() {
                containers += 1;
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true);
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
                assert!(container["resources"]["requests"].is_object() && container["readinessProbe"].is_object());
            }
        }
    }
    assert_eq!(containers, 2);
}

/// The names that a kind's rules list more than once are those of the definitions.
#[test]
fn the_rights_name_every_kind() {
    let definitions = std::fs::read_dir(repository().join("manifests/crds")).unwrap();
    let names = definitions.map(|file| file.unwrap().file_name().into_string().unwrap());
    let plural = |name: String| Some(name.strip_prefix("getambassador.io_")?.strip_suffix(".yaml")?.to_owned());
    let kinds: BTreeSet<String> = names.filter_map(plural).collect();
    assert_eq!(kinds.len(), 14);
    let mut rules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for object in
        ["gateway.yaml", "webhook.yaml"].into_iter().flat_map(documents).filter(|one| one["kind"] == "ClusterRole")
    {
        for rule in object["rules"].as_array().unwrap() {
            let of = |field: &str| rule[field].as_array().cloned().unwrap_or_default();
            let place = format!("{} {} {}", object["metadata"]["name"], rule["apiGroups"], rule["verbs"]);
            let listed = if of("resourceNames").is_empty() { of("resources") } else { of("resourceNames") };
            rules.entry(place).or_default().extend(listed.iter().map(|name| name.as_str().unwrap().to_owned()));
        }
    }
    let all = |suffix: &str| kinds.iter().map(|kind| format!("{kind}{suffix}")).collect::<BTreeSet<String>>();
    for (place, expected) in [
        (r#""emissary-ingress" ["getambassador.io"] ["list","watch"]"#, all("")),
        (r#""emissary-ingress" ["getambassador.io"] ["patch"]"#, all("/status")),
        (r#""emissary-ingress" ["apiextensions.k8s.io"] ["get"]"#, all(".getambassador.io")),
        (r#""emissary-apiext" ["apiextensions.k8s.io"] ["update"]"#, all(".getambassador.io")),
    ] {
        assert_eq!(rules.get(place), Some(&expected), "{place}");
    }
}
