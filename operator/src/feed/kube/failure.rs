//! Why a kind cannot be read, in words for its owner.

use kube::Error;
use kube_runtime::watcher;
use std::error::Error as _;

/// Bytes of a message of the API server that are repeated.
const TEXT_BYTES: usize = 300;

/// What stands between a feed and its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The watch fell too far behind; a new listing follows at once. Happens in ordinary operation.
    Expired,
    /// The API server does not serve the kind: its definition is not installed.
    Absent,
    /// The rights are missing.
    Forbidden(String),
    /// The API server answers, but not with objects.
    Answered(String),
    /// There is no answer.
    Unreachable(String),
}

impl From<&watcher::Error> for Failure {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Self::from(error),
            watcher::Error::WatchError(status) => Self::of(status.code, &status.message),
            watcher::Error::NoResourceVersion => Self::Answered("the answer has no resource version".into()),
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        match error {
            // The code decides: a missing API group is answered with plain text, of which kube makes up a reason.
            Error::Api(status) => Self::of(status.code, &status.message),
            Error::SerdeError(error) => Self::Answered(shorten(&format!("the answer is not understood: {error}"))),
            Error::Service(_) | Error::HyperError(_) | Error::ReadEvents(_) => {
                Self::Unreachable(shorten(&chain(error)))
            }
            other => Self::Answered(shorten(&chain(other))),
        }
    }
}

impl Failure {
    fn of(code: u16, message: &str) -> Self {
        match code {
            404 => Self::Absent,
            410 => Self::Expired,
            401 => Self::Forbidden("the API server does not accept the credentials (401)".into()),
            403 => Self::Forbidden(shorten(message)),
            code => Self::Answered(shorten(&format!("{message} ({code})"))),
        }
    }
}

/// An error with its causes, each once.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// One line of bounded length.
fn shorten(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = line.floor_char_boundary(TEXT_BYTES.min(line.len()));
    line.get(..end).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn api(code: u16, message: &str) -> Failure {
        let status = Status { code, message: message.into(), ..Status::default() };
        Failure::from(&watcher::Error::InitialListFailed(Error::Api(Box::new(status))))
    }

    #[test]
    fn the_code_decides() {
        assert_eq!(api(404, "404 page not found\n"), Failure::Absent);
        assert_eq!(api(410, "too old resource version"), Failure::Expired);
        assert!(matches!(api(403, "hosts is forbidden"), Failure::Forbidden(text) if text == "hosts is forbidden"));
        assert!(matches!(api(401, ""), Failure::Forbidden(text) if text.contains("credentials")));
        assert!(matches!(api(429, "storage is (re)initializing"), Failure::Answered(text) if text.contains("429")));
    }

    #[test]
    fn messages_are_one_bounded_line() {
        let Failure::Answered(text) = api(500, &"a\nb\u{e9}".repeat(1_000)) else { panic!() };
        assert!(text.len() <= TEXT_BYTES && !text.contains('\n'));
    }
}
