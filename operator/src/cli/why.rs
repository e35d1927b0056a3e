//! `nuncio why`: which Mapping answers a request, and why the others do not: by manifests, by what is in a cluster, or by
//! what a running gateway serves at this moment.

use super::args::WhyArgs;
use super::check::compiled;
use super::{dump, live};
use crate::view::why;
use anyhow::{Context, bail};
use diag::{WhyQuestion, WhyReport};
use std::process::ExitCode;

/// Explains one request. Status 0 when something answers it, 1 when nothing does.
pub fn run(args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let question = question(args)?;
    let (report, problems) = match (&args.from, args.cluster.is_wanted()) {
        (Some(from), _) => (remote(from, &question)?, Vec::new()),
        (None, true) => {
            let compiler = live::compiled(&args.cluster)?.compiler;
            (why::report(&question, compiler.rows(), &compiler.verdicts()), Vec::new())
        }
        (None, false) => {
            let compiled = compiled(&args.paths, &[])?;
            let compiler = &compiled.compiler;
            (why::report(&question, compiler.rows(), &compiler.verdicts()), compiled.folder.problems())
        }
    };
    if let Some(port) = question.port.filter(|_| report.listeners.is_empty()) {
        bail!("no listener has port {port}");
    }
    super::print(&why::text(&question, &report))?;
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    Ok(if report.answered { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn question(args: &WhyArgs) -> anyhow::Result<WhyQuestion> {
    if !args.path.starts_with('/') {
        bail!("the path `{}` does not begin with `/`", args.path);
    }
    let header = |text: &String| {
        let (name, value) = text.split_once(':').with_context(|| format!("header `{text}` is not NAME:VALUE"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    Ok(WhyQuestion {
        host: args.host.clone(),
        path: args.path.clone(),
        method: args.method.clone(),
        headers: args.header.iter().map(header).collect::<anyhow::Result<_>>()?,
        tls: args.tls,
        port: args.port,
    })
}

/// Asks the diagnostics of a gateway.
fn remote(from: &str, question: &WhyQuestion) -> anyhow::Result<WhyReport> {
    let mut pairs = vec![
        ("host", question.host.clone()),
        ("path", question.path.clone()),
        ("method", question.method.clone()),
        ("tls", question.tls.to_string()),
    ];
    pairs.extend(question.headers.iter().map(|(name, value)| ("header", format!("{name}:{value}"))));
    pairs.extend(question.port.map(|port| ("port", port.to_string())));
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let body = dump::get(from, &format!("/api/v1/why?{}", pairs.join("&")))?;
    serde_json::from_slice(&body).context("the answer is not one of this version's")
}

/// A value in a query: everything but the unreserved characters of RFC 3986 is escaped.
pub(super) fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
