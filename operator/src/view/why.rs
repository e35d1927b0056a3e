//! Which Mapping answers a request, and why the others do not, in words. The same for manifests and for a running gateway.

use compiler::explain::{Answer, Explainer, Explanation, Request, Share};
use diag::{WhyListener, WhyNot, WhyQuestion, WhyReport};
use ir::{Action, HostRewrite, Kind, PathRewrite, RedirectPath, RowChanges, Verdict};
use std::fmt::Write;
use std::sync::Arc;

/// Most refused Mappings that are listed.
const REFUSED: usize = 10;

/// What the rows make of a request. Listeners come by name, and so do, among the verdicts, the refused Mappings.
pub fn report(question: &WhyQuestion, mut rows: RowChanges, verdicts: &[Arc<Verdict>]) -> WhyReport {
    rows.listeners.sort_by(|left, right| left.0.cmp(&right.0));
    let request = Request {
        host: question.host.clone(),
        path: question.path.clone(),
        method: question.method.clone(),
        headers: question.headers.clone(),
        tls: question.tls,
    };
    let mut found = Explainer::new(&rows).why(&request);
    found.retain(|explanation| question.port.is_none_or(|port| explanation.port == port));
    let answers = |explanation: &Explanation| {
        matches!(explanation.answer, Answer::Routes(_) | Answer::RedirectToHttps | Answer::Tcp(_))
    };
    // A Mapping that is out of force is in no route, so that nothing else would speak of it.
    let refused = verdicts.iter().filter(|verdict| verdict.about.kind == Kind::Mapping && !verdict.accepted);
    let refused: Vec<&Arc<Verdict>> = refused.collect();
    WhyReport {
        answered: found.iter().any(answers),
        listeners: found.iter().map(listener).collect(),
        refused: refused.iter().take(REFUSED).map(|verdict| refusal(verdict)).collect(),
        more_refused: refused.len().saturating_sub(REFUSED),
    }
}

/// The report for people. Writing into a string does not fail.
pub fn text(question: &WhyQuestion, report: &WhyReport) -> String {
    let scheme = if question.tls { "https" } else { "http" };
    let mut text = format!("{} {scheme}://{}{}\n", question.method, question.host, question.path);
    for listener in &report.listeners {
        let _ = write!(text, "port {} ({}", listener.port, listener.listener);
        if let Some(chain) = &listener.chain {
            let _ = write!(text, ", chain {chain}");
        }
        if let Some(domain) = &listener.domain {
            let _ = write!(text, ", host {domain}");
        }
        text.push_str("):\n");
        for answer in &listener.answers {
            let _ = writeln!(text, "  {answer}");
        }
        for miss in &listener.near_misses {
            let _ = writeln!(text, "  not {}: {}", miss.object, miss.reason);
        }
    }
    if report.listeners.is_empty() {
        text.push_str("no port is open: see the Listeners\n");
    }
    for not in &report.refused {
        let _ = writeln!(text, "refused {}: {}", not.object, not.reason);
    }
    if report.more_refused > 0 {
        let _ = writeln!(text, "refused: {} more Mappings", report.more_refused);
    }
    // What a gateway elsewhere answers is not to be trusted with a terminal.
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

fn listener(explanation: &Explanation) -> WhyListener {
    let misses = explanation.near_misses.iter();
    WhyListener {
        listener: explanation.listener.to_string(),
        port: explanation.port,
        chain: explanation.chain.as_ref().map(ToString::to_string),
        domain: explanation.domain.as_ref().map(ToString::to_string),
        answers: answers(&explanation.answer),
        near_misses: misses
            .map(|miss| WhyNot { object: miss.source.to_string(), reason: miss.reason.clone() })
            .collect(),
    }
}

fn answers(answer: &Answer) -> Vec<String> {
    let line = match answer {
        Answer::NoChain => "the connection is refused: no chain takes it".to_owned(),
        Answer::NoHost => "404: no Host has this name".to_owned(),
        Answer::NoRoute => "404: no Mapping fits".to_owned(),
        Answer::RedirectToHttps => "301 to https, as the Host says for clear text".to_owned(),
        Answer::Refused(421) => "421: this TLS connection is not for that host; its own would be".to_owned(),
        Answer::Refused(status) => format!("{status}: the Host or the path is not served"),
        Answer::Tcp(clusters) => {
            let clusters: Vec<String> = clusters.iter().map(|(name, weight)| format!("{name} ({weight})")).collect();
            format!("a TCPMapping takes the connection to {}", clusters.join(", "))
        }
        Answer::Routes(shares) => {
            let answers =
                |share: &Share| format!("{} answers{}: {}", share.source, part(share), outcome(&share.action));
            let mut lines: Vec<String> = shares.iter().map(answers).collect();
            let given: u32 = shares.iter().map(|share| share.percent).sum();
            if given < 100 {
                lines.push(format!("404 for the other {}%", 100 - given));
            }
            return lines;
        }
    };
    vec![line]
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

fn refusal(verdict: &Verdict) -> WhyNot {
    let reason = verdict.problems.first().map(ToString::to_string).unwrap_or_default();
    WhyNot { object: verdict.about.to_string(), reason }
}
