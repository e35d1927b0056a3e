//! Resolvers: where addresses of a service come from.

use super::report::Report;
use super::{Parsed, ResolverKind};
use crate::check::limits;
use api::v3alpha1::ConsulResolverSpec;
use ir::ProblemKind;

/// Judges a ConsulResolver. Consul itself is not asked yet.
pub fn consul(spec: &ConsulResolverSpec, report: &mut Report) -> Parsed {
    if report.text("datacenter", spec.datacenter.as_ref(), limits::NAME).is_none() {
        report.refuse("datacenter", ProblemKind::InvalidValue, "the datacenter is missing");
    }
    report.text("address", spec.address.as_ref(), limits::SERVICE);
    let detail = "ConsulResolver is not supported yet: Mappings that name it have no endpoints";
    report.degrade("", ProblemKind::NotSupported, detail);
    Parsed::Resolver(ResolverKind::Consul)
}
