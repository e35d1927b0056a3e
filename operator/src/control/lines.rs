//! Standard output of `serve`: what a person at a terminal wants to know.

use crate::pipeline::{ChangeReport, Report, Started, What};
use crate::status::State;
use ir::{Kind, ListenerRow};
use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Lines about changes in a cluster are limited to so many in this time.
const WINDOW: Duration = Duration::from_secs(1);
const CHANGES: usize = 20;
/// Objects that are told one by one at the start, in a cluster.
const TROUBLES: usize = 50;

/// Turns reports into lines.
#[derive(Debug)]
pub(super) struct Printer {
    /// Not the first control plane of this gateway: what was said is not said again.
    restarted: bool,
    /// Many objects of many owners, who read their status: sums and troubles are told instead of every verdict, and no
    /// more lines than a log can bear.
    cluster: bool,
    /// Where others find the configuration stream.
    places: Vec<String>,
    /// Where the diagnostics are.
    pub(super) diagnostics: Option<SocketAddr>,
}

impl Printer {
    pub(super) fn new(restarted: bool, cluster: bool, places: Vec<String>) -> Self {
        Self { restarted, cluster, places, diagnostics: None }
    }

    /// Prints until the pipeline is gone.
    pub(super) fn run(&self, reports: &Receiver<Box<Report>>) {
        let mut limit = Limit::new(Instant::now());
        loop {
            let received = match limit.held {
                0 => reports.recv().map_err(RecvTimeoutError::from),
                _ => reports.recv_timeout(WINDOW),
            };
            let report = match received {
                Ok(report) => Some(report),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut lines = limit.left_out(Instant::now()).map(left_out).unwrap_or_default();
            if let Some(report) = report {
                let passes = !self.cluster || !matches!(*report, Report::Changed(_)) || limit.passes();
                if passes {
                    lines.push_str(&self.lines(&report));
                }
            }
            if !lines.is_empty() {
                let mut out = stdout().lock();
                // A closed terminal is no reason to stop serving.
                let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
            }
        }
    }

    fn lines(&self, report: &Report) -> String {
        match report {
            Report::Started(_) if self.restarted => "the control plane was restarted\n".into(),
            Report::Started(started) => self.started(started),
            Report::Serving(_) if self.restarted => String::new(),
            Report::Serving(after) => format!("live after {}\n", time(*after)),
            Report::Changed(change) => changed(change),
            Report::Problem(problem) => format!("{problem}\n"),
            Report::Solved(problem) => format!("{}: solved: {}\n", problem.path.display(), problem.detail),
            Report::Note(note) => format!("{note}\n"),
        }
    }

    fn started(&self, started: &Started) -> String {
        let mut text = String::new();
        if self.cluster {
            text.push_str(&sums(started));
        }
        let urls: BTreeMap<&str, String> = started.listeners.iter().map(|row| (&*row.name, urls(row))).collect();
        let told = |state: State| !self.cluster || matches!(state, State::Refused | State::Degraded);
        let most = if self.cluster { TROUBLES } else { usize::MAX };
        for (key, state, summary) in
            started.objects.iter().filter(|(key, state, _)| told(*state) || key.kind == Kind::Listener).take(most)
        {
            let path = key.path();
            let url = urls.get(&*path).filter(|_| key.kind == Kind::Listener);
            let state = url.filter(|_| *state == State::Ready).cloned().unwrap_or_else(|| word(*state, false).into());
            text.push_str(&format!("{key}: {state}{}\n", after_colon(summary)));
        }
        if started.listeners.is_empty() {
            text.push_str("no Listener is in force, so nothing is served\n");
        }
        for place in &self.places {
            text.push_str(&format!("configuration stream: {place}\n"));
        }
        if let Some(address) = self.diagnostics {
            text.push_str(&format!("diagnostics: http://{address}/ambassador/v0/diag/\n"));
        }
        text
    }
}

/// `120 Mapping: 118 accepted, 2 refused`, a line for each kind.
fn sums(started: &Started) -> String {
    let mut kinds: BTreeMap<Kind, BTreeMap<&str, usize>> = BTreeMap::new();
    for (key, state, _) in &started.objects {
        *kinds.entry(key.kind).or_default().entry(word(*state, false)).or_default() += 1;
    }
    let line = |(kind, states): (Kind, BTreeMap<&str, usize>)| {
        let parts: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        format!("{} {kind}: {}\n", states.values().sum::<usize>(), parts.join(", "))
    };
    kinds.into_iter().map(line).collect()
}

/// Counts lines about changes, to let only so many through in each window.
#[derive(Debug)]
struct Limit {
    since: Instant,
    passed: usize,
    held: usize,
}

impl Limit {
    fn new(now: Instant) -> Self {
        Self { since: now, passed: 0, held: 0 }
    }

    fn passes(&mut self) -> bool {
        let passes = self.passed < CHANGES;
        if passes {
            self.passed += 1;
        } else {
            self.held += 1;
        }
        passes
    }

    /// How many lines the last window left out, once it is over.
    fn left_out(&mut self, now: Instant) -> Option<usize> {
        if now.duration_since(self.since) < WINDOW {
            return None;
        }
        (self.since, self.passed) = (now, 0);
        Some(std::mem::take(&mut self.held)).filter(|held| *held > 0)
    }
}

fn left_out(count: usize) -> String {
    format!("{count} more changes, which the status of the objects tells\n")
}

fn changed(change: &ChangeReport) -> String {
    let ChangeReport { key, what, state, summary, live } = change;
    let live = live.map(|after| format!(", live in {}", time(after))).unwrap_or_default();
    let state = match (what, state) {
        (What::Gone, None) => "removed",
        (What::Put | What::Judged, None) => "changed",
        (_, Some(state)) => word(*state, true),
    };
    // What is said because of another object's change has no time of its own.
    let live = if *what == What::Judged { String::new() } else { live };
    format!("{key}: {state}{live}{}\n", after_colon(summary))
}

fn word(state: State, live: bool) -> &'static str {
    match state {
        State::Ready if live => "ready",
        State::Ready => "accepted",
        State::Pending => "pending",
        State::Unused => "unused",
        State::Degraded => "degraded",
        State::Refused => "refused",
    }
}

fn after_colon(summary: &str) -> String {
    if summary.is_empty() { String::new() } else { format!(": {summary}") }
}

/// `12 ms`, `1.3 s`.
fn time(after: Duration) -> String {
    match after.as_millis() {
        0 => "1 ms".into(),
        millis @ 1..10_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", after.as_secs_f64()),
    }
}

/// The URLs that reach a listener from this machine.
fn urls(row: &ListenerRow) -> String {
    let address = match row.bind.address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Ok(address) => address,
        Err(_) => return row.bind.address.to_string(),
    };
    let at = SocketAddr::new(address, row.bind.port);
    let clear = row.chains.iter().any(|chain| chain.tls.is_none());
    let tls = row.chains.iter().any(|chain| chain.tls.is_some());
    match (clear, tls) {
        (true, true) => format!("http://{at} and https://{at}"),
        (false, true) => format!("https://{at}"),
        _ => format!("http://{at}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::ObjectKey;

    fn change(what: What, state: Option<State>, summary: &str, live: Option<u64>) -> String {
        let key = ObjectKey::new(Kind::Mapping, "default", "x");
        let live = live.map(Duration::from_millis);
        changed(&ChangeReport { key, what, state, summary: summary.into(), live })
    }

    #[test]
    fn one_line_says_what_changed_and_how_soon_it_was_live() {
        assert_eq!(change(What::Put, Some(State::Ready), "", Some(12)), "Mapping default/x: ready, live in 12 ms\n");
        assert_eq!(change(What::Gone, None, "", Some(3)), "Mapping default/x: removed, live in 3 ms\n");
        assert_eq!(
            change(What::Put, Some(State::Refused), "InvalidValue spec.prefix: no", None),
            "Mapping default/x: refused: InvalidValue spec.prefix: no\n"
        );
        assert_eq!(
            change(What::Judged, Some(State::Unused), "NoMatchingHost", Some(5)),
            "Mapping default/x: unused: NoMatchingHost\n"
        );
    }

    #[test]
    fn a_flood_of_changes_becomes_a_number() {
        let start = Instant::now();
        let mut limit = Limit::new(start);
        assert_eq!((0..100).filter(|_| limit.passes()).count(), CHANGES);
        assert_eq!(limit.left_out(start), None);
        assert_eq!(limit.left_out(start + WINDOW), Some(100 - CHANGES));
        assert!(limit.passes());
        assert_eq!(limit.left_out(start + WINDOW * 3), None);
    }

    #[test]
    fn a_cluster_is_told_in_sums() {
        let object = |name: &str, state, summary: &str| {
            (ObjectKey::new(Kind::Mapping, "default", name), state, summary.to_owned())
        };
        let started = Started {
            objects: vec![
                object("a", State::Ready, ""),
                object("b", State::Ready, ""),
                object("c", State::Refused, "bad"),
            ],
            listeners: Vec::new(),
            after: Duration::ZERO,
        };
        let text = Printer::new(false, true, Vec::new()).started(&started);
        assert!(text.starts_with("3 Mapping: 2 accepted, 1 refused\n"), "{text}");
        assert!(text.contains("Mapping default/c: refused: bad\n") && !text.contains("default/a"), "{text}");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(time(Duration::from_micros(200)), "1 ms");
        assert_eq!(time(Duration::from_millis(1500)), "1500 ms");
        assert_eq!(time(Duration::from_secs(15)), "15.0 s");
    }
}
