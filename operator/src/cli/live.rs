//! The objects of a cluster as they are now, compiled here: each kind is listed once, and nothing is written.
//!
//! Variables in manifests are those of the gateway's pod, which are not known here, so they stay as they are written;
//! certificate files in the pod count as existing.

use super::apiext::connect_to;
use super::args::ClusterArgs;
use super::check::{Compiled, folder, settle};
use super::why::escaped;
use crate::feed::files::Folder;
use crate::settings::Environment;
use anyhow::Context;
use compiler::{Change, Compiler, FileContent, Object, WantedChanges, WantedName};
use http::StatusCode;
use ir::{Kind, ObjectKey};
use kube::Client;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Objects in a page.
const PAGE: usize = 500;
/// Most pages of one kind: a million objects.
const PAGES: usize = 2000;

/// What is in the cluster.
pub(super) fn compiled(args: &ClusterArgs) -> anyhow::Result<Compiled> {
    let cluster = Cluster::connect(args)?;
    let objects = cluster.objects()?;
    cluster.compile(&objects, None)
}

/// What is in the cluster, and the same with manifests laid over it, object by object, as applying them would.
pub(super) fn overlaid(args: &ClusterArgs, over: &Path) -> anyhow::Result<(Compiled, Compiled)> {
    let cluster = Cluster::connect(args)?;
    let objects = cluster.objects()?;
    Ok((cluster.compile(&objects, None)?, cluster.compile(&objects, Some(over))?))
}

struct Cluster {
    runtime: tokio::runtime::Runtime,
    client: Client,
    environment: Environment,
}

impl Cluster {
    fn connect(args: &ClusterArgs) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(connect_to(args.kubeconfig.as_deref(), args.context.as_deref()))?;
        Ok(Self { runtime, client, environment: Environment::of_process() })
    }

    fn compile(&self, objects: &[Arc<Object>], over: Option<&Path>) -> anyhow::Result<Compiled> {
        let mut options = self.environment.options();
        options.endpoint_slices = true;
        let mut compiler = Compiler::new(options);
        let over: Vec<PathBuf> = over.into_iter().map(Path::to_owned).collect();
        let mut files: Folder = folder(&self.environment, &over, &[])?;
        // Of several changes of one object the last counts.
        let mut changes: Vec<Change> = objects.iter().cloned().map(Change::Put).collect();
        changes.extend(files.rescan().take());
        let wanted = compiler.apply(changes).wanted;
        settle(&mut compiler, wanted, |wanted| {
            let mut answers = self.answer(wanted)?;
            let own = files.want(wanted).take();
            answers.extend(own.into_iter().filter(|change| matches!(change, Change::Put(_))));
            Ok(answers)
        })?;
        Ok(Compiled { compiler, folder: files, environment: self.environment.clone() })
    }

    /// Every object that a gateway reads, Secrets aside.
    fn objects(&self) -> anyhow::Result<Vec<Arc<Object>>> {
        let options = self.environment.options();
        let namespace = options.single_namespace.then_some(&*options.namespace);
        let mut found = Vec::new();
        for kind in Kind::ALL {
            let (prefix, api_version) = match kind {
                Kind::Service => ("/api/v1", "v1"),
                Kind::EndpointSlice => ("/apis/discovery.k8s.io/v1", "discovery.k8s.io/v1"),
                kind if kind.is_custom() => ("/apis/getambassador.io/v3alpha1", "getambassador.io/v3alpha1"),
                _ => continue,
            };
            let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
            let path = format!("{prefix}{place}/{}", kind.plural());
            for mut value in self.runtime.block_on(self.list(&path))? {
                // Lists of the built-in kinds leave both out.
                if let Some(object) = value.as_object_mut() {
                    object.insert("apiVersion".to_owned(), api_version.into());
                    object.insert("kind".to_owned(), kind.name().into());
                }
                if let Ok(Some(object)) = Object::from_value(&value, &options.namespace) {
                    found.push(Arc::new(object));
                }
            }
        }
        Ok(found)
    }

    /// The items of a list, page by page; none where the kind is not served.
    async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES {
            let Some(mut page) = self.get(&format!("{path}?limit={PAGE}&continue={}", escaped(&token))).await? else {
                break;
            };
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            token = page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default().to_owned();
            if token.is_empty() {
                break;
            }
        }
        Ok(items)
    }

    /// One answer of the API server; `None` for what is not there.
    async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let request = http::Request::get(path).body(Vec::new())?;
        match self.client.request::<Value>(request).await {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == StatusCode::NOT_FOUND.as_u16() => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.split('?').next().unwrap_or(path))),
        }
    }

    fn answer(&self, wanted: &WantedChanges) -> anyhow::Result<Vec<Change>> {
        let mut answers = Vec::new();
        for name in &wanted.added {
            answers.push(match name {
                WantedName::File(path) => Change::File(path.clone(), Some(FileContent::Assumed)),
                WantedName::Secret { namespace, name } => {
                    let path = format!("/api/v1/namespaces/{}/secrets/{}", escaped(namespace), escaped(name));
                    let value = self.runtime.block_on(self.get(&path))?;
                    let object = value.and_then(|value| Object::from_value(&value, namespace).ok().flatten());
                    match object {
                        Some(object) => Change::Put(Arc::new(object)),
                        None => Change::Gone(ObjectKey::new(Kind::Secret, namespace.clone(), name.clone())),
                    }
                }
            });
        }
        Ok(answers)
    }
}
