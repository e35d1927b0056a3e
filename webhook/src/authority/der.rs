//! The little DER and PEM that the libraries leave to their callers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{DistinguishedName, DnType, DnValue};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::x509::X509Name;

/// The certificates of one name part, and so on: lengths below 2^24 suffice for keys.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let [_, .., high, middle, low] = content.len().to_be_bytes();
    match (high, middle, low) {
        (0, 0, low) if low < 0x80 => out.push(low),
        (0, 0, low) => out.extend([0x81, low]),
        (0, middle, low) => out.extend([0x82, middle, low]),
        (high, middle, low) => out.extend([0x83, high, middle, low]),
    }
    out.extend_from_slice(content);
    out
}

/// A private key as PKCS #8 (RFC 5958), the only form that signing takes.
///
/// cert-manager writes PKCS #1 (RFC 8017) and SEC 1 (RFC 5915) unless told otherwise. None for a curve other than P-256
/// and P-384.
pub fn to_pkcs8(key: &PrivateKeyDer<'_>) -> Option<PrivatePkcs8KeyDer<'static>> {
    // rsaEncryption and NULL; ecPublicKey and prime256v1 or secp384r1.
    const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0];
    const EC: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x06, 5, 0x2b, 0x81, 0x04, 0x00, 0x22];
    let (algorithm, inner) = match key {
        PrivateKeyDer::Pkcs8(key) => return Some(key.clone_key()),
        PrivateKeyDer::Pkcs1(key) => (RSA.to_vec(), key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => {
            let der = key.secret_sec1_der();
            let has = |curve: &[u8]| der.windows(curve.len()).any(|window| window == curve);
            let curve = [P256, P384].into_iter().find(|curve| has(curve))?;
            ([EC, curve].concat(), der)
        }
        _ => return None,
    };
    let content = [vec![0x02, 1, 0], tagged(0x30, &algorithm), tagged(0x04, inner)].concat();
    Some(PrivatePkcs8KeyDer::from(tagged(0x30, &content)))
}

/// A name from a certificate, to be written into another one. None where it has parts that are rare.
pub fn name(from: &X509Name<'_>) -> Option<DistinguishedName> {
    let mut name = DistinguishedName::new();
    for part in from.iter_attributes() {
        let kind = DnType::CustomDnType(part.attr_type().iter()?.collect());
        let text = part.as_str().ok()?;
        let value = match part.attr_value().tag() {
            Tag::PrintableString => DnValue::PrintableString(text.try_into().ok()?),
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            _ => return None,
        };
        name.push(kind, value);
    }
    Some(name)
}

/// PEM (RFC 7468).
pub fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let mut out = format!("-----BEGIN {label}-----\n").into_bytes();
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    out
}
