//! One route group as encoded routes, kept for as long as the group is in force.
//!
//! A group is encoded at most once per [`Form`]: the same group may stand in many lists, buckets and tables, and
//! all of them share its bytes.

use crate::error_response;
use crate::policy;
use crate::proto::{bool_value, duration_ms, regex, string_matcher};
use crate::wire;
use ahash::AHashMap;
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::Any;
use ir::{
    Action, Forward, HeaderEdits, HeaderValue, HostRewrite, ImpliedAuthority, NamedMatch, PathMatch, PathRewrite,
    ProtoVariant, Redirect, RedirectPath, RegexRewrite, RouteGroup, RouteMatch, TextMatch,
};
use prost::Message;
use std::collections::BTreeMap;
use std::iter::repeat_n;
use std::sync::Arc;

/// Field number of a route in a `RouteList`, the form in which encoded groups are kept.
pub(crate) const ROUTE_IN_LIST: u8 = 1;
/// Field number of a route in a `VirtualHost`.
pub(crate) const ROUTE_IN_HOST: u8 = 3;

/// Field of a `Route`, and those of its map's entries.
const TYPED_PER_FILTER_CONFIG: u32 = 13;
const ENTRY_KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;

/// The header that says how the client reached the first proxy.
pub(crate) const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Envoy refuses a table with a longer direct response (`max_direct_response_body_size_bytes`).
const LONGEST_BODY: usize = 4096;

/// Which conditions of a group the table around it has answered. It is what list settings come down to for one
/// group, so lists with different settings share the bytes of a group to which the difference does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Form {
    without_authority: bool,
    without_proto: bool,
    redirects: bool,
}

impl Form {
    const COUNT: usize = 8;

    fn of(group: &RouteGroup, implied: &ImpliedAuthority, variant: ProtoVariant) -> Self {
        Self {
            without_authority: authority_is_implied(group.matches.authority.as_ref(), implied),
            without_proto: proto_is_decided(&group.matches, variant),
            redirects: variant.redirects() && !group.matches.path.is_acme(),
        }
    }

    fn index(self) -> usize {
        usize::from(self.without_authority) | usize::from(self.without_proto) << 1 | usize::from(self.redirects) << 2
    }
}

fn authority_is_implied(authority: Option<&TextMatch>, implied: &ImpliedAuthority) -> bool {
    match (authority, implied) {
        (None | Some(TextMatch::Regex(_) | TextMatch::Present), _) | (_, ImpliedAuthority::Nothing) => false,
        (Some(_), ImpliedAuthority::AllGlobs) => true,
        (Some(TextMatch::Exact(text)), ImpliedAuthority::Glob(glob)) => glob == text,
        (Some(TextMatch::Suffix(text)), ImpliedAuthority::Glob(glob)) => glob.strip_prefix('*') == Some(text),
        (Some(TextMatch::Prefix(text)), ImpliedAuthority::Glob(glob)) => glob.strip_suffix('*') == Some(text),
    }
}

/// Upstream drops the user's own condition on the header where it adds (or negates) its own, but on the insecure
/// side keeps it when dropping would leave no header condition at all. `:authority` counts as one.
fn proto_is_decided(matches: &RouteMatch, variant: ProtoVariant) -> bool {
    let has = matches.headers.iter().any(is_forwarded_proto);
    let has_other = matches.authority.is_some() || matches.headers.iter().any(|header| !is_forwarded_proto(header));
    match variant {
        ProtoVariant::AsIs | ProtoVariant::RedirectAsIs => false,
        ProtoVariant::Secure => has,
        ProtoVariant::Insecure | ProtoVariant::RedirectInsecure => has && has_other,
    }
}

fn is_forwarded_proto(header: &NamedMatch) -> bool {
    header.name.eq_ignore_ascii_case(FORWARDED_PROTO)
}

/// The routes of a group, encoded as fields of a `RouteList`.
#[derive(Debug)]
pub(crate) struct EncodedGroup {
    /// What it was made from.
    pub group: Arc<RouteGroup>,
    /// The encoded routes; empty when no member can take a request.
    pub bytes: Bytes,
    /// Hash of these bytes.
    pub hash: u64,
}

/// Encoded groups by id. What no list uses any more goes away in sweeps whose cost is spread over the growth.
#[derive(Debug, Default)]
pub(crate) struct GroupCache {
    groups: AHashMap<Arc<str>, [Option<Arc<EncodedGroup>>; Form::COUNT]>,
    sweep_at: usize,
}

impl GroupCache {
    /// Below this number of groups nothing is swept.
    const FEW: usize = 1024;

    /// The encoded form of a group in a list with these settings.
    pub fn get(
        &mut self,
        group: &Arc<RouteGroup>,
        implied: &ImpliedAuthority,
        variant: ProtoVariant,
    ) -> Arc<EncodedGroup> {
        let form = Form::of(group, implied, variant);
        let forms = self.groups.entry(group.id.clone()).or_default();
        // An id stands for one value at a time, so the other forms of a changed group are old as well; each of them
        // is replaced when it is next asked for.
        let Some(slot) = forms.get_mut(form.index()) else { return encode(group, form) };
        match slot {
            Some(encoded) if Arc::ptr_eq(&encoded.group, group) || encoded.group == *group => encoded.clone(),
            _ => slot.insert(encode(group, form)).clone(),
        }
    }

    /// Forgets what only the cache still holds, when it has doubled since the last time.
    pub fn sweep(&mut self) {
        if self.groups.len() < self.sweep_at.max(Self::FEW) {
            return;
        }
        self.groups.retain(|_, forms| {
            for form in forms.iter_mut() {
                form.take_if(|encoded| Arc::strong_count(encoded) == 1);
            }
            forms.iter().any(Option::is_some)
        });
        self.sweep_at = self.groups.len() * 2;
    }
}

fn encode(group: &Arc<RouteGroup>, form: Form) -> Arc<EncodedGroup> {
    let mut bytes = Vec::with_capacity(128 * group.routes.len());
    for (route, settings) in routes(group, form) {
        // Maps of messages come out in any order, so this one is written by hand.
        let mut map = Vec::new();
        for (filter, config) in settings {
            let mut entry = wire::field(ENTRY_KEY, filter.as_bytes());
            wire::put_message(&mut entry, ENTRY_VALUE, &config);
            wire::put_field(&mut map, TYPED_PER_FILTER_CONFIG, &entry);
        }
        wire::put_header(&mut bytes, ROUTE_IN_LIST.into(), route.encoded_len() + map.len());
        route.encode_raw(&mut bytes);
        bytes.extend(map);
    }
    let hash = wire::hash(&bytes);
    Arc::new(EncodedGroup { group: group.clone(), bytes: bytes.into(), hash })
}

/// The routes of a group as messages, with their settings for filters apart, one per member that can take a request. A
/// member with a share of zero never does; its requests go on to the next route with or without it, so it is left out.
fn routes(group: &RouteGroup, form: Form) -> impl Iterator<Item = (route::Route, BTreeMap<&'static str, Any>)> {
    let members = group.routes.iter().filter(|member| member.fraction > 0);
    // Most groups have one member, for whom nothing is copied.
    let shared = repeat_n((conditions(&group.matches, form), edits(&group.headers)), members.clone().count());
    members.zip(shared).map(move |(member, (mut matches, mut edits))| {
        let path_compares_by_case = !matches!(group.matches.path, PathMatch::Regex(_));
        if !member.case_sensitive && path_compares_by_case {
            matches.case_sensitive = bool_value(false);
        }
        if member.fraction < 100 {
            matches.runtime_fraction = Some(core::RuntimeFractionalPercent {
                default_value: Some(FractionalPercent { numerator: member.fraction, ..Default::default() }),
                ..Default::default()
            });
        }
        let options = match &member.action {
            Action::Forward(to) if !form.redirects => to.options.as_deref(),
            Action::Forward(_) | Action::Redirect(_) | Action::Direct { .. } => None,
        };
        if options.is_some_and(|options| options.errors.is_some()) {
            // Behind the user's own, as what is remembered of a header has those in it.
            edits.response_headers_to_add.extend(error_response::kept());
        }
        let message = route::Route {
            r#match: Some(matches),
            action: Some(if form.redirects { https_redirect() } else { action(&member.action) }),
            ..edits
        };
        (message, options.map(policy::per_filter).unwrap_or_default())
    })
}

fn conditions(matches: &RouteMatch, form: Form) -> route::RouteMatch {
    use route::route_match::PathSpecifier;
    let path = match &matches.path {
        PathMatch::Prefix(text) => PathSpecifier::Prefix(text.to_string()),
        PathMatch::Exact(text) => PathSpecifier::Path(text.to_string()),
        PathMatch::Regex(text) => PathSpecifier::SafeRegex(regex(text)),
    };
    let own = matches.headers.iter().filter(|header| !(form.without_proto && is_forwarded_proto(header)));
    let authority = matches.authority.as_ref().filter(|_| !form.without_authority);
    let headers = own
        .map(|header| header_matcher(&header.name, &header.value))
        .chain(authority.map(|condition| header_matcher(":authority", condition)))
        .collect();
    route::RouteMatch {
        path_specifier: Some(path),
        headers,
        query_parameters: matches.query.iter().map(query_matcher).collect(),
        ..Default::default()
    }
}

fn header_matcher(name: &str, condition: &TextMatch) -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier;
    let specifier = match string_matcher(condition) {
        Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    route::HeaderMatcher { name: name.to_string(), header_match_specifier: Some(specifier), ..Default::default() }
}

fn query_matcher(condition: &NamedMatch) -> route::QueryParameterMatcher {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier;
    let specifier = match string_matcher(&condition.value) {
        Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
        None => QueryParameterMatchSpecifier::PresentMatch(true),
    };
    route::QueryParameterMatcher { name: condition.name.to_string(), query_parameter_match_specifier: Some(specifier) }
}

fn edits(edits: &HeaderEdits) -> route::Route {
    let add = |values: &[HeaderValue]| values.iter().map(header_value).collect();
    route::Route {
        request_headers_to_add: add(&edits.add_request),
        response_headers_to_add: add(&edits.add_response),
        request_headers_to_remove: crate::proto::strings(&edits.remove_request),
        response_headers_to_remove: crate::proto::strings(&edits.remove_response),
        ..Default::default()
    }
}

pub(crate) fn header_value(value: &HeaderValue) -> core::HeaderValueOption {
    use core::header_value_option::HeaderAppendAction;
    let append = match value.append {
        true => HeaderAppendAction::AppendIfExistsOrAdd,
        false => HeaderAppendAction::OverwriteIfExistsOrAdd,
    };
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: value.name.to_string(),
            value: value.value.to_string(),
            ..Default::default()
        }),
        append_action: append.into(),
        keep_empty_value: value.value.is_empty(),
        ..Default::default()
    }
}

fn action(action: &Action) -> route::route::Action {
    match action {
        Action::Forward(to) => route::route::Action::Route(forward(to)),
        Action::Redirect(to) => route::route::Action::Redirect(redirect(to)),
        Action::Direct { status, body } => direct(*status, body),
    }
}

fn forward(to: &Forward) -> route::RouteAction {
    use route::route_action::{ClusterSpecifier, HostRewriteSpecifier};
    let mut out = route::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(to.cluster.to_string())),
        timeout: Some(duration_ms(to.timeout_ms)),
        idle_timeout: to.idle_timeout_ms.map(duration_ms),
        host_rewrite_specifier: to.host_rewrite.as_ref().map(|rewrite| match rewrite {
            HostRewrite::Literal(host) => HostRewriteSpecifier::HostRewriteLiteral(host.to_string()),
            HostRewrite::Auto => HostRewriteSpecifier::AutoHostRewrite(bool_value(true).unwrap_or_default()),
        }),
        ..Default::default()
    };
    match &to.rewrite {
        // For exact and regex paths Envoy replaces the whole path by this text, as upstream's users know it.
        Some(PathRewrite::Prefix(text)) => out.prefix_rewrite = text.to_string(),
        Some(PathRewrite::Regex(rewrite)) => out.regex_rewrite = Some(regex_rewrite(rewrite)),
        None => {}
    }
    if let Some(options) = &to.options {
        policy::set(options, &mut out);
    }
    out
}

fn regex_rewrite(rewrite: &RegexRewrite) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute { pattern: Some(regex(&rewrite.pattern)), substitution: rewrite.substitution.to_string() }
}

fn redirect(to: &Redirect) -> route::RedirectAction {
    use route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode};
    let code = match to.code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    route::RedirectAction {
        host_redirect: to.host.to_string(),
        response_code: code.into(),
        path_rewrite_specifier: to.path.as_ref().map(|path| match path {
            RedirectPath::Path(text) => PathRewriteSpecifier::PathRedirect(text.to_string()),
            RedirectPath::Prefix(text) => PathRewriteSpecifier::PrefixRewrite(text.to_string()),
            RedirectPath::Regex(rewrite) => PathRewriteSpecifier::RegexRewrite(regex_rewrite(rewrite)),
        }),
        ..Default::default()
    }
}

fn direct(status: u16, body: &str) -> route::route::Action {
    let mut end = body.len().min(LONGEST_BODY);
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    let text = body.get(..end).filter(|text| !text.is_empty());
    route::route::Action::DirectResponse(route::DirectResponseAction {
        status: status.into(),
        body: text.map(|text| core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(text.to_string())),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// One route for every path that redirects to https with 301, encoded for a `RouteList`.
pub(crate) fn redirect_everything() -> Vec<u8> {
    everything(https_redirect())
}

fn https_redirect() -> route::route::Action {
    route::route::Action::Redirect(route::RedirectAction {
        scheme_rewrite_specifier: Some(route::redirect_action::SchemeRewriteSpecifier::HttpsRedirect(true)),
        ..Default::default()
    })
}

/// One route for every path that answers with that status, encoded for a `RouteList`.
pub(crate) fn answer_everything(status: u16) -> Vec<u8> {
    everything(direct(status, ""))
}

fn everything(action: route::route::Action) -> Vec<u8> {
    let path = route::route_match::PathSpecifier::Prefix("/".to_string());
    let route = route::Route {
        r#match: Some(route::RouteMatch { path_specifier: Some(path), ..Default::default() }),
        action: Some(action),
        ..Default::default()
    };
    let mut out = Vec::new();
    wire::put_message(&mut out, ROUTE_IN_LIST.into(), &route);
    out
}
