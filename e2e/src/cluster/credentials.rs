//! Keys, certificates and tokens of one cluster, made anew for each.

use super::state::State;
use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::fmt::Write;
use std::io::Read;

/// User, name of its kubeconfig, and group. The users of the components are those that Kubernetes' own roles are bound to.
const USERS: [(&str, &str, &str); 6] = [
    ("test", "kubeconfig", "system:masters"),
    ("system:kube-controller-manager", "data/kube-controller-manager.conf", ""),
    ("system:kube-scheduler", "data/kube-scheduler.conf", ""),
    ("system:kube-proxy", "data/kube-proxy.conf", ""),
    ("coredns", "data/coredns.conf", "system:masters"),
    ("agent", "data/agent.conf", "system:masters"),
];

/// Writes `data/{ca.crt,server.crt,server.key,service-account.key,service-account.pub,tokens}` and a kubeconfig for each
/// user; the API server is at `server` (an URL whose host is among `names`).
pub fn write(state: &State, server: &str, names: &[&str]) -> Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "test cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca = params.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(params, ca_key);

    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let certificate = params.signed_by(&key, &issuer)?.pem();
    state.write("data/ca.crt", &ca)?;
    state.write("data/server.crt", &certificate)?;
    state.write("data/server.key", &key.serialize_pem())?;

    let signer = KeyPair::generate()?;
    state.write("data/service-account.key", &signer.serialize_pem())?;
    state.write("data/service-account.pub", &signer.public_key_pem())?;

    let mut tokens = String::new();
    for (user, file, group) in USERS {
        let token = random()?;
        writeln!(tokens, "{token},{user},{user},\"{group}\"")?;
        state.write(file, &kubeconfig(server, &ca, user, &token))?;
    }
    state.write("data/tokens", &tokens)
}

fn kubeconfig(server: &str, ca: &str, user: &str, token: &str) -> String {
    let ca = BASE64_STANDARD.encode(ca);
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters:\n- name: test\n  cluster:\n    server: {server}\n    certificate-authority-data: {ca}\n\
         users:\n- name: \"{user}\"\n  user:\n    token: {token}\n\
         contexts:\n- name: test\n  context:\n    cluster: test\n    user: \"{user}\"\n"
    )
}

fn random() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
