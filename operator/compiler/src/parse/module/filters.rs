//! HTTP filters that guard nothing. They are in every chain while the Module has their key.

use crate::check::{limits, text::quote};
use crate::parse::config::Config;
use ir::{GrpcMethods, GrpcService, GrpcStats, ModuleFilters, ProblemKind};
use serde_json::Value;
use std::sync::Arc;

/// Reads all of them; `None` when the Module asks for none.
pub(super) fn filters(config: &mut Config) -> Option<Arc<ModuleFilters>> {
    let found = ModuleFilters {
        grpc_http1_bridge: present(config, "enable_grpc_http11_bridge"),
        grpc_web: present(config, "enable_grpc_web"),
        grpc_stats: grpc_stats(config),
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
