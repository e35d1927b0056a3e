//! `nuncio why`: which Mapping answers a request, and why the others do not.

use super::args::WhyArgs;
use super::check::compiled;
use anyhow::{Context, bail};
use compiler::explain::{Answer, Explainer, Explanation, Request, Share};
use ir::{Action, HostRewrite, Kind, PathRewrite, RedirectPath, Verdict};
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Most refused Mappings that are listed.
const REFUSED: usize = 10;

/// Explains one request by manifests. Status 0 when something answers it, 1 when nothing does.
pub fn run(args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let request = request(args)?;
    let compiled = compiled(&args.paths, &[])?;
    let rows = compiled.compiler.rows();
    let mut found = Explainer::new(&rows).why(&request);
    if let Some(port) = args.port {
        found.retain(|explanation| explanation.port == port);
        if found.is_empty() {
            bail!("no listener has port {port}");
        }
    }
    let mut text = format!("{} {}://{}{}\n", request.method, scheme(&request), request.host, request.path);
    for explanation in &found {
        describe(explanation, &mut text);
    }
    if found.is_empty() {
        text.push_str("no port is open: see the Listeners\n");
    }
    refused(&compiled.compiler.verdicts(), &mut text);
    super::print(&text)?;
    for problem in compiled.folder.problems() {
        eprintln!("{problem}");
    }
    let answered = found
        .iter()
        .any(|explanation| matches!(explanation.answer, Answer::Routes(_) | Answer::RedirectToHttps | Answer::Tcp(_)));
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn request(args: &WhyArgs) -> anyhow::Result<Request> {
    if !args.path.starts_with('/') {
        bail!("the path `{}` does not begin with `/`", args.path);
    }
    let header = |text: &String| {
        let (name, value) = text.split_once(':').with_context(|| format!("header `{text}` is not NAME:VALUE"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    Ok(Request {
        host: args.host.clone(),
        path: args.path.clone(),
        method: args.method.clone(),
        headers: args.header.iter().map(header).collect::<anyhow::Result<_>>()?,
        tls: args.tls,
    })
}

fn scheme(request: &Request) -> &'static str {
    if request.tls { "https" } else { "http" }
}

/// Writing into a string does not fail.
fn describe(explanation: &Explanation, text: &mut String) {
    let _ = write!(text, "port {} ({}", explanation.port, explanation.listener);
    if let Some(chain) = &explanation.chain {
        let _ = write!(text, ", chain {chain}");
    }
    if let Some(domain) = &explanation.domain {
        let _ = write!(text, ", host {domain}");
    }
    text.push_str("):\n");
    let line = match &explanation.answer {
        Answer::NoChain => "the connection is refused: no chain takes it".to_owned(),
        Answer::NoHost => "404: no Host has this name".to_owned(),
        Answer::NoRoute => "404: no Mapping fits".to_owned(),
        Answer::RedirectToHttps => "301 to https, as the Host says for clear text".to_owned(),
        Answer::Refused(status) => format!("{status}: the Host or the path is not served"),
        Answer::Tcp(clusters) => {
            let clusters: Vec<String> = clusters.iter().map(|(name, weight)| format!("{name} ({weight})")).collect();
            format!("a TCPMapping takes the connection to {}", clusters.join(", "))
        }
        Answer::Routes(shares) => {
            for share in shares {
                let _ = writeln!(text, "  {} answers{}: {}", share.source, part(share), outcome(&share.action));
            }
            let given: u32 = shares.iter().map(|share| share.percent).sum();
            if given < 100 {
                let _ = writeln!(text, "  404 for the other {}%", 100 - given);
            }
            String::new()
        }
    };
    if !line.is_empty() {
        let _ = writeln!(text, "  {line}");
    }
    for miss in &explanation.near_misses {
        let _ = writeln!(text, "  not {}: {}", miss.source, miss.reason);
    }
}

fn part(share: &Share) -> String {
    if share.percent == 100 { String::new() } else { format!(" {}% of such requests", share.percent) }
}

fn outcome(action: &Action) -> String {
    match action {
        Action::Forward(to) => {
            let mut text = format!("to {}", to.cluster);
            match &to.rewrite {
                Some(PathRewrite::Prefix(prefix)) => {
                    let _ = write!(text, ", the matched path becomes `{prefix}`");
                }
                Some(PathRewrite::Regex(rewrite)) => {
                    let _ = write!(text, ", `{}` in the path becomes `{}`", rewrite.pattern, rewrite.substitution);
                }
                None => {}
            }
            match &to.host_rewrite {
                Some(HostRewrite::Literal(host)) => {
                    let _ = write!(text, ", the host becomes `{host}`");
                }
                Some(HostRewrite::Auto) => text.push_str(", the host becomes the service's"),
                None => {}
            }
            text
        }
        Action::Redirect(to) => {
            let path = match &to.path {
                Some(RedirectPath::Path(path)) => format!(", path `{path}`"),
                Some(RedirectPath::Prefix(prefix)) => format!(", the matched path becomes `{prefix}`"),
                Some(RedirectPath::Regex(rewrite)) => format!(", path rewritten by `{}`", rewrite.pattern),
                None => String::new(),
            };
            format!("{} to `{}`{path}", to.code, to.host)
        }
        Action::Direct { status, .. } => format!("{status}, answered by the gateway itself"),
    }
}

/// A Mapping that is out of force is in no route, so that nothing else would speak of it.
fn refused(verdicts: &[Arc<Verdict>], text: &mut String) {
    let refused: Vec<_> =
        verdicts.iter().filter(|verdict| verdict.about.kind == Kind::Mapping && !verdict.accepted).collect();
    for verdict in refused.iter().take(REFUSED) {
        let why = verdict.problems.first().map(ToString::to_string).unwrap_or_default();
        let why: String = why.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
        let _ = writeln!(text, "refused {}: {why}", verdict.about);
    }
    if let Some(more) = refused.len().checked_sub(REFUSED).filter(|more| *more > 0) {
        let _ = writeln!(text, "refused: {more} more Mappings");
    }
}
