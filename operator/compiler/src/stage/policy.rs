//! Retries, CORS, upgrades and the like: what a route has of its Mappings, else of the Module.

use crate::db::Db;
use crate::incr::Reads;
use crate::parse::{ParsedMapping, ParsedPolicies, RouteDefaults};
use crate::stage::rule::Rule;
use ir::{ErrorRule, Forward, ForwardOptions, HashOn, PathRewrite};
use std::sync::Arc;

/// The options of a route with one member; `errors` are the rules for bodies of errors that it has itself.
pub fn options(
    mapping: &ParsedMapping,
    hash_on: Option<HashOn>,
    errors: Option<Arc<[ErrorRule]>>,
    defaults: &RouteDefaults,
) -> ForwardOptions {
    let policies = mapping.policies.as_deref();
    let bypass = policies.is_some_and(|policies| policies.bypass_errors);
    // Rules of its own replace the Module's as a whole, and bypassing leaves none.
    ForwardOptions {
        without_default_errors: defaults.has_errors && (bypass || errors.is_some()),
        errors: errors.filter(|_| !bypass),
        ..options_of(policies, hash_on, defaults)
    }
}

fn options_of(policies: Option<&ParsedPolicies>, hash_on: Option<HashOn>, defaults: &RouteDefaults) -> ForwardOptions {
    ForwardOptions {
        retry: policies.and_then(|found| found.retry.clone()).or_else(|| defaults.retry.clone()),
        cors: policies.and_then(|found| found.cors.clone()).or_else(|| defaults.cors.clone()),
        hash_on,
        high_priority: policies.and_then(|found| found.high_priority).unwrap_or(false),
        upgrades: policies.and_then(|found| found.upgrades.clone()).unwrap_or_default(),
        mirror: None,
        errors: None,
        without_default_errors: false,
    }
}

/// What the members of a group share: upstream lifts these settings to the group, where of several members the last in
/// load order counts. What is hashed is the first member's, as its load balancer is.
pub struct Shared {
    policies: ParsedPolicies,
    hash_on: Option<HashOn>,
    regex_rewrite: Option<PathRewrite>,
    defaults: Arc<RouteDefaults>,
}

impl Shared {
    /// Of these members, in load order; `first` is the one that the group began with.
    pub fn of<'a>(db: &Db, reads: &Reads, first: &Rule, members: impl Iterator<Item = &'a Arc<Rule>>) -> Self {
        let mut policies = ParsedPolicies::default();
        let mut regex_rewrite = None;
        for rule in members {
            if let Some(rewrite) = &rule.mapping.regex_rewrite {
                regex_rewrite = Some(PathRewrite::Regex((**rewrite).clone()));
            }
            let Some(own) = rule.mapping.policies.as_deref() else { continue };
            policies.retry = own.retry.clone().or(policies.retry);
            policies.cors = own.cors.clone().or(policies.cors);
            policies.high_priority = own.high_priority.or(policies.high_priority);
            policies.upgrades = own.upgrades.clone().or(policies.upgrades);
        }
        let balancer = first.upstream.as_ref().and_then(|upstream| upstream.key.load_balancer.as_ref());
        let hash_on = balancer.and_then(|balancer| balancer.hash_on.clone());
        Self { policies, hash_on, regex_rewrite, defaults: db.route_defaults(reads) }
    }

    /// Gives a member what all have.
    pub fn apply(&self, forward: &mut Forward) {
        // Bodies of errors are each member's own affair.
        let (errors, without_default_errors) =
            forward.options.take().map(|own| (own.errors, own.without_default_errors)).unwrap_or_default();
        let shared = options_of(Some(&self.policies), self.hash_on.clone(), &self.defaults);
        forward.options = ForwardOptions { errors, without_default_errors, ..shared }.boxed();
        if let Some(rewrite) = &self.regex_rewrite {
            forward.rewrite = Some(rewrite.clone());
        }
    }
}
