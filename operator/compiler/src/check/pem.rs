//! Certificates, keys and revocation lists in PEM form. Messages never contain any of the bytes.
//!
//! Envoy refuses a TLS secret whose parts do not parse or do not belong together; what is refused was tried with Envoy
//! 1.40. It does not mind the validity period, and neither is it looked at here: there is no clock.

use super::limits;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;

mod key;

use key::PrivateKey;

/// The smallest RSA key for a certificate of its own that Envoy takes, in bits.
const MIN_RSA_BITS: usize = 2048;
/// The curves that Envoy takes: P-256, P-384, P-521.
const CURVES: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];

/// Whether a chain, leaf first, and a key can be used together.
pub fn certificate_with_key(chain: &[u8], key: &[u8]) -> Result<(), String> {
    let chain = blocks(chain, limits::PEM)?;
    let certificates = certificates(&chain)?;
    let key_blocks = blocks(key, limits::PEM_KEY)?;
    let block = key_blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY"));
    let block = block.ok_or("there is no private key")?;
    let key = PrivateKey::read(block)?;
    let Some(leaf) = certificates.first() else { return Err("there is no certificate".into()) };
    judge_leaf(leaf)?;
    if belongs(leaf, &key) { Ok(()) } else { Err("the private key does not belong to the first certificate".into()) }
}

/// Whether all certificates of a bundle can be read, and there is one.
pub fn ca_bundle(bundle: &[u8]) -> Result<(), String> {
    let bundle = blocks(bundle, limits::PEM)?;
    certificates(&bundle).map(|_| ())
}

/// Whether all revocation lists can be read, and there is one. Without one Envoy would let every certificate pass.
pub fn revocation_list(list: &[u8]) -> Result<(), String> {
    let blocks = blocks(list, limits::PEM)?;
    let mut lists = blocks.iter().filter(|block| block.label == "X509 CRL").enumerate().peekable();
    if lists.peek().is_none() {
        return Err("there is no revocation list".into());
    }
    for (index, block) in lists {
        match x509_parser::parse_x509_crl(&block.contents) {
            Ok(([], _)) => {}
            _ => return Err(format!("revocation list {} cannot be read", index + 1)),
        }
    }
    Ok(())
}

fn blocks(bytes: &[u8], most: usize) -> Result<Vec<Pem>, String> {
    if bytes.len() > most {
        return Err(format!("the PEM text is {} bytes long, at most {most} are accepted", bytes.len()));
    }
    let text = String::from_utf8_lossy(bytes);
    let labels = |mark: &str| -> Vec<String> {
        let marked = text.split(mark).skip(1);
        marked.map(|after| after.split("-----").next().unwrap_or_default().to_owned()).collect()
    };
    let begun = labels("-----BEGIN ");
    if begun.len() > limits::PEM_BLOCKS {
        return Err(format!("there are {} PEM blocks, at most {} are accepted", begun.len(), limits::PEM_BLOCKS));
    }
    if begun.is_empty() {
        return Err("there is no PEM block".into());
    }
    // The reader forgives a block that does not end, or ends as another kind; Envoy does not.
    let blocks: Result<Vec<Pem>, _> = Pem::iter_from_buffer(bytes).collect();
    match blocks {
        Ok(blocks) if begun == labels("-----END ") && begun.iter().eq(blocks.iter().map(|block| &block.label)) => {
            Ok(blocks)
        }
        _ => Err("the text is not valid PEM".into()),
    }
}

fn certificates(blocks: &[Pem]) -> Result<Vec<X509Certificate<'_>>, String> {
    let found = blocks.iter().filter(|block| ["CERTIFICATE", "X509 CERTIFICATE"].contains(&block.label.as_str()));
    let mut certificates = Vec::new();
    for (index, block) in found.enumerate() {
        match x509_parser::parse_x509_certificate(&block.contents) {
            Ok(([], certificate)) => certificates.push(certificate),
            _ => return Err(format!("certificate {} cannot be read", index + 1)),
        }
    }
    if certificates.is_empty() { Err("there is no certificate".into()) } else { Ok(certificates) }
}

/// What Envoy asks of the key of a certificate it shows.
fn judge_leaf(leaf: &X509Certificate<'_>) -> Result<(), String> {
    match leaf.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => {
            let bits = key::without_leading_zeros(key.modulus).len() * 8;
            if bits < MIN_RSA_BITS {
                return Err(format!("the RSA key has {bits} bits, at least {MIN_RSA_BITS} are needed"));
            }
        }
        Ok(PublicKey::EC(_)) => {
            let curve = leaf.public_key().algorithm.parameters.as_ref().and_then(|found| found.as_oid().ok());
            let curve = curve.map(|curve| curve.to_id_string()).unwrap_or_default();
            if !CURVES.contains(&curve.as_str()) {
                return Err(format!("the curve of the key ({curve}) is not one of P-256, P-384 and P-521"));
            }
        }
        _ if is_ed25519(leaf) => {}
        _ => return Err("the key is neither RSA nor on a known curve".into()),
    }
    Ok(())
}

/// Whether the key is the certificate's. A key that does not say its public part passes when the algorithm fits, as to
/// compute it takes more than reading.
fn belongs(leaf: &X509Certificate<'_>, key: &PrivateKey) -> bool {
    match (leaf.public_key().parsed(), key) {
        (Ok(PublicKey::RSA(public)), PrivateKey::Rsa { modulus }) => {
            key::without_leading_zeros(public.modulus) == modulus.as_slice()
        }
        (Ok(PublicKey::EC(point)), PrivateKey::Curve { public }) => {
            public.as_ref().is_none_or(|public| public.as_slice() == point.data())
        }
        (_, PrivateKey::Ed25519) => is_ed25519(leaf),
        _ => false,
    }
}

fn is_ed25519(leaf: &X509Certificate<'_>) -> bool {
    leaf.public_key().algorithm.algorithm.to_id_string() == "1.3.101.112"
}

#[cfg(test)]
mod tests;
