//! Listener: a port, a protocol stack, and which Hosts it takes.

use super::report::Report;
use super::{NamespaceFrom, ParsedListener, SecurityModel, host};
use crate::check::{limits, text::quote};
use api::v3alpha1::{
    ListenerLayer as Layer, ListenerProtocol as Protocol, ListenerSpec, NamespaceFrom as From, SecurityModel as Model,
};
use ir::{ListenerFilter, ProblemKind};
use std::sync::Arc;

/// Judges a Listener.
pub fn listener(spec: &ListenerSpec, report: &mut Report) -> Option<ParsedListener> {
    let port = match u16::try_from(spec.port).ok().filter(|port| *port > 0) {
        Some(port) => Some(port),
        None => {
            report.refuse("port", ProblemKind::InvalidValue, format!("port {} is not between 1 and 65535", spec.port));
            None
        }
    };
    let stack = stack(spec, report);
    let binding = &spec.host_binding;
    let selector = host::selector("hostBinding.selector", &binding.selector, report);
    if binding.selector.as_ref().is_some_and(|found| found.match_labels.as_ref().is_none_or(|labels| labels.is_empty()))
    {
        let detail = "the selector has no `matchLabels`, so it would take every Host";
        report.refuse("hostBinding.selector", ProblemKind::InvalidValue, detail);
    }
    let from = match binding.namespace.as_ref().map(|namespace| namespace.from) {
        Some(Some(From::All)) => NamespaceFrom::All,
        Some(Some(From::Own)) => NamespaceFrom::Own,
        Some(Some(From::Selector)) => {
            let detail = "`SELECTOR` is not supported; `SELF` is used";
            report.degrade("hostBinding.namespace.from", ProblemKind::NotSupported, detail);
            NamespaceFrom::Own
        }
        Some(None) => {
            report.refuse(
                "hostBinding.namespace.from",
                ProblemKind::InvalidValue,
                "`from` is missing: `ALL` or `SELF`",
            );
            NamespaceFrom::Own
        }
        None if binding.selector.is_some() => NamespaceFrom::Own,
        None => {
            report.refuse(
                "hostBinding",
                ProblemKind::InvalidValue,
                "neither `namespace` nor `selector` says which Hosts it takes",
            );
            NamespaceFrom::Own
        }
    };
    let l7_depth = spec.l7_depth.unwrap_or(0);
    let l7_depth = u32::try_from(l7_depth).unwrap_or_else(|_| {
        report.degrade("l7Depth", ProblemKind::InvalidValue, format!("{l7_depth} is below 0; 0 is used"));
        0
    });
    let streams = spec.http2_max_concurrent_streams.map(i64::from);
    let max_concurrent_streams = report.count("http2MaxConcurrentStreams", streams).filter(|count| {
        // Envoy takes 1 to 2^31-1.
        let fine = *count > 0;
        if !fine {
            report.degrade(
                "http2MaxConcurrentStreams",
                ProblemKind::InvalidValue,
                "0 would refuse every request; Envoy's default is used",
            );
        }
        fine
    });
    let written_prefix = report.label("statsPrefix", spec.stats_prefix.as_ref(), limits::NAME);
    let (port, stack) = port.zip(stack)?;
    let udp = stack.contains(&Layer::Udp);
    let (http, tls) = (stack.contains(&Layer::Http), stack.contains(&Layer::Tls));
    let default_prefix: Arc<str> = match (http, tls) {
        (true, true) => "ingress_https".into(),
        (true, false) => "ingress_http".into(),
        (false, true) => format!("ingress_tls_{port}").into(),
        (false, false) => format!("ingress_tcp_{port}").into(),
    };
    Some(ParsedListener {
        port,
        http,
        tls,
        udp,
        // QUIC has its own handshake, in which Envoy looks for the name itself.
        filters: stack
            .iter()
            .filter(|_| !udp)
            .filter_map(|layer| match layer {
                Layer::Proxy => Some(ListenerFilter::ProxyProtocol),
                Layer::Tls => Some(ListenerFilter::TlsInspector),
                _ => None,
            })
            .collect(),
        security: match spec.security_model {
            Model::Xfp => SecurityModel::Xfp,
            Model::Secure => SecurityModel::Secure,
            Model::Insecure => SecurityModel::Insecure,
        },
        stats_prefix: written_prefix.unwrap_or(default_prefix),
        l7_depth,
        max_concurrent_streams,
        from,
        selector,
    })
}

fn stack(spec: &ListenerSpec, report: &mut Report) -> Option<Vec<Layer>> {
    use Layer::{Http, Proxy, Tcp, Tls, Udp};
    let stack = match (&spec.protocol_stack, spec.protocol) {
        (Some(stack), protocol) if !stack.is_empty() => {
            if protocol.is_some() {
                let detail = "`protocolStack` is set, so `protocol` has no effect";
                report.note("protocol", ProblemKind::NoEffect, detail);
            }
            stack.clone()
        }
        (_, Some(Protocol::Http)) => vec![Http, Tcp],
        (_, Some(Protocol::Https)) => vec![Tls, Http, Tcp],
        (_, Some(Protocol::HttpProxy)) => vec![Proxy, Http, Tcp],
        (_, Some(Protocol::HttpsProxy)) => vec![Proxy, Tls, Http, Tcp],
        (_, Some(Protocol::Tcp)) => vec![Tcp],
        (_, Some(Protocol::Tls)) => vec![Tls, Tcp],
        (_, Some(Protocol::Udp)) => {
            report.refuse(
                "protocol",
                ProblemKind::InvalidValue,
                "`UDP` is no protocol of its own; HTTP/3 is `protocolStack: [TLS, HTTP, UDP]`",
            );
            return None;
        }
        (_, None) => {
            report.refuse("protocol", ProblemKind::InvalidValue, "neither `protocol` nor `protocolStack` is set");
            return None;
        }
    };
    match stack.last() {
        Some(Tcp) => {}
        Some(Udp) if stack.contains(&Http) && stack.contains(&Tls) && !stack.contains(&Proxy) => {}
        Some(Udp) => {
            let detail = "over UDP there is HTTP/3 only, which is `[TLS, HTTP, UDP]`";
            report.refuse("protocolStack", ProblemKind::InvalidValue, detail);
            return None;
        }
        _ => {
            let last = stack.last().map(|layer| format!("{layer:?}").to_uppercase()).unwrap_or_default();
            report.refuse(
                "protocolStack",
                ProblemKind::InvalidValue,
                format!("the stack ends in {}; the last layer has to be TCP or UDP", quote(&last)),
            );
            return None;
        }
    }
    for (index, layer) in stack.iter().enumerate() {
        if stack.iter().take(index).any(|earlier| earlier == layer) {
            let detail = format!("{} is in the stack twice", quote(&format!("{layer:?}").to_uppercase()));
            report.refuse(&format!("protocolStack[{index}]"), ProblemKind::InvalidValue, detail);
            return None;
        }
    }
    Some(stack)
}

#[cfg(test)]
mod tests;
