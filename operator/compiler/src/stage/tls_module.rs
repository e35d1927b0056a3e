//! The Module `tls` of old installations, as the TLSContexts that upstream makes of it.

use serde_json::{Map, Value, json};

/// What upstream looks for where the blocks name no Secret.
const SERVER_SECRET: &str = "ambassador-certs";
const CLIENT_SECRET: &str = "ambassador-cacert";

/// Names and specs of the TLSContexts in the `config` of the Module.
///
/// `server` and `client` are one context for every host name: what is shown to clients, and what is asked of them. Any other
/// block is a context for services. A context terminates nothing without a Host or TCPMapping that names or fits it.
pub fn contexts(config: &Map<String, Value>) -> Vec<(&str, Value)> {
    let is_on = |name: &str| {
        let block = config.get(name)?.as_object()?;
        let off = block.get("enabled").is_some_and(|enabled| matches!(enabled, Value::Bool(false)));
        (!off).then_some(block)
    };
    let mut found = Vec::new();
    if let Some(server) = is_on("server") {
        found.push(("server", context_of_server(server, is_on("client"))));
    }
    for (name, block) in config {
        if let ("server" | "client", _) | (_, None) = (name.as_str(), block.as_object()) {
            continue;
        }
        let mut spec = block.clone();
        if let Some(fields) = spec.as_object_mut() {
            fields.remove("enabled");
        }
        found.push((name, spec));
    }
    found
}

fn context_of_server(server: &Map<String, Value>, client: Option<&Map<String, Value>>) -> Value {
    let mut spec = Map::new();
    spec.insert("hosts".to_owned(), json!(["*"]));
    let mut take = |from: &Map<String, Value>, names: &[(&str, &str)]| {
        for (name, field) in names {
            spec.extend(from.get(*name).map(|value| ((*field).to_owned(), value.clone())));
        }
    };
    let own = ["secret", "cert_chain_file", "private_key_file", "alpn_protocols", "redirect_cleartext_from"];
    take(server, &own.map(|name| (name, name)));
    if let Some(client) = client {
        let own =
            [("secret", "ca_secret"), ("cacert_chain_file", "cacert_chain_file"), ("cert_required", "cert_required")];
        take(client, &own);
        if !client.contains_key("secret") && !client.contains_key("cacert_chain_file") {
            spec.insert("ca_secret".to_owned(), CLIENT_SECRET.into());
        }
    }
    if !server.contains_key("secret") && !server.contains_key("cert_chain_file") {
        spec.insert("secret".to_owned(), SERVER_SECRET.into());
    }
    Value::Object(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_contexts() {
        for (config, expected) in [
            (json!({}), json!({})),
            (json!({"server": {"enabled": false}, "client": {"secret": "ca"}}), json!({})),
            (json!({"server": {}}), json!({"server": {"hosts": ["*"], "secret": "ambassador-certs"}})),
            (
                json!({"server": {"secret": "own", "enabled": true, "x": 1}, "client": {"cert_required": true}}),
                json!({"server": {"hosts": ["*"], "secret": "own", "ca_secret": "ambassador-cacert", "cert_required": true}}),
            ),
            (
                json!({"server": {"cert_chain_file": "/a", "private_key_file": "/b"}, "client": {"secret": "ca"}}),
                json!({"server": {"hosts": ["*"], "cert_chain_file": "/a", "private_key_file": "/b", "ca_secret": "ca"}}),
            ),
            (json!({"upstream": {"secret": "s", "enabled": true}, "odd": 7}), json!({"upstream": {"secret": "s"}})),
        ] {
            let found: Map<String, Value> =
                contexts(config.as_object().unwrap()).into_iter().map(|(name, spec)| (name.to_owned(), spec)).collect();
            assert_eq!(Value::Object(found), expected, "{config}");
        }
    }
}
