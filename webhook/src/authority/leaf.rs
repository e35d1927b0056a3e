//! The certificate that the webhook shows.

use super::{Authority, BACKDATED, Fault, Parsed, cannot_sign};
use crate::clock::Time;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::Duration;

/// How long a certificate is valid, if the authority is; as upstream's.
pub const LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);

/// A server certificate with its key, for the names of one Service.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// What the handshake takes: the certificate, the authority's own chain, the bridges.
    pub certified: Arc<CertifiedKey>,
    not_before: Time,
    not_after: Time,
}

impl Leaf {
    /// Whether another one is to be made: two thirds of its time are over, or the clock was set back before its beginning.
    pub fn is_due(&self, now: Time) -> bool {
        now < self.not_before || now >= self.not_after.minus(self.not_before.until(self.not_after) / 3)
    }

    /// Whether clients accept it now.
    pub fn is_valid(&self, now: Time) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

impl Authority {
    /// Makes a certificate for these names, the first of which clients will ask for; all of them fit into one.
    ///
    /// # Errors
    ///
    /// Also when a client that trusts [`Authority::bundle`] would not accept the result, whatever the reason: that is found
    /// out here and not by the first API server.
    pub fn issue(&self, names: &[String], now: Time) -> Result<Leaf, Fault> {
        let key = KeyPair::generate().map_err(cannot_sign)?;
        let mut params = CertificateParams::new(names).map_err(cannot_sign)?;
        let signer = self.0.certificates.first().ok_or(Fault::Missing(super::CERTIFICATE))?;
        let not_before = now.minus(BACKDATED).max(signer.not_before);
        let not_after = now.plus(LIFETIME).min(signer.not_after);
        params.not_before = not_before.system().into();
        params.not_after = not_after.system().into();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Nuncio");
        params.distinguished_name.push(DnType::CommonName, "Conversion webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer()?).map_err(cannot_sign)?;
        let mut chain = vec![certificate.into()];
        let own = &self.0.certificates;
        // A root need not be shown: who trusts it has it, and who does not will not because of us.
        let shown = if own.len() == 1 { &[][..] } else { own.as_slice() };
        chain.extend(shown.iter().chain(&self.0.bridges).map(|one: &Parsed| one.der.clone()));
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let certified = Arc::new(certified.map_err(|error| Fault::CannotSign(error.to_string()))?);
        let leaf = Leaf { certified, not_before, not_after };
        let name = names.first().map_or("", String::as_str);
        accepts(&self.bundle(now), &leaf, name, now).map_err(Fault::Rejected)?;
        Ok(leaf)
    }
}

/// Whether a client that trusts a `caBundle` accepts a certificate for a name. The error says why not.
pub fn accepts(bundle: &[u8], leaf: &Leaf, name: &str, now: Time) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|error| format!("the bundle does not parse: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let (first, rest) = leaf.certified.cert.split_first().ok_or("no certificate")?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.0).unwrap_or(0)));
    verifier.verify_server_cert(first, rest, &name, &[], now).map(drop).map_err(|error| error.to_string())
}
