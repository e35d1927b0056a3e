//! Where access logs go, and in which form.

use crate::check::{format, limits, text::quote};
use crate::parse::config::Config;
use crate::parse::report::Report;
use ir::{AccessLog, AccessLogFormat, ProblemKind};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The default line, upstream's to the letter, so that log pipelines go on working.
pub(super) const TEXT: &str = concat!(
    "ACCESS [%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n"
);

/// Keys and operators of the default JSON object, upstream's as well.
const JSON: [(&str, &str); 22] = [
    ("start_time", "START_TIME"),
    ("method", "REQ(:METHOD)"),
    ("path", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)"),
    ("protocol", "PROTOCOL"),
    ("response_code", "RESPONSE_CODE"),
    ("response_flags", "RESPONSE_FLAGS"),
    ("bytes_received", "BYTES_RECEIVED"),
    ("bytes_sent", "BYTES_SENT"),
    ("duration", "DURATION"),
    ("upstream_service_time", "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)"),
    ("x_forwarded_for", "REQ(X-FORWARDED-FOR)"),
    ("user_agent", "REQ(USER-AGENT)"),
    ("request_id", "REQ(X-REQUEST-ID)"),
    ("authority", "REQ(:AUTHORITY)"),
    ("upstream_host", "UPSTREAM_HOST"),
    ("upstream_cluster", "UPSTREAM_CLUSTER"),
    ("upstream_local_address", "UPSTREAM_LOCAL_ADDRESS"),
    ("downstream_local_address", "DOWNSTREAM_LOCAL_ADDRESS"),
    ("downstream_remote_address", "DOWNSTREAM_REMOTE_ADDRESS"),
    ("requested_server_name", "REQUESTED_SERVER_NAME"),
    ("istio_policy_status", "DYNAMIC_METADATA(istio.mixer:status)"),
    ("upstream_transport_failure_reason", "UPSTREAM_TRANSPORT_FAILURE_REASON"),
];

const FIELD: &str = "config.envoy_log_format";

/// Reads `envoy_log_path`, `envoy_log_type` and `envoy_log_format`.
pub(super) fn access_log(config: &mut Config) -> AccessLog {
    let path = config.name("envoy_log_path").unwrap_or_else(|| "/dev/fd/1".into());
    let kind = config.name("envoy_log_type").unwrap_or_else(|| "text".into());
    let written = config.take("envoy_log_format");
    let format = match &*kind {
        "json" => AccessLogFormat::Json(json(written, config.report)),
        "typed_json" => AccessLogFormat::TypedJson(json(written, config.report)),
        "text" => AccessLogFormat::Text(text(written, config.report)),
        other => {
            let detail = format!("{} is none of text, json, typed_json; text is used", quote(other));
            config.report.degrade("config.envoy_log_type", ProblemKind::InvalidValue, detail);
            AccessLogFormat::Text(text(written.filter(|format| format.is_string()), config.report))
        }
    };
    AccessLog { path, format }
}

fn text(written: Option<&Value>, report: &mut Report) -> Arc<str> {
    let problem = match written {
        None => return TEXT.into(),
        Some(Value::String(text)) if text.is_empty() => return TEXT.into(),
        Some(Value::String(text)) if text.len() > limits::LOG_FORMAT => {
            (ProblemKind::TooLarge, format!("the format is longer than {} bytes", limits::LOG_FORMAT))
        }
        Some(Value::String(text)) => match format::format_string(text) {
            Ok(()) => return format!("{text}\n").into(),
            Err(reason) => (ProblemKind::InvalidFormat, reason),
        },
        Some(other) => (ProblemKind::InvalidValue, format!("{} is no text", quote(&other.to_string()))),
    };
    report.degrade(FIELD, problem.0, format!("{}; the default format is used", problem.1));
    TEXT.into()
}

/// The object in canonical form: keys sorted, no blanks.
fn json(written: Option<&Value>, report: &mut Report) -> Arc<str> {
    let default = || {
        let object: Map<String, Value> =
            JSON.iter().map(|(key, operator)| ((*key).to_owned(), format!("%{operator}%").into())).collect();
        Value::Object(object).to_string().into()
    };
    let problem = match written {
        None => return default(),
        Some(found @ Value::Object(map)) => {
            let canonical = found.to_string();
            let wrong = map.iter().find_map(|(key, value)| Some((key, judge(value).err()?)));
            match wrong {
                _ if canonical.len() > limits::LOG_FORMAT => {
                    (String::new(), ProblemKind::TooLarge, format!("it is longer than {} bytes", limits::LOG_FORMAT))
                }
                Some((key, reason)) => {
                    (format!(".{}", quote(key).trim_matches('`')), ProblemKind::InvalidFormat, reason)
                }
                None => return canonical.into(),
            }
        }
        Some(other) => (String::new(), ProblemKind::InvalidValue, format!("{} is no map", quote(&other.to_string()))),
    };
    report.degrade(&format!("{FIELD}{}", problem.0), problem.1, format!("{}; the default format is used", problem.2));
    default()
}

/// Every text in it has to be a format string; numbers and the like are written as they are.
fn judge(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => format::format_string(text),
        Value::Object(map) => map.values().try_for_each(judge),
        Value::Array(list) => list.iter().try_for_each(judge),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}
