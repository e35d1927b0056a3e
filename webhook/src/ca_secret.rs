//! The Secret with the authority.

use crate::api;
use crate::authority::{Authority, Fault};
use crate::clock::Time;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use std::collections::BTreeMap;
use std::time::Duration;

/// The name of the Secret; upstream's.
pub const NAME: &str = "emissary-ingress-webhook-ca";

/// What is known of the Secret.
#[derive(Clone, Debug, Default)]
pub enum Observed {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It does not exist.
    Absent,
    /// It exists.
    Present(Box<Secret>),
}

impl Observed {
    /// The authority in it. None while nothing is known, or if it does not exist.
    pub fn authority(&self, now: Time) -> Option<Result<Authority, Fault>> {
        match self {
            Self::Unknown | Self::Absent => None,
            Self::Present(secret) => {
                let data = secret.data.clone().unwrap_or_default();
                let data: BTreeMap<String, Vec<u8>> = data.into_iter().map(|(key, value)| (key, value.0)).collect();
                Some(Authority::read(&data, now))
            }
        }
    }
}

/// Writes a new authority over what was observed. None if somebody else was faster: what they wrote counts.
///
/// # Errors
///
/// If the authority cannot be made, or not be written.
pub async fn renew(
    api: &Api<Secret>,
    observed: &Observed,
    replaced: Option<&Authority>,
    lifetime: Duration,
    now: Time,
) -> Result<Option<Secret>, String> {
    let authority = Authority::generate(now, lifetime, replaced).map_err(|fault| fault.to_string())?;
    let data = authority.data().into_iter().map(|(key, value)| (key, ByteString(value))).collect();
    let by = PostParams { field_manager: Some("nuncio".to_owned()), ..PostParams::default() };
    let written = match observed {
        Observed::Unknown => return Ok(None),
        Observed::Absent => {
            let secret = Secret {
                metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
                type_: Some("kubernetes.io/tls".to_owned()),
                data: Some(data),
                ..Secret::default()
            };
            api::in_time(api.create(&by, &secret)).await
        }
        // With the version that was observed, so that two replicas never overwrite each other; and with the type that it
        // has, which cannot be changed.
        Observed::Present(secret) => {
            let mut secret = secret.clone();
            secret.data = Some(data);
            api::in_time(api.replace(NAME, &by, &secret)).await
        }
    };
    match written {
        Ok(secret) => Ok(Some(secret)),
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
