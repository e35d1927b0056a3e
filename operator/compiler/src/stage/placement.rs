//! Which route lists there are, and which groups are in which.

use crate::db::{ClassTerm, Db, SelectorTerm};
use crate::incr::Reads;
use crate::parse::{HostCondition, Labels, Selector};
use crate::stage::group::GroupRow;
use crate::stage::host::HostRow;
use ir::{GlobShape, ImpliedAuthority, ObjectKey, globs_meet};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Hosts that see the same groups, as far as their names go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostClass {
    /// Host name `*`: every group.
    Any,
    /// An exact name that some group names.
    Own(Arc<str>),
    /// Exact names that no group names: those that meet these wildcard globs, beside `*`.
    Shared(Vec<Arc<str>>),
    /// A glob.
    Glob(Arc<str>),
}

/// Hosts whose route lists are equal whatever Mappings there are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListClass {
    /// Label selector.
    pub selector: Option<Selector>,
    /// Host name.
    pub hosts: HostClass,
    /// Canonical text of both, the [`ir::ListId`]'s class.
    pub text: Arc<str>,
}

impl ListClass {
    /// The class of such Hosts.
    pub fn new(selector: Option<Selector>, hosts: HostClass) -> Self {
        let mut text = match &hosts {
            HostClass::Any => "*".to_owned(),
            HostClass::Own(name) => format!("={name}"),
            HostClass::Shared(globs) => format!("~{}", globs.join(",")),
            HostClass::Glob(glob) => format!("?{glob}"),
        };
        if let Some(Selector(pairs)) = &selector {
            text.push('|');
            for (name, value) in pairs {
                text.push_str(&format!("{name}={value},"));
            }
        }
        Self { selector, hosts, text: text.into() }
    }

    /// Which authority conditions the domains of such Hosts imply.
    pub fn implied(&self) -> ImpliedAuthority {
        match &self.hosts {
            HostClass::Any => ImpliedAuthority::Nothing,
            HostClass::Own(_) | HostClass::Shared(_) => ImpliedAuthority::AllGlobs,
            HostClass::Glob(glob) => ImpliedAuthority::Glob(glob.clone()),
        }
    }
}

/// The class of a Host with the terms under which groups find it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    /// The class.
    pub class: ListClass,
    /// Terms of the index of classes.
    pub terms: Vec<ClassTerm>,
}

/// Row of `classes_of`: only Hosts that a Listener takes have one.
pub fn class(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<ClassRow>> {
    let host = db.hosts.get(&db.graph, reads, key)?;
    db.attachments.get(&db.graph, reads, key).filter(|attached| !attached.chains.is_empty())?;
    let name = &host.hostname;
    let selector = host.selector.clone();
    let mut terms = vec![ClassTerm::Everything(None), ClassTerm::Everything(Some(selector.clone()))];
    let hosts = match ir::glob_shape(name) {
        GlobShape::Any => {
            terms.push(ClassTerm::Open(selector.clone()));
            HostClass::Any
        }
        GlobShape::Exact if !db.options.loose_selectors => {
            let wild = db.wild_globs.get(&db.graph, reads, &()).into_iter().flatten();
            let meeting: Vec<Arc<str>> = wild.filter(|glob| globs_meet(glob, name)).cloned().collect();
            terms.extend(meeting.iter().map(|glob| ClassTerm::Named(selector.clone(), glob.clone())));
            terms.push(ClassTerm::Named(selector.clone(), name.clone()));
            match db.exact_globs.get(&db.graph, reads, name) {
                Some(_) => HostClass::Own(name.clone()),
                None => HostClass::Shared(meeting),
            }
        }
        _ => {
            terms.push(ClassTerm::Open(selector.clone()));
            HostClass::Glob(name.clone())
        }
    };
    Some(Arc::new(ClassRow { class: ListClass::new(selector, hosts), terms }))
}

/// Row of `placements`: the classes that a group is in, sorted.
pub fn placement(db: &Db, reads: &Reads, id: &Arc<str>) -> Option<Arc<[ListClass]>> {
    let row = db.groups.get(&db.graph, reads, id)?;
    row.group.as_ref()?;
    let mut found = BTreeSet::new();
    if row.probe {
        collect(db, reads, &ClassTerm::Everything(None), &mut found, |_| true);
        return Some(found.into_iter().collect());
    }
    if db.options.loose_selectors {
        collect(db, reads, &ClassTerm::Everything(None), &mut found, |class| loosely(class, row));
        return Some(found.into_iter().collect());
    }
    let mut selectors = vec![None];
    selectors.extend(matching_selectors(db, reads, &row.labels).into_iter().map(Some));
    for selector in selectors {
        match &row.host {
            // Without a host condition only labels decide, and a Host without selector does not take it.
            HostCondition::None if selector.is_none() => {}
            HostCondition::None | HostCondition::Regex(_) => {
                collect(db, reads, &ClassTerm::Everything(Some(selector)), &mut found, |_| true);
            }
            HostCondition::Glob(glob) if **glob == *"*" => {
                collect(db, reads, &ClassTerm::Everything(Some(selector)), &mut found, |_| true);
            }
            HostCondition::Glob(glob) => {
                collect(db, reads, &ClassTerm::Open(selector.clone()), &mut found, |class| meets(class, glob));
                collect(db, reads, &ClassTerm::Named(selector, glob.clone()), &mut found, |_| true);
            }
        }
    }
    Some(found.into_iter().collect())
}

fn collect(
    db: &Db,
    reads: &Reads,
    term: &ClassTerm,
    found: &mut BTreeSet<ListClass>,
    keep: impl Fn(&ListClass) -> bool,
) {
    for (class, _) in db.classes.get(&db.graph, reads, term).into_iter().flatten() {
        if keep(class) {
            found.insert(class.clone());
        }
    }
}

fn meets(class: &ListClass, glob: &str) -> bool {
    match &class.hosts {
        HostClass::Any => true,
        HostClass::Own(name) | HostClass::Glob(name) => globs_meet(name, glob),
        HostClass::Shared(_) => false,
    }
}

/// The rule of upstream before strict selectors: one matching label is enough, and so is either criterion.
fn loosely(class: &ListClass, row: &GroupRow) -> bool {
    let by_label = class.selector.as_ref().is_some_and(|Selector(pairs)| {
        pairs.is_empty() || pairs.iter().any(|(name, value)| row.labels.get(name) == Some(value))
    });
    let by_name = match &row.host {
        HostCondition::None => false,
        HostCondition::Regex(_) => true,
        HostCondition::Glob(glob) => meets(class, glob),
    };
    by_label || by_name
}

fn matching_selectors(db: &Db, reads: &Reads, labels: &Labels) -> BTreeSet<Selector> {
    let mut found = BTreeSet::new();
    let mut look = |term: SelectorTerm| {
        for (_, selector) in db.selecting_hosts.get(&db.graph, reads, &term).into_iter().flatten() {
            if db.selects(selector, labels) {
                found.insert(selector.clone());
            }
        }
    };
    look(SelectorTerm::All);
    for (name, value) in labels {
        look(SelectorTerm::Label(name.clone(), value.clone()));
    }
    found
}

impl Db {
    /// Whether a selector takes an object with these labels.
    pub fn selects(&self, Selector(pairs): &Selector, labels: &Labels) -> bool {
        let matches = |(name, value): &(Arc<str>, Arc<str>)| labels.get(name) == Some(value);
        pairs.is_empty()
            || if self.options.loose_selectors { pairs.iter().any(matches) } else { pairs.iter().all(matches) }
    }
}

/// Terms under which a Host's selector is found by labels. Strict selectors need all labels, so the first will do.
pub fn selector_terms(host: &HostRow, loose: bool) -> Vec<SelectorTerm> {
    let Some(Selector(pairs)) = &host.selector else { return Vec::new() };
    let label = |(name, value): &(Arc<str>, Arc<str>)| SelectorTerm::Label(name.clone(), value.clone());
    match pairs.first() {
        None => vec![SelectorTerm::All],
        Some(_) if loose => pairs.iter().map(label).collect(),
        Some(first) => vec![label(first)],
    }
}
