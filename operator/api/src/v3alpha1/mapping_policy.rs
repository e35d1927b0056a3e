//! Parts of a Mapping that act on requests and answers: rewriting, retries, CORS, labels, error bodies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::integer;

/// Replaces what a regular expression matches.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct RegexMap {
    /// The regular expression, in RE2 syntax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What replaces the match; `\1` is the first group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub substitution: Option<String>,
}

/// When and how often a request is tried again.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct RetryPolicy {
    /// What counts as a failure. A policy without it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryOn>,
    /// Most further attempts. Default: 1.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub num_retries: Option<i64>,
    /// Time for each attempt, such as `2s`. Default: what is left of the request's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<String>,
}

/// Failures after which a request is tried again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum RetryOn {
    /// Any 5xx answer, or none at all.
    #[serde(rename = "5xx")]
    FiveXx,
    /// 502, 503 or 504.
    #[serde(rename = "gateway-error")]
    GatewayError,
    /// No connection.
    #[serde(rename = "connect-failure")]
    ConnectFailure,
    /// 409.
    #[serde(rename = "retriable-4xx")]
    Retriable4xx,
    /// The upstream refused the stream.
    #[serde(rename = "refused-stream")]
    RefusedStream,
    /// Codes named in a request header.
    #[serde(rename = "retriable-status-codes")]
    RetriableStatusCodes,
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Cors {
    /// Origins that may ask, exactly as browsers send them; `*` is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<String>>,
    /// Methods they may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Request headers they may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<String>>,
    /// Whether they may send credentials. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<bool>,
    /// Response headers they may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_headers: Option<Vec<String>>,
    /// Seconds a browser may remember the answer, written as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// Whether a v1 or v2 object spelled `origins` as one string, for conversion back.
    #[serde(rename = "v2CommaSeparatedOrigins", skip_serializing_if = "Option::is_none")]
    pub v2_comma_separated_origins: Option<bool>,
}

/// Another body for answers with a certain status code.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ErrorResponseOverride {
    /// The status code.
    #[serde(deserialize_with = "integer::required")]
    #[schemars(range(min = 400, max = 599))]
    pub on_status_code: i64,
    /// The body; exactly one of its formats is expected.
    pub body: ErrorResponseBody,
}

/// The body of an error answer.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ErrorResponseBody {
    /// Text; Envoy's `%…%` variables are substituted. The empty string is an empty body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_format: Option<String>,
    /// A JSON object; Envoy's variables are substituted in its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_format: Option<BTreeMap<String, String>>,
    /// A file with the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_format_source: Option<ErrorResponseTextSource>,
    /// Content type of a text body. It cannot be combined with `json_format`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// A file with the text of an error answer.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ErrorResponseTextSource {
    /// Path of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
}

/// API documents of a service.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct MappingDocs {
    /// Path of the OpenAPI document at the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where the OpenAPI document is, instead of at the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Name to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Whether the service is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<bool>,
    /// Milliseconds to wait for the document.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<i64>,
}
