//! Mappings that want the same requests.

use crate::db::Db;
use crate::incr::Reads;
use crate::parse::{HostCondition, Labels};
use crate::stage::policy::Shared;
use crate::stage::rule::{self, Rule};
use crate::stage::upstream::{self, Upstream};
use ir::{
    Action, Effect, HeaderEdits, HeaderValue, Mirror, ObjectKey, OrderKey, Problem, ProblemKind, Route, RouteGroup,
};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group and what decides where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRow {
    /// For the renderer; `None` when nothing but shadows is in it.
    pub group: Option<Arc<RouteGroup>>,
    /// Host condition.
    pub host: HostCondition,
    /// Labels of all members together.
    pub labels: Arc<Labels>,
    /// One of its members is a built-in route, so every Host has it.
    pub probe: bool,
    /// Whether a member asks for `x-forwarded-proto`.
    pub asks_proto: bool,
    /// Clusters that it needs.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Findings about members.
    pub problems: Vec<Problem>,
}

struct Member<'a> {
    key: &'a ObjectKey,
    rule: &'a Arc<Rule>,
}

/// Row of `groups`.
pub fn row(db: &Db, reads: &Reads, id: &Arc<str>) -> Option<Arc<GroupRow>> {
    let keys = db.members.get(&db.graph, reads, id)?;
    let mut members: Vec<Member> = Vec::with_capacity(keys.len());
    for key in keys {
        if let Some(rule) = db.rules.get(&db.graph, reads, key)
            && !rule.problems.iter().any(|problem| problem.effect == Effect::Refused)
        {
            members.push(Member { key, rule });
        }
    }
    let mut problems = Vec::new();
    // Conflicts go to the older object; within one age upstream's order decides.
    members.sort_by(|left, right| {
        left.rule.created.cmp(&right.rule.created).then_with(|| load_order(left.key, right.key))
    });
    let members = agreeing(members, &mut problems);
    let first = members.first()?;
    let mut order = first.rule.order.clone();
    let mut labels = first.rule.labels.clone();
    for member in members.iter().skip(1) {
        order = order.min(member.rule.order.clone());
        if member.rule.labels != labels {
            let more = member.rule.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
            Arc::make_mut(&mut labels).extend(more);
        }
    }
    // Where Hosts' selectors tell groups apart, two of them may have equal conditions and one Host: the older goes first.
    if !matches!(first.rule.mapping.host, HostCondition::Glob(_)) && !labels.is_empty() {
        let age = (first.rule.created as u64) ^ (1 << 63);
        let key = first.key.path();
        order = OrderKey(order.0.iter().copied().chain(age.to_be_bytes()).chain(key.bytes()).collect());
    }
    let (first_rule, probe) = (first.rule.clone(), members.iter().any(|member| member.rule.probe));
    let asks_proto = members.iter().any(|member| {
        member.rule.mapping.headers.iter().any(|header| header.name.eq_ignore_ascii_case("x-forwarded-proto"))
    });
    for member in &members {
        problems.extend(rule::closed_problem(db, reads, member.key, member.rule));
    }
    let mut ordinary: Vec<&Member> = members.iter().filter(|member| !member.rule.mapping.shadow).collect();
    ordinary.sort_by(|left, right| load_order(left.key, right.key));
    // A member that says nothing about case compares as the last that does.
    let case_sensitive = ordinary.iter().rev().find_map(|member| member.rule.mapping.case_sensitive).unwrap_or(true);
    let mut routes = shares(&ordinary, case_sensitive, &mut problems);
    let shared =
        (ordinary.len() > 1).then(|| Shared::of(db, reads, &first_rule, ordinary.iter().map(|member| member.rule)));
    let shadow = members.iter().find(|member| member.rule.mapping.shadow);
    let mirror = shadow.and_then(|member| mirror(db, reads, member));
    for (route, member) in routes.iter_mut().zip(by_emission(&ordinary)) {
        if let (Action::Forward(forward), Some(upstream)) = (&mut route.action, &member.rule.upstream) {
            forward.cluster = upstream::cluster_name(db, reads, upstream);
            shared.iter().for_each(|shared| shared.apply(forward));
            if mirror.is_some() {
                forward.options.get_or_insert_default().mirror = mirror.clone();
            }
        }
    }
    // A copy needs something that it is copied from.
    let used = members.iter().filter(|member| !(member.rule.mapping.shadow && routes.is_empty()));
    let mut upstreams = Vec::with_capacity(members.len());
    upstreams.extend(used.filter_map(|member| member.rule.upstream.clone()));
    if let Some(shadow) = shadow.filter(|_| routes.is_empty()) {
        let detail = "no other Mapping has this route, so there is nothing to copy";
        problems.push(Problem::notice(shadow.key, "spec.shadow", ProblemKind::NoEffect, detail));
    }
    let group = (!routes.is_empty()).then(|| {
        let matches = rule::matches_of(&first_rule.mapping);
        Arc::new(RouteGroup { id: id.clone(), order, matches, headers: merged_headers(&ordinary), routes })
    });
    Some(Arc::new(GroupRow {
        group,
        host: first_rule.mapping.host.clone(),
        labels,
        probe,
        asks_proto,
        upstreams,
        problems,
    }))
}

/// Where the group's shadow gets its copies; its weight is the share of the requests.
fn mirror(db: &Db, reads: &Reads, shadow: &Member) -> Option<Mirror> {
    let upstream = shadow.rule.upstream.as_ref()?;
    let cluster = upstream::cluster_name(db, reads, upstream);
    Some(Mirror { cluster, percent: shadow.rule.mapping.weight.unwrap_or(100) })
}

/// Upstream's order of objects: by `<name>.<namespace>`.
pub fn load_order(left: &ObjectKey, right: &ObjectKey) -> Ordering {
    fn text(key: &ObjectKey) -> impl Iterator<Item = u8> {
        key.name.bytes().chain([b'.']).chain(key.namespace.bytes())
    }
    text(left).cmp(text(right)).then_with(|| left.cmp(right))
}

/// Those that can share a group with the first. The others are refused, each with the field that differs.
fn agreeing<'a>(members: Vec<Member<'a>>, problems: &mut Vec<Problem>) -> Vec<Member<'a>> {
    let mut accepted: Vec<Member<'a>> = Vec::with_capacity(members.len());
    for member in members {
        let Some(first) = accepted.first() else {
            accepted.push(member);
            continue;
        };
        let differs = rule::disagreement(&member.rule.mapping, &first.rule.mapping);
        let redirects = |member: &Member| matches!(member.rule.action, Action::Redirect(_));
        let clash = if let Some(field) = differs {
            Some((field, format!("differs from that of {}, which has the same route", first.key)))
        } else if !member.rule.mapping.shadow && accepted.iter().any(redirects) {
            Some(("host_redirect", format!("{} already redirects the same route", first.key)))
        } else if redirects(&member) && accepted.iter().any(|other| !other.rule.mapping.shadow) {
            Some(("host_redirect", format!("{} already has the same route and does not redirect", first.key)))
        } else if member.rule.mapping.shadow && accepted.iter().any(|other| other.rule.mapping.shadow) {
            Some(("shadow", "the same route already has a shadow".to_owned()))
        } else {
            None
        };
        match clash {
            Some((field, detail)) => {
                problems.push(Problem::refused(member.key, format!("spec.{field}"), ProblemKind::Conflict, detail));
            }
            None => accepted.push(member),
        }
    }
    accepted
}

/// Cumulative shares in percent, in upstream's emission order. One member gets everything, whatever its weight.
fn shares(members: &[&Member], case_sensitive: bool, problems: &mut Vec<Problem>) -> Vec<Route> {
    let weights: Vec<(&ObjectKey, Option<u32>)> =
        members.iter().map(|member| (member.key, member.rule.mapping.weight)).collect();
    // Most groups have one member, and collecting makes room for four.
    let mut routes = Vec::with_capacity(members.len());
    routes.extend(percentages(&weights, problems).into_iter().filter_map(|(index, fraction)| {
        let member = members.get(index)?;
        Some(Route {
            source: member.key.clone(),
            case_sensitive: member.rule.mapping.case_sensitive.unwrap_or(case_sensitive),
            fraction,
            action: member.rule.action.clone(),
        })
    }));
    routes
}

/// Members by their position, each with its cumulative share in percent: weighted members in load order, then the
/// others, which share the rest.
pub fn percentages(weights: &[(&ObjectKey, Option<u32>)], problems: &mut Vec<Problem>) -> Vec<(usize, u32)> {
    if weights.len() == 1 {
        return vec![(0, 100)];
    }
    let numbered = || weights.iter().enumerate();
    let total: u32 = weights.iter().filter_map(|(_, weight)| *weight).sum();
    if total > 100 {
        for (key, _) in weights.iter().filter(|(_, weight)| weight.is_some()) {
            let detail = format!("the weights of this route add up to {total}, more than 100");
            problems.push(Problem::degraded(key, "spec.weight", ProblemKind::WeightOutOfRange, detail));
        }
    }
    let mut found = Vec::with_capacity(weights.len());
    let mut running = 0;
    for (index, weight) in numbered().filter_map(|(index, (_, weight))| Some((index, (*weight)?))) {
        running = (running + weight).min(100);
        found.push((index, running));
    }
    let rest: Vec<usize> = numbered().filter(|(_, (_, weight))| weight.is_none()).map(|(index, _)| index).collect();
    let share = if rest.is_empty() { 0 } else { round_half_even(100 - running, rest.len() as u32) };
    let last = rest.len().saturating_sub(1);
    for (place, index) in rest.into_iter().enumerate() {
        running = if place == last { 100 } else { (running + share).min(100) };
        found.push((index, running));
    }
    found
}

/// The order of [`shares`].
fn by_emission<'a, 'b>(members: &'b [&'b Member<'a>]) -> impl Iterator<Item = &'b Member<'a>> {
    let weighted = |member: &&&Member| member.rule.mapping.weight.is_some();
    let alone = members.len() == 1;
    members
        .iter()
        .filter(move |member| alone || weighted(member))
        .chain(members.iter().filter(move |member| !alone && !weighted(member)))
        .copied()
}

fn round_half_even(dividend: u32, divisor: u32) -> u32 {
    let (quotient, doubled) = (dividend / divisor, (dividend % divisor) * 2);
    match doubled.cmp(&divisor) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
    }
}

/// Upstream lifts these settings to the group: added headers are merged by name, of the removals those of the last member
/// count that has any, if only an empty list. A redirect has none at all.
fn merged_headers(members: &[&Member]) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    for member in members.iter().filter(|member| !matches!(member.rule.action, Action::Redirect(_))) {
        let (headers, own) = (&member.rule.headers, &member.rule.mapping);
        edits.add_request.extend(headers.add_request.iter().cloned());
        edits.add_response.extend(headers.add_response.iter().cloned());
        if own.remove_request_headers.is_some() || !headers.remove_request.is_empty() {
            edits.remove_request.clone_from(&headers.remove_request);
        }
        if own.remove_response_headers.is_some() || !headers.remove_response.is_empty() {
            edits.remove_response.clone_from(&headers.remove_response);
        }
    }
    sorted(edits)
}

/// By name, the last of equal names.
fn sorted(mut edits: HeaderEdits) -> HeaderEdits {
    for list in [&mut edits.add_request, &mut edits.add_response].into_iter().filter(|list| list.len() > 1) {
        let by_name: BTreeMap<Arc<str>, HeaderValue> =
            list.drain(..).map(|header| (header.name.clone(), header)).collect();
        list.extend(by_name.into_values());
    }
    edits
}
