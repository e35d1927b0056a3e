//! The HTML page: one file, no scripts, no outside assets, light and dark.

use crate::report::{ClientReport, ObjectReport, StatusReport};
use std::fmt::Write;

/// More objects than this are counted, not listed; the JSON form has them all.
const ROWS: usize = 2_000;

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--ok:#1a7f37;--warn:#9a6700;--bad:#cf222e}
@media(prefers-color-scheme:dark){:root{--ok:#4cc36a;--warn:#d9a426;--bad:#ff7b72}}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .6rem;border-bottom:1px solid var(--line)}
th{font-weight:600}.Ready{color:var(--ok)}.Pending,.Degraded,.Unused{color:var(--warn)}.Refused{color:var(--bad)}
small,.dim{opacity:.7}code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
";

/// The overview.
pub fn overview(status: &StatusReport, clients: &[ClientReport]) -> String {
    let mut page = String::with_capacity(4096 + status.objects.len() * 256);
    // Writing into a string does not fail.
    let _ = write(&mut page, status, clients);
    page
}

fn write(page: &mut String, status: &StatusReport, clients: &[ClientReport]) -> std::fmt::Result {
    let overview = &status.overview;
    write!(page, "<!doctype html><html lang=en><meta charset=utf-8><title>Nuncio</title>")?;
    write!(page, "<meta name=viewport content='width=device-width'><style>{STYLE}</style>")?;
    write!(page, "<h1>Nuncio <small>{}</small></h1>", escape(&overview.version))?;
    write!(page, "<p>AMBASSADOR_ID <code>{}</code>, ", escape(&overview.ambassador_id))?;
    write!(page, "namespace <code>{}</code>, ", escape(&overview.namespace))?;
    write!(page, "batch {} (live: {})", overview.batch, overview.live_batch)?;
    if overview.draining {
        write!(page, ", <b class=Degraded>draining</b>")?;
    }
    write!(page, "</p>")?;
    if !overview.waiting_for.is_empty() {
        let names: Vec<String> = overview.waiting_for.iter().map(|name| escape(name)).collect();
        write!(page, "<p class=Pending>Nothing is published yet; waiting for {}.</p>", names.join(", "))?;
    }
    objects(page, status)?;
    if !status.source_problems.is_empty() {
        write!(page, "<h2>Problems in files</h2><table><tr><th>Where<th>Reason<th>What")?;
        for problem in status.source_problems.iter().take(ROWS) {
            write!(page, "<tr><td><code>{}:{}</code>", escape(&problem.path), problem.line)?;
            write!(page, "<td class=Refused>{}<td>{}", escape(&problem.reason), escape(&problem.message))?;
        }
        write!(page, "</table>")?;
    }
    hosts(page, status)?;
    write!(page, "<h2>Clients</h2>")?;
    if clients.is_empty() {
        write!(page, "<p class=dim>No Envoy is connected.</p>")?;
    }
    clients.iter().take(ROWS).try_for_each(|client| client_table(page, client))?;
    write!(page, "<p class=dim>As JSON: <a href='?json=true'>this page</a>, <a href='/api/v1/status'>status</a>, ")?;
    write!(page, "<a href='/api/v1/clients'>clients</a>, <a href='/api/v1/envoy'>Envoy resources</a>; ")?;
    write!(page, "<a href='/metrics'>metrics</a></p></html>")
}

fn objects(page: &mut String, status: &StatusReport) -> std::fmt::Result {
    let count = |state: &str| status.objects.iter().filter(|object| object.state == state).count();
    write!(page, "<h2>Objects</h2><p>")?;
    for state in ["Ready", "Pending", "Degraded", "Refused", "Unused"] {
        write!(page, "<span class={state}>{} {state}</span> &nbsp; ", count(state))?;
    }
    write!(page, "</p><table><tr><th>Object<th>State<th>What is said")?;
    // Whatever needs a look comes first.
    let rank = |object: &&ObjectReport| match object.state.as_str() {
        "Refused" => 0,
        "Degraded" => 1,
        "Unused" => 2,
        "Pending" => 3,
        _ => 4,
    };
    let mut ordered: Vec<&ObjectReport> = status.objects.iter().collect();
    ordered.sort_by_key(rank);
    for object in ordered.iter().take(ROWS) {
        write!(
            page,
            "<tr><td>{} <code>{}/{}</code>",
            escape(&object.kind),
            escape(&object.namespace),
            escape(&object.name)
        )?;
        write!(page, "<td class={0}>{0}<td>", escape(&object.state))?;
        for problem in &object.problems {
            let at = if problem.field.is_empty() {
                String::new()
            } else {
                format!("<code>{}</code>: ", escape(&problem.field))
            };
            write!(page, "<div><b>{}</b> {at}{}</div>", escape(&problem.reason), escape(&problem.message))?;
        }
        if object.problems.is_empty() {
            write!(page, "<span class=dim>{}</span>", escape(&object.summary))?;
        }
    }
    write!(page, "</table>")?;
    if ordered.len() > ROWS {
        write!(page, "<p class=dim>{} more objects are left out here.</p>", ordered.len() - ROWS)?;
    }
    Ok(())
}

fn hosts(page: &mut String, status: &StatusReport) -> std::fmt::Result {
    write!(page, "<h2>Hosts</h2><table><tr><th>Host names<th>Listens on<th>Answer<th>Routes")?;
    for host in status.hosts.iter().take(ROWS) {
        let mut domains = host.domains.iter().take(20).map(|domain| escape(domain)).collect::<Vec<_>>().join(", ");
        if host.domains.len() > 20 {
            domains.push_str(&format!(" and {} more", host.domains.len() - 20));
        }
        write!(
            page,
            "<tr><td>{domains}<td><code>{}</code> <small>{}</small>",
            escape(&host.address),
            escape(&host.table)
        )?;
        write!(page, "<td>{}<td>{}", escape(&host.answer), host.routes)?;
    }
    write!(page, "</table>")
}

fn client_table(page: &mut String, client: &ClientReport) -> std::fmt::Result {
    write!(page, "<p>Client {}: <code>{}</code> ", client.id, escape(&client.node))?;
    write!(page, "<code>{}</code>, Envoy {}, ", escape(&client.cluster), escape(&client.version))?;
    write!(page, "live batch {}</p>", client.live_batch)?;
    for report in client.reports.iter().take(20) {
        write!(page, "<p class=Refused>refuses, and no object is to blame: {}</p>", escape(report))?;
    }
    write!(page, "<table><tr><th>Type<th>Names<th>Responses<th>Last ACK<th>Last NACK")?;
    for kind in &client.types {
        let ack = kind.last_ack.map_or_else(|| "never".to_string(), utc);
        write!(page, "<tr><td>{}<td>{}<td>{}<td>{ack}<td>", escape(&kind.kind), kind.subscribed, kind.sent)?;
        if let Some(nack) = &kind.last_nack {
            write!(page, "{} <span class=Refused>{}</span>", utc(nack.at), escape(&nack.detail))?;
        }
    }
    write!(page, "</table>")
}

/// A time in seconds since 1970 as RFC 3339 writes it, in UTC.
fn utc(at: u64) -> String {
    let (days, rest) = (at / 86_400, at % 86_400);
    // The civil date, counted in eras of 400 years that begin on the first of March, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z", year + era * 400 + carry)
}

/// For text and for quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(utc(1_795_279_341), "2026-11-21T16:42:21Z");
    }
}
