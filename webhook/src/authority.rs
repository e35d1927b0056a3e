//! The certificate authority that API servers trust, and the certificates that it signs.
//!
//! The authority lives in the Secret that Emissary-ingress uses, under the same keys, so that either product goes on with
//! the other's. Two more keys make its replacement seamless:
//!
//! | key | what |
//! | --- | --- |
//! | `tls.crt`, `tls.key` | the authority in force; certificates that follow the first one are its own chain |
//! | `previous.crt` | its predecessors, which stay in the `caBundle` for a day |
//! | `bridge.crt` | its key, certified by its predecessor, and so on |
//!
//! A new authority comes with a *bridge*: a certificate of its key, signed by the old authority. The webhook shows it with
//! its own certificate, and a client that trusts the old authority only finds a path over it. So the moment at which each API
//! server learns of the new `caBundle` does not matter, which nobody could tell us anyway. The other way round, for replicas
//! of the webhook that have not seen the new Secret yet, the old authority stays in the `caBundle` for a day.

mod der;
mod leaf;

pub use leaf::{Leaf, accepts};

use crate::clock::Time;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// How long a new authority is valid; as upstream's.
pub const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long before its end an authority is replaced; as upstream's. Never more than a third of its lifetime.
pub const RENEW_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long a predecessor is trusted beside the authority in force.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// How far new certificates begin in the past, for peers whose clocks are behind.
pub const BACKDATED: Duration = Duration::from_secs(3600);

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const PREVIOUS: &str = "previous.crt";
const BRIDGE: &str = "bridge.crt";
/// Predecessors that are remembered. Replacing authorities faster than once in six hours is an accident.
const GENERATIONS: usize = 4;
/// Certificates that are read of one value.
const CHAIN: usize = 10;

/// A certificate authority that can sign.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    key: KeyPair,
    /// The certificate of `key`, then what followed it in the Secret.
    certificates: Vec<Parsed>,
    previous: Vec<Parsed>,
    bridges: Vec<Parsed>,
}

/// A certificate with the parts that are looked at.
#[derive(Clone, PartialEq, Eq)]
struct Parsed {
    der: CertificateDer<'static>,
    not_before: Time,
    not_after: Time,
    /// Whether Go's rules let it sign certificates of servers. They count restrictions of a root, too, which others ignore.
    is_ca: bool,
    public_key: Vec<u8>,
}

/// Why a Secret holds no authority that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A key is missing or empty.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A value does not parse.
    #[error("{0} does not parse: {1}")]
    Unreadable(&'static str, String),
    /// The certificate may not sign others.
    #[error("the certificate is not one of an authority for servers")]
    NotAnAuthority,
    /// The key belongs to another certificate.
    #[error("the key is not that of the certificate")]
    OtherKey,
    /// The clock is before or after the certificate's time.
    #[error("the certificate is {0}")]
    OutOfTime(&'static str),
    /// Clients would not accept what it signs.
    #[error("what it signs is not accepted: {0}")]
    Rejected(String),
    /// The cryptographic library refuses.
    #[error("cannot sign: {0}")]
    CannotSign(String),
}

impl Authority {
    /// Reads an authority from the data of its Secret.
    pub fn read<V: AsRef<[u8]>>(data: &BTreeMap<String, V>, now: Time) -> Result<Self, Fault> {
        let value = |name: &'static str| match data.get(name).map(AsRef::as_ref) {
            None | Some([]) => Err(Fault::Missing(name)),
            Some(value) => Ok(value),
        };
        let certificates = certificates(CERTIFICATE, value(CERTIFICATE)?)?;
        let first = certificates.first().ok_or(Fault::Missing(CERTIFICATE))?;
        let key =
            PrivateKeyDer::from_pem_slice(value(KEY)?).map_err(|error| Fault::Unreadable(KEY, error.to_string()))?;
        let key = der::to_pkcs8(&key).ok_or_else(|| Fault::Unreadable(KEY, "not of a known type".into()))?;
        let key = KeyPair::try_from(&key).map_err(|error| Fault::Unreadable(KEY, error.to_string()))?;
        if key.subject_public_key_info() != first.public_key {
            return Err(Fault::OtherKey);
        }
        if !first.is_ca {
            return Err(Fault::NotAnAuthority);
        }
        if let Some(how) = first.out_of_time(now) {
            return Err(Fault::OutOfTime(how));
        }
        // Both are a help only. Where they are damaged, the authority is as good as one without them.
        let extra = |name| {
            let read = data.get(name).and_then(|value| self::certificates(name, value.as_ref()).ok());
            let mut read = read.unwrap_or_default();
            read.retain(|one: &Parsed| one.is_ca && one.out_of_time(now).is_none());
            read.truncate(GENERATIONS);
            read
        };
        Ok(Self(Arc::new(Inner { key, certificates, previous: extra(PREVIOUS), bridges: extra(BRIDGE) })))
    }

    /// Makes a new authority, with a bridge from the one that it replaces.
    pub fn generate(now: Time, lifetime: Duration, replaced: Option<&Self>) -> Result<Self, Fault> {
        let key = KeyPair::generate().map_err(cannot_sign)?;
        let mut params = CertificateParams::default();
        params.not_before = now.minus(BACKDATED.min(lifetime / 10)).system().into();
        params.not_after = now.plus(lifetime).system().into();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Nuncio");
        // Every authority has a name of its own, so that no client takes one for another while it looks for a path.
        let id: String = params.key_identifier(&key).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, format!("Conversion webhook {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let own = params.self_signed(&key).map_err(cannot_sign)?;
        let (mut previous, mut bridges) = (Vec::new(), Vec::new());
        if let Some(old) = replaced
            && let Some(signer) = old.0.certificates.first()
            && signer.out_of_time(now).is_none()
        {
            let alive = |all: &[Parsed]| {
                let alive = all.iter().filter(|one| one.out_of_time(now).is_none()).cloned();
                alive.take(GENERATIONS - 1).collect::<Vec<_>>()
            };
            params.not_after = now.plus(lifetime).min(signer.not_after).system().into();
            params.use_authority_key_identifier_extension = true;
            let bridge = params.signed_by(&key, &old.issuer()?).map_err(cannot_sign)?;
            previous.push(signer.clone());
            previous.extend(alive(&old.0.previous));
            bridges.push(Parsed::new(bridge.into()).map_err(Fault::CannotSign)?);
            bridges.extend(alive(&old.0.bridges));
        }
        let own = Parsed::new(own.into()).map_err(Fault::CannotSign)?;
        Ok(Self(Arc::new(Inner { key, certificates: vec![own], previous, bridges })))
    }

    /// The same authority with a bridge from another one, if that can still sign. For authorities that somebody else
    /// replaces, without one.
    pub fn bridged_from(&self, old: &Self, now: Time) -> Self {
        let bridge = || {
            let signer = old.0.certificates.first().filter(|signer| signer.out_of_time(now).is_none())?;
            let own = self.0.certificates.first()?;
            if !self.0.bridges.is_empty() || self.is_same(old) {
                return None;
            }
            let (_, x509) = X509Certificate::from_der(&own.der).ok()?;
            let mut params = CertificateParams::default();
            params.distinguished_name = der::name(x509.subject())?;
            params.not_before = own.not_before.max(signer.not_before).system().into();
            params.not_after = own.not_after.min(signer.not_after).system().into();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
            params.use_authority_key_identifier_extension = true;
            let bridge = params.signed_by(&self.0.key, &old.issuer().ok()?).ok()?;
            let bridge = Parsed::new(bridge.into()).ok()?;
            // Clients compare names byte by byte. A bridge that writes its name in another way leads nowhere.
            let (_, written) = X509Certificate::from_der(&bridge.der).ok()?;
            if written.subject().as_raw() != x509.subject().as_raw() {
                return None;
            }
            let mut bridges = vec![bridge.clone()];
            bridges.extend(old.0.bridges.iter().take(GENERATIONS - 1).cloned());
            let key = KeyPair::try_from(self.0.key.serialized_der()).ok()?;
            let (certificates, previous) = (self.0.certificates.clone(), self.0.previous.clone());
            Some(Self(Arc::new(Inner { key, certificates, previous, bridges })))
        };
        bridge().unwrap_or_else(|| self.clone())
    }

    /// The data of its Secret.
    pub fn data(&self) -> BTreeMap<String, Vec<u8>> {
        let mut data = BTreeMap::from([
            (CERTIFICATE.to_owned(), pem(&self.0.certificates)),
            (KEY.to_owned(), self.0.key.serialize_pem().into_bytes()),
        ]);
        for (name, certificates) in [(PREVIOUS, &self.0.previous), (BRIDGE, &self.0.bridges)] {
            if !certificates.is_empty() {
                data.insert(name.to_owned(), pem(certificates));
            }
        }
        data
    }

    /// What API servers shall trust: this authority, and for a day its predecessors. PEM.
    pub fn bundle(&self, now: Time) -> Vec<u8> {
        let mut trusted = self.0.certificates.clone();
        let since = trusted.first().map_or(now, |first| first.not_before.plus(BACKDATED));
        if now < since.plus(OVERLAP) {
            trusted.extend(self.0.previous.iter().filter(|one| one.out_of_time(now).is_none()).cloned());
        }
        pem(&trusted)
    }

    /// Whether it is time to replace it.
    pub fn is_due(&self, now: Time) -> bool {
        self.0.certificates.first().is_none_or(|own| {
            let before = RENEW_BEFORE.min(own.not_before.until(own.not_after) / 3);
            now >= own.not_after.minus(before)
        })
    }

    /// When it stops being valid.
    pub fn not_after(&self) -> Time {
        self.0.certificates.first().map_or(Time(0), |own| own.not_after)
    }

    /// Whether it has the same key, certificate and helpers as another.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.certificates == other.0.certificates
            && self.0.previous == other.0.previous
            && self.0.bridges == other.0.bridges
    }

    fn issuer(&self) -> Result<Issuer<'_, &KeyPair>, Fault> {
        let own = self.0.certificates.first().ok_or(Fault::Missing(CERTIFICATE))?;
        Issuer::from_ca_cert_der(&own.der, &self.0.key).map_err(cannot_sign)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's business.
        f.debug_struct("Authority").field("not_after", &self.not_after()).finish_non_exhaustive()
    }
}

impl Parsed {
    fn new(der: CertificateDer<'static>) -> Result<Self, String> {
        let (_, x509) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        let constraints = x509.basic_constraints().map_err(|error| error.to_string())?;
        let usage = x509.key_usage().map_err(|error| error.to_string())?;
        let extended = x509.extended_key_usage().map_err(|error| error.to_string())?;
        Ok(Self {
            not_before: Time(x509.validity().not_before.timestamp()),
            not_after: Time(x509.validity().not_after.timestamp()),
            is_ca: constraints.is_some_and(|found| found.value.ca)
                && usage.is_none_or(|found| found.value.key_cert_sign())
                && extended.is_none_or(|found| found.value.any || found.value.server_auth),
            public_key: x509.public_key().raw.to_vec(),
            der,
        })
    }

    fn out_of_time(&self, now: Time) -> Option<&'static str> {
        if now < self.not_before {
            Some("not valid yet")
        } else if now > self.not_after {
            Some("expired")
        } else {
            None
        }
    }
}

fn certificates(name: &'static str, value: &[u8]) -> Result<Vec<Parsed>, Fault> {
    let unreadable = |why: String| Fault::Unreadable(name, why);
    let mut all = Vec::new();
    for der in CertificateDer::pem_slice_iter(value).take(CHAIN) {
        let der = der.map_err(|error| unreadable(error.to_string()))?;
        all.push(Parsed::new(der).map_err(unreadable)?);
    }
    if all.is_empty() { Err(unreadable("no certificate in it".into())) } else { Ok(all) }
}

fn pem(certificates: &[Parsed]) -> Vec<u8> {
    certificates.iter().flat_map(|one| der::pem("CERTIFICATE", &one.der)).collect()
}

fn cannot_sign(error: rcgen::Error) -> Fault {
    Fault::CannotSign(error.to_string())
}
