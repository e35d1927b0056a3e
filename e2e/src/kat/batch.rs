//! A batch of queries: an array in, the same array with results out.

use super::query::{Answered, Grpc, Outcome, Query};
use super::{go, grpc, http, websocket};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What one query may take, with everything.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Queries at the same time, unless `KAT_QUERY_LIMIT` says otherwise.
pub const LIMIT: usize = 25;

/// Answers a batch, at most `limit` queries at the same time. The text that comes back is what kat-client writes.
///
/// An input that is not an array of objects, or a client certificate without a usable key, is an error of the whole run.
pub async fn run(input: &[u8], limit: usize) -> Result<String> {
    let Ok(Value::Array(queries)) = serde_json::from_slice(input) else {
        bail!("the input is not a JSON array");
    };
    let mut parsed = Vec::with_capacity(queries.len());
    for query in queries {
        match query {
            Value::Object(fields) => parsed.push(Query(fields)),
            other => bail!("not a query: {other}"),
        }
    }
    let permits = Arc::new(Semaphore::new(limit.max(1)));
    let tasks: Vec<_> = parsed
        .into_iter()
        .map(|query| {
            let permits = Arc::clone(&permits);
            tokio::spawn(async move {
                let _permit = permits.acquire_owned().await?;
                answer(query).await
            })
        })
        .collect();
    let mut answered = Vec::with_capacity(tasks.len());
    for task in tasks {
        answered.push(task.await.context("a query's task failed")??);
    }
    Ok(serde_json::to_string_pretty(&answered)?)
}

/// Answers one query.
async fn answer(mut query: Query) -> Result<Answered> {
    let outcome = if query.is_websocket() {
        limited(&query, websocket::exchange(&query)).await
    } else if query.grpc() == Some(Grpc::Real) {
        limited(&query, grpc::exchange(&query)).await
    } else {
        let start = go::Moment::now().rfc3339();
        query.0.insert("client-start-date".to_owned(), start.clone().into());
        limited(&query, http::exchange(&query)).await.map(|mut outcome| {
            if let Some(headers) = &mut outcome.headers {
                headers.insert("Client-Start-Date".to_owned(), vec![start]);
                headers.insert("Client-End-Date".to_owned(), vec![go::Moment::now().rfc3339()]);
            }
            outcome
        })
    };
    match outcome {
        Ok(outcome) => Ok(Answered { query, outcome }),
        Err(Failure::Query(text)) => Ok(Answered { query, outcome: Outcome::of_error(text) }),
        Err(Failure::Run(text)) => bail!(text),
    }
}

/// Why there is no response.
#[derive(Debug)]
pub enum Failure {
    /// The query failed; the text goes into its result.
    Query(String),
    /// The whole run has to end.
    Run(String),
}

async fn limited(query: &Query, exchange: impl Future<Output = Result<Outcome, Failure>>) -> Result<Outcome, Failure> {
    tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| {
        let text = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)";
        Err(Failure::Query(http::describe(query, text)))
    })
}
