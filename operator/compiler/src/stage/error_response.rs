//! Bodies of error answers: rules as parsed, with the texts of the files that they name.

use crate::change::{FileContent, WantedName};
use crate::db::Db;
use crate::incr::Reads;
use crate::options::Options;
use crate::parse::{Parsed, ParsedErrorBody, ParsedErrorRule, ParsedModule, error_text};
use ir::{ErrorBody, ErrorRule, Kind, ObjectKey, Problem, ProblemKind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The rules in force, and what is wrong with the others. `field` is the path of the list below the object.
pub fn resolve(
    db: &Db,
    reads: &Reads,
    about: &ObjectKey,
    field: &str,
    rules: &[ParsedErrorRule],
    problems: &mut Vec<Problem>,
) -> Arc<[ErrorRule]> {
    let mut found = Vec::with_capacity(rules.len());
    for rule in rules {
        let body = match &rule.body {
            ParsedErrorBody::Inline(body) => body.clone(),
            ParsedErrorBody::File(path) => match text_of(db, reads, path) {
                Ok(text) => ErrorBody::Text(text),
                Err((kind, reason)) => {
                    let at = format!("{field}[{}].body.text_format_source.filename", rule.index);
                    problems.push(Problem::degraded(about, at, kind, format!("{reason}; the rule is left out")));
                    continue;
                }
            },
        };
        found.push(ErrorRule { status: rule.status, body, content_type: rule.content_type.clone() });
    }
    found.into()
}

/// The Module's rules in force.
pub fn of_module(db: &Db, reads: &Reads) -> Arc<[ErrorRule]> {
    let defaults = db.http_defaults(reads);
    if defaults.errors.is_empty() {
        return Arc::default();
    }
    let nobody = ObjectKey::new(Kind::Module, "", "ambassador");
    resolve(db, reads, &nobody, "", &defaults.errors, &mut Vec::new())
}

/// What is wrong with the rules of the Module that is in force.
pub fn module_problems(db: &Db, reads: &Reads, key: &ObjectKey, module: &ParsedModule) -> Vec<Problem> {
    let mut problems = Vec::new();
    resolve(db, reads, key, "spec.config.error_response_overrides", &module.http.errors, &mut problems);
    problems
}

/// Whoever may create a Mapping could otherwise publish any file that the gateway can read, its credentials included.
fn is_allowed(options: &Options, path: &str) -> bool {
    let Some(folder) = &options.error_body_folder else { return false };
    let inside = path.strip_prefix(folder.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
    inside.is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

fn text_of(db: &Db, reads: &Reads, path: &Arc<str>) -> Result<Arc<str>, (ProblemKind, String)> {
    if !is_allowed(&db.options, path) {
        let reason = match &db.options.error_body_folder {
            Some(folder) => format!("file `{path}` is not below `{folder}`, the folder for bodies of errors"),
            None => format!("file `{path}` may not be read: NUNCIO_ERROR_BODY_FOLDER names no folder for them"),
        };
        return Err((ProblemKind::ReferenceNotAllowed, reason));
    }
    match db.files.get(&db.graph, reads, path) {
        None => Err((ProblemKind::MissingReference, format!("file `{path}` cannot be read"))),
        Some(FileContent::Assumed) => {
            Err((ProblemKind::NoEffect, format!("file `{path}` is assumed to exist; its content is not known")))
        }
        Some(FileContent::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned());
            let judged = text.and_then(|text| error_text(text).map(|()| Arc::from(text)));
            judged.map_err(|reason| (ProblemKind::InvalidFormat, format!("file `{path}`: {reason}")))
        }
    }
}

/// The files that an object's rules may read.
pub fn files(options: &Options, parsed: Option<&Parsed>) -> BTreeSet<WantedName> {
    let rules = match parsed {
        Some(Parsed::Mapping(mapping)) => mapping.policies.as_ref().map(|policies| &policies.errors),
        Some(Parsed::Module(module)) => Some(&module.http.errors),
        _ => None,
    };
    let paths = rules.into_iter().flat_map(|rules| rules.iter()).filter_map(|rule| match &rule.body {
        ParsedErrorBody::File(path) => Some(path),
        ParsedErrorBody::Inline(_) => None,
    });
    paths.filter(|path| is_allowed(options, path)).map(|path| WantedName::File(path.clone())).collect()
}
