//! What one batch changed, for the renderer.

use crate::{Cluster, EndpointSet, ListId, ListenerRow, RouteList, RouteTable, SecretName, TlsSecret};
use std::sync::Arc;

/// A row that is new or different, or gone.
pub type Row<T> = Option<Arc<T>>;

/// The rows that a batch added, changed or took away. Each key appears at most once, in ascending order of keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowChanges {
    /// By listener name.
    pub listeners: Vec<(Arc<str>, Row<ListenerRow>)>,
    /// By table name.
    pub tables: Vec<(Arc<str>, Row<RouteTable>)>,
    /// By list. A list that a present table names is present.
    pub lists: Vec<(ListId, Row<RouteList>)>,
    /// By cluster name.
    pub clusters: Vec<(Arc<str>, Row<Cluster>)>,
    /// By EDS name.
    pub endpoints: Vec<(Arc<str>, Row<EndpointSet>)>,
    /// By SDS name. A wanted secret that is missing or unusable has no row.
    pub secrets: Vec<(SecretName, Row<TlsSecret>)>,
}

impl RowChanges {
    /// True when nothing changed.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
            && self.tables.is_empty()
            && self.lists.is_empty()
            && self.clusters.is_empty()
            && self.endpoints.is_empty()
            && self.secrets.is_empty()
    }
}
