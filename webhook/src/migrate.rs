//! Moves stored objects to the storage version of their kind.
//!
//! An API server writes objects in the version that the CRD marks for storage, but leaves those that it has written before in
//! theirs. It lists all versions that may be in the store in `status.storedVersions` and refuses a CRD without one of
//! them. So a version can only go after every object has been written once more: each gets a patch that changes nothing, which
//! the API server stores in the new version because the bytes differ ([the documented way][docs]).
//!
//! Where a migration has come to is kept on the CRD, as the token of the next page, so that it can be taken up from any
//! machine. Doing a page twice does no harm.
//!
//! [docs]: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#upgrade-existing-objects-to-a-new-stored-version

use crate::api::{self, in_time};
use crate::crds::{Crd, PLURALS};
use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Where a CRD keeps how far its migration is.
pub const ANNOTATION: &str = "getambassador.io/storage-migration";
/// Objects that fail are named up to this number; all are counted.
const NAMED: usize = 50;
/// How often a write is tried again when the API server is busy or away.
const TRIES: u32 = 6;

/// How to migrate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Objects in a page.
    pub page: u32,
    /// Objects that are written at a time.
    pub concurrency: usize,
    /// How old a change of the CRD has to be, so that all API servers know of it. What one writes that does not would be in
    /// the old version.
    pub settle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { page: 500, concurrency: 8, settle: Duration::from_secs(5) }
    }
}

/// What happens, as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It begins.
    Begins {
        /// The versions in which objects may be stored.
        stored: Vec<String>,
        /// The version that they are written in.
        storage: String,
        /// Whether an earlier run got to somewhere.
        resumed: bool,
    },
    /// A page is done.
    Page {
        /// Objects looked at so far in this run.
        done: u64,
        /// Objects still to come, as the API server estimates it.
        left: Option<u64>,
    },
    /// An object could not be written.
    Failed {
        /// Its namespace and name.
        object: String,
        /// What the API server says.
        why: String,
    },
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to do: all objects are stored in this version.
    Already(String),
    /// All objects are stored in this version now, and `status.storedVersions` says so.
    Migrated {
        /// The storage version.
        storage: String,
        /// Objects written.
        objects: u64,
    },
    /// Some objects could not be written. `status.storedVersions` is as it was.
    Incomplete {
        /// How many.
        failed: u64,
    },
}

/// Why it could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Api(#[from] api::Error),
    /// The CRD is not as it has to be.
    #[error("{0}")]
    Definition(String),
}

/// How far a migration is, as the CRD says it.
#[derive(Deserialize, Serialize)]
struct Mark {
    storage: String,
    generation: i64,
    token: String,
    failed: u64,
}

/// The names of the CRDs in question that exist: those of all kinds, or of the given ones (`Mapping` or `mappings`).
///
/// # Errors
///
/// If one of the given names is no kind of ours, or the API server does not answer.
pub async fn definitions(client: &Client, kinds: &[String]) -> Result<Vec<String>, Error> {
    let mut wanted = Vec::new();
    for kind in kinds {
        let lower = kind.to_lowercase();
        let plural = PLURALS.into_iter().find(|plural| *plural == lower || plural.strip_suffix('s') == Some(&lower));
        let plural = plural.ok_or_else(|| Error::Definition(format!("{kind} is not a kind of {}", convert::GROUP)))?;
        wanted.push(format!("{plural}.{}", convert::GROUP));
    }
    let api: Api<Crd> = Api::all(client.clone());
    let mut names: Vec<String> = Vec::new();
    for plural in PLURALS {
        let name = format!("{plural}.{}", convert::GROUP);
        if (wanted.is_empty() || wanted.contains(&name)) && in_time(api.get_opt(&name)).await?.is_some() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Migrates the objects of one CRD.
///
/// # Errors
///
/// If the API server cannot be reached or the CRD changes under our hands. What is done stays done, and the next run goes on
/// from there.
pub async fn migrate(
    client: &Client,
    name: &str,
    options: Options,
    mut report: impl FnMut(Progress),
) -> Result<Outcome, Error> {
    let crds: Api<Crd> = Api::all(client.clone());
    let crd = in_time(crds.get(name)).await?;
    let storage = storage(&crd)?;
    if crd.status.stored_versions == [storage.clone()] {
        return Ok(Outcome::Already(storage));
    }
    tokio::time::sleep(unsettled(&crd, options.settle)).await;
    let generation = crd.metadata.generation.unwrap_or_default();
    let mark = crd.annotations().get(ANNOTATION).and_then(|text| serde_json::from_str::<Mark>(text).ok());
    let mark = mark.filter(|mark| mark.storage == storage && mark.generation == generation);
    let (mut token, mut failed) = mark.map_or((None, 0), |mark| (Some(mark.token), mark.failed));
    let stored = crd.status.stored_versions.clone();
    report(Progress::Begins { stored, storage: storage.clone(), resumed: token.is_some() });

    // Any served version will do for the request; what is written has the storage version in any case.
    let served = |version: &&crate::crds::CrdVersion| version.served;
    let by = crd.spec.versions.iter().filter(served).find(|version| version.storage);
    let by = by.or_else(|| crd.spec.versions.iter().find(served));
    let by = by.ok_or_else(|| Error::Definition(format!("{name}: no version is served")))?;
    let kind = GroupVersionKind::gvk(&crd.spec.group, &by.name, &crd.spec.names.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &crd.spec.names.plural);
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let (mut done, mut named) = (0_u64, 0);
    loop {
        let mut page = ListParams::default().limit(options.page.max(1));
        page.continue_token.clone_from(&token);
        let listed = match in_time(all.list_metadata(&page)).await {
            Ok(listed) => listed,
            // The token has become too old. The API server gives another one that goes on at the same place; what has been
            // written since is in the new version anyway.
            Err(api::Error::Call(kube::Error::Api(status))) if status.code == 410 && token.is_some() => {
                token = status.metadata.and_then(|metadata| metadata.continue_).filter(|token| !token.is_empty());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let left = listed.metadata.remaining_item_count.and_then(|left| u64::try_from(left).ok());
        token = listed.metadata.continue_.filter(|token| !token.is_empty());
        let writes = listed.items.into_iter().map(|object| {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            let uid = object.uid();
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
            async move {
                let written = rewrite(&api, &name, uid).await;
                (format!("{namespace}/{name}"), written)
            }
        });
        let mut writes = stream::iter(writes).buffer_unordered(options.concurrency.max(1));
        while let Some((object, written)) = writes.next().await {
            done += 1;
            if let Err(error) = written {
                failed += 1;
                named += 1;
                if named <= NAMED {
                    report(Progress::Failed { object, why: error.to_string() });
                }
            }
        }
        report(Progress::Page { done, left });
        let Some(token) = token.clone() else { break };
        let mark = Mark { storage: storage.clone(), generation, token, failed };
        remember(&crds, name, Some(&mark)).await?;
    }
    if failed > 0 {
        remember(&crds, name, None).await?;
        return Ok(Outcome::Incomplete { failed });
    }
    finish(&crds, name, &storage, generation).await?;
    Ok(Outcome::Migrated { storage, objects: done })
}

/// Takes versions out of a CRD. With the last but one, the conversion goes, too. Whether there was one to take out.
///
/// # Errors
///
/// If objects may still be stored in one of them, or it is the storage version. Then nothing is changed.
pub async fn remove_versions(client: &Client, name: &str, versions: &[String]) -> Result<bool, Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<Crd>(&()));
    let mut found = in_time(api.get(name)).await?;
    let crd: Crd = serde_json::from_value(json!({
        "metadata": found.metadata, "spec": found.data.get("spec"), "status": found.data.get("status"),
    }))
    .map_err(|error| Error::Definition(format!("{name}: {error}")))?;
    let goes = |version: &str| versions.iter().any(|gone| gone == version);
    if !crd.spec.versions.iter().any(|version| goes(&version.name)) {
        return Ok(false);
    }
    let refuse = |version: &str, why: &str| Err(Error::Definition(format!("{name}: {version} stays: {why}")));
    let storage = storage(&crd)?;
    if goes(&storage) {
        return refuse(&storage, "it is the storage version");
    }
    if let Some(stored) = crd.status.stored_versions.iter().find(|stored| goes(stored)) {
        return refuse(stored, "objects may still be stored in it");
    }
    let spec = found.data.get_mut("spec").and_then(Value::as_object_mut);
    let spec = spec.ok_or_else(|| Error::Definition(format!("{name} has no spec")))?;
    let mut left = 0;
    if let Some(Value::Array(all)) = spec.get_mut("versions") {
        all.retain(|version| version.get("name").and_then(Value::as_str).is_none_or(|version| !goes(version)));
        left = all.len();
    }
    if left == 1 {
        spec.insert("conversion".to_owned(), json!({"strategy": "None"}));
    }
    let by = PostParams { field_manager: Some("nuncio".to_owned()), ..PostParams::default() };
    in_time(api.replace(name, &by, &found)).await?;
    Ok(true)
}

fn storage(crd: &Crd) -> Result<String, Error> {
    let storage = crd.spec.versions.iter().find(|version| version.storage);
    let storage = storage.ok_or_else(|| Error::Definition(format!("{} has no storage version", crd.name())))?;
    Ok(storage.name.clone())
}

/// How long the last change of the CRD is still too young.
fn unsettled(crd: &Crd, settle: Duration) -> Duration {
    let fields = crd.metadata.managed_fields.iter().flatten();
    let changes = fields.filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty());
    let last = changes.filter_map(|entry| entry.time.as_ref().map(|time| time.0)).max();
    let age = last.map(|last| Timestamp::now().duration_since(last));
    // Clocks differ; more than what is asked for is never waited.
    age.map_or(Duration::ZERO, |age| settle.saturating_sub(age.try_into().unwrap_or(Duration::ZERO)))
}

/// Has an object stored again, as it is.
async fn rewrite(api: &Api<DynamicObject>, name: &str, uid: Option<String>) -> Result<(), api::Error> {
    // The identity is a condition: a namesake that was made since is in the new version, and another object.
    let patch = Patch::Merge(json!({"metadata": {"uid": uid}}));
    let by = PatchParams { field_manager: Some("nuncio".to_owned()), ..PatchParams::default() };
    let mut pause = Duration::from_millis(250);
    for _ in 1..TRIES {
        match written(in_time(api.patch_metadata(name, &by, &patch)).await) {
            Err(error) if error.code().is_none_or(|code| code == 429 || code >= 500) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return result,
        }
    }
    written(in_time(api.patch_metadata(name, &by, &patch)).await)
}

/// An object that is gone need not be written, and one that somebody else has written is.
fn written<T>(result: Result<T, api::Error>) -> Result<(), api::Error> {
    match result {
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

async fn remember(crds: &Api<Crd>, name: &str, mark: Option<&Mark>) -> Result<(), Error> {
    let text = mark.and_then(|mark| serde_json::to_string(mark).ok());
    let patch = Patch::Merge(json!({"metadata": {"annotations": {(ANNOTATION): text}}}));
    in_time(crds.patch_metadata(name, &PatchParams::default(), &patch)).await?;
    Ok(())
}

/// Says that all objects are in the storage version, provided that it is still the same one.
async fn finish(crds: &Api<Crd>, name: &str, storage: &str, generation: i64) -> Result<(), Error> {
    for _ in 0..TRIES {
        let crd = in_time(crds.get(name)).await?;
        // Pointing it to a webhook changes its generation, too, but not where things are stored.
        if self::storage(&crd)? != storage {
            let changed =
                format!("{name}: the storage version has changed since generation {generation}; run it again");
            return Err(Error::Definition(changed));
        }
        let version = &crd.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "status": {"storedVersions": [storage]}});
        match in_time(crds.patch_status(name, &PatchParams::default(), &Patch::Merge(patch))).await {
            Ok(_) => return remember(crds, name, None).await,
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Definition(format!("{name} keeps changing; run it again")))
}
