//! `nuncio dump`: asks the diagnostics of a running gateway.

use super::args::{DumpArgs, DumpWhat};
use anyhow::{Context, bail};
use diag::{ClientReport, StatusReport};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);
/// The resources of a very large gateway; what is beyond is an error, not memory.
const ANSWER_BYTES: u64 = 1 << 30;

/// Fetches and prints.
pub fn run(args: &DumpArgs) -> anyhow::Result<ExitCode> {
    let path = match args.what {
        DumpWhat::Status => "/api/v1/status",
        DumpWhat::Envoy => "/api/v1/envoy",
        DumpWhat::Clients => "/api/v1/clients",
    };
    let body = get(&args.from, path)?;
    let value: serde_json::Value = serde_json::from_slice(&body).context("the answer is not JSON")?;
    if args.json || args.what == DumpWhat::Envoy {
        return super::print(&(serde_json::to_string_pretty(&value)? + "\n"));
    }
    match args.what {
        DumpWhat::Status => super::print(&status(&serde_json::from_value(value)?)),
        _ => super::print(&clients(&serde_json::from_value::<Vec<ClientReport>>(value)?)),
    }
}

/// One HTTP/1.0 exchange: the answer ends with the connection.
pub(super) fn get(from: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let Some(address) = from.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
        bail!("`{from}` is not of the form http://ADDRESS:PORT");
    };
    let at = address
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .with_context(|| format!("no address in `{from}`"))?;
    let mut stream =
        TcpStream::connect_timeout(&at, TIMEOUT).with_context(|| format!("no gateway answers at {from}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("the answer is not HTTP")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        bail!("{from}{path} answers `{first}`");
    }
    Ok(body)
}

fn status(report: &StatusReport) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    for object in &report.objects {
        let _ = write!(text, "{} {}/{}: {}", object.kind, object.namespace, object.name, object.state);
        let not = object.conditions.iter().filter(|one| one.status != "True" && one.kind != "Ready");
        for condition in not {
            let _ = write!(text, ", {} {} ({})", condition.kind, condition.status, condition.reason);
        }
        text.push('\n');
        for problem in &object.problems {
            let at = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
            let _ = writeln!(text, "    {} {at}{}", problem.reason, one_line(&problem.message));
        }
    }
    for problem in &report.source_problems {
        let _ = writeln!(text, "{}:{}: {} {}", problem.path, problem.line, problem.reason, one_line(&problem.message));
    }
    let waiting = &report.overview.waiting_for;
    if !waiting.is_empty() {
        let _ = writeln!(text, "nothing is published yet; waiting for {}", waiting.join(", "));
    }
    text
}

fn clients(all: &[ClientReport]) -> String {
    let mut text = String::new();
    for client in all {
        let _ = writeln!(
            text,
            "client {}: {} {}, Envoy {}, live batch {}",
            client.id, client.node, client.cluster, client.version, client.live_batch
        );
        for report in &client.reports {
            let _ = writeln!(text, "    refuses, and no object is to blame: {}", one_line(report));
        }
        for kind in &client.types {
            let ack = kind.last_ack.map_or_else(|| "no ACK".into(), |at| format!("last ACK {at}"));
            let _ = write!(text, "    {}: {} names, {} responses, {ack}", kind.kind, kind.subscribed, kind.sent);
            if let Some(nack) = &kind.last_nack {
                let _ = write!(text, ", last NACK {}: {}", nack.at, one_line(&nack.detail));
            }
            text.push('\n');
        }
    }
    if all.is_empty() {
        text.push_str("no Envoy is connected\n");
    }
    text
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
