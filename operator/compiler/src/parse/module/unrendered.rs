//! Keys of the Module that are understood and have no rows yet, or never have an effect. They are checked all the same.

use crate::check::{limits, text::quote};
use crate::parse::config::Config;
use ir::ProblemKind;
use serde_json::Value;
use std::net::IpAddr;

/// Keys that upstream takes and that have no effect since Hosts and Listeners exist, or have none here.
const WITHOUT_EFFECT: [&str; 10] = [
    "auth_enabled",
    "debug_mode",
    "envoy_validation_timeout",
    "prune_unreachable_routes",
    "regex_type",
    "service_port",
    "statsd",
    "use_proxy_proto",
    "x_forwarded_proto_redirect",
    "xff_num_trusted_hops",
];

/// Checks all of them.
pub fn check(config: &mut Config) {
    WITHOUT_EFFECT.into_iter().for_each(|key| config.no_effect(key));
    if config.take("tls").is_some() {
        config.report.note("config.tls", ProblemKind::NoEffect, "`tls` has no effect; a TLSContext takes its place");
    }
    filters(config);
    connections(config);
    // They are for a RateLimitService, which says itself that it is not there yet.
    config.map("default_labels");
}

/// `ip_allow` and `ip_deny`: lists of `{peer: CIDR}` or `{remote: CIDR}`. Without them everything would get through, so
/// who cannot be told apart is refused.
pub fn address_lists(config: &mut Config) {
    let both = config.peek("ip_allow") && config.peek("ip_deny");
    for key in ["ip_allow", "ip_deny"] {
        let Some(value) = config.take(key) else { continue };
        let field = format!("config.{key}");
        let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
        if entries.is_empty() || entries.len() > limits::ITEMS {
            let detail = format!("`{key}` is no list of 1 to {} entries", limits::ITEMS);
            config.report.degrade(&field, ProblemKind::InvalidValue, detail);
        }
        for (index, entry) in entries.iter().enumerate().take(limits::ITEMS) {
            let range = match entry.as_object().map(|entry| entry.iter().collect::<Vec<_>>()).as_deref() {
                Some([(side, Value::String(range))]) if ["peer", "remote"].contains(&side.as_str()) => Some(range),
                _ => None,
            };
            if !range.is_some_and(|range| is_address_range(range)) {
                let shown = quote(&entry.to_string());
                let detail = format!("{shown} is neither `peer` nor `remote` with an address range");
                config.report.degrade(&format!("{field}[{index}]"), ProblemKind::InvalidValue, detail);
            }
        }
        if both {
            let detail = "`ip_allow` and `ip_deny` exclude each other";
            config.report.degrade(&field, ProblemKind::ConflictingFields, detail);
        }
        let detail = format!(
            "`{key}` is not supported yet: every request is refused with 500, as without it all would get through"
        );
        config.report.degrade(&field, ProblemKind::NotSupported, detail);
    }
}

/// An address, or one with the length of its prefix.
fn is_address_range(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= most))
}

fn filters(config: &mut Config) {
    if config.peek("runtime_flags") {
        config.inner("runtime_flags");
    }
    config.not_yet("runtime_flags");
    if config.get("lua_scripts").is_some_and(|script| !script.is_string()) {
        config.report.degrade("config.lua_scripts", ProblemKind::InvalidValue, "the script is no text");
    }
    config.not_yet("lua_scripts");
}

fn connections(config: &mut Config) {
    if let Some(port) = config.count("admin_port")
        && !(1..=65535).contains(&port)
    {
        config.report.degrade("config.admin_port", ProblemKind::InvalidValue, format!("{port} is no port"));
    }
    config.not_yet("admin_port");
    config.decoded::<Vec<String>>("header_case_overrides");
    // What upstream's own Envoy had for it up to 3.10 is in no other.
    if config.take("header_case_overrides").is_some() {
        let detail = "`header_case_overrides` has no effect: Envoy has nothing of the kind";
        config.report.degrade("config.header_case_overrides", ProblemKind::NotSupported, detail);
    }
}
