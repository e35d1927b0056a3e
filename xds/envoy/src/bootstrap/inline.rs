//! The static form: route tables and secrets in the file.

use super::{BootstrapOptions, common, ready_listener, set};
use crate::dump::{DumpError, unredacted};
use crate::{Options, Renderer};
use ir::RowChanges;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use xds::{Resource, ResourceType};

/// The cluster that stands where a control plane would be asked for endpoints or missing secrets. It has no
/// endpoints, so nobody ever answers.
const NOBODY: &str = "nobody";

/// How long Envoy waits for nobody.
const WAIT_FOR_NOBODY: &str = "0.1s";

/// One complete Envoy configuration of all these rows (`rows` as from an empty compiler), without a control plane:
/// listeners with their route tables in place, clusters, and secrets — with their private keys, as Envoy could not
/// serve without. Clusters with streamed endpoints keep their `service_name` and never get endpoints; a secret that is
/// not there never comes, so that handshakes with it fail as they do live.
pub fn static_bootstrap(rows: &RowChanges, options: &BootstrapOptions) -> Result<Value, DumpError> {
    let delta = Renderer::new(Options::default()).apply(rows, 1);
    let mut by_kind: BTreeMap<ResourceType, BTreeMap<&str, Value>> = BTreeMap::new();
    for resource in &delta.upserts {
        let resource: &Resource = resource;
        by_kind.entry(resource.kind).or_default().insert(&resource.name, unredacted(resource)?);
    }
    let mut take = |kind| by_kind.remove(&kind).unwrap_or_default();
    let (mut listeners, routes) = (take(ResourceType::Listener), take(ResourceType::Route));
    let (mut clusters, secrets) = (take(ResourceType::Cluster), take(ResourceType::Secret));
    let known: BTreeSet<&str> = secrets.keys().copied().collect();
    for listener in listeners.values_mut() {
        rewrite(listener, &known, &routes);
    }
    for cluster in clusters.values_mut() {
        rewrite(cluster, &known, &routes);
    }
    let ready = options.ready.iter().map(ready_listener);
    let nobody = json!({
        "name": NOBODY,
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        },
    });
    let mut out = common(options);
    set(
        &mut out,
        "static_resources",
        json!({
            "listeners": listeners.into_values().chain(ready).collect::<Vec<_>>(),
            "clusters": clusters.into_values().chain([nobody]).collect::<Vec<_>>(),
            "secrets": secrets.into_values().collect::<Vec<_>>(),
        }),
    );
    Ok(out)
}

/// Replaces every reference to the control plane below a resource. The shapes are those this crate emits.
fn rewrite(value: &mut Value, secrets: &BTreeSet<&str>, routes: &BTreeMap<&str, Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, secrets, routes)),
        Value::Object(fields) => {
            inline_routes(fields, routes);
            drop_known_secret_source(fields, secrets);
            for key in ["sds_config", "eds_config"] {
                if let Some(source) = fields.get_mut(key) {
                    *source = from_nobody();
                }
            }
            fields.values_mut().for_each(|field| rewrite(field, secrets, routes));
        }
        _ => {}
    }
}

fn inline_routes(manager: &mut Map<String, Value>, routes: &BTreeMap<&str, Value>) {
    let Some(rds) = manager.remove("rds") else { return };
    let name = rds.get("route_config_name").and_then(Value::as_str).unwrap_or_default();
    let table = routes.get(name).cloned().unwrap_or_else(|| json!({ "name": name }));
    manager.insert("route_config".to_string(), table);
}

/// A secret reference without a source means a static secret.
fn drop_known_secret_source(reference: &mut Map<String, Value>, secrets: &BTreeSet<&str>) {
    let known = reference.get("name").and_then(Value::as_str).is_some_and(|name| secrets.contains(name));
    if known {
        reference.remove("sds_config");
    }
}

fn from_nobody() -> Value {
    json!({
        "initial_fetch_timeout": WAIT_FOR_NOBODY,
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": NOBODY}}],
        },
    })
}
