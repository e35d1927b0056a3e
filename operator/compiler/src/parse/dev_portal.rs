//! DevPortal: read and kept; it has no effect on traffic, upstream neither.

use super::Parsed;
use super::report::Report;
use super::services::destination;
use crate::check::limits;
use api::v3alpha1::DevPortalSpec;
use ir::ProblemKind;

/// Judges a DevPortal.
pub fn dev_portal(spec: &DevPortalSpec, report: &mut Report) -> Parsed {
    for (index, doc) in spec.docs.iter().flatten().enumerate().take(limits::ITEMS) {
        if let Some(service) = doc.service.as_deref().filter(|service| !service.is_empty()) {
            destination(&format!("docs[{index}].service"), service, report);
        }
        report.milliseconds(&format!("docs[{index}].timeout_ms"), doc.timeout_ms);
    }
    report.note("", ProblemKind::NoEffect, "DevPortal is accepted and has no effect");
    Parsed::Inert
}
