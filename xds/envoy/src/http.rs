//! The HTTP connection manager, equal in all chains of a listener but for the route table.

use crate::access_log;
use crate::error_response;
use crate::module_filter;
use crate::policy;
use crate::proto::{ads, bool_value, duration_ms, u32_value};
use envoy_types::pb::envoy::config::core::v3::{self as core, http1_protocol_options::HeaderKeyFormat};
use envoy_types::pb::envoy::config::listener::v3::{Filter, filter};
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::Cors;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::util::pack_any;
use hcm::HttpConnectionManager;
use hcm::http_connection_manager::{CodecType, PathWithEscapedSlashesAction, RouteSpecifier};
use ir::{ClientCertificateHeader, ForwardCertificate, HttpSettings, UnderscoreAction};

/// The connection manager of a listener without its route table.
pub(crate) struct Template(HttpConnectionManager);

impl Template {
    /// The settings of a listener; `quic` for HTTP/3.
    pub fn new(settings: &HttpSettings, quic: bool) -> Self {
        let mut common =
            core::HttpProtocolOptions { idle_timeout: settings.idle_timeout_ms.map(duration_ms), ..Default::default() };
        if let Some(action) = settings.headers_with_underscores {
            common.set_headers_with_underscores_action(underscores(action));
        }
        let http1 = core::Http1ProtocolOptions {
            accept_http_10: settings.accept_http_10,
            allow_chunked_length: settings.allow_chunked_length,
            header_key_format: settings.proper_case.then(proper_case),
            ..Default::default()
        };
        let http2 = settings.max_concurrent_streams.map(|streams| core::Http2ProtocolOptions {
            max_concurrent_streams: Some(u32_value(streams)),
            ..Default::default()
        });
        let mut out = HttpConnectionManager {
            stat_prefix: settings.stat_prefix.to_string(),
            http_filters: Slot::ALL.iter().filter_map(|slot| slot.filter(settings)).collect(),
            common_http_protocol_options: set(common),
            http_protocol_options: set(http1),
            http2_protocol_options: http2,
            server_name: settings.server_name.to_string(),
            max_request_headers_kb: settings.max_request_headers_kb.map(u32_value),
            access_log: vec![access_log::file(&settings.access_log)],
            use_remote_address: bool_value(settings.use_remote_address),
            xff_num_trusted_hops: settings.xff_num_trusted_hops,
            preserve_external_request_id: settings.preserve_external_request_id,
            normalize_path: bool_value(true),
            merge_slashes: settings.merge_slashes,
            strip_matching_host_port: settings.strip_matching_host_port,
            ..Default::default()
        };
        client_certificate(&settings.client_certificate, &mut out);
        if settings.reject_escaped_slashes {
            out.set_path_with_escaped_slashes_action(PathWithEscapedSlashesAction::RejectRequest);
        }
        if quic {
            out.set_codec_type(CodecType::Http3);
            out.http3_protocol_options = Some(Default::default());
        }
        Self(out)
    }

    /// The network filter of a chain that takes its routes from that table.
    pub fn filter(&self, table: &str) -> Filter {
        let rds = hcm::Rds { config_source: Some(ads()), route_config_name: table.to_string() };
        let manager = HttpConnectionManager { route_specifier: Some(RouteSpecifier::Rds(rds)), ..self.0.clone() };
        Filter {
            name: "envoy.filters.network.http_connection_manager".to_string(),
            config_type: Some(filter::ConfigType::TypedConfig(pack_any(manager))),
        }
    }
}

/// A place in the HTTP filter chain. All that is built stands inline. A slot may instead be filled by ECDS
/// (`http_filter::ConfigType::ConfigDiscovery`), so that edits of its filter leave the chain as it is.
#[derive(Clone, Copy)]
enum Slot {
    /// Other bodies for errors, of a route's own rules: switched off, and so no part of any request, unless a route has some.
    /// The first in the chain sees an answer last, with what the others did to it.
    RouteErrors,
    /// The same of the Module's rules.
    ModuleErrors,
    /// Remembers headers for them; switched off likewise while the Module has no rules.
    Remember,
    /// Only while the Module asks for it, as those that follow; in upstream's order.
    GrpcHttp1Bridge,
    GrpcWeb,
    GrpcStats,
    Gzip,
    Buffer,
    /// Does nothing for a route without a policy, so it is always there and a policy never touches the listener.
    Cors,
    Router,
}

impl Slot {
    const ALL: [Slot; 10] = [
        Slot::RouteErrors,
        Slot::ModuleErrors,
        Slot::Remember,
        Slot::GrpcHttp1Bridge,
        Slot::GrpcWeb,
        Slot::GrpcStats,
        Slot::Gzip,
        Slot::Buffer,
        Slot::Cors,
        Slot::Router,
    ];

    fn filter(self, settings: &HttpSettings) -> Option<hcm::HttpFilter> {
        let asked = settings.filters.as_deref();
        let (name, config) = match self {
            Slot::RouteErrors => (error_response::OF_ROUTE, error_response::custom_response(&[])),
            Slot::ModuleErrors if settings.errors.is_empty() => return None,
            Slot::ModuleErrors => {
                (error_response::OF_MODULE, error_response::custom_response_with_headers(&settings.errors))
            }
            Slot::Remember if settings.errors.is_empty() => {
                (error_response::REMEMBER, error_response::remember_little())
            }
            Slot::Remember => (error_response::REMEMBER, error_response::remember()),
            Slot::GrpcHttp1Bridge if asked?.grpc_http1_bridge => module_filter::grpc_http1_bridge(),
            Slot::GrpcWeb if asked?.grpc_web => module_filter::grpc_web(),
            Slot::GrpcHttp1Bridge | Slot::GrpcWeb => return None,
            Slot::GrpcStats => module_filter::grpc_stats(asked?.grpc_stats.as_ref()?),
            Slot::Gzip => module_filter::gzip(asked?.gzip.as_ref()?),
            Slot::Buffer => module_filter::buffer(asked?.buffer_bytes?),
            Slot::Cors => (policy::CORS, pack_any(Cors::default())),
            Slot::Router => {
                let router = Router { suppress_envoy_headers: settings.suppress_envoy_headers, ..Default::default() };
                ("envoy.filters.http.router", pack_any(router))
            }
        };
        Some(hcm::HttpFilter {
            name: name.to_string(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
            disabled: match self {
                Slot::RouteErrors => true,
                Slot::Remember => settings.errors.is_empty(),
                _ => false,
            },
            ..Default::default()
        })
    }
}

fn proper_case() -> HeaderKeyFormat {
    use core::http1_protocol_options::header_key_format::{HeaderFormat, ProperCaseWords};
    HeaderKeyFormat { header_format: Some(HeaderFormat::ProperCaseWords(ProperCaseWords {})) }
}

fn client_certificate(header: &ClientCertificateHeader, out: &mut HttpConnectionManager) {
    use hcm::http_connection_manager::{ForwardClientCertDetails as Mode, SetCurrentClientCertDetails};
    if let Some(mode) = header.mode {
        out.set_forward_client_cert_details(match mode {
            ForwardCertificate::Sanitize => Mode::Sanitize,
            ForwardCertificate::ForwardOnly => Mode::ForwardOnly,
            ForwardCertificate::AppendForward => Mode::AppendForward,
            ForwardCertificate::SanitizeSet => Mode::SanitizeSet,
            ForwardCertificate::AlwaysForwardOnly => Mode::AlwaysForwardOnly,
        });
    }
    out.set_current_client_cert_details = set(SetCurrentClientCertDetails {
        subject: header.subject.then(|| bool_value(true)).flatten(),
        cert: header.cert,
        chain: header.chain,
        dns: header.dns,
        uri: header.uri,
        ..Default::default()
    });
}

fn underscores(action: UnderscoreAction) -> core::http_protocol_options::HeadersWithUnderscoresAction {
    use core::http_protocol_options::HeadersWithUnderscoresAction as To;
    match action {
        UnderscoreAction::Allow => To::Allow,
        UnderscoreAction::RejectRequest => To::RejectRequest,
        UnderscoreAction::DropHeader => To::DropHeader,
    }
}

/// `None` for a message that says nothing.
fn set<M: Default + PartialEq>(message: M) -> Option<M> {
    (message != M::default()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_response::{custom_response, kept, remember};
    use ir::{AccessLog, AccessLogFormat, ErrorBody, ErrorRule};
    use prost::Message;

    /// Decision 50 tells these sizes: what everybody pays for error answers, and what a route with rules does.
    #[test]
    fn error_answers_cost_little_where_nobody_asks_for_them() {
        let settings = HttpSettings {
            stat_prefix: "".into(),
            xff_num_trusted_hops: 0,
            use_remote_address: true,
            server_name: "".into(),
            accept_http_10: false,
            allow_chunked_length: false,
            preserve_external_request_id: false,
            strip_matching_host_port: false,
            merge_slashes: false,
            reject_escaped_slashes: false,
            suppress_envoy_headers: false,
            max_request_headers_kb: None,
            idle_timeout_ms: None,
            headers_with_underscores: None,
            max_concurrent_streams: None,
            proper_case: false,
            client_certificate: ClientCertificateHeader::default(),
            access_log: AccessLog { path: "".into(), format: AccessLogFormat::Text("".into()) },
            errors: [].into(),
            filters: None,
        };
        let filters: Vec<_> = Slot::ALL.iter().filter_map(|slot| slot.filter(&settings)).collect();
        let off: Vec<_> = filters.iter().filter(|filter| filter.disabled).collect();
        let per_chain: usize = off.iter().map(|filter| filter.encoded_len() + 2).sum();
        let rule = ErrorRule { status: 404, body: ErrorBody::Text("none".into()), content_type: None };
        let per_rule =
            custom_response(&[rule.clone(), rule.clone()]).encoded_len() - custom_response(&[rule]).encoded_len();
        let per_route = kept().iter().map(|header| header.encoded_len() + 2).sum::<usize>() + remember().encoded_len();
        assert_eq!((off.len(), per_chain, per_rule, per_route), (2, 286, 233, 1183));
    }
}
