//! Diagnostics pages, JSON API and metrics text.
//!
//! Everything here reads what was published; nothing changes anything and nothing waits for the pipeline. Paths and
//! probe texts are upstream's.
//!
//! ```text
//! report    what there is to show, as plain data
//! pages     the HTML page
//! metrics   counters and histograms, Prometheus text
//! server    routes
//! ```

mod metrics;
mod pages;
mod report;
mod server;

pub use metrics::Metrics;
pub use report::{
    ClientReport, ConditionReport, Health, HostReport, ObjectCounts, ObjectReport, Overview, ProblemReport,
    RefusalReport, Source, SourceProblemReport, StatusReport, TypeReport, WhyListener, WhyNot, WhyQuestion, WhyReport,
};
pub use server::{router, serve};
