//! The queries of a case, and its answers.

use super::access::Access;
use crate::corpus::case::Case;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// The address of the client in recorded answers.
const RECORDED: &str = "10.77.0.1";
/// A thousand queries, each of which takes its ten seconds, are not among the cases.
const LIMIT: Duration = Duration::from_secs(240);

/// Where the recording had a stand-in for the diagnostics, whose answers nobody else gives.
const DIAGNOSTICS: [&str; 3] = [":8877/", "/ambassador/v0/", "/metrics"];

/// Whether some query of a case is not one for the diagnostics.
pub fn is_comparable(case: &Case) -> Result<bool> {
    Ok(queries(case)?.iter().any(|query| !asks_diagnostics(query)))
}

/// The case with its recording in another folder, in which answers of the diagnostics are as unknown as random ones are.
pub fn recording(case: &Case, folder: &Path) -> Result<Case> {
    let folder = folder.join(case.folder.file_name().unwrap_or_default());
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(case.folder.join("queries.json"), folder.join("queries.json"))?;
    let file = "expected.results.json";
    let mut recorded: Value = serde_json::from_str(&std::fs::read_to_string(case.folder.join(file))?)?;
    let answers = recorded.get_mut("results").and_then(Value::as_array_mut).context("no recorded answers")?;
    for (query, answer) in queries(case)?.iter().zip(answers) {
        if asks_diagnostics(query) {
            *answer = Value::Null;
        }
    }
    std::fs::write(folder.join(file), recorded.to_string())?;
    Ok(Case { folder, ..case.clone() })
}

fn asks_diagnostics(query: &Value) -> bool {
    let url = query.get("url").and_then(Value::as_str).unwrap_or_default();
    DIAGNOSTICS.iter().any(|part| url.contains(part))
}

fn queries(case: &Case) -> Result<Vec<Value>> {
    Ok(flatten(&serde_json::from_str(&std::fs::read_to_string(case.folder.join("queries.json"))?)?))
}

/// Sends the queries, phase by phase, and returns what the comparison reads: the answers in the order of the queries.
pub async fn ask(access: &Access, case: &Case, number: usize, folder: &Path) -> Result<Value> {
    let queries = queries(case)?;
    let mut answers = vec![Value::Null; queries.len()];
    let phases: BTreeSet<u64> = queries.iter().map(phase).collect();
    for phase_number in phases {
        let of_phase = queries.iter().enumerate().filter(|(_, query)| phase(query) == phase_number);
        let payload: Vec<Value> = of_phase.map(|(index, query)| prepared(query, index)).collect();
        let exchange = folder.join(format!("phase-{phase_number}"));
        std::fs::create_dir_all(&exchange)?;
        std::fs::write(exchange.join("queries.json"), serde_json::to_vec(&payload)?)?;
        let place = exchange.to_str().context("the folder's name")?;
        let name = format!("kat-client-{number}-{phase_number}");
        let address = access.run_client(&name, number, place, LIMIT).await?;
        let text = std::fs::read_to_string(exchange.join("answers.json")).context("kat-client wrote no answers")?;
        let text = replaced(&text, &address, RECORDED);
        for answer in serde_json::from_str::<Vec<Value>>(&text).context("kat-client wrote no JSON")? {
            let index = answer.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
            let place = index.and_then(|index| answers.get_mut(index)).context("an answer that nobody asked for")?;
            *place = answer.get("result").cloned().unwrap_or_default();
        }
    }
    Ok(json!({"case": case.name, "results": answers}))
}

fn phase(query: &Value) -> u64 {
    query.get("phase").and_then(Value::as_u64).unwrap_or(1)
}

/// All queries in order, those that repeat as often as they do.
fn flatten(file: &Value) -> Vec<Value> {
    let tests = file.get("tests").and_then(Value::as_array).into_iter().flatten();
    let queries = tests.flat_map(|test| test.get("queries").and_then(Value::as_array).into_iter().flatten());
    let mut all = Vec::new();
    for query in queries {
        let times = query.get("repeat").and_then(Value::as_u64).unwrap_or(1);
        all.extend((0..times).map(|_| query.clone()));
    }
    all
}

/// A query as `kat-client` takes it.
fn prepared(query: &Value, index: usize) -> Value {
    let mut fields: BTreeMap<String, Value> =
        query.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
    for name in ["expected", "phase", "repeat"] {
        fields.remove(name);
    }
    if let Some(body) = fields.remove("body_base64") {
        fields.insert("body".to_owned(), body);
    }
    for name in ["minTLSv", "maxTLSv"] {
        fields.entry(name.to_owned()).or_insert_with(|| json!(""));
    }
    fields.insert("id".to_owned(), json!(index));
    json!(fields)
}

/// The text with an address replaced, where it is not a part of a longer one.
fn replaced(text: &str, address: &str, by: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(address) {
        result.push_str(before);
        let part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_digit());
        let is_part = part(after.chars().next()) || part(before.chars().next_back());
        result.push_str(if is_part { address } else { by });
        rest = after;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_told_apart_by_number() {
        let file = json!({"tests": [
            {"queries": [{"url": "a", "repeat": 2, "phase": 2, "expected": {}, "body_base64": "eA=="}]},
            {"queries": [{"url": "b", "minTLSv": "v1.2"}]},
        ]});
        let queries = flatten(&file);
        assert_eq!(queries.iter().map(phase).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(
            prepared(&queries[1], 1),
            json!({"id": 1, "url": "a", "body": "eA==", "minTLSv": "", "maxTLSv": ""})
        );
        assert_eq!(prepared(&queries[2], 2), json!({"id": 2, "url": "b", "minTLSv": "v1.2", "maxTLSv": ""}));
    }

    #[test]
    fn only_whole_addresses_are_replaced() {
        let text = "10.244.0.2 10.244.0.23 110.244.0.2 10.244.0.2:80";
        assert_eq!(replaced(text, "10.244.0.2", "x"), "x 10.244.0.23 110.244.0.2 x:80");
    }
}
