//! HTTP filters that guard nothing. They are in every chain while the Module has their key.

use crate::check::{limits, text::quote};
use crate::parse::config::Config;
use ir::{GrpcMethods, GrpcService, GrpcStats, Gzip, GzipStrategy, ModuleFilters, ProblemKind};
use serde_json::Value;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Reads all of them; `None` when the Module asks for none.
pub(super) fn filters(config: &mut Config) -> Option<Arc<ModuleFilters>> {
    let found = ModuleFilters {
        grpc_http1_bridge: present(config, "enable_grpc_http11_bridge"),
        grpc_web: present(config, "enable_grpc_web"),
        grpc_stats: grpc_stats(config),
        gzip: gzip(config),
        buffer_bytes: buffer(config),
    };
    (found != ModuleFilters::default()).then(|| found.into())
}

/// Whether the key is there. Its value does not count, as upstream has it, and who writes `false` is told so.
fn present(config: &mut Config, key: &str) -> bool {
    let Some(value) = config.take(key) else { return false };
    if *value != Value::Bool(true) {
        let shown = quote(&value.to_string());
        let detail =
            format!("the filter is on whatever the value is, here {shown}; leave the key out to switch it off");
        config.report.note(&config.field(key), ProblemKind::NoEffect, detail);
    }
    true
}

fn grpc_stats(config: &mut Config) -> Option<GrpcStats> {
    let mut stats = config.section("grpc_stats")?;
    let all = stats.boolean("all_methods").unwrap_or(false);
    let upstream = stats.boolean("upstream_stats").unwrap_or(false);
    let methods = match services(&mut stats) {
        Some(services) => {
            if all {
                let detail = "`services` takes the place of `all_methods`";
                stats.report.note(&stats.field("all_methods"), ProblemKind::NoEffect, detail);
            }
            if services.is_empty() { GrpcMethods::Unnamed } else { GrpcMethods::Of(services) }
        }
        None if all => GrpcMethods::All,
        None => GrpcMethods::Unnamed,
    };
    stats.leftovers();
    Some(GrpcStats { methods, upstream })
}

/// The list `services`. Envoy refuses a service without a name or without methods, so these are left out.
fn services(stats: &mut Config) -> Option<Vec<GrpcService>> {
    const KEY: &str = "services";
    let list = stats.list(KEY, limits::ITEMS)?;
    let mut found = Vec::new();
    let mut room = limits::ITEMS;
    for (index, value) in list.iter().enumerate() {
        let at = format!("{}[{index}]", stats.field(KEY));
        if room == 0 {
            let detail = format!("more than {} methods; this service and those behind it are left out", limits::ITEMS);
            stats.report.degrade(&at, ProblemKind::TooLarge, detail);
            break;
        }
        let Some(mut service) = stats.entry(KEY, index, value) else { continue };
        let name = service.name("name").filter(|name| name.len() <= limits::NAME);
        let methods = service.texts("method_names", room);
        // Bad entries count as well, or the findings about them would have no bound.
        let read = service.get("method_names").and_then(Value::as_array).map_or(0, Vec::len);
        room = room.saturating_sub(read);
        service.leftovers();
        match name {
            Some(name) if !methods.is_empty() => found.push(GrpcService { name, methods }),
            _ => {
                let most = limits::NAME;
                let detail =
                    format!("a `name` of 1 to {most} bytes and `method_names` are needed; the service is left out");
                stats.report.degrade(&at, ProblemKind::InvalidValue, detail);
            }
        }
    }
    Some(found)
}

fn gzip(config: &mut Config) -> Option<Gzip> {
    let mut gzip = config.section("gzip")?;
    // Upstream's examples have `enabled: true`, and nobody ever read it.
    if gzip.take("enabled").is_some_and(|value| *value != Value::Bool(true)) {
        let detail = "answers are compressed while the key `gzip` is there; leave it out to switch that off";
        gzip.report.note(&gzip.field("enabled"), ProblemKind::NoEffect, detail);
    }
    let found = Gzip {
        memory_level: gzip.ranged("memory_level", 1..=9),
        level: level(&mut gzip),
        strategy: strategy(&mut gzip),
        window_bits: gzip.ranged("window_bits", 9..=15),
        min_content_length: gzip.count("min_content_length"),
        content_types: content_types(&mut gzip),
        not_with_etag: gzip.boolean("disable_on_etag_header").unwrap_or(false),
        remove_accept_encoding: gzip.boolean("remove_accept_encoding_header").unwrap_or(false),
    };
    gzip.leftovers();
    Some(found)
}

/// Envoy's names of the levels, and their numbers. An unknown one would be refused with the whole listener.
fn level(gzip: &mut Config) -> Option<u32> {
    const KEY: &str = "compression_level";
    let value = gzip.take(KEY)?;
    let level = match value.as_str() {
        Some("DEFAULT_COMPRESSION") => Some(0),
        Some("BEST_SPEED") => Some(1),
        Some("BEST_COMPRESSION") => Some(9),
        Some(name) => (1..=9).find(|level| name.strip_prefix("COMPRESSION_LEVEL_") == Some(&*level.to_string())),
        None => value.as_u64().and_then(|level| u32::try_from(level).ok()).filter(|level| *level <= 9),
    };
    if level.is_none() {
        let names = "DEFAULT_COMPRESSION, BEST_SPEED, COMPRESSION_LEVEL_1 to COMPRESSION_LEVEL_9, BEST_COMPRESSION";
        none_of(gzip, KEY, value, names);
    }
    level.filter(|level| *level > 0)
}

fn strategy(gzip: &mut Config) -> Option<GzipStrategy> {
    const KEY: &str = "compression_strategy";
    let value = gzip.take(KEY)?;
    match value.as_str() {
        Some("DEFAULT_STRATEGY") => None,
        Some("FILTERED") => Some(GzipStrategy::Filtered),
        Some("HUFFMAN_ONLY") => Some(GzipStrategy::HuffmanOnly),
        Some("RLE") => Some(GzipStrategy::Rle),
        Some("FIXED") => Some(GzipStrategy::Fixed),
        _ => {
            none_of(gzip, KEY, value, "DEFAULT_STRATEGY, FILTERED, HUFFMAN_ONLY, RLE, FIXED");
            None
        }
    }
}

fn none_of(config: &mut Config, key: &str, value: &Value, names: &str) {
    let detail = format!("{} is none of {names}; the default is used", quote(&value.to_string()));
    config.report.degrade(&config.field(key), ProblemKind::InvalidValue, detail);
}

/// Envoy cuts parameters off what it compares, so an entry that has some matches nothing.
fn content_types(gzip: &mut Config) -> Vec<Arc<str>> {
    const KEY: &str = "content_type";
    let types = gzip.texts(KEY, limits::ITEMS);
    if let Some(found) = types.iter().find(|found| found.contains(';')) {
        let detail = format!("{} matches nothing: media types are compared without parameters", quote(found));
        gzip.report.note(&gzip.field(KEY), ProblemKind::NoEffect, detail);
    }
    types
}

fn buffer(config: &mut Config) -> Option<NonZeroU32> {
    const BYTES: &str = "max_request_bytes";
    let mut buffer = config.section("buffer")?;
    let bytes = buffer.ranged(BYTES, 1..=u32::MAX);
    if !buffer.peek(BYTES) {
        let detail = "a number of bytes above 0 is needed; without it nothing is buffered";
        buffer.report.degrade(&buffer.field(BYTES), ProblemKind::InvalidValue, detail);
    }
    buffer.no_effect("max_request_time");
    buffer.leftovers();
    NonZeroU32::new(bytes?)
}

#[cfg(test)]
mod tests;
