//! All tables, and how a changed row of one moves the indexes that others read.

use crate::change::{FileContent, Refusal, WantedName};
use crate::incr::{Graph, MOST_TABLES, Set, Table};
use crate::object::Object;
use crate::options::Options;
use crate::parse::{ParsedListener, ParsedModule, Selector};
use crate::stage::attach::{Attached, ChainId, ChainKey, DomainKey};
use crate::stage::endpoint::EndpointKey;
use crate::stage::group::GroupRow;
use crate::stage::host::HostRow;
use crate::stage::list::ListState;
use crate::stage::parsed::ParsedRow;
use crate::stage::placement::{ClassRow, ListClass};
use crate::stage::rule::Rule;
use crate::stage::settings::{Setting, Slice};
use crate::stage::source::{Declared, Source};
use crate::stage::tcp::{TcpBind, TcpGroupRow, TcpRule};
use crate::stage::tls::{ContextRow, SdsKey, SdsRow};
use crate::stage::upstream::{Backend, Upstream};
use ahash::AHashMap;
use ir::{
    Chain, Cluster, EndpointSet, Kind, ListId, ListenerRow, ObjectKey, RouteList, RouteTable, Verdict, VirtualHostBody,
};
use std::cell::RefCell;
use std::sync::Arc;

/// Age, then key: the order in which conflicts are decided.
pub type ByAge = (i64, ObjectKey);

/// How Host selectors are found by labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SelectorTerm {
    /// Selectors without labels.
    All,
    /// Selectors with this label.
    Label(Arc<str>, Arc<str>),
}

/// How list classes are found by groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClassTerm {
    /// All classes, or all with that selector.
    Everything(Option<Option<Selector>>),
    /// Classes with that selector whose Hosts have `*` or a glob.
    Open(Option<Selector>),
    /// Classes with that selector whose Hosts have exact names that this glob meets.
    Named(Option<Selector>, Arc<str>),
}

/// Who needs a Secret or file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WantedBy {
    /// An SDS resource.
    Sds(SdsKey),
    /// The rules of an object for bodies of error answers.
    Errors(ObjectKey),
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $row:ty,)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "numbers of tables, in the order of stages")]
        #[repr(u8)]
        #[derive(Clone, Copy)]
        pub(crate) enum Number { $($name,)* Count }

        const _: () = assert!(Number::Count as usize <= MOST_TABLES);

        /// Every table of the compiler, inputs first, each after those that it reads.
        pub struct Db {
            /// Who read whom.
            pub graph: Graph,
            /// What the environment fixes.
            pub options: Options,
            /// What counts without a Module.
            pub default_module: Arc<ParsedModule>,
            /// Contents of the route lists.
            pub lists: AHashMap<Arc<str>, ListState>,
            /// Cluster settings that came up in the present batch, by hash; only so that equal ones are kept once.
            pub fresh_upstreams: RefCell<AHashMap<u64, Arc<Upstream>>>,
            $($(#[$doc])* pub $name: Table<$key, $row>,)*
        }

        impl Db {
            /// Empty tables.
            pub fn new(options: Options) -> Self {
                let mut db = Self {
                    graph: Graph::new(Number::Count as usize),
                    default_module: Arc::new(ParsedModule::default()),
                    lists: AHashMap::new(),
                    fresh_upstreams: RefCell::default(),
                    options,
                    $($name: Table::new(Number::$name as u8),)*
                };
                db.declared_by.make_sparse(&db.graph);
                db.refusals.make_sparse(&db.graph);
                db.group_problems.make_sparse(&db.graph);
                db
            }

            /// Whether any table from one to another has rows to re-run.
            pub(crate) fn is_dirty(&self, first: Number, last: Number) -> bool {
                self.graph.has_dirty_among(first as u8, last as u8)
            }

            /// Forgets keys without row and reader.
            pub fn sweep(&mut self) {
                if !self.fresh_upstreams.get_mut().is_empty() {
                    self.fresh_upstreams.take();
                }
                // Later tables read earlier ones, so going backwards frees chains of them in one pass.
                let sweeps: [(Number, fn(&mut Db)); _] =
                    [$((Number::$name, |db: &mut Db| db.$name.sweep(&db.graph)),)*];
                for (number, sweep) in sweeps.into_iter().rev() {
                    if self.graph.has_orphans(number as u8) {
                        sweep(self);
                    }
                }
            }
        }
    };
}

tables! {
    /// Input: objects.
    objects: ObjectKey => Arc<Object>,
    /// Input: last accepted versions.
    retained: ObjectKey => Arc<Object>,
    /// Input: what Envoy refused.
    refusals: ObjectKey => Refusal,
    /// Input: certificate files.
    files: Arc<str> => FileContent,
    /// Index: slices of a Service.
    slices_of: (Arc<str>, Arc<str>) => Set<ObjectKey>,
    /// Objects in annotations, by bearer.
    declared: ObjectKey => Arc<Declared>,
    /// Index: bearers that declare an object.
    declared_by: ObjectKey => Set<ObjectKey>,
    /// The object that stands for a key.
    source: ObjectKey => Arc<Source>,
    /// Its judged form.
    parsed: ObjectKey => Arc<ParsedRow>,
    /// Index: objects in scope of those kinds that are read as a whole; not Mappings.
    by_kind: Kind => Set<ObjectKey>,
    /// Index: TLSContexts by name, oldest first.
    contexts_by_name: Arc<str> => Set<ByAge>,
    /// Index: Listeners by port.
    ports: (u16, bool) => Set<ByAge>,
    /// Module slices and the like.
    settings: Slice => Setting,
    /// TLSContexts with their names resolved.
    contexts: ObjectKey => Arc<ContextRow>,
    /// Hosts with their TLS resolved.
    hosts: ObjectKey => Arc<HostRow>,
    /// Index: selectors of Hosts, by a label, with the Host's place in upstream's order.
    selecting_hosts: SelectorTerm => Set<(Arc<str>, Selector)>,
    /// Listeners that own their port.
    bound: ObjectKey => Arc<ParsedListener>,
    /// Chains that a Host takes part in.
    attachments: ObjectKey => Arc<Attached>,
    /// Index: Hosts of a TLS chain, oldest first.
    chain_claims: ChainId => Set<ByAge>,
    /// The Host whose settings a TLS chain has.
    chain_owners: ChainId => ObjectKey,
    /// Index: Hosts of a domain, oldest first.
    domain_claims: DomainKey => Set<ByAge>,
    /// The Host that a domain belongs to.
    domains: DomainKey => ObjectKey,
    /// What verifies the clients of a domain over TLS; no row where nothing does.
    guards: DomainKey => Arc<str>,
    /// Index: domains of a Listener whose clients are verified, with what verifies them.
    guarded: ObjectKey => Set<(Arc<str>, Arc<str>)>,
    /// Mappings with all defaults.
    rules: ObjectKey => Arc<Rule>,
    /// TCPMappings with all defaults.
    tcp_rules: ObjectKey => Arc<TcpRule>,
    /// Index: Mappings that name a cluster; nobody reads it, it feeds the next one.
    upstream_claims: Arc<Upstream> => Set<ObjectKey>,
    /// Index: clusters (their hashes) by name, smallest first.
    cluster_names: Arc<str> => Set<u64>,
    /// Index: Mappings, or TCPMappings, of a group.
    members: Arc<str> => Set<ObjectKey>,
    /// Route groups.
    groups: Arc<str> => Arc<GroupRow>,
    /// Index: groups by exact host name.
    exact_globs: Arc<str> => Set<Arc<str>>,
    /// Globs with a `*` that groups name, `*` itself aside.
    wild_globs: () => Set<Arc<str>>,
    /// Index: groups by glob with a `*`; feeds the table above.
    wild_groups: Arc<str> => Set<Arc<str>>,
    /// Index: groups that ask for `x-forwarded-proto`; feeds the next one.
    asking_groups: () => Set<Arc<str>>,
    /// There while any group asks for `x-forwarded-proto`.
    asks_proto: () => (),
    /// List class of a Host.
    classes_of: ObjectKey => Arc<ClassRow>,
    /// Index: list classes by what finds them, with the Hosts that have them.
    classes: ClassTerm => Set<(ListClass, ObjectKey)>,
    /// List classes of a group.
    placements: Arc<str> => Arc<[ListClass]>,
    /// What a domain answers.
    bodies: DomainKey => VirtualHostBody,
    /// Index: domains of a chain by their answer.
    chain_domains: ChainId => Set<(VirtualHostBody, Arc<str>)>,
    /// Chains with at least one domain.
    populated: ChainId => (),
    /// Index: chains of a Listener.
    chains_of: ObjectKey => Set<ChainKey>,
    /// Filter chains.
    chains: ChainId => Arc<Chain>,
    /// Route tables.
    tables: ChainId => Arc<RouteTable>,
    /// Index: tables that draw from a list.
    list_users: ListId => Set<ChainId>,
    /// Route lists in use.
    route_lists: ListId => Arc<RouteList>,
    /// Groups of TCPMappings, with their chains.
    tcp_groups: Arc<str> => Arc<TcpGroupRow>,
    /// Index: groups of TCPMappings with a chain, by what they listen on.
    tcp_chains: TcpBind => Set<Arc<str>>,
    /// Envoy listeners.
    listeners: ObjectKey => Arc<ListenerRow>,
    /// Index: groups that need a cluster.
    upstream_users: Arc<Upstream> => Set<Arc<str>>,
    /// Clusters.
    upstreams: Arc<Upstream> => Arc<Cluster>,
    /// Whether the service behind a cluster exists.
    backends: Arc<Upstream> => Backend,
    /// Index: clusters that need an endpoint set.
    endpoint_users: EndpointKey => Set<Arc<str>>,
    /// Endpoint sets.
    endpoints: EndpointKey => Arc<EndpointSet>,
    /// Index: clusters (their hashes) whose traffic goes to these endpoints, streamed or not.
    readiness_users: EndpointKey => Set<u64>,
    /// Whether any of these endpoints can take traffic; no row when that is not known.
    readiness: EndpointKey => bool,
    /// Index: rows that name an SDS resource.
    sds_users: SdsKey => Set<ObjectKey>,
    /// SDS resources.
    sds: SdsKey => Arc<SdsRow>,
    /// Index: who needs a Secret or file.
    wanted: WantedName => Set<WantedBy>,
    /// Index: findings that a row has about other objects, by object; with the row's id.
    group_problems: ObjectKey => Set<(Arc<str>, ir::Problem)>,
    /// Judgements.
    verdicts: ObjectKey => Arc<Verdict>,
}

/// Kinds that some row reads as a whole.
pub fn is_listed(kind: Kind) -> bool {
    !matches!(kind, Kind::Mapping | Kind::TCPMapping)
}
