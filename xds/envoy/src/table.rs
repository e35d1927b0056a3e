//! Route tables: virtual hosts spliced from lists, tables spliced from virtual hosts.

use crate::fragments::{Fragments, Section, Sections};
use crate::list::{Answer, RenderedList, by_header, concatenate};
use crate::proto::strings;
use crate::route::{FORWARDED_PROTO, answer_everything, redirect_everything};
use crate::wire::{Composed, Level, Rope, nest};
use ahash::AHashMap;
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost as VirtualHostMessage};
use ir::{ListId, RouteTable, VirtualHost, VirtualHostBody};
use prost::Message;
use std::sync::Arc;
use xds::{Payload, Version};

/// Field number of a virtual host in a `RouteConfiguration`.
const TABLE_VIRTUAL_HOSTS: u32 = 2;

/// What upstream says of HTTP/3 (RFC 7838): on the port that users see, which is 443 whatever the Listener's is.
const ALT_SVC: &str = r#"h3=":443"; ma=86400, h3-29=":443"; ma=86400"#;

/// All lists in force.
pub(crate) type Lists = AHashMap<ListId, Arc<RenderedList>>;

/// One virtual host, encoded.
#[derive(Debug)]
struct RenderedHost {
    /// Hash of name, domains and what the body comes to.
    hash: u64,
    /// The whole field of the `RouteConfiguration`.
    rope: Rope,
    /// Hash of what the lists in its body came to.
    body: u64,
}

/// A table with its encoded virtual hosts, in the order of its row.
#[derive(Debug)]
pub(crate) struct RenderedTable {
    row: Arc<RouteTable>,
    hosts: Vec<RenderedHost>,
    version: Version,
}

impl RenderedTable {
    /// A table, with every virtual host taken over from its former state that is the same.
    pub fn new(row: Arc<RouteTable>, former: Option<&mut RenderedTable>, lists: &Lists) -> Self {
        let mut old = former
            .map(|former| former.row.virtual_hosts.iter().zip(former.hosts.drain(..)).collect::<Vec<_>>())
            .unwrap_or_default()
            .into_iter()
            .peekable();
        let mut hosts = Vec::with_capacity(row.virtual_hosts.len());
        for host in &row.virtual_hosts {
            while old.next_if(|(before, _)| before.name < host.name).is_some() {}
            let body = body_hash(&host.body, lists);
            let same = old.next_if(|(before, rendered)| *before == host && rendered.body == body);
            hosts.push(same.map_or_else(|| RenderedHost::new(host, body, lists), |(_, rendered)| rendered));
        }
        let mut table = Self { row, hosts, version: Version::ABSENT };
        table.version = table.compose();
        table
    }

    /// Takes over what has become of the lists. True when the content is different.
    pub fn refresh(&mut self, lists: &Lists) -> bool {
        let before = self.version;
        for (host, rendered) in self.row.virtual_hosts.iter().zip(&mut self.hosts) {
            let body = body_hash(&host.body, lists);
            if body != rendered.body {
                *rendered = RenderedHost::new(host, body, lists);
            }
        }
        self.version = self.compose();
        self.version != before
    }

    /// The row it was made from.
    pub fn row(&self) -> &Arc<RouteTable> {
        &self.row
    }

    /// Content hash.
    pub fn version(&self) -> Version {
        self.version
    }

    fn compose(&self) -> Version {
        let mut composed = Composed::new("table");
        composed.text(&self.row.name);
        composed.add(u64::from(self.row.advertises_http3));
        self.hosts.iter().for_each(|host| composed.add(host.hash));
        Version::of_hash(composed.done())
    }

    /// The encoded `RouteConfiguration`.
    pub fn payload(&self) -> Payload {
        let advertised = self.row.advertises_http3.then(|| core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: "alt-svc".to_owned(),
                value: ALT_SVC.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        });
        let head = RouteConfiguration {
            name: self.row.name.to_string(),
            response_headers_to_add: advertised.into_iter().collect(),
            ..Default::default()
        };
        let mut rope = Rope::from(head.encode_to_vec());
        self.hosts.iter().for_each(|host| rope.append(&host.rope));
        rope.into_payload()
    }

    /// The route groups it is made of.
    pub fn fragments(&self, lists: &Lists) -> Fragments {
        let mut sections = Vec::new();
        self.row.virtual_hosts.iter().for_each(|host| collect_sections(&host.body, lists, &mut sections));
        Fragments::new(sections)
    }
}

/// The lists that a body names.
pub(crate) fn lists_of(body: &VirtualHostBody) -> Vec<&ListId> {
    let mut out = Vec::new();
    let mut next = Some(body);
    while let Some(body) = next.take() {
        match body {
            VirtualHostBody::Routes(list)
            | VirtualHostBody::AcmeOnly(list)
            | VirtualHostBody::RedirectToHttps { acme: list } => out.push(list),
            VirtualHostBody::ByForwardedProto { secure, insecure } => {
                out.push(secure);
                next = Some(insecure);
            }
            VirtualHostBody::Closed { .. } => {}
        }
    }
    out
}

impl RenderedHost {
    fn new(host: &VirtualHost, body: u64, lists: &Lists) -> Self {
        let head =
            VirtualHostMessage { name: host.name.to_string(), domains: strings(&host.domains), ..Default::default() };
        let head = head.encode_to_vec();
        let fields = match &host.body {
            VirtualHostBody::Routes(list) => lists.get(list).map(|list| list.in_host().clone()).unwrap_or_default(),
            other => answer(other, lists).into_host_fields(),
        };
        let mut composed = Composed::new("host");
        composed.add(crate::wire::hash(&head));
        composed.add(body);
        let mut rope = Rope::from(nest(&[Level { field: TABLE_VIRTUAL_HOSTS, before: &head }], fields.len()));
        rope.append(&fields);
        Self { hash: composed.done(), rope, body }
    }
}

/// What a body comes to. A list that is not there answers nothing: 404.
fn answer(body: &VirtualHostBody, lists: &Lists) -> Answer {
    match body {
        VirtualHostBody::Routes(list) => match lists.get(list) {
            Some(list) => list.answer(),
            None => Answer::Routes(Bytes::new()),
        },
        VirtualHostBody::RedirectToHttps { acme } => {
            let mut routes = acme_routes(acme, lists).to_vec();
            routes.extend(redirect_everything());
            Answer::Routes(routes.into())
        }
        VirtualHostBody::AcmeOnly(list) => Answer::Routes(acme_routes(list, lists)),
        VirtualHostBody::ByForwardedProto { secure, insecure } => {
            let hit = lists.get(secure).map_or_else(|| Answer::Routes(Bytes::new()), |list| list.answer());
            Answer::Matcher(by_header(FORWARDED_PROTO, "https", hit, answer(insecure, lists)))
        }
        VirtualHostBody::Closed { status } => Answer::Routes(answer_everything(*status).into()),
    }
}

fn acme_routes(list: &ListId, lists: &Lists) -> Bytes {
    lists.get(list).map(|list| concatenate(list.acme().groups())).unwrap_or_default()
}

/// The content hash of what a body comes to, without making it.
fn body_hash(body: &VirtualHostBody, lists: &Lists) -> u64 {
    let list = |id: &ListId| lists.get(id).map_or(0, |list| list.hash());
    let acme = |id: &ListId| lists.get(id).map_or(0, |list| list.acme().hash());
    let (form, first, second) = match body {
        VirtualHostBody::Routes(id) => ("routes", list(id), 0),
        VirtualHostBody::RedirectToHttps { acme: id } => ("redirect", acme(id), 0),
        VirtualHostBody::AcmeOnly(id) => ("acme", acme(id), 0),
        VirtualHostBody::ByForwardedProto { secure, insecure } => ("proto", list(secure), body_hash(insecure, lists)),
        VirtualHostBody::Closed { status } => ("closed", u64::from(*status), 0),
    };
    let mut composed = Composed::new(form);
    composed.add(first);
    composed.add(second);
    composed.done()
}

fn collect_sections(body: &VirtualHostBody, lists: &Lists, out: &mut Vec<Sections>) {
    let acme = |id: &ListId| -> Option<Sections> {
        let section: Arc<Section> = lists.get(id)?.acme().clone();
        Some([section].into())
    };
    match body {
        VirtualHostBody::Routes(id) => out.extend(lists.get(id).map(|list| list.sections().clone())),
        VirtualHostBody::RedirectToHttps { acme: id } | VirtualHostBody::AcmeOnly(id) => out.extend(acme(id)),
        VirtualHostBody::ByForwardedProto { secure, insecure } => {
            out.extend(lists.get(secure).map(|list| list.sections().clone()));
            collect_sections(insecure, lists, out);
        }
        VirtualHostBody::Closed { .. } => {}
    }
}
