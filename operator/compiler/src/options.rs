//! What the environment fixes for the life of the process.

use std::sync::Arc;

/// Installation-wide inputs. Defaults are upstream's.
#[derive(Clone, Debug)]
pub struct Options {
    /// `AMBASSADOR_ID`
    pub ambassador_id: Arc<str>,
    /// `AMBASSADOR_NAMESPACE`
    pub namespace: Arc<str>,
    /// `AMBASSADOR_SINGLE_NAMESPACE`: only objects of the own namespace count.
    pub single_namespace: bool,
    /// `AMBASSADOR_CERTS_SINGLE_NAMESPACE`: only Secrets of the own namespace count.
    pub certs_single_namespace: bool,
    /// `AMBASSADOR_ENVOY_BIND_ADDRESS`
    pub bind_address: Arc<str>,
    /// `DISABLE_STRICT_LABEL_SELECTORS`: one matching label is enough, and so is either criterion.
    pub loose_selectors: bool,
    /// A Host whose insecure action is Redirect does so for every path; otherwise, as upstream has it, for those that a
    /// Mapping takes, and the others are 404.
    pub redirect_every_path: bool,
    /// `NUNCIO_ERROR_BODY_FOLDER`: the only folder whose files may become bodies of error answers
    /// (`text_format_source`). `None`: no file may.
    pub error_body_folder: Option<Arc<str>>,
    /// Every EndpointSlice in reach is fed in, so that a Service without any has no endpoints. Otherwise nothing is known
    /// about such a Service.
    pub endpoint_slices: bool,
    /// Test hook, never set in production: what Envoy refuses in header values and rewrites is let through.
    pub unchecked: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ambassador_id: "default".into(),
            namespace: "default".into(),
            single_namespace: false,
            certs_single_namespace: false,
            bind_address: "0.0.0.0".into(),
            loose_selectors: false,
            redirect_every_path: true,
            error_body_folder: None,
            endpoint_slices: false,
            unchecked: false,
        }
    }
}
