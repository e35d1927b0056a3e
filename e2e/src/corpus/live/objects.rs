//! What a case is in a cluster. Everything here is a function of files.

use crate::corpus::case::Case;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The label that tells the backends of a case from those of others, which have the same names and labels.
pub const CASE: &str = "kat-case";
/// The label of a gateway.
pub const GATEWAY: &str = "kat-gateway";
/// The ServiceAccount of gateways, in each of their namespaces.
const ACCOUNT: &str = "kat-gateway";
/// A gateway that has been asked everything ends at once.
const SETTINGS: [(&str, &str); 2] = [("ENVOY_CONCURRENCY", "1"), ("AMBASSADOR_DRAIN_TIME", "1")];

/// A workload behind Services.
#[derive(Clone, Debug, Deserialize)]
pub struct Backend {
    /// What it runs.
    pub image: String,
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Backend {
    /// What a `kat-server` plays.
    pub fn role(&self) -> &str {
        self.env.get("KAT_BACKEND_TYPE").map_or("http", String::as_str)
    }

    /// Whether a Service of that namespace means it.
    fn is_selected(&self, namespace: &str, selector: &Map<String, Value>) -> bool {
        let fits = |(key, value): (&String, &Value)| self.labels.get(key).map(String::as_str) == value.as_str();
        self.namespace == namespace && !selector.is_empty() && selector.iter().all(fits)
    }
}

/// The backends of a case.
pub fn backends(case: &Case) -> Result<Vec<Backend>> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        backends: Vec<Backend>,
    }
    let text = std::fs::read_to_string(case.folder.join("case.json"))?;
    let file: File = serde_json::from_str(&text).with_context(|| format!("{}: backends", case.name))?;
    Ok(file.backends)
}

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The manifests of a case, fit for a cluster that they share with other cases: Services select the backends of their own
/// case, everything is in a namespace, and what is in none says so.
pub fn manifests(case: &Case, number: usize, backends: &[Backend]) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(case.folder.join("manifests.yaml"))?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("{}: manifests", case.name))?;
    let mut objects = Vec::new();
    for mut object in documents {
        let Some(kind) = object.get("kind").and_then(Value::as_str).map(str::to_owned) else { continue };
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { continue };
        if matches!(kind.as_str(), "Namespace" | "IngressClass") {
            metadata.remove("namespace");
        } else {
            metadata.entry("namespace").or_insert_with(|| json!("default"));
        }
        let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind == "Service" {
            select(&mut object, &namespace, number, backends);
        }
        objects.push(object);
    }
    Ok(objects)
}

/// Points a Service to the backends of its own case.
fn select(service: &mut Value, namespace: &str, number: usize, backends: &[Backend]) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let Some(selector) = spec.get_mut("selector").and_then(Value::as_object_mut) else { return };
    if !backends.iter().any(|backend| backend.is_selected(namespace, selector)) {
        return;
    }
    selector.insert(CASE.to_owned(), json!(number.to_string()));
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        // Where backends listen whatever their workload called it; the recording did the same.
        let target = match port.get("targetPort") {
            Some(Value::String(name)) if name == "https" => 8443,
            Some(Value::String(_)) => 8080,
            Some(number) if number == 80 => 8080,
            _ => continue,
        };
        put(port, &["targetPort"], json!(target));
    }
}

/// The pods of the backends.
pub fn pods(number: usize, backends: &[Backend]) -> Vec<Value> {
    let pod = |(index, backend): (usize, &Backend)| {
        let mut labels = backend.labels.clone();
        labels.insert(CASE.to_owned(), number.to_string());
        let env: Vec<Value> = backend.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("kat-{number}-{index}"), "namespace": backend.namespace, "labels": labels},
            "spec": {
                "terminationGracePeriodSeconds": 1, "enableServiceLinks": false,
                "containers": [{
                    "name": "kat-server", "image": backend.image, "env": env,
                    "ports": [{"name": "http", "containerPort": 8080}, {"name": "https", "containerPort": 8443}],
                    "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 5},
                }],
            },
        })
    };
    backends.iter().enumerate().map(pod).collect()
}

/// The pod that sends queries: they are in a folder of this machine, and so are the answers afterwards.
pub fn client(name: &str, number: usize, folder: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {CASE: number.to_string()}},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "enableServiceLinks": false,
            "containers": [{
                "name": "kat-client", "image": "kat-client", "terminationMessagePolicy": "FallbackToLogsOnError",
                "args": ["-input", "/exchange/queries.json", "-output", "/exchange/answers.json"],
                "volumeMounts": [{"name": "exchange", "mountPath": "/exchange"}],
            }],
            "volumes": [{"name": "exchange", "hostPath": {"path": folder}}],
        },
    })
}

/// A gateway as the installation has it, from the documents of its manifest, with the variables of a case. It has its own
/// ServiceAccount in its namespace, with the same rights, but for the names of Lease and memory, which depend on the id.
pub fn gateway(documents: &[Value], number: usize, environment: &[(String, String)]) -> Result<Vec<Value>> {
    let value = |wanted: &str| environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let namespace = value("AMBASSADOR_NAMESPACE").unwrap_or("default");
    let id = value("AMBASSADOR_ID").unwrap_or("default");
    let of_kind = |kind: &str| {
        let found = documents.iter().find(|object| object.get("kind").and_then(Value::as_str) == Some(kind));
        found.cloned().with_context(|| format!("the manifest of the gateway has no {kind}"))
    };
    let mut deployment = of_kind("Deployment")?;
    let labels = json!({GATEWAY: number.to_string(), "service": id, "profile": "main"});
    let name = format!("kat-gateway-{number}");
    put(&mut deployment, &["metadata"], json!({"name": name, "namespace": namespace}));
    put(&mut deployment, &["spec", "replicas"], json!(1));
    put(&mut deployment, &["spec", "selector"], json!({"matchLabels": {GATEWAY: number.to_string()}}));
    put(&mut deployment, &["spec", "template", "metadata"], json!({"labels": labels}));
    for (field, value) in [
        ("serviceAccountName", json!(ACCOUNT)),
        ("topologySpreadConstraints", Value::Null),
        ("terminationGracePeriodSeconds", json!(5)),
    ] {
        put(&mut deployment, &["spec", "template", "spec", field], value);
    }
    let variables = deployment.pointer_mut("/spec/template/spec/containers/0/env").and_then(Value::as_array_mut);
    let variables = variables.context("the gateway has no variables")?;
    let given = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(SETTINGS);
    for (name, value) in given {
        variables.retain(|variable| variable.get("name").and_then(Value::as_str) != Some(name));
        variables.push(json!({"name": name, "value": value}));
    }
    let subject = json!([{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}]);
    let mut role = of_kind("Role")?;
    put(&mut role, &["metadata"], json!({"name": ACCOUNT, "namespace": namespace}));
    for rule in role.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
        put(rule, &["resourceNames"], Value::Null);
    }
    let reference =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let rights = "rbac.authorization.k8s.io/v1";
    Ok(vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}}),
        role,
        json!({
            "apiVersion": rights, "kind": "RoleBinding", "metadata": {"name": ACCOUNT, "namespace": namespace},
            "roleRef": reference("Role", ACCOUNT), "subjects": subject,
        }),
        json!({
            "apiVersion": rights, "kind": "ClusterRoleBinding", "metadata": {"name": format!("{ACCOUNT}-{namespace}")},
            "roleRef": reference("ClusterRole", "emissary-ingress"), "subjects": subject,
        }),
        deployment,
    ])
}

/// Sets a field, and makes those above it where they are missing.
fn put(object: &mut Value, path: &[&str], value: Value) {
    let Some(fields) = object.as_object_mut() else { return };
    match path {
        [] => {}
        [field] => drop(fields.insert((*field).to_owned(), value)),
        [field, rest @ ..] => put(fields.entry((*field).to_owned()).or_insert_with(|| json!({})), rest, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(labels: &[(&str, &str)]) -> Backend {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Backend { image: "kat-server".into(), namespace: "a".into(), labels, env: BTreeMap::new() }
    }

    #[test]
    fn a_service_means_the_backends_of_its_own_case() {
        let backends = [backend(&[("backend", "superpod"), ("x", "y")])];
        let check = |selector: Value, namespace: &str, expected: Value| {
            let mut service = json!({"spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 80}]}});
            select(&mut service, namespace, 7, &backends);
            assert_eq!(service["spec"]["selector"], expected);
            let moved = expected.get(CASE).is_some();
            assert_eq!(service["spec"]["ports"][0]["targetPort"], if moved { 8080 } else { 80 });
        };
        let own = json!({"backend": "superpod", CASE: "7"});
        check(json!({"backend": "superpod"}), "a", own);
        check(json!({"backend": "superpod"}), "b", json!({"backend": "superpod"}));
        check(json!({"service": "ambassador"}), "a", json!({"service": "ambassador"}));
        check(json!({}), "a", json!({}));
    }

    #[test]
    fn a_gateway_is_the_installed_one_with_other_variables() {
        let manifest = include_str!("../../../../manifests/install/gateway.yaml");
        let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).unwrap();
        let environment: Vec<(String, String)> =
            [("AMBASSADOR_ID", "x"), ("AMBASSADOR_NAMESPACE", "n")].map(|(a, b)| (a.into(), b.into())).into();
        let objects = gateway(&documents, 3, &environment).unwrap();
        assert_eq!(objects.len(), 5);
        let deployment = objects.last().unwrap();
        let installed = documents.iter().find(|one| one["kind"] == "Deployment").unwrap();
        let container = |of: &Value| of["spec"]["template"]["spec"]["containers"][0].clone();
        for field in ["image", "args", "securityContext", "volumeMounts", "readinessProbe", "livenessProbe"] {
            assert_eq!(container(deployment)[field], container(installed)[field], "{field}");
        }
        let variables = container(deployment)["env"].clone();
        let of = |name: &str| {
            let mut found = variables.as_array().unwrap().iter().filter(|one| one["name"] == name);
            let first = found.next().unwrap()["value"].clone();
            assert!(found.next().is_none(), "{name} is there twice");
            first
        };
        assert_eq!((of("AMBASSADOR_ID"), of("AMBASSADOR_NAMESPACE")), (json!("x"), json!("n")));
        assert_eq!(deployment["spec"]["template"]["metadata"]["labels"]["service"], "x");
    }
}
