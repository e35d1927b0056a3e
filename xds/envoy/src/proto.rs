//! Short names for the messages in use, and constructors for the small ones that recur.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use ir::{SecretName, TextMatch, TlsVersion};
use prost::{Message, Name};
use std::sync::Arc;

/// Seconds after which Envoy stops waiting for endpoints. The server answers every name at once, so this only bounds
/// the damage of a lost answer (Envoy's own default is 15 s).
const ENDPOINTS_FETCH_TIMEOUT_MS: u64 = 5_000;

pub(crate) fn bool_value(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub(crate) fn u32_value(value: u32) -> UInt32Value {
    UInt32Value { value }
}

/// A duration; longer ones than Envoy takes (it counts nanoseconds in 64 bits) are cut at a hundred years.
pub(crate) fn duration_ms(ms: u64) -> Duration {
    const LONGEST_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
    let ms = ms.min(LONGEST_MS);
    Duration { seconds: (ms / 1000) as i64, nanos: ((ms % 1000) * 1_000_000) as i32 }
}

pub(crate) fn strings(texts: &[Arc<str>]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

/// An RE2 expression. The limit on program size is a runtime setting of the bootstrap; the per-expression field is
/// obsolete.
pub(crate) fn regex(expression: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: expression.to_string(), engine_type: None }
}

/// A condition on a text; `None` when it only has to be there. An empty prefix or suffix says no more than that, and
/// Envoy refuses it.
pub(crate) fn string_matcher(condition: &TextMatch) -> Option<matcher::StringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let pattern = match condition {
        TextMatch::Present => return None,
        TextMatch::Prefix(text) | TextMatch::Suffix(text) if text.is_empty() => return None,
        TextMatch::Exact(text) => MatchPattern::Exact(text.to_string()),
        TextMatch::Prefix(text) => MatchPattern::Prefix(text.to_string()),
        TextMatch::Suffix(text) => MatchPattern::Suffix(text.to_string()),
        TextMatch::Regex(text) => MatchPattern::SafeRegex(regex(text)),
    };
    Some(matcher::StringMatcher { ignore_case: false, match_pattern: Some(pattern) })
}

/// A TCP or UDP socket address.
pub(crate) fn address(host: &str, port: u16, udp: bool) -> core::Address {
    let protocol = if udp { core::socket_address::Protocol::Udp } else { core::socket_address::Protocol::Tcp };
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            protocol: protocol.into(),
            address: host.to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
            ..Default::default()
        })),
    }
}

/// A message with its type.
pub(crate) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// "By the stream you already have."
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
        ..Default::default()
    }
}

/// The same for endpoints, with a shorter wait.
pub(crate) fn ads_for_endpoints() -> core::ConfigSource {
    core::ConfigSource { initial_fetch_timeout: Some(duration_ms(ENDPOINTS_FETCH_TIMEOUT_MS)), ..ads() }
}

/// A secret by SDS.
pub(crate) fn sds(name: &SecretName) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name: name.to_string(), sds_config: Some(ads()) }
}

/// A data source with these bytes.
pub(crate) fn inline_bytes(bytes: &[u8]) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineBytes(bytes.to_vec())),
        ..Default::default()
    }
}

/// What server and client TLS have in common.
pub(crate) struct TlsOptions<'a> {
    pub certificate: Option<&'a SecretName>,
    pub validation: Option<&'a SecretName>,
    pub alpn: &'a [Arc<str>],
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
    pub cipher_suites: &'a [Arc<str>],
    pub ecdh_curves: &'a [Arc<str>],
}

impl TlsOptions<'_> {
    /// The message, without fields that say what Envoy does anyway.
    pub fn context(&self) -> tls::CommonTlsContext {
        let params = tls::TlsParameters {
            tls_minimum_protocol_version: self.min_version.map_or(0, tls_version),
            tls_maximum_protocol_version: self.max_version.map_or(0, tls_version),
            cipher_suites: strings(self.cipher_suites),
            ecdh_curves: strings(self.ecdh_curves),
            ..Default::default()
        };
        tls::CommonTlsContext {
            tls_params: (params != tls::TlsParameters::default()).then_some(params),
            tls_certificate_sds_secret_configs: self.certificate.map(sds).into_iter().collect(),
            alpn_protocols: strings(self.alpn),
            validation_context_type: self.validation.map(|name| {
                tls::common_tls_context::ValidationContextType::ValidationContextSdsSecretConfig(sds(name))
            }),
            ..Default::default()
        }
    }
}

fn tls_version(version: TlsVersion) -> i32 {
    use tls::tls_parameters::TlsProtocol;
    match version {
        TlsVersion::V1_0 => TlsProtocol::TlSv10,
        TlsVersion::V1_1 => TlsProtocol::TlSv11,
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    }
    .into()
}
