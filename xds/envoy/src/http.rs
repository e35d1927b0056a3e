//! The HTTP connection manager, equal in all chains of a listener but for the route table.

use crate::access_log;
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

/// A place in the HTTP filter chain, in upstream's order. So far CORS and the router are built, inline. A slot may instead
/// be filled by ECDS (`http_filter::ConfigType::ConfigDiscovery`), so that edits of its filter leave the chain as it is.
#[derive(Clone, Copy)]
enum Slot {
    /// Does nothing for a route without a policy, so it is always there and a policy never touches the listener.
    Cors,
    Router,
}

impl Slot {
    const ALL: [Slot; 2] = [Slot::Cors, Slot::Router];

    fn filter(self, settings: &HttpSettings) -> Option<hcm::HttpFilter> {
        let (name, config) = match self {
            Slot::Cors => (policy::CORS, pack_any(Cors::default())),
            Slot::Router => {
                let router = Router { suppress_envoy_headers: settings.suppress_envoy_headers, ..Default::default() };
                ("envoy.filters.http.router", pack_any(router))
            }
        };
        Some(hcm::HttpFilter {
            name: name.to_string(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
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
