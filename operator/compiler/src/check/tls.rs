//! Names of cipher suites and key exchange groups, as BoringSSL in Envoy 1.40 knows them.
//!
//! One unknown name makes Envoy refuse the listener or cluster, so unknown ones are told apart here. Every name in the
//! tables was tried with Envoy (`tls_params` of a `DownstreamTlsContext`, `--mode validate`).

/// Suites by their OpenSSL names.
const SUITES: &[&str] = &[
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "PSK-AES128-CBC-SHA",
    "PSK-AES256-CBC-SHA",
];

/// The same by their IANA names.
const STANDARD_SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_PSK_WITH_AES_128_CBC_SHA",
    "TLS_PSK_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

/// Words that stand for several suites, each for at least one.
const ALIASES: &[&str] = &[
    "3DES", "AES", "AES128", "AES256", "AESGCM", "ALL", "CHACHA20", "DEFAULT", "ECDHE", "ECDSA", "EECDH", "FIPS",
    "HIGH", "PSK", "SHA", "SHA1", "SSLv3", "TLSv1", "TLSv1.2", "aECDSA", "aPSK", "aRSA", "kECDHE", "kEECDH", "kPSK",
    "kRSA",
];

/// Groups. Those of TLS 1.3 and earlier share the names.
const GROUPS: &[&str] = &[
    "MLKEM1024",
    "P-256",
    "P-384",
    "P-521",
    "X25519",
    "X25519MLKEM768",
    "prime256v1",
    "secp384r1",
    "secp521r1",
    "x25519",
];

/// Whether an entry of a list of cipher suites adds suites that are known: a name or alias, several joined by colons, or
/// a group of equal preference `[A|B]`. BoringSSL's rules that take suites away (`!A`, `-A`) or combine aliases (`A+B`)
/// can leave nothing over, which only Envoy could tell, so they are not taken.
pub fn cipher_suite(entry: &str) -> bool {
    let known = |name: &str| SUITES.contains(&name) || STANDARD_SUITES.contains(&name) || ALIASES.contains(&name);
    entry.split(':').all(|rule| match rule.strip_prefix('[').and_then(|rule| rule.strip_suffix(']')) {
        Some(group) => group.split('|').all(|name| SUITES.contains(&name) || STANDARD_SUITES.contains(&name)),
        None => known(rule),
    })
}

/// Whether the name is that of a key exchange group.
pub fn group(name: &str) -> bool {
    GROUPS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_those_of_boringssl() {
        for good in [
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLS_RSA_WITH_AES_128_CBC_SHA",
            "HIGH",
            "TLSv1.2",
            "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
            "ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA",
        ] {
            assert!(cipher_suite(good), "{good}");
        }
        for bad in [
            "",
            "bogus",
            "AES128-SHA256",
            "RC4-SHA",
            "TLS_AES_128_GCM_SHA256",
            "ecdhe-rsa-aes128-gcm-sha256",
            "!aNULL",
            "-SHA",
            "[ECDHE-RSA-AES128-GCM-SHA256|XX]",
            "ECDHE-RSA-AES128-GCM-SHA256,AES128-SHA",
            " AES128-SHA",
            "@STRENGTH",
            "AES128-SHA:",
            "DHE-RSA-AES128-GCM-SHA256",
            "[",
        ] {
            assert!(!cipher_suite(bad), "{bad}");
        }
    }

    #[test]
    fn groups_are_those_of_boringssl() {
        assert!(["X25519", "P-256", "X25519MLKEM768"].iter().all(|name| group(name)));
        assert!(["", "P-224", "p-256", "X448", "SecP256r1MLKEM768"].iter().all(|name| !group(name)));
    }
}
