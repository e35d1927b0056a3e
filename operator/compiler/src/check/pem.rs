//! Certificates, keys and revocation lists in PEM form. Messages never contain any of the bytes.

use super::limits;
use x509_parser::pem::Pem;

fn blocks(bytes: &[u8]) -> Result<Vec<Pem>, String> {
    if bytes.len() > limits::PEM {
        return Err(format!("the PEM text is {} bytes long, at most {} are accepted", bytes.len(), limits::PEM));
    }
    let blocks: Result<Vec<Pem>, _> = Pem::iter_from_buffer(bytes).take(limits::PEM_BLOCKS).collect();
    let blocks = blocks.map_err(|_| "the text is not valid PEM".to_owned())?;
    if blocks.is_empty() { Err("there is no PEM block".into()) } else { Ok(blocks) }
}

/// Whether a chain and a key can be used together.
pub fn certificate_with_key(chain: &[u8], key: &[u8]) -> Result<(), String> {
    ca_bundle(chain)?;
    let blocks = blocks(key)?;
    if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) {
        Ok(())
    } else {
        Err("there is no private key".into())
    }
}

/// Whether all certificates of a bundle can be read.
pub fn ca_bundle(bundle: &[u8]) -> Result<(), String> {
    let blocks = blocks(bundle)?;
    let mut certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE").peekable();
    if certificates.peek().is_none() {
        return Err("there is no certificate".into());
    }
    for (index, block) in certificates.enumerate() {
        block.parse_x509().map_err(|_| format!("certificate {index} cannot be read"))?;
    }
    Ok(())
}

/// Whether a revocation list can be read.
pub fn revocation_list(list: &[u8]) -> Result<(), String> {
    let blocks = blocks(list)?;
    let block = blocks.iter().find(|block| block.label == "X509 CRL").ok_or("there is no revocation list")?;
    x509_parser::parse_x509_crl(&block.contents)
        .map(|_| ())
        .map_err(|_| "the revocation list cannot be read".to_owned())
}
