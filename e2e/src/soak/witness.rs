//! What shows that edits are live: answers on kept connections, and conditions.

use super::client::{Dialer, Http1, LIMIT, request};
use super::ledger::Entry;
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::{Duration, Instant};

/// A connection on which edits have to be seen.
pub(super) struct Witness {
    entry: Entry,
    connection: Option<Http1>,
}

impl Witness {
    pub(super) fn new(entry: Entry) -> Self {
        Self { entry, connection: None }
    }

    /// Asks until the marker has that number.
    pub(super) async fn wait(&mut self, dialer: &Dialer, number: usize) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            match self.seen(dialer).await {
                Ok(Some(seen)) if seen >= number => return true,
                Ok(_) => {}
                Err(_) => self.connection = None,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        false
    }

    /// The number that the marker has there.
    async fn seen(&mut self, dialer: &Dialer) -> Result<Option<usize>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(dialer.http1(self.entry).await?.0),
        };
        let reply = connection.send(request(self.entry, false, "/marker/", 0)?).await?;
        let location = reply.head.headers.get("location").and_then(|value| value.to_str().ok()).context("no marker")?;
        Ok(location.split_once("://e").and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok()))
    }
}

/// Whether all objects whose names begin like that are programmed, by the gateway's own status page; `None` for another page.
pub(super) fn is_programmed(status: &Value, prefix: &str) -> Option<bool> {
    let text = |of: &Value, field: &str| of.get(field).and_then(Value::as_str).map(str::to_owned);
    let programmed = |object: &Value| {
        let mut conditions = object.get("conditions").and_then(Value::as_array).into_iter().flatten();
        conditions.any(|condition| {
            text(condition, "type").as_deref() == Some("Programmed")
                && text(condition, "status").as_deref() == Some("True")
        })
    };
    let mut named = status.get("objects")?.as_array()?.iter();
    Some(named.all(|object| !text(object, "name").is_some_and(|name| name.starts_with(prefix)) || programmed(object)))
}

/// The generation of an object that its conditions are about.
pub(super) fn generation(status: &Value, name: &str) -> Option<usize> {
    let mut objects = status.get("objects")?.as_array()?.iter();
    let object = objects.find(|object| object.get("name").and_then(Value::as_str) == Some(name))?;
    usize::try_from(object.pointer("/conditions/0/observedGeneration")?.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_named_objects_have_to_be_programmed() {
        let object = |name: &str, status: &str| {
            json!({ "name": name, "conditions": [
            { "type": "Accepted", "status": "True" }, { "type": "Programmed", "status": status }] })
        };
        let page = |of: &[Value]| json!({ "objects": of });
        let told = |of: &[Value]| is_programmed(&page(of), "slot-");
        assert_eq!(told(&[object("slot-1-0", "True"), object("marker", "False")]), Some(true));
        assert_eq!(told(&[object("slot-1-0", "True"), object("slot-2-0", "Unknown")]), Some(false));
        assert_eq!(told(&[json!({ "name": "slot-1-0", "conditions": [] })]), Some(false));
        assert_eq!(is_programmed(&json!({}), "slot-"), None);
        let marker = json!({ "name": "marker", "conditions": [{ "type": "Accepted", "observedGeneration": 7 }] });
        assert_eq!(generation(&page(&[object("slot-1-0", "True"), marker]), "marker"), Some(7));
        assert_eq!(generation(&page(&[]), "marker"), None);
    }
}
