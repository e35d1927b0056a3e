//! Objects made from upstream's own schemas, in front of a real API server with our definitions.

use crate::maker::{Maker, Schemas, schemas};
use crate::support::{cluster, define, definitions, install_service, kubectl, replica, repository};
use e2e::cluster::Cluster;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

/// Objects of each kind and version.
const EACH: u64 = 6;

#[test]
fn an_api_server_admits_with_our_definitions_what_upstream_admits() {
    let Some(releases) = upstream() else { return };
    let Some((cluster, _turn)) = cluster("admission") else { return };
    install_service(&cluster);
    define(&cluster, &definitions());
    let _webhook = (replica(&cluster, 1), replica(&cluster, 2));
    for (release, schemas) in &releases {
        // Fields that nobody knows are admitted, and need not be kept.
        let odd = objects(release, schemas, true);
        create(&cluster, &odd, &["--dry-run=server"]);
        let plain = objects(release, schemas, false);
        create(&cluster, &plain, &[]);
        // The published definitions of 3.9 leave some specs open, and what nobody knows is not stored.
        if *release != "v4.1" {
            continue;
        }
        for written in &plain {
            let (version, name) =
                (written["apiVersion"].as_str().unwrap(), written["metadata"]["name"].as_str().unwrap());
            let kind = written["kind"].as_str().unwrap().to_lowercase();
            let version = version.rsplit_once('/').unwrap().1;
            let text = kubectl(&cluster, ["get", &format!("{kind}.{version}.getambassador.io"), name, "-o", "json"]);
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(comparable(&read), comparable(written), "{release} {version} {kind} {name}");
        }
    }
}

fn upstream() -> Option<Vec<(&'static str, Schemas)>> {
    let read = |release| {
        let path = repository().join(format!("../shared/corpus/crds/{release}.yaml"));
        Some((release, schemas(&std::fs::read_to_string(path).ok()?)))
    };
    let found: Option<Vec<_>> = ["v3.9", "v4.1"].into_iter().map(read).collect();
    if found.is_none() {
        let _ = std::io::stderr().write_all(b"skipped: admission: ../shared/corpus is not there\n");
    }
    found
}

fn objects(release: &str, schemas: &Schemas, odd: bool) -> Vec<Value> {
    let mut all = Vec::new();
    for (index, ((kind, version), schema)) in schemas.iter().enumerate() {
        for case in 0..EACH {
            let mut maker = Maker { state: case * 1_000 + index as u64, odd };
            let spec = maker.value(".spec", &schema["properties"]["spec"]);
            let name = format!("o-{}-{version}-{case}", release.replace('.', "-"));
            all.push(json!({
                "apiVersion": format!("getambassador.io/{version}"), "kind": kind,
                "metadata": {"name": name, "namespace": "default"}, "spec": spec,
            }));
        }
    }
    all
}

/// All in one go: an API server answers a hundred such requests a second.
fn create(cluster: &Cluster, objects: &[Value], arguments: &[&str]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let mut command = cluster.command("kubectl");
    command.args(["create", "--validate=ignore", "-f", "-"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(list.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Ids get a prefix on their way back from v3alpha1.
fn comparable(object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("ambassador_id");
        fields.remove("ambassadorId");
    }
    spec
}
