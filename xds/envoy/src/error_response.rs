//! Other bodies for answers with an error status, whether Envoy gave them or a service.
//!
//! Envoy's custom response filter puts an answer of its own in the place of the other. It stands in the chain twice: once for
//! the routes that have rules of their own, switched off unless a route asks for it, and once for the Module's rules, if there
//! are any. As the new answer has none of the headers of the old one, those of [`KEPT`] are carried over by way of dynamic
//! metadata, which another filter fills.
//! Sources: <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/custom_response_filter>,
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/header_to_metadata_filter>.

use crate::access_log::structure;
use crate::proto::any;
use crate::wire;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3::FilterConfig;
use envoy_types::pb::envoy::extensions::filters::http::custom_response::v3::CustomResponse;
use envoy_types::pb::envoy::extensions::filters::http::header_to_metadata::v3 as header_to_metadata;
use envoy_types::pb::envoy::extensions::http::custom_response::local_response_policy::v3 as policy;
use envoy_types::pb::envoy::r#type::matcher::v3::HttpResponseStatusCodeMatchInput;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::{Matcher, StringMatcher, matcher, string_matcher};
use ir::{ErrorBody, ErrorRule};
use matcher::matcher_list::{FieldMatcher, Predicate, predicate};
use policy::{LocalResponsePolicy, local_response_policy::ResponseCodeDetailsAction};
use prost::{Message, Name};
use serde_json::Value as Json;

/// The filter for rules of a route.
pub(crate) const OF_ROUTE: &str = "envoy.filters.http.custom_response";
/// The filter for rules of the Module.
pub(crate) const OF_MODULE: &str = "module.custom_response";

/// The filter that remembers headers.
pub(crate) const REMEMBER: &str = "envoy.filters.http.header_to_metadata";

/// Headers that clients act upon when they get an error: to authenticate, to wait, to be allowed to read it at all. A
/// cookie is not among them, as several would be joined to one.
const KEPT: [&str; 8] = [
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "retry-after",
    "vary",
    "www-authenticate",
];
/// The namespace of dynamic metadata in which they are remembered.
const MEMORY: &str = "error_response";

/// Field of `LocalResponsePolicy`, and of the `SubstitutionFormatString` in it.
const POLICY_FORMAT: u32 = 2;
const FORMAT_JSON: u32 = 2;

/// The configuration of a filter with these rules, or of a route for it.
pub(crate) fn custom_response(rules: &[ErrorRule]) -> Any {
    configuration(rules, &[])
}

/// The same with the headers that are carried over. Routes say that once for all their rules: [`kept`].
pub(crate) fn custom_response_with_headers(rules: &[ErrorRule]) -> Any {
    configuration(rules, &kept())
}

fn configuration(rules: &[ErrorRule], headers: &[core::HeaderValueOption]) -> Any {
    let matchers: Vec<FieldMatcher> = rules.iter().map(|rule| on_status(rule, headers)).collect();
    // Without rules there is nothing to match, and Envoy refuses a list without entries.
    let list = (!matchers.is_empty()).then_some(matcher::MatcherList { matchers });
    let custom_response_matcher =
        list.map(|list| Matcher { matcher_type: Some(matcher::MatcherType::MatcherList(list)), ..Default::default() });
    any(&CustomResponse { custom_response_matcher })
}

/// What a route says to the Module's filter when its rules are not to apply.
pub(crate) fn switched_off() -> Any {
    any(&FilterConfig { disabled: true, ..Default::default() })
}

/// The headers of the old answer, for the new one.
pub(crate) fn kept() -> Vec<core::HeaderValueOption> {
    KEPT.iter().map(|name| replaced(name, format!("%DYNAMIC_METADATA({MEMORY}:{name})%"))).collect()
}

/// The configuration that remembers them, of the filter or of a route for it.
pub(crate) fn remember() -> Any {
    any(&memory(&KEPT))
}

/// What the filter is configured with where only routes use it: as little as Envoy takes.
pub(crate) fn remember_little() -> Any {
    any(&memory(&["vary"]))
}

fn memory(names: &[&str]) -> header_to_metadata::Config {
    let rule = |name: &&str| header_to_metadata::config::Rule {
        header: (*name).to_owned(),
        on_header_present: Some(header_to_metadata::config::KeyValuePair {
            metadata_namespace: MEMORY.to_owned(),
            key: (*name).to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    header_to_metadata::Config { response_rules: names.iter().map(rule).collect(), ..Default::default() }
}

fn on_status(rule: &ErrorRule, headers: &[core::HeaderValueOption]) -> FieldMatcher {
    let input = TypedExtensionConfig {
        name: "status".to_owned(),
        typed_config: Some(any(&HttpResponseStatusCodeMatchInput {})),
    };
    let value = StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact(rule.status.to_string())),
        ..Default::default()
    };
    let single = predicate::SinglePredicate {
        input: Some(input),
        matcher: Some(predicate::single_predicate::Matcher::ValueMatch(value)),
    };
    let action = TypedExtensionConfig { name: "body".to_owned(), typed_config: Some(answer(rule, headers)) };
    FieldMatcher {
        predicate: Some(Predicate { match_type: Some(predicate::MatchType::SinglePredicate(single)) }),
        on_match: Some(matcher::OnMatch {
            on_match: Some(matcher::on_match::OnMatch::Action(action)),
            ..Default::default()
        }),
    }
}

fn answer(rule: &ErrorRule, headers: &[core::HeaderValueOption]) -> Any {
    let content_type = rule.content_type.as_deref().or(match rule.body {
        ErrorBody::Json(_) => Some("application/json"),
        // What Envoy says of a text anyway.
        ErrorBody::Text(_) => None,
    });
    let mut message = LocalResponsePolicy {
        // Only formats have commands.
        response_headers_to_add: content_type
            .map(|value| replaced("content-type", value.replace('%', "%%")))
            .into_iter()
            .chain(headers.iter().cloned())
            .collect(),
        // Access logs tell who gave the answer at first.
        response_code_details_action: Some(ResponseCodeDetailsAction::PreserveResponseCodeDetails(true)),
        ..Default::default()
    };
    let inline = |text: &str| core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.to_owned())),
        ..Default::default()
    };
    let mut json = None;
    match &rule.body {
        ErrorBody::Text(text) if text.is_empty() => message.body = Some(inline("")),
        ErrorBody::Text(text) => {
            message.body_format = Some(core::SubstitutionFormatString {
                format: Some(core::substitution_format_string::Format::TextFormatSource(inline(text))),
                ..Default::default()
            });
        }
        ErrorBody::Json(values) => {
            let object = values.iter().map(|(name, value)| (name.to_string(), Json::from(&**value)));
            json = Some(structure(&Json::Object(object.collect())));
        }
    }
    let mut value = message.encode_to_vec();
    if let Some(json) = json {
        wire::put_field(&mut value, POLICY_FORMAT, &wire::field(FORMAT_JSON, &json));
    }
    Any { type_url: LocalResponsePolicy::type_url(), value }
}

/// A header that takes the place of any other of its name, unless its value comes to nothing.
fn replaced(name: &str, value: String) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue { key: name.to_owned(), value, ..Default::default() }),
        append_action: core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..Default::default()
    }
}
