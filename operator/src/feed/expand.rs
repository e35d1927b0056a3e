//! `$VAR` and `${VAR}` in manifests.
//!
//! Upstream replaces them everywhere in the text it reads, Secrets included, from its whole environment. Here they are
//! replaced in `spec` strings of the kinds for which upstream documents it, from variables that describe the pod
//! (decision 0020).

use ir::Kind;
use serde_json::Value;
use std::collections::BTreeMap;

/// Which variables are put in, and where.
#[derive(Clone, Debug, Default)]
pub struct Expansion {
    variables: BTreeMap<String, String>,
    everywhere: bool,
}

impl Expansion {
    /// Takes `AMBASSADOR_*`, `HOST_IP`, `POD_*` and the names in `NUNCIO_EXPAND_ENV` (separated by commas or spaces)
    /// from an environment. `NUNCIO_EXPAND_ENV=*` restores upstream's reach: every variable, in every kind but Secrets.
    pub fn new(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let all: BTreeMap<String, String> = environment.into_iter().collect();
        let listed = all.get("NUNCIO_EXPAND_ENV").cloned().unwrap_or_default();
        let listed: Vec<&str> = listed.split([',', ' ']).filter(|name| !name.is_empty()).collect();
        let everywhere = listed.contains(&"*");
        let wanted = |name: &str| {
            let described = name.starts_with("AMBASSADOR_") || name.starts_with("POD_") || name == "HOST_IP";
            everywhere || described || listed.contains(&name)
        };
        Self { variables: all.into_iter().filter(|(name, _)| wanted(name)).collect(), everywhere }
    }

    /// Replaces what is to be replaced in an object's JSON form. Unknown names stay as they are.
    pub fn apply(&self, object: &mut Value) {
        let kind = object.get("kind").and_then(Value::as_str).and_then(|kind| kind.parse::<Kind>().ok());
        if kind.map_or(self.everywhere, |kind| self.reaches(kind))
            && let Some(spec) = object.get_mut("spec")
        {
            self.value(spec);
        }
    }

    /// What replaces the variables in the JSON text of a `spec` of that kind; `None` where nothing is to be replaced.
    pub fn of_kind(&self, kind: Kind) -> Option<impl Fn(&str) -> Option<String> + Send + Sync + 'static> {
        let expansion = self.reaches(kind).then(|| self.clone())?;
        Some(move |spec: &str| {
            let mut value = spec.contains('$').then(|| serde_json::from_str(spec).ok())??;
            expansion.value(&mut value);
            Some(value.to_string())
        })
    }

    fn reaches(&self, kind: Kind) -> bool {
        let documented = matches!(kind, Kind::ConsulResolver | Kind::TracingService);
        documented || (self.everywhere && kind != Kind::Secret)
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) if text.contains('$') => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.value(item)),
            _ => {}
        }
    }

    fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, following) = braced.unwrap_or_else(|| {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            });
            match self.variables.get(name) {
                Some(value) => {
                    out.push_str(value);
                    rest = following;
                }
                None => {
                    out.push('$');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expansion(extra: &[(&str, &str)]) -> Expansion {
        let base = [("HOST_IP", "10.0.0.7"), ("POD_NAME", "gw-0"), ("PASSWORD", "secret"), ("AMBASSADOR_ID", "main")];
        Expansion::new(base.iter().chain(extra).map(|(name, value)| ((*name).into(), (*value).into())))
    }

    fn spec(kind: &str, text: &str, expansion: &Expansion) -> String {
        let mut object = json!({"kind": kind, "metadata": {"name": "$HOST_IP"}, "spec": {"a": [{"b": text}]}});
        expansion.apply(&mut object);
        assert_eq!(object["metadata"]["name"], "$HOST_IP", "only the spec is touched");
        object["spec"]["a"][0]["b"].as_str().unwrap().to_string()
    }

    #[test]
    fn documented_kinds_get_the_variables_of_the_pod() {
        let check = |text: &str, expect: &str| assert_eq!(spec("ConsulResolver", text, &expansion(&[])), expect);
        check("${HOST_IP}:8500", "10.0.0.7:8500");
        check("$HOST_IP:8500", "10.0.0.7:8500");
        check("$POD_NAME.$AMBASSADOR_ID", "gw-0.main");
        check("$PASSWORD ${PASSWORD}", "$PASSWORD ${PASSWORD}");
        check("100$ ${ $$HOST_IP $", "100$ ${ $10.0.0.7 $");
    }

    #[test]
    fn other_kinds_keep_their_text() {
        assert_eq!(spec("Mapping", "^/a$", &expansion(&[])), "^/a$");
        assert_eq!(spec("Mapping", "$HOST_IP", &expansion(&[])), "$HOST_IP");
        assert_eq!(spec("Secret", "$HOST_IP", &expansion(&[("NUNCIO_EXPAND_ENV", "*")])), "$HOST_IP");
    }

    #[test]
    fn text_is_expanded_like_parsed_json() {
        let expand = expansion(&[]).of_kind(Kind::ConsulResolver).unwrap();
        assert_eq!(expand(r#"{"address":"$HOST_IP:8500"}"#).unwrap(), r#"{"address":"10.0.0.7:8500"}"#);
        assert_eq!(expand(r#"{"address":"1.2.3.4"}"#), None);
        assert!(expansion(&[]).of_kind(Kind::Mapping).is_none());
        assert!(expansion(&[("NUNCIO_EXPAND_ENV", "*")]).of_kind(Kind::Mapping).is_some());
    }

    #[test]
    fn the_switch_widens_names_and_reach() {
        let listed = expansion(&[("NUNCIO_EXPAND_ENV", "REGION, PASSWORD"), ("REGION", "eu")]);
        assert_eq!(spec("TracingService", "$REGION-$PASSWORD", &listed), "eu-secret");
        assert_eq!(spec("Mapping", "$REGION", &listed), "$REGION");
        assert_eq!(spec("Mapping", "$PASSWORD", &expansion(&[("NUNCIO_EXPAND_ENV", "*")])), "secret");
    }
}
