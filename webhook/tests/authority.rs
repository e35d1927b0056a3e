//! Authorities: what is accepted, what is made, and who trusts it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends at the first surprise")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::collections::BTreeMap;
use std::time::Duration;
use webhook::authority::{Authority, Fault, LIFETIME, OVERLAP, accepts};
use webhook::clock::{Clock, Time};

const DAY: Duration = Duration::from_secs(24 * 3600);
const NAME: &str = "emissary-apiext.emissary-system.svc";

type Data = BTreeMap<String, Vec<u8>>;

fn now() -> Time {
    Clock::default().now()
}

fn names() -> Vec<String> {
    ["emissary-apiext.emissary-system.svc", "emissary-apiext.emissary-system.svc.cluster.local"].map(Into::into).into()
}

fn fresh(at: Time) -> Authority {
    Authority::generate(at, LIFETIME, None).unwrap()
}

/// An authority as somebody else would make it.
fn foreign(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Data {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Ambassador Labs");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    params.not_before = now().minus(DAY).system().into();
    params.not_after = now().plus(LIFETIME).system().into();
    change(&mut params);
    let certificate = params.self_signed(key).unwrap();
    data(&certificate.pem(), &key.serialize_pem())
}

fn data(certificate: &str, key: &str) -> Data {
    [("tls.crt", certificate), ("tls.key", key)].map(|(name, value)| (name.to_owned(), value.into())).into()
}

#[test]
fn a_new_authority_comes_back_from_its_secret_and_signs() {
    let made = fresh(now());
    let read = Authority::read(&made.data(), now()).unwrap();
    assert!(read.is_same(&made) && !read.is_due(now()));
    let leaf = read.issue(&names(), now()).unwrap();
    for name in names() {
        assert_eq!(accepts(&made.bundle(now()), &leaf, &name, now()), Ok(()));
    }
    assert!(accepts(&made.bundle(now()), &leaf, "other.svc", now()).is_err());
    assert!(accepts(&fresh(now()).bundle(now()), &leaf, NAME, now()).is_err());
    assert!(accepts(b"", &leaf, NAME, now()).is_err());
    assert_eq!(leaf.certified.cert.len(), 1);
}

#[test]
fn authorities_and_certificates_are_renewed_ahead_of_their_end() {
    let start = now();
    let authority = fresh(start);
    assert!(!authority.is_due(start.plus(DAY * 350)) && authority.is_due(start.plus(DAY * 352)));
    let short = Authority::generate(start, Duration::from_secs(600), None).unwrap();
    assert!(!short.is_due(start));
    let leaf = authority.issue(&names(), start).unwrap();
    assert!(!leaf.is_due(start) && !leaf.is_due(start.plus(DAY * 9)) && leaf.is_due(start.plus(DAY * 10)));
    assert!(leaf.is_due(start.minus(DAY)), "the clock was set back");
    assert!(leaf.is_valid(start.plus(DAY * 13)) && !leaf.is_valid(start.plus(DAY * 15)));
    let last = authority.issue(&names(), start.plus(DAY * 364)).unwrap();
    assert!(!last.is_valid(start.plus(DAY * 366)), "a certificate ends with its authority");
}

#[test]
fn a_replaced_authority_is_accepted_by_who_knows_either_one() {
    let start = now();
    let old = fresh(start);
    let then = start.plus(DAY * 352);
    let new = Authority::generate(then, LIFETIME, Some(&old)).unwrap();
    let new = Authority::read(&new.data(), then).unwrap();
    let (old_leaf, new_leaf) = (old.issue(&names(), then).unwrap(), new.issue(&names(), then).unwrap());
    let (old_bundle, new_bundle) = (old.bundle(then), new.bundle(then));
    for leaf in [&old_leaf, &new_leaf] {
        for bundle in [&old_bundle, &new_bundle] {
            assert_eq!(accepts(bundle, leaf, NAME, then), Ok(()));
        }
    }
    let later = then.plus(OVERLAP + DAY);
    assert!(accepts(&new.bundle(later), &old_leaf, NAME, later).is_err(), "the old one is trusted for a day");
    assert_eq!(accepts(&old_bundle, &new_leaf, NAME, later), Ok(()), "the bridge holds as long as the old one");
    let end = start.plus(LIFETIME + DAY);
    let leaf = Authority::read(&new.data(), end).unwrap().issue(&names(), end).unwrap();
    assert_eq!(leaf.certified.cert.len(), 1, "an expired bridge is not shown");
}

#[test]
fn several_replacements_in_a_row_lead_back_to_the_first() {
    let at = now();
    let first = fresh(at);
    let mut last = first.clone();
    for _ in 0..3 {
        last = Authority::generate(at, LIFETIME, Some(&last)).unwrap();
    }
    let leaf = last.issue(&names(), at).unwrap();
    assert_eq!(accepts(&first.bundle(at), &leaf, NAME, at), Ok(()));
    for _ in 0..20 {
        last = Authority::generate(at, LIFETIME, Some(&last)).unwrap();
    }
    let size: usize = last.data().values().map(Vec::len).sum();
    assert!(size < 12 << 10, "{size} bytes in the Secret");
}

#[test]
fn an_expired_authority_leaves_no_bridge() {
    let start = now();
    let old = fresh(start);
    let then = start.plus(LIFETIME + DAY);
    let new = Authority::generate(then, LIFETIME, Some(&old)).unwrap();
    assert_eq!(new.data().len(), 2);
}

#[test]
fn authorities_of_others_are_taken() {
    let key = KeyPair::generate().unwrap();
    let leaf = Authority::read(&foreign(&key, |_| {}), now()).unwrap().issue(&names(), now()).unwrap();
    assert!(leaf.is_valid(now()));

    // RSA, as Emissary-ingress makes it, and in the form that cert-manager prefers.
    let rsa = include_str!("rsa-key.pem");
    let pkcs8 = KeyPair::from_pem(rsa).unwrap();
    let made = foreign(&pkcs8, |_| {});
    let body: String = rsa.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body).unwrap();
    // PKCS #8 around RSA is 26 bytes of header: version, algorithm and two lengths.
    let pkcs1 = pem("RSA PRIVATE KEY", &der[26..]);
    for key in [rsa, &pkcs1] {
        let mut data = made.clone();
        data.insert("tls.key".into(), key.into());
        let leaf = Authority::read(&data, now()).unwrap().issue(&names(), now()).unwrap();
        assert_eq!(accepts(&made["tls.crt"], &leaf, NAME, now()), Ok(()));
    }
}

#[test]
fn an_authority_that_others_replace_is_bridged_from_memory() {
    let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let name = |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, "ca-öffentlich");
    let old = Authority::read(&foreign(&one, name), now()).unwrap();
    let new = Authority::read(&foreign(&two, name), now()).unwrap();
    let plain = new.issue(&names(), now()).unwrap();
    assert!(accepts(&old.bundle(now()), &plain, NAME, now()).is_err());
    let bridged = new.bridged_from(&old, now()).issue(&names(), now()).unwrap();
    for bundle in [old.bundle(now()), new.bundle(now())] {
        assert_eq!(accepts(&bundle, &bridged, NAME, now()), Ok(()));
    }
    assert!(old.bridged_from(&old, now()).is_same(&old));
}

#[test]
fn an_intermediate_authority_is_shown_with_its_chain() {
    let root = fresh(now());
    let root_key = KeyPair::from_pem(std::str::from_utf8(&root.data()["tls.key"]).unwrap()).unwrap();
    let root_pem = String::from_utf8(root.data()["tls.crt"].clone()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&root_pem, root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.not_after = now().plus(DAY * 30).system().into();
    params.distinguished_name.push(DnType::CommonName, "in between");
    let own = params.signed_by(&key, &issuer).unwrap().pem();
    let data = data(&format!("{own}{root_pem}"), &key.serialize_pem());
    let leaf = Authority::read(&data, now()).unwrap().issue(&names(), now()).unwrap();
    // cert-manager's injector puts the root alone into the CRDs.
    assert_eq!(accepts(root_pem.as_bytes(), &leaf, NAME, now()), Ok(()));
}

#[test]
fn garbage_is_told_apart_and_never_taken() {
    let good = fresh(now()).data();
    let with = |name: &str, value: &[u8]| {
        let mut data = good.clone();
        data.insert(name.into(), value.into());
        data
    };
    let without = |name: &str| {
        let mut data = good.clone();
        data.remove(name);
        data
    };
    let read = |data: &Data| Authority::read(data, now()).map(drop);
    assert_eq!(read(&Data::new()), Err(Fault::Missing("tls.crt")));
    assert_eq!(read(&without("tls.key")), Err(Fault::Missing("tls.key")));
    assert_eq!(read(&with("tls.key", b"")), Err(Fault::Missing("tls.key")));
    assert_eq!(read(&with("tls.key", &fresh(now()).data()["tls.key"])), Err(Fault::OtherKey));
    for junk in
        [&b"junk"[..], b"\xff\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good["tls.key"]]
    {
        assert!(matches!(read(&with("tls.crt", junk)), Err(Fault::Unreadable("tls.crt", _))));
    }
    for junk in [&b"junk"[..], b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &good["tls.crt"]] {
        assert!(matches!(read(&with("tls.key", junk)), Err(Fault::Unreadable("tls.key", _))));
    }
    let key = KeyPair::generate().unwrap();
    assert_eq!(read(&foreign(&key, |params| params.is_ca = IsCa::NoCa)), Err(Fault::NotAnAuthority));
    let code = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    assert_eq!(read(&foreign(&key, |params| params.extended_key_usages = code)), Err(Fault::NotAnAuthority));
    let no_signer = vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(read(&foreign(&key, |params| params.key_usages = no_signer)), Err(Fault::NotAnAuthority));
    let early = foreign(&key, |params| params.not_before = now().plus(DAY).system().into());
    assert_eq!(read(&early), Err(Fault::OutOfTime("not valid yet")));
    let over = foreign(&key, |params| params.not_after = now().minus(DAY / 2).system().into());
    assert_eq!(read(&over), Err(Fault::OutOfTime("expired")));
    // The helpers may be anything.
    assert_eq!(read(&with("bridge.crt", b"junk")), Ok(()));
    assert_eq!(read(&with("previous.crt", b"\xff")), Ok(()));
}

#[test]
fn an_authority_whose_certificates_nobody_accepts_is_found_out_when_it_signs() {
    let key = KeyPair::generate().unwrap();
    let data = foreign(&key, |params| {
        let permitted_subtrees = vec![rcgen::GeneralSubtree::DnsName("example.com".into())];
        params.name_constraints = Some(rcgen::NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    });
    let authority = Authority::read(&data, now()).unwrap();
    assert!(matches!(authority.issue(&names(), now()), Err(Fault::Rejected(_))));
}

#[test]
fn a_key_is_in_no_debug_text() {
    let authority = fresh(now());
    let key = String::from_utf8(authority.data()["tls.key"].clone()).unwrap();
    let text = format!("{authority:?} {:?}", authority.issue(&names(), now()).unwrap());
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!text.contains(line));
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
