//! Private keys, read as far as it takes to tell whose they are: PKCS#1 (RFC 8017), SEC 1 (RFC 5915), PKCS#8 (RFC 5958).

use x509_parser::pem::Pem;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// Optional fields of a SEC 1 key: the curve and the public key.
const CURVE: u8 = 0xa0;
const PUBLIC_KEY: u8 = 0xa1;

/// `rsaEncryption`, `id-ecPublicKey` and `id-Ed25519` in DER.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// What a private key says about its public one. It never holds the secret part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PrivateKey {
    /// RSA, with the modulus.
    Rsa { modulus: Vec<u8> },
    /// On a NIST curve, with the public point if the key has it.
    Curve { public: Option<Vec<u8>> },
    /// Ed25519.
    Ed25519,
}

impl PrivateKey {
    /// Reads the key in a PEM block.
    pub(super) fn read(block: &Pem) -> Result<Self, String> {
        // Old forms say in lines before the bytes that these are encrypted; they are no DER then.
        let scrambled = block.label != "PRIVATE KEY" && block.contents.first() != Some(&SEQUENCE);
        if scrambled || block.label == "ENCRYPTED PRIVATE KEY" {
            return Err("the private key is encrypted".into());
        }
        let key = match block.label.as_str() {
            "RSA PRIVATE KEY" => rsa(&block.contents),
            "EC PRIVATE KEY" => curve(&block.contents),
            "PRIVATE KEY" => pkcs8(&block.contents),
            _ => None,
        };
        key.ok_or_else(|| "the private key cannot be read".into())
    }
}

fn rsa(der: &[u8]) -> Option<PrivateKey> {
    let fields = whole(der, SEQUENCE)?;
    let (_version, fields) = element(fields, INTEGER)?;
    let (modulus, fields) = element(fields, INTEGER)?;
    // Public and private exponent, both primes, and three numbers made of them.
    let mut rest = fields;
    for _ in 0..7 {
        rest = element(rest, INTEGER)?.1;
    }
    Some(PrivateKey::Rsa { modulus: without_leading_zeros(modulus).to_vec() })
}

fn curve(der: &[u8]) -> Option<PrivateKey> {
    let fields = whole(der, SEQUENCE)?;
    let (_version, fields) = element(fields, INTEGER)?;
    let (_secret, fields) = element(fields, OCTET_STRING)?;
    let fields = element(fields, CURVE).map_or(fields, |(_, rest)| rest);
    let public = match element(fields, PUBLIC_KEY) {
        // The first byte of a bit string counts the bits that are not used; here it is 0.
        Some((public, _)) => Some(whole(public, BIT_STRING)?.strip_prefix(&[0])?.to_vec()),
        None => None,
    };
    Some(PrivateKey::Curve { public })
}

fn pkcs8(der: &[u8]) -> Option<PrivateKey> {
    let fields = whole(der, SEQUENCE)?;
    let (_version, fields) = element(fields, INTEGER)?;
    let (algorithm, fields) = element(fields, SEQUENCE)?;
    let (algorithm, _parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
    let (inside, _attributes) = element(fields, OCTET_STRING)?;
    match algorithm {
        RSA => rsa(inside),
        EC => curve(inside),
        ED25519 => (whole(inside, OCTET_STRING)?.len() == 32).then_some(PrivateKey::Ed25519),
        _ => None,
    }
}

/// DER integers have a zero in front when they would read as negative.
pub(super) fn without_leading_zeros(mut number: &[u8]) -> &[u8] {
    while let Some(rest) = number.strip_prefix(&[0]) {
        number = rest;
    }
    number
}

/// The content of the one element that fills the bytes.
fn whole(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (content, rest) = element(der, tag)?;
    rest.is_empty().then_some(content)
}

/// The content of the element at the front if it has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = der.strip_prefix(&[tag])?.split_first()?;
    if *length < 0x80 {
        return rest.split_at_checked(usize::from(*length));
    }
    // A long form says how many bytes the length has; four are more than any key needs.
    let bytes = usize::from(length & 0x7f);
    if !(1..=4).contains(&bytes) {
        return None;
    }
    let (length, rest) = rest.split_at_checked(bytes)?;
    let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}
