//! The CRDs that point to the webhook.

use crate::api;
use crate::authority::{Leaf, accepts};
use crate::clock::Time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The names of the CRDs that are ours to change: those of the kinds that can be converted. Others of the same group, such
/// as those of commercial editions, are left alone.
pub const PLURALS: [&str; 14] = [
    "authservices",
    "consulresolvers",
    "devportals",
    "hosts",
    "kubernetesendpointresolvers",
    "kubernetesserviceresolvers",
    "listeners",
    "logservices",
    "mappings",
    "modules",
    "ratelimitservices",
    "tcpmappings",
    "tlscontexts",
    "tracingservices",
];

/// What is read of a CRD. Its schemas, which are nearly all of it, are not kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Crd {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Specification.
    pub spec: CrdSpec,
    /// Status.
    #[serde(default)]
    pub status: CrdStatus,
}

/// What is read of the specification.
#[derive(Clone, Debug, Deserialize)]
pub struct CrdSpec {
    /// The API group.
    pub group: String,
    /// The names of the kind.
    pub names: CrdNames,
    /// The versions, served or not.
    pub versions: Vec<CrdVersion>,
    /// How its objects are converted, as it is written.
    #[serde(default)]
    pub conversion: Value,
}

/// The names of a kind.
#[derive(Clone, Debug, Deserialize)]
pub struct CrdNames {
    /// As in `kind`.
    pub kind: String,
    /// As in paths.
    pub plural: String,
}

/// A version of a kind.
#[derive(Clone, Debug, Deserialize)]
pub struct CrdVersion {
    /// Its name.
    pub name: String,
    /// Whether objects can be read and written in it.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
}

/// What is read of the status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CrdStatus {
    /// All versions in which objects may be stored.
    #[serde(rename = "storedVersions")]
    pub stored_versions: Vec<String>,
}

impl Resource for Crd {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "CustomResourceDefinition".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "apiextensions.k8s.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "customresourcedefinitions".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Where the CRDs shall point to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
}

impl Target {
    /// The name that API servers ask for.
    pub fn dns_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// The stanza `conversion`, exactly as upstream writes it.
    pub fn conversion(&self, bundle: &[u8]) -> Value {
        json!({
            "strategy": "Webhook",
            "webhook": {
                "conversionReviewVersions": ["v1"],
                "clientConfig": {
                    "service": {
                        "name": self.service, "namespace": self.namespace, "port": 443, "path": crate::server::PATH,
                    },
                    "caBundle": STANDARD.encode(bundle),
                },
            },
        })
    }
}

impl Crd {
    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether it is one of ours at all.
    pub fn is_ours(&self) -> bool {
        let plural = self.name().strip_suffix(convert::GROUP).and_then(|rest| rest.strip_suffix('.'));
        self.spec.group == convert::GROUP && plural.is_some_and(|plural| PLURALS.contains(&plural))
    }

    /// Whether its objects are to be converted by a webhook. Not if it has a single version, or says that it wants no
    /// conversion, or is on its way out.
    pub fn needs_webhook(&self) -> bool {
        self.is_ours()
            && self.metadata.deletion_timestamp.is_none()
            && self.spec.versions.len() > 1
            && self.spec.conversion.get("strategy").and_then(Value::as_str) == Some("Webhook")
    }

    /// Why API servers could not call us about its objects, if so. `name` is what they are taken to ask for unless the CRD
    /// has a URL.
    pub fn obstacle(&self, leaf: &Leaf, name: &str, now: Time) -> Result<(), String> {
        let client = self.spec.conversion.pointer("/webhook/clientConfig").unwrap_or(&Value::Null);
        let bundle = client.get("caBundle").and_then(Value::as_str).ok_or("it has no caBundle")?;
        let bundle = STANDARD.decode(bundle).map_err(|_| "its caBundle is not base64")?;
        accepts(&bundle, leaf, name, now)
    }
}

/// Points a CRD to us, if it still needs that when it is read again. Whether it was written.
///
/// It is read as a list and written as a whole because that is what upstream's role allows: list, watch and update.
pub async fn point(client: &Client, name: &str, conversion: &Value) -> Result<bool, api::Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<Crd>(&()));
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    let Some(mut found) = api::in_time(api.list(&only)).await?.items.into_iter().next() else {
        return Ok(false);
    };
    let Ok(crd) = serde_json::from_value::<Crd>(json!({"metadata": found.metadata, "spec": found.data.get("spec")}))
    else {
        return Ok(false);
    };
    if !crd.needs_webhook() || crd.spec.conversion == *conversion {
        return Ok(false);
    }
    if let Some(spec) = found.data.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("conversion".to_owned(), conversion.clone());
    }
    let by = PostParams { field_manager: Some("nuncio".to_owned()), ..PostParams::default() };
    match api::in_time(api.replace(name, &by, &found)).await {
        Ok(_) => Ok(true),
        // It has changed since; the watch says how.
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(change: impl FnOnce(&mut Value)) -> Crd {
        let version =
            |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": {}});
        let mut crd = json!({
            "metadata": {"name": "mappings.getambassador.io"},
            "spec": {
                "group": "getambassador.io", "names": {"kind": "Mapping", "plural": "mappings"},
                "versions": [version("v2", true), version("v3alpha1", false)],
                "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}},
            },
            "status": {"storedVersions": ["v2"]},
        });
        change(&mut crd);
        serde_json::from_value(crd).unwrap()
    }

    #[test]
    fn only_our_own_definitions_with_several_versions_need_a_webhook() {
        assert!(crd(|_| {}).needs_webhook());
        for change in [
            (|crd| crd["spec"]["conversion"] = json!({"strategy": "None"})) as fn(&mut Value),
            |crd| crd["spec"]["conversion"] = Value::Null,
            |crd| drop(crd["spec"]["versions"].as_array_mut().unwrap().pop()),
            |crd| crd["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
            |crd| crd["metadata"]["name"] = json!("filters.getambassador.io"),
            |crd| crd["metadata"]["name"] = json!("mappingsgetambassador.io"),
            |crd| crd["metadata"]["name"] = json!("mappings.example.com"),
            |crd| crd["spec"]["group"] = json!("example.com"),
        ] {
            assert!(!crd(change).needs_webhook());
        }
    }

    #[test]
    fn the_names_are_those_of_the_kinds() {
        let mut kinds: Vec<String> = convert::Kind::ALL.iter().map(|kind| kind.name().to_lowercase() + "s").collect();
        kinds.sort();
        assert_eq!(kinds, PLURALS);
    }
}
