//! `nuncio diff`: what changes between two sets of manifests: verdicts, routes, Envoy resources.

use super::args::DiffArgs;
use super::check::{Compiled, compiled, overlaid};
use super::live;
use anyhow::bail;
use compiler::Compiler;
use envoy::Renderer;
use ir::{ObjectKey, RouteGroup, RowChanges, Verdict, VirtualHostBody};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Prints what is different. Status 0 when nothing is, 1 when something is.
pub fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (old, new) = match (args.paths.as_slice(), args.cluster.is_wanted()) {
        ([new], true) => live::overlaid(&args.cluster, new)?,
        ([old, new], false) if args.overlay => (compiled(std::slice::from_ref(old), &[])?, overlaid(old, new)?),
        ([old, new], false) => (compiled(std::slice::from_ref(old), &[])?, compiled(std::slice::from_ref(new), &[])?),
        (_, true) => bail!("with a cluster as the old side there is one more: the new manifests"),
        (_, false) => bail!("two folders or files are needed, the old and the new"),
    };
    let mut text = String::new();
    changes("object", &verdicts(&old.compiler), &verdicts(&new.compiler), &mut text);
    changes("route", &routes(&old.compiler.rows()), &routes(&new.compiler.rows()), &mut text);
    changes("envoy", &resources(&old.compiler), &resources(&new.compiler), &mut text);
    super::print(&text)?;
    let problems = |compiled: &Compiled| compiled.folder.problems();
    problems(&old).iter().chain(&problems(&new)).for_each(|problem| eprintln!("{problem}"));
    Ok(if text.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// One line for each key whose value is new, gone or different, in the order of keys. Values of equal text are equal.
fn changes(what: &str, old: &BTreeMap<String, Line>, new: &BTreeMap<String, Line>, text: &mut String) {
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        // Writing into a string does not fail.
        let _ = match (old.get(key), new.get(key)) {
            (Some(before), Some(after)) if before.compare == after.compare => Ok(()),
            (Some(_), Some(after)) => writeln!(text, "{what} ~ {key}{}", after.shown),
            (None, Some(after)) => writeln!(text, "{what} + {key}{}", after.shown),
            (Some(before), None) => writeln!(text, "{what} - {key}{}", before.shown),
            (None, None) => Ok(()),
        };
    }
}

/// What is compared, and what is shown of it.
struct Line {
    compare: String,
    shown: String,
}

fn verdicts(compiler: &Compiler) -> BTreeMap<String, Line> {
    let line = |verdict: &Arc<Verdict>| {
        let state = match (verdict.accepted, verdict.attached) {
            (false, _) => "refused",
            (true, false) => "accepted, not in use",
            (true, true) => "accepted",
        };
        let first = verdict.leading().map(|problem| format!(": {} {problem}", problem.kind)).unwrap_or_default();
        let first: String = first.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let compare = format!("{state} {:?}", verdict.problems);
        (verdict.about.to_string(), Line { compare, shown: format!(": {state}{first}") })
    };
    compiler.verdicts().iter().map(line).collect()
}

/// Routes by table, domain, path and group.
fn routes(rows: &RowChanges) -> BTreeMap<String, Line> {
    let lists: BTreeMap<_, _> = rows.lists.iter().filter_map(|(id, row)| Some((id, row.as_ref()?))).collect();
    let mut found = BTreeMap::new();
    for table in rows.tables.iter().filter_map(|(_, row)| row.as_ref()) {
        for host in &table.virtual_hosts {
            let domains = host.domains.join(", ");
            let place = format!("{} {domains}", table.name);
            let list = match &host.body {
                VirtualHostBody::Routes(list) | VirtualHostBody::ByForwardedProto { secure: list, .. } => list,
                other => {
                    let compare = format!("{other:?}");
                    let shown = match other {
                        VirtualHostBody::RedirectToHttps { .. } => ": redirects to https",
                        VirtualHostBody::Closed { .. } => ": closed",
                        _ => ": 404",
                    };
                    found.insert(place, Line { compare, shown: shown.to_owned() });
                    continue;
                }
            };
            for group in lists.get(list).into_iter().flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups) {
                found.insert(format!("{place} {} ({:.8})", group.matches.path.text(), group.id), line(group));
            }
        }
    }
    found
}

fn line(group: &RouteGroup) -> Line {
    let sources: Vec<String> = group.routes.iter().map(|route| ObjectKey::to_string(&route.source)).collect();
    Line { compare: format!("{group:?}"), shown: format!(": {}", sources.join(", ")) }
}

fn resources(compiler: &Compiler) -> BTreeMap<String, Line> {
    let delta = Renderer::new(envoy::Options::default()).apply(&compiler.rows(), 1);
    let resources = delta.upserts.iter();
    resources
        .map(|resource| {
            let key = format!("{:?} {}", resource.kind, resource.name).to_lowercase();
            (key, Line { compare: format!("{:?}", resource.version), shown: String::new() })
        })
        .collect()
}
