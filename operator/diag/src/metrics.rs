//! Counters and histograms in the Prometheus text form.

use crate::report::ObjectCounts;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    kind: String,
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabels {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The gateway's own numbers. Cheap to update from any thread.
pub struct Metrics {
    registry: Registry,
    objects: Family<ObjectLabels, Gauge>,
    clients: Gauge,
    batches: Counter,
    changes: Counter,
    compile: Histogram,
    render: Histogram,
    live: Histogram,
    panics: Counter,
    paranoid_checks: Counter,
    paranoid_differences: Counter,
    renewals: Counter,
    pushed_bytes: Counter,
    pushes: Family<TypeLabels, Counter>,
    acks: Family<TypeLabels, Counter>,
    nacks: Family<TypeLabels, Counter>,
    status_checks: Counter,
    status_writes: Counter,
    status_failures: Family<ReasonLabels, Counter>,
    status_pending: Gauge,
    leader: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// 0.1 ms to 50 s, in steps that people promise things by.
fn seconds() -> Histogram {
    let decades = exponential_buckets(0.0001, 10.0, 6);
    Histogram::new(decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| decade * step)))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("nuncio");
        let metrics = Self {
            objects: Family::default(),
            clients: Gauge::default(),
            batches: Counter::default(),
            changes: Counter::default(),
            compile: seconds(),
            render: seconds(),
            live: seconds(),
            panics: Counter::default(),
            paranoid_checks: Counter::default(),
            paranoid_differences: Counter::default(),
            renewals: Counter::default(),
            pushed_bytes: Counter::default(),
            pushes: Family::default(),
            acks: Family::default(),
            nacks: Family::default(),
            status_checks: Counter::default(),
            status_writes: Counter::default(),
            status_failures: Family::default(),
            status_pending: Gauge::default(),
            leader: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("objects", "Objects by kind and state", metrics.objects.clone());
        registry.register("xds_clients", "Connected clients of the configuration stream", metrics.clients.clone());
        registry.register("batches", "Batches that were compiled", metrics.batches.clone());
        registry.register("changes", "Changes of inputs", metrics.changes.clone());
        registry.register_with_unit("compile", "Time to compile a batch", Unit::Seconds, metrics.compile.clone());
        registry.register_with_unit("render", "Time to render a batch", Unit::Seconds, metrics.render.clone());
        let help = "Time from a change to its acknowledgement by all connected Envoys";
        registry.register_with_unit("time_to_live", help, Unit::Seconds, metrics.live.clone());
        registry.register("row_panics", "Rows left out because of a defect", metrics.panics.clone());
        let help = "Batches that were compiled again from scratch (`--paranoid`)";
        registry.register("paranoid_checks", help, metrics.paranoid_checks.clone());
        let help = "Times that compiling from scratch came to something else: a defect";
        registry.register("paranoid_differences", help, metrics.paranoid_differences.clone());
        let help = "Times that the compiler started over, as most of what it held was gone";
        registry.register("renewals", help, metrics.renewals.clone());
        registry.register("resource_bytes", "Bytes of changed resources", metrics.pushed_bytes.clone());
        registry.register("resources_changed", "Resources published by type", metrics.pushes.clone());
        registry.register("xds_acks", "Responses that a client acknowledged", metrics.acks.clone());
        registry.register("xds_nacks", "Responses that a client refused", metrics.nacks.clone());
        let help = "Comparisons of a status with what it should be";
        registry.register("status_checks", help, metrics.status_checks.clone());
        registry.register("status_writes", "Statuses written to the API server", metrics.status_writes.clone());
        let help = "Failed attempts to write a status, which are repeated";
        registry.register("status_write_failures", help, metrics.status_failures.clone());
        registry.register("status_pending", "Objects whose status is to be looked at", metrics.status_pending.clone());
        registry.register("status_leader", "Whether this replica writes statuses", metrics.leader.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// A batch was compiled.
    pub fn batch(&self, changes: usize, compile: Duration, panics: u32) {
        self.batches.inc();
        self.changes.inc_by(changes as u64);
        self.compile.observe(compile.as_secs_f64());
        self.panics.inc_by(u64::from(panics));
    }

    /// A batch was compiled again from scratch, and came to the same or not.
    pub fn compiled_again(&self, same: bool) {
        self.paranoid_checks.inc();
        self.paranoid_differences.inc_by(u64::from(!same));
    }

    /// Compiler and renderer started over with empty tables.
    pub fn renewed(&self) {
        self.renewals.inc();
    }

    /// A batch was rendered.
    pub fn rendered(&self, render: Duration) {
        self.render.observe(render.as_secs_f64());
    }

    /// A resource of that type (`CDS`, …) was published with so many bytes.
    pub fn pushed(&self, kind: &'static str, bytes: usize) {
        self.pushes.get_or_create(&TypeLabels { r#type: kind }).inc();
        self.pushed_bytes.inc_by(bytes as u64);
    }

    /// A client acknowledged a response of that type.
    pub fn acked(&self, kind: &'static str) {
        self.acks.get_or_create(&TypeLabels { r#type: kind }).inc();
    }

    /// A client refused a response of that type.
    pub fn nacked(&self, kind: &'static str) {
        self.nacks.get_or_create(&TypeLabels { r#type: kind }).inc();
    }

    /// A change became live.
    pub fn live(&self, after: Duration) {
        self.live.observe(after.as_secs_f64());
    }

    /// A status was compared with what it should be.
    pub fn status_checked(&self) {
        self.status_checks.inc();
    }

    /// A status was written to the API server.
    pub fn status_written(&self) {
        self.status_writes.inc();
    }

    /// A status could not be written this time; `reason` is one of a few words.
    pub fn status_failed(&self, reason: &'static str) {
        self.status_failures.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// How many objects wait for their status to be looked at, and whether this replica writes statuses.
    pub fn status(&self, pending: usize, leader: bool) {
        self.status_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        self.leader.set(leader.into());
    }

    /// The text that is scraped.
    pub fn text(&self, objects: &ObjectCounts, clients: usize) -> String {
        self.objects.clear();
        for ((kind, state), count) in objects {
            self.objects.get_or_create(&ObjectLabels { kind: kind.clone(), state: state.clone() }).set(*count);
        }
        self.clients.set(i64::try_from(clients).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_objects_batches_and_answers() {
        let metrics = Metrics::default();
        metrics.batch(3, Duration::from_millis(2), 0);
        metrics.nacked("RDS");
        metrics.pushed("RDS", 100);
        metrics.live(Duration::from_millis(7));
        let objects = [(("Mapping".to_owned(), "Ready".to_owned()), 2)].into();
        let text = metrics.text(&objects, 0);
        for line in [
            "nuncio_objects{kind=\"Mapping\",state=\"Ready\"} 2",
            "nuncio_batches_total 1",
            "nuncio_changes_total 3",
            "nuncio_xds_nacks_total{type=\"RDS\"} 1",
            "nuncio_resource_bytes_total 100",
            "nuncio_time_to_live_seconds_count 1",
            "nuncio_time_to_live_seconds_bucket{le=\"0.005\"} 0",
            "nuncio_time_to_live_seconds_bucket{le=\"0.01\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
