//! The one place that writes a status to the API server.

use super::StatusView;
use super::decide::Wanted;
use super::lease::Leadership;
use http::Request;
use http_body_util::{BodyExt, Limited};
use kube::Client;
use serde::Serialize;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Longest that one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Writes under way, of all kinds together. More of them only wait for the API server, and everybody's edits wait behind
/// them: 32 were no faster than 8.
const CONCURRENT: usize = 4;
/// Most that is read of an answer.
const ANSWER_BYTES: usize = 8 << 20;

/// Writes statuses while this replica is the leader.
pub(super) struct StatusWriter {
    client: Client,
    /// Field manager.
    pub manager: String,
    leadership: Leadership,
    places: Semaphore,
}

/// What an API server does with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The status is as it was to be.
    Done,
    /// There is no such object any more, or another one has its name. The feed knows, or soon will.
    Gone,
    /// The kind keeps no conditions: its definition is upstream's.
    NoConditions,
    /// The kind keeps no status at all.
    NoStatus,
}

/// Why a status could not be written. Trying again may help.
#[derive(Debug, Error)]
pub(super) enum WriteError {
    #[error("this replica is not the leader any more")]
    NotLeader,
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Client(#[from] kube::Error),
}

impl WriteError {
    /// For the metric.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::Timeout => "timeout",
            Self::Refused(_) => "refused",
            Self::Client(_) => "connection",
        }
    }
}

#[derive(Serialize)]
struct Applied<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    kind: &'a str,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a Wanted>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    /// A namesake that was made anew is another object; what is known of the old one must not reach it.
    uid: &'a str,
}

impl StatusWriter {
    pub(super) fn new(client: Client, manager: String, leadership: Leadership) -> Self {
        Self { client, manager, leadership, places: Semaphore::new(CONCURRENT) }
    }

    /// Makes this the status of the object as far as it is ours, by server-side apply; with `None`, takes away what is.
    pub(super) async fn write<K>(&self, view: &StatusView<K>, wanted: Option<&Wanted>) -> Result<Written, WriteError>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let _place = self.places.acquire().await.map_err(|_| WriteError::NotLeader)?;
        let has_conditions = wanted.is_some_and(|wanted| !wanted.conditions.is_empty());
        let uid = view.uid();
        let applied = Applied {
            api_version: &K::api_version(&()),
            kind: &K::kind(&()),
            metadata: Metadata { name: view.name(), namespace: view.namespace(), uid: &uid },
            status: wanted,
        };
        let body = serde_json::to_vec(&applied).map_err(kube::Error::SerdeError)?;
        let collection = StatusView::<K>::collection_path(view.namespace());
        let request =
            Request::patch(format!("{collection}/{}/status?fieldManager={}&force=true", view.name(), self.manager))
                .header(http::header::CONTENT_TYPE, "application/apply-patch+yaml")
                .header(http::header::ACCEPT, "application/json")
                .body(body.into())
                .map_err(kube::Error::HttpError)?;
        // Nothing leaves after the leadership ended, not even from a process that was stopped meanwhile.
        let until = self.leadership.until().filter(|until| *until > Instant::now()).ok_or(WriteError::NotLeader)?;
        let answer = async {
            let answer = self.client.send(request).await?;
            let status = answer.status();
            // The answer is the whole object. It is read so that the connection can be used again, and not looked at.
            let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
            Ok::<_, kube::Error>((status, body.map(|body| body.to_bytes()).unwrap_or_default()))
        };
        let (status, body) =
            timeout_at(until.min(Instant::now() + WRITE_TIMEOUT), answer).await.map_err(|_| WriteError::Timeout)??;
        if status.is_success() {
            return Ok(Written::Done);
        }
        let text = message(&body);
        match status.as_u16() {
            404 if text.contains("could not find the requested resource") || text.starts_with("404 page") => {
                Ok(Written::NoStatus)
            }
            404 | 409 | 410 => Ok(Written::Gone),
            _ if text.contains("field not declared in schema") && has_conditions => Ok(Written::NoConditions),
            code => Err(WriteError::Refused(format!("{code}: {text}"))),
        }
    }
}

/// The text of a Kubernetes Status, or the beginning of whatever came instead of one.
fn message(body: &[u8]) -> String {
    let status: Option<kube::core::Status> = serde_json::from_slice(body).ok();
    let text = status.map(|status| status.message).filter(|text| !text.is_empty());
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}
