//! Logs on standard error.

use crate::cli::args::LogFormat;
use crate::settings::Environment;
use std::io::stderr;
use tracing_subscriber::EnvFilter;

/// Starts logging at the level of `NUNCIO_LOG` (a filter) or `AES_LOG_LEVEL` (a level), else `warn`; in JSON when asked
/// for, or when `AMBASSADOR_JSON_LOGGING` is true. Later calls do nothing.
pub fn init(format: Option<LogFormat>, environment: &Environment) {
    let level = environment.get("NUNCIO_LOG").or(environment.get("AES_LOG_LEVEL")).unwrap_or("warn");
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("warn"));
    // What goes wrong between us and the API server is told by those who ask it, once and not at every attempt.
    let quiet = ["kube_runtime=off", "kube_client=off"].into_iter().filter_map(|directive| directive.parse().ok());
    let filter = match environment.get("NUNCIO_LOG") {
        Some(_) => filter,
        None => quiet.fold(filter, EnvFilter::add_directive),
    };
    let default = if environment.is_true("AMBASSADOR_JSON_LOGGING") { LogFormat::Json } else { LogFormat::Text };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let _ = match format.unwrap_or(default) {
        LogFormat::Text => builder.with_target(false).with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
