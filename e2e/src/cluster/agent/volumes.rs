//! The volumes of a pod, as files of the node that the containers' file systems show.
//!
//! Content that comes from objects is laid out as a kubelet does it: the files lie in a folder of their own, `..data`
//! leads to the current one, and what the container sees leads through `..data`; so a change appears as a whole.

use super::Problem;
use super::environment::{Objects, pod_field, resource_field};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccount, Volume};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// The content of a volume: path below it, bytes, and mode.
type Content = BTreeMap<String, (Vec<u8>, u32)>;

/// How long a token is asked for, and after how much of that a new one.
const TOKEN_SECONDS: i64 = 3607;
const TOKEN_RENEWAL: Duration = Duration::from_secs(2700);

/// The volumes of one pod.
pub struct Volumes {
    folder: PathBuf,
    /// What was written last, to see changes; and when, for tokens.
    written: BTreeMap<String, (Content, Instant)>,
    paths: BTreeMap<String, PathBuf>,
}

impl Volumes {
    /// Nothing yet; the files will lie in that folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, written: BTreeMap::new(), paths: BTreeMap::new() }
    }

    /// Where a volume is.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.paths.get(name).map(PathBuf::as_path)
    }

    /// Makes the volumes, or brings their content up to date; tokens only when they are old.
    pub async fn update(&mut self, client: &Client, pod: &Pod, address: Option<Ipv4Addr>) -> Result<(), Problem> {
        let objects = Objects::of(client, pod);
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let name = &volume.name;
            let path = self.folder.join(name);
            if let Some(host) = &volume.host_path {
                let found = PathBuf::from(&host.path);
                if !found.exists() {
                    return Err(Problem::volume(format!("volume {name}: there is no {} on the node", host.path)));
                }
                self.paths.insert(name.clone(), found);
                continue;
            }
            if volume.empty_dir.is_some() {
                if !self.paths.contains_key(name) {
                    make(&path)?;
                    fs::set_permissions(&path, Permissions::from_mode(0o777))?;
                    self.paths.insert(name.clone(), path);
                }
                continue;
            }
            let before = self.written.get(name);
            let fresh_token = before.is_none_or(|(_, at)| at.elapsed() > TOKEN_RENEWAL);
            let old = before.map(|(content, _)| content);
            let content = content(client, &objects, pod, volume, address, old.filter(|_| !fresh_token)).await?;
            if old != Some(&content) {
                write(&path, &content)?;
                self.written.insert(name.clone(), (content, Instant::now()));
            }
            self.paths.insert(name.clone(), path);
        }
        Ok(())
    }

    /// True when some content comes from objects that may change.
    pub fn may_change(&self) -> bool {
        !self.written.is_empty()
    }
}

/// The content of a volume. Tokens in `keep` stay as they are.
async fn content(
    client: &Client,
    objects: &Objects,
    pod: &Pod,
    volume: &Volume,
    address: Option<Ipv4Addr>,
    keep: Option<&Content>,
) -> Result<Content, Problem> {
    let mut content = Content::new();
    if let Some(source) = &volume.config_map {
        let found = objects.config_map(&source.name, source.optional.unwrap_or(false)).await?;
        select(&mut content, found, source.items.as_deref(), source.default_mode)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        let found = objects.secret(&name, source.optional.unwrap_or(false)).await?;
        select(&mut content, found, source.items.as_deref(), source.default_mode)?;
    } else if let Some(source) = &volume.downward_api {
        downward(&mut content, pod, source.items.as_deref(), source.default_mode, address)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode;
        for source in projected.sources.iter().flatten() {
            if let Some(source) = &source.config_map {
                let found = objects.config_map(&source.name, source.optional.unwrap_or(false)).await?;
                select(&mut content, found, source.items.as_deref(), mode)?;
            }
            if let Some(source) = &source.secret {
                let found = objects.secret(&source.name, source.optional.unwrap_or(false)).await?;
                select(&mut content, found, source.items.as_deref(), mode)?;
            }
            if let Some(source) = &source.downward_api {
                downward(&mut content, pod, source.items.as_deref(), mode, address)?;
            }
            if let Some(source) = &source.service_account_token {
                let path = checked(&source.path)?;
                let kept = keep.and_then(|keep| keep.get(&path)).cloned();
                let token = match kept {
                    Some((token, _)) => token,
                    None => token(client, pod, source.audience.clone(), source.expiration_seconds).await?.into_bytes(),
                };
                content.insert(path, (token, bits(None, mode)));
            }
        }
    } else {
        return Err(Problem::volume(format!("volume {} is of a kind that this cluster does not have", volume.name)));
    }
    Ok(content)
}

/// A token of the pod's ServiceAccount, bound to the pod.
async fn token(client: &Client, pod: &Pod, audience: Option<String>, seconds: Option<i64>) -> Result<String, Problem> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default();
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let bound = k8s_openapi::api::authentication::v1::BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name_any()),
        uid: pod.uid(),
    };
    let spec = TokenRequestSpec {
        audiences: audience.map(|audience| vec![audience]),
        expiration_seconds: Some(seconds.unwrap_or(TOKEN_SECONDS)),
        bound_object_ref: Some(bound),
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = api.create_token_request(&account, &PostParams::default(), &request).await?;
    answer.status.and_then(|status| status.token).ok_or_else(|| Problem::volume("no token in the answer".to_owned()))
}

fn select(
    content: &mut Content,
    found: Option<BTreeMap<String, Vec<u8>>>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
) -> Result<(), Problem> {
    let Some(mut found) = found else { return Ok(()) };
    let Some(items) = items else {
        content.extend(found.into_iter().map(|(key, bytes)| (key, (bytes, bits(None, mode)))));
        return Ok(());
    };
    for item in items {
        let bytes = found
            .remove(&item.key)
            .ok_or_else(|| Problem::volume(format!("references non-existent config key: {}", item.key)))?;
        content.insert(checked(&item.path)?, (bytes, bits(item.mode, mode)));
    }
    Ok(())
}

fn downward(
    content: &mut Content,
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: Option<i32>,
    address: Option<Ipv4Addr>,
) -> Result<(), Problem> {
    for item in items.unwrap_or_default() {
        let text = if let Some(field) = &item.field_ref {
            pod_field(pod, &field.field_path, address)
        } else if let Some(field) = &item.resource_field_ref {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut named = containers.filter(|container| Some(&container.name) == field.container_name.as_ref());
            named.next().map(|container| resource_field(container, &field.resource, field.divisor.as_ref()))
        } else {
            None
        };
        let text = text.ok_or_else(|| Problem::volume(format!("unsupported field for {}", item.path)))?;
        content.insert(checked(&item.path)?, (text.into_bytes(), bits(item.mode, mode)));
    }
    Ok(())
}

fn bits(own: Option<i32>, default: Option<i32>) -> u32 {
    own.or(default).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644) & 0o777
}

/// A path that stays in the volume. The API server has checked it; this is about not trusting that.
fn checked(path: &str) -> Result<String, Problem> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !path.is_empty() {
        Ok(path.to_owned())
    } else {
        Err(Problem::volume(format!("{path:?} is not a path")))
    }
}

fn make(path: &Path) -> Result<(), Problem> {
    fs::create_dir_all(path)?;
    Ok(())
}

/// Writes the content and makes it the current one.
fn write(folder: &Path, content: &Content) -> Result<(), Problem> {
    make(folder)?;
    let current = folder.join("..data");
    let before = fs::read_link(&current).ok();
    let count = before.as_ref().and_then(|name| name.to_str()?.strip_prefix("..version")?.parse::<u64>().ok());
    let name = format!("..version{}", count.unwrap_or(0) + 1);
    let fresh = folder.join(&name);
    make(&fresh)?;
    let mut tops = std::collections::BTreeSet::new();
    for (path, (bytes, mode)) in content {
        let file = fresh.join(path);
        file.parent().map_or(Ok(()), make)?;
        fs::write(&file, bytes)?;
        fs::set_permissions(&file, Permissions::from_mode(*mode))?;
        tops.extend(Path::new(path).components().next().map(|top| top.as_os_str().to_owned()));
    }
    let link = folder.join("..data_new");
    std::os::unix::fs::symlink(&name, &link)?;
    fs::rename(link, &current)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?.file_name();
        let own = entry.to_str().is_some_and(|entry| entry.starts_with("..data") || entry == name);
        if own || tops.remove(&entry) {
            continue;
        }
        let path = folder.join(&entry);
        // What is gone from the content, and the version before this one.
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    for top in tops {
        std::os::unix::fs::symlink(Path::new("..data").join(&top), folder.join(&top))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_changes_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume");
        let content = |entries: &[(&str, &str)]| -> Content {
            entries.iter().map(|(path, text)| ((*path).to_owned(), (text.as_bytes().to_vec(), 0o640))).collect()
        };
        let read = |name: &str| fs::read_to_string(path.join(name)).ok();
        write(&path, &content(&[("a", "1"), ("b/c", "2"), ("b/d", "3")])).unwrap();
        assert_eq!(
            (read("a").as_deref(), read("b/c").as_deref(), read("b/d").as_deref()),
            (Some("1"), Some("2"), Some("3"))
        );
        assert_eq!(fs::metadata(path.join("a")).unwrap().permissions().mode() & 0o777, 0o640);

        write(&path, &content(&[("a", "4"), ("e", "5")])).unwrap();
        assert_eq!((read("a").as_deref(), read("e").as_deref(), read("b/c")), (Some("4"), Some("5"), None));
        let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["..data", "..version2", "a", "e"]);
        for bad in ["", "/a", "../a", "a/../../b"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
