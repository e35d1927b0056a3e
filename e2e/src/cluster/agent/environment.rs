//! Environment, command and downward API of a container.

use super::images::Image;
use super::{NODE_ADDRESS, NODE_NAME, Problem};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What a container's variables are when nobody says anything about them.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a node of unlimited size is said to have, for resource fields without a limit.
const CPU: f64 = 64.0;
const MEMORY: f64 = 64.0 * 1024.0 * 1024.0 * 1024.0;

/// Reads objects that a pod names; one that is missing is a problem unless it is optional.
pub struct Objects {
    client: Client,
    namespace: String,
}

impl Objects {
    /// Objects of the pod's namespace.
    pub fn of(client: &Client, pod: &Pod) -> Self {
        Self { client: client.clone(), namespace: pod.namespace().unwrap_or_default() }
    }

    /// The content of a ConfigMap; `None` when it is optional and not there.
    pub async fn config_map(&self, name: &str, optional: bool) -> Result<Option<BTreeMap<String, Vec<u8>>>, Problem> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let Some(object) = api.get_opt(name).await? else { return missing("configmap", name, optional) };
        let text = object.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
        let binary = object.binary_data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0));
        Ok(Some(text.chain(binary).collect()))
    }

    /// The content of a Secret; `None` when it is optional and not there.
    pub async fn secret(&self, name: &str, optional: bool) -> Result<Option<BTreeMap<String, Vec<u8>>>, Problem> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let Some(object) = api.get_opt(name).await? else { return missing("secret", name, optional) };
        Ok(Some(object.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect()))
    }

    async fn services(&self, links: bool) -> Result<Vec<Service>, Problem> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), "default");
        let mut services = vec![];
        if links {
            let own: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
            services = own.list(&ListParams::default()).await?.items;
        }
        // The API server's own address is there in any case.
        if self.namespace != "default" || !links {
            services.extend(api.get_opt("kubernetes").await?);
        }
        Ok(services)
    }
}

fn missing<T>(kind: &str, name: &str, optional: bool) -> Result<Option<T>, Problem> {
    if optional { Ok(None) } else { Err(Problem::config(format!("{kind} \"{name}\" not found"))) }
}

/// All variables of a container, in the order in which they were set.
pub async fn variables(
    objects: &Objects,
    pod: &Pod,
    container: &Container,
    image: &Image,
    address: Option<Ipv4Addr>,
) -> Result<Vec<(String, String)>, Problem> {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    variables.insert("PATH".to_owned(), PATH.to_owned());
    variables.insert("HOSTNAME".to_owned(), pod.name_any());
    variables.insert("HOME".to_owned(), "/root".to_owned());
    variables.extend(image.environment.clone());
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    for service in objects.services(links).await? {
        variables.extend(service_variables(&service));
    }
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        let content = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => objects.config_map(&map.name, map.optional.unwrap_or(false)).await?,
            (_, Some(secret)) => objects.secret(&secret.name, secret.optional.unwrap_or(false)).await?,
            _ => None,
        };
        let text =
            content.into_iter().flatten().map(|(key, bytes)| (key, String::from_utf8_lossy(&bytes).into_owned()));
        variables.extend(text.map(|(key, value)| (format!("{prefix}{key}"), value)));
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(text), _) => Some(expand(text, &variables)),
            (None, Some(source)) => from_source(objects, pod, container, source, address).await?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables.into_iter().collect())
}

async fn from_source(
    objects: &Objects,
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    address: Option<Ipv4Addr>,
) -> Result<Option<String>, Problem> {
    let (kind, name, key, optional, content) = if let Some(of) = &source.config_map_key_ref {
        let optional = of.optional.unwrap_or(false);
        ("ConfigMap", &of.name, &of.key, optional, objects.config_map(&of.name, optional).await?)
    } else if let Some(of) = &source.secret_key_ref {
        let optional = of.optional.unwrap_or(false);
        ("Secret", &of.name, &of.key, optional, objects.secret(&of.name, optional).await?)
    } else if let Some(field) = &source.field_ref {
        return match pod_field(pod, &field.field_path, address) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::config(format!("unsupported fieldPath: {}", field.field_path))),
        };
    } else if let Some(field) = &source.resource_field_ref {
        return Ok(Some(resource_field(container, &field.resource, field.divisor.as_ref())));
    } else {
        return Err(Problem::config("an environment variable has a source of an unknown kind".to_owned()));
    };
    match content.and_then(|mut content| content.remove(key)) {
        Some(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        None if optional => Ok(None),
        None => Err(Problem::config(format!("couldn't find key {key} in {kind} {name}"))),
    }
}

/// The program and its arguments: those of the pod before those of the image.
pub fn command(container: &Container, image: &Image, variables: &[(String, String)]) -> Vec<String> {
    let variables: BTreeMap<String, String> = variables.iter().cloned().collect();
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expand(word, &variables)).collect()
    };
    let mut command = expanded(&container.command);
    if command.is_empty() {
        command = image.entrypoint.clone();
    }
    command.extend(expanded(&container.args));
    command
}

/// A field of the pod as the downward API gives it.
pub fn pod_field(pod: &Pod, path: &str, address: Option<Ipv4Addr>) -> Option<String> {
    let lines = |map: &BTreeMap<String, String>| -> String {
        map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
    };
    let subscript = |of: &str| Some(path.strip_prefix(of)?.strip_prefix("['")?.strip_suffix("']")?.to_owned());
    if let Some(key) = subscript("metadata.labels") {
        return Some(pod.labels().get(&key).cloned().unwrap_or_default());
    }
    if let Some(key) = subscript("metadata.annotations") {
        return Some(pod.annotations().get(&key).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => Some(pod.name_any()),
        "metadata.namespace" => pod.namespace(),
        "metadata.uid" => pod.uid(),
        "metadata.labels" => Some(lines(pod.labels())),
        "metadata.annotations" => Some(lines(pod.annotations())),
        "spec.nodeName" => Some(NODE_NAME.to_owned()),
        "spec.serviceAccountName" => pod.spec.as_ref()?.service_account_name.clone(),
        "status.hostIP" | "status.hostIPs" => Some(NODE_ADDRESS.to_owned()),
        "status.podIP" | "status.podIPs" => Some(address.map_or_else(|| NODE_ADDRESS.to_owned(), |ip| ip.to_string())),
        _ => None,
    }
}

/// A resource of a container, such as `limits.memory`, in units of the divisor and rounded up.
pub fn resource_field(container: &Container, resource: &str, divisor: Option<&Quantity>) -> String {
    let (list, name) = resource.split_once('.').unwrap_or(("limits", resource));
    let lists = container.resources.as_ref();
    let limits = lists.and_then(|lists| lists.limits.as_ref());
    let requests = lists.and_then(|lists| lists.requests.as_ref());
    let list = if list == "requests" { requests } else { limits };
    let whole = match name {
        "cpu" => CPU,
        "memory" => MEMORY,
        _ => 0.0,
    };
    let value = list.and_then(|list| list.get(name)).and_then(number).unwrap_or(whole);
    let divisor = divisor.and_then(number).filter(|divisor| *divisor > 0.0).unwrap_or(1.0);
    format!("{}", (value / divisor).ceil())
}

fn number(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.as_str();
    let digits = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let kibi = 1024f64;
    let factor = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => kibi,
        "Mi" => kibi.powi(2),
        "Gi" => kibi.powi(3),
        "Ti" => kibi.powi(4),
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// The variables that stand for a Service, in the form that Docker's links had.
fn service_variables(service: &Service) -> Vec<(String, String)> {
    let name = service.name_any().to_uppercase().replace('-', "_");
    let spec = service.spec.clone().unwrap_or_default();
    let Some(address) = spec.cluster_ip.filter(|address| !address.is_empty() && address != "None") else {
        return vec![];
    };
    let mut variables = vec![(format!("{name}_SERVICE_HOST"), address.clone())];
    for (index, port) in spec.ports.unwrap_or_default().iter().enumerate() {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let (number, scheme) = (port.port, protocol.to_lowercase());
        let url = format!("{scheme}://{address}:{number}");
        if index == 0 {
            variables.push((format!("{name}_SERVICE_PORT"), number.to_string()));
            variables.push((format!("{name}_PORT"), url.clone()));
        }
        if let Some(port) = port.name.as_ref().filter(|port| !port.is_empty()) {
            let port = port.to_uppercase().replace('-', "_");
            variables.push((format!("{name}_SERVICE_PORT_{port}"), number.to_string()));
        }
        let prefix = format!("{name}_PORT_{number}_{protocol}");
        variables.push((prefix.clone(), url));
        variables.push((format!("{prefix}_PROTO"), scheme));
        variables.push((format!("{prefix}_PORT"), number.to_string()));
        variables.push((format!("{prefix}_ADDR"), address.clone()));
    }
    variables
}

/// The text with the variables of a container in it.
pub fn expanded(text: &str, variables: &[(String, String)]) -> String {
    expand(text, &variables.iter().cloned().collect())
}

/// Replaces `$(NAME)` by a variable that exists, and `$$` by `$`; all else stays as it is.
///
/// Source: the Kubernetes API reference, `command` and `args` of a container.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) {
            match variables.get(name) {
                Some(value) => result.push_str(value),
                None => result.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_expanded_as_the_reference_says() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    #[test]
    fn a_service_gives_variables() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "my-db"},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "sql-x", "port": 5432}, {"name": "dns", "port": 53, "protocol": "UDP"}]},
        }))
        .unwrap();
        let variables: BTreeMap<_, _> = service_variables(&service).into_iter().collect();
        for (name, value) in [
            ("MY_DB_SERVICE_HOST", "10.96.0.7"),
            ("MY_DB_SERVICE_PORT", "5432"),
            ("MY_DB_SERVICE_PORT_SQL_X", "5432"),
            ("MY_DB_PORT", "tcp://10.96.0.7:5432"),
            ("MY_DB_PORT_53_UDP", "udp://10.96.0.7:53"),
            ("MY_DB_PORT_53_UDP_ADDR", "10.96.0.7"),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
        let headless = json!({"metadata": {"name": "x"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}});
        assert!(service_variables(&serde_json::from_value(headless).unwrap()).is_empty());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let container: Container = serde_json::from_value(json!({
            "name": "x", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
        }))
        .unwrap();
        let field = |resource: &str, divisor: Option<&str>| {
            resource_field(&container, resource, divisor.map(|text| Quantity(text.to_owned())).as_ref())
        };
        assert_eq!(field("limits.cpu", None), "2");
        assert_eq!(field("limits.cpu", Some("1m")), "1500");
        assert_eq!(field("limits.memory", Some("1Mi")), "64");
        assert_eq!(field("requests.cpu", None), "64");
    }
}
