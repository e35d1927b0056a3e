//! Calls to the API server.

use std::time::Duration;

/// How long one call may take. The Kubernetes client has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server or the way to it.
    #[error("{}", brief(.0))]
    Call(#[from] kube::Error),
    /// No answer.
    #[error("no answer from the API server in {} s", PATIENCE.as_secs())]
    OutOfTime,
}

impl Error {
    /// Whether somebody else was faster: the object has changed, or exists already.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether the object or its kind does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The HTTP status, if there was an answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            // Not by its reason: a missing API group has none that is known.
            Self::Call(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

/// Waits for a call, within limits.
pub async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, call).await.map_err(|_| Error::OutOfTime)?.map_err(Error::Call)
}

/// An error of the client in a line. What the API server says is said once, without the rest of its answer.
pub fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("status {}", status.code),
        error => {
            // The reason is mostly at the end of the chain: refused, unknown authority, …
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                let more = error.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                cause = error.source();
            }
            text
        }
    }
}
