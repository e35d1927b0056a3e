//! The keys in `testdata` were made for these tests and protect nothing.

use super::*;
use proptest::prelude::*;

macro_rules! data {
    ($name:literal) => {
        include_str!(concat!("testdata/", $name))
    };
}

fn pair(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<(), String> {
    certificate_with_key(chain.as_ref(), key.as_ref())
}

fn refused(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> String {
    pair(chain, key).expect_err("refused")
}

#[test]
fn keys_of_all_forms_are_matched_with_their_certificates() {
    for (certificate, key) in [
        (data!("rsa.crt"), data!("rsa.key")),
        (data!("rsa.crt"), data!("rsa-pkcs1.key")),
        (data!("p256.crt"), data!("p256.key")),
        (data!("p256.crt"), data!("p256-sec1.key")),
        (data!("p256.crt"), data!("p256-no-public.key")),
        (data!("p256.crt"), data!("p256-with-parameters.key")),
        (data!("p384.crt"), data!("p384-sec1.key")),
        (data!("ed25519.crt"), data!("ed25519.key")),
    ] {
        assert_eq!(pair(certificate, key), Ok(()));
    }
}

#[test]
fn keys_of_others_are_refused() {
    let foreign = "the private key does not belong to the first certificate";
    for (certificate, key) in [
        (data!("rsa.crt"), data!("rsa1024.key")),
        (data!("rsa.crt"), data!("p256.key")),
        (data!("rsa.crt"), data!("ed25519.key")),
        (data!("p256.crt"), data!("rsa.key")),
        (data!("p256.crt"), data!("p384-sec1.key")),
        (data!("p256.crt"), data!("p256-other-with-parameters.key")),
        (data!("ed25519.crt"), data!("p256.key")),
    ] {
        assert_eq!(refused(certificate, key), foreign);
    }
    let chain = [data!("p256.crt"), data!("rsa.crt")].concat();
    assert_eq!(refused(chain, data!("rsa.key")), foreign, "the leaf comes first");
    let keys = [data!("p256.key"), data!("rsa.key")].concat();
    assert_eq!(refused(data!("rsa.crt"), keys), foreign, "the first key counts, as in Envoy");
}

#[test]
fn what_envoy_cannot_use_is_named() {
    assert_eq!(
        refused(data!("rsa1024.crt"), data!("rsa1024.key")),
        "the RSA key has 1024 bits, at least 2048 are needed"
    );
    assert!(refused(data!("p224.crt"), data!("p224.key")).ends_with("is not one of P-256, P-384 and P-521"));
    for key in [data!("rsa-encrypted.key"), data!("rsa-pkcs1-encrypted.key")] {
        let reason = refused(data!("rsa.crt"), key);
        assert!(["the private key is encrypted", "the text is not valid PEM"].contains(&reason.as_str()), "{reason}");
    }
    assert_eq!(refused(data!("rsa.crt"), data!("rsa.crt")), "there is no private key");
    assert_eq!(refused(data!("rsa.key"), data!("rsa.key")), "there is no certificate");
    assert_eq!(refused("", data!("rsa.key")), "there is no PEM block");
    assert_eq!(refused("hello", data!("rsa.key")), "there is no PEM block");
    assert_eq!(refused(b"\xff\xfe", data!("rsa.key")), "there is no PEM block");
}

#[test]
fn pem_is_read_as_envoy_reads_it() {
    let (certificate, key) = (data!("rsa.crt"), data!("rsa.key"));
    let body: String = certificate.lines().filter(|line| !line.starts_with('-')).collect();
    for (chain, key) in [
        (format!("a remark\n{certificate}"), format!("another\n{key}")),
        (certificate.replace('\n', "\r\n"), key.replace('\n', "\r\n")),
        (format!("{key}{certificate}"), format!("{certificate}{key}")),
        (certificate.trim().to_owned(), key.trim().to_owned()),
        (format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"), key.to_owned()),
        (format!("{certificate}{}", data!("p256.crt")), key.to_owned()),
    ] {
        assert_eq!(pair(&chain, &key), Ok(()), "{chain}");
    }
    let half = &certificate[..certificate.len() / 2];
    for chain in [
        format!("{certificate}{half}"),
        half.to_owned(),
        certificate.replace("MII", "AAA"),
        format!("{certificate}{}", certificate.replace("MII", "AAA")),
        certificate.replace("END CERTIFICATE", "END SOMETHING"),
    ] {
        assert!(pair(&chain, key).is_err(), "{chain}");
    }
}

#[test]
fn bundles_and_revocation_lists_are_read_to_the_end() {
    assert_eq!(ca_bundle(data!("rsa1024.crt").as_bytes()), Ok(()), "size is the business of who made it");
    assert_eq!(ca_bundle([data!("rsa.crt"), data!("p256.crt"), data!("ed25519.crt")].concat().as_bytes()), Ok(()));
    assert_eq!(ca_bundle(data!("rsa.key").as_bytes()), Err("there is no certificate".into()));
    assert_eq!(revocation_list(data!("p256.crl").as_bytes()), Ok(()));
    assert_eq!(revocation_list([data!("p256.crl"), data!("p256.crl")].concat().as_bytes()), Ok(()));
    assert_eq!(revocation_list(data!("p256.crt").as_bytes()), Err("there is no revocation list".into()));
    let broken = data!("p256.crl").replacen("\nM", "\nA", 1);
    assert!(revocation_list(broken.as_bytes()).is_err());
}

#[test]
fn sizes_are_bounded() {
    let huge = "x".repeat(limits::PEM + 1);
    assert!(ca_bundle(huge.as_bytes()).unwrap_err().ends_with("at most 1048576 are accepted"));
    assert!(refused(data!("rsa.crt"), "x".repeat(limits::PEM_KEY + 1)).ends_with("at most 65536 are accepted"));
    let many = "-----BEGIN X-----\nAA==\n-----END X-----\n".repeat(limits::PEM_BLOCKS + 1);
    assert_eq!(ca_bundle(many.as_bytes()), Err("there are 2049 PEM blocks, at most 2048 are accepted".into()));
}

proptest! {
    /// Truncated and damaged files give a reason, no panic, and no byte of the key.
    #[test]
    fn damage_is_survived(at in 0_usize..4000, byte in any::<u8>(), cut in 0_usize..4000) {
        for key in [data!("rsa.key"), data!("p256-sec1.key"), data!("rsa-pkcs1.key"), data!("ed25519.key")] {
            let mut bytes = key.as_bytes().to_vec();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(length - cut % length);
            if let Err(reason) = pair(data!("rsa.crt"), &bytes) {
                prop_assert!(reason.len() < 120 && key.lines().skip(1).all(|line| line.is_empty() || !reason.contains(line)));
            }
            let _ = ca_bundle(&bytes);
            let _ = revocation_list(&bytes);
        }
    }
}
