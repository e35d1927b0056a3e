//! The objects that the walk edits, their manifests, and the answers that are right for them.
//!
//! It is a model of its own: what a path answers follows from the slots and Services here, not from what Nuncio makes
//! of the manifests.

use super::backend::Instance;
use super::ledger::{Answer, Entry, Probe};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A Service and the instances behind it.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// How the gateway finds its instances.
    pub by: By,
    /// Who answers.
    pub instances: Vec<Arc<Instance>>,
    /// Its manifest is deleted.
    pub gone: bool,
}

/// How instances are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By the Service's EndpointSlices.
    Slices,
    /// By its ClusterIP, which is the address of its only instance.
    ClusterIp,
    /// It is no Service at all but a name outside that has to be resolved; one instance.
    Name,
}

/// A Mapping of a slot.
#[derive(Clone, Debug)]
pub struct Member {
    /// Index of the Service.
    pub service: usize,
    /// Its share.
    pub weight: Option<u32>,
    /// Further fields of its spec.
    pub options: Value,
}

/// A path prefix of its own and the Mappings that share it.
#[derive(Clone, Debug)]
pub struct Slot {
    /// `*` or the name of the first TLS Host.
    pub hostname: &'static str,
    /// None: the path is not served.
    pub members: Vec<Member>,
    /// Both members match every request in their own way, and precedence decides: this one wins.
    pub first: Option<usize>,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// Ports of the two Listeners: clear text, TLS.
    pub ports: (u16, u16),
    /// Services, some of which nobody uses yet.
    pub services: Vec<Service>,
    /// Slots; their place is their number.
    pub slots: Vec<Slot>,
    /// Clear text for the second TLS Host is routed instead of redirected.
    pub clear_second: bool,
    /// `min_tls_version` of the first Host's TLSContext.
    pub min_tls: &'static str,
    /// `config` of the Module.
    pub module: Value,
}

/// The path that leads to a slot.
pub fn path(slot: usize) -> String {
    format!("/s{slot}/")
}

/// Manifests of several objects in one file.
pub fn file(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}

/// One object of ours.
pub fn custom(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "getambassador.io/v3alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// Sets a field of an object.
pub fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// A Secret with a certificate.
pub fn secret(name: &str, certificate: &str, key: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": name },
            "stringData": { "tls.crt": certificate, "tls.key": key } })
}

/// A Host that names a Secret.
pub fn tls_host(name: &str, hostname: &str, secret: &str, action: &str) -> Value {
    custom(
        "Host",
        name,
        json!({ "hostname": hostname, "tlsSecret": { "name": secret }, "acmeProvider": { "authority": "none" },
                "requestPolicy": { "insecure": { "action": action } } }),
    )
}

impl World {
    /// The two Listeners.
    pub fn listeners(&self) -> String {
        let listener = |name: &str, port: u16, protocol: &str, model: &str| {
            let spec = json!({ "port": port, "protocol": protocol, "securityModel": model,
                               "hostBinding": { "namespace": { "from": "ALL" } } });
            custom("Listener", name, spec)
        };
        let (clear, tls) = self.ports;
        file(&[listener("clear", clear, "HTTP", "INSECURE"), listener("tls", tls, "HTTPS", "SECURE")])
    }

    /// The Host of all names, the two TLS Hosts and the TLSContext of the first; certificates are files of their own.
    pub fn hosts(&self) -> String {
        let any = json!({ "hostname": "*", "acmeProvider": { "authority": "none" },
                          "requestPolicy": { "insecure": { "action": "Route" } } });
        let mut first = tls_host("h0", "h0.example", "cert-h0", "Redirect");
        if let Some(spec) = first.get_mut("spec") {
            set(spec, "tlsContext", json!({ "name": "context" }));
        }
        let action = if self.clear_second { "Route" } else { "Redirect" };
        let context = json!({ "min_tls_version": self.min_tls, "alpn_protocols": "h2, http/1.1" });
        let second = tls_host("h1", "h1.example", "cert-h1", action);
        file(&[custom("Host", "any", any), first, second, custom("TLSContext", "context", context)])
    }

    /// The Module.
    pub fn module(&self) -> String {
        file(&[custom("Module", "ambassador", json!({ "config": self.module }))])
    }

    /// A Service with its EndpointSlices, one for each instance, as the ports differ.
    pub fn service(&self, index: usize) -> String {
        let Some(service) = self.services.get(index) else { return String::new() };
        let name = &service.name;
        if service.by == By::Name {
            return String::new();
        }
        let mut spec = json!({ "ports": [{ "name": "http", "port": self.port(index) }] });
        if service.by == By::ClusterIp {
            set(&mut spec, "clusterIP", json!("127.0.0.1"));
        }
        let mut objects =
            vec![json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec })];
        let slice = |suffix: &str, endpoints: Value, port: u16| {
            json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                    "metadata": { "name": format!("{name}-{suffix}"), "labels": { "kubernetes.io/service-name": name } },
                    "endpoints": endpoints, "ports": [{ "name": "http", "port": port, "protocol": "TCP" }] })
        };
        // There always is one, as the last slice to go takes the Service back to DNS.
        objects.push(slice("none", json!([]), 1));
        for instance in &service.instances {
            let endpoints = json!([{ "addresses": ["127.0.0.1"], "conditions": { "ready": true } }]);
            objects.push(slice(&instance.name, endpoints, instance.port));
        }
        file(&objects)
    }

    /// Whether a slot leads to a name that Envoy resolves.
    pub fn resolves(&self, slot: usize) -> bool {
        let mut members = self.slots.get(slot).into_iter().flat_map(|slot| &slot.members);
        members.any(|member| self.services.get(member.service).is_some_and(|service| service.by == By::Name))
    }

    /// The Mappings of a slot; without any the file is empty.
    pub fn slot(&self, index: usize) -> String {
        let Some(slot) = self.slots.get(index) else { return String::new() };
        let mapping = |(place, member): (usize, &Member)| {
            let name = self.services.get(member.service).map_or("gone", |service| match service.by {
                By::Name => "localhost",
                By::Slices | By::ClusterIp => &service.name,
            });
            let mut spec = json!({
                "hostname": slot.hostname, "prefix": path(index), "allow_upgrade": ["websocket"],
                "service": format!("{name}:{}", self.port(member.service)),
            });
            if let Some(weight) = member.weight {
                set(&mut spec, "weight", weight.into());
            }
            if let Some(first) = slot.first {
                if place == 1 {
                    set(&mut spec, "prefix", json!(format!("{}.*", path(index))));
                    set(&mut spec, "prefix_regex", json!(true));
                    set(&mut spec, "rewrite", json!(""));
                }
                set(&mut spec, "precedence", json!(if first == place { 20 } else { 10 }));
            }
            for (field, value) in member.options.as_object().into_iter().flatten() {
                set(&mut spec, field, value.clone());
            }
            custom("Mapping", &format!("slot-{index}-{place}"), spec)
        };
        file(&slot.members.iter().enumerate().map(mapping).collect::<Vec<_>>())
    }

    fn port(&self, service: usize) -> u16 {
        let found = self.services.get(service).filter(|service| service.by != By::Slices);
        found.and_then(|service| service.instances.first()).map_or(80, |instance| instance.port)
    }

    /// What is right for a slot from there.
    pub fn answers(&self, entry: Entry, index: usize) -> BTreeSet<Answer> {
        let status = |code: &str| BTreeSet::from([Answer::from(code)]);
        if entry == Entry::ClearSecond && !self.clear_second {
            return status("301");
        }
        let Some(slot) = self.slots.get(index) else { return status("404") };
        if slot.members.is_empty() || (slot.hostname != "*" && slot.hostname != entry.authority()) {
            return status("404");
        }
        let taken: Vec<&Member> = match slot.first {
            Some(first) => slot.members.get(first).into_iter().collect(),
            None => {
                let given: u32 = slot.members.iter().filter_map(|member| member.weight).sum();
                let counts = |member: &&Member| member.weight.map_or(given < 100, |weight| weight > 0);
                slot.members.iter().filter(counts).collect()
            }
        };
        taken.into_iter().flat_map(|member| self.answers_of(member.service)).collect()
    }

    /// What comes from behind a Service.
    pub fn answers_of(&self, service: usize) -> BTreeSet<Answer> {
        let instances = self.services.get(service).map(|service| &service.instances[..]).unwrap_or_default();
        if instances.is_empty() {
            return BTreeSet::from(["503".into()]);
        }
        instances.iter().map(|instance| instance.name.clone()).collect()
    }

    /// What is right for everything.
    pub fn all_answers(&self) -> Vec<(Probe, BTreeSet<Answer>)> {
        let slots = 0..self.slots.len();
        slots.flat_map(|slot| Entry::ALL.map(|entry| (Probe::Slot(entry, slot), self.answers(entry, slot)))).collect()
    }

    /// Services that exist and that no slot names.
    pub fn unused(&self) -> Vec<usize> {
        let used: BTreeSet<usize> = self.slots.iter().flat_map(|slot| &slot.members).map(|one| one.service).collect();
        let services = self.services.iter().enumerate();
        services.filter(|(index, service)| !service.gone && !used.contains(index)).map(|(index, _)| index).collect()
    }
}

/// Numbers that look random; the same seed gives the same ones (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit.max(1)).unwrap_or(1);
        usize::try_from((mixed ^ (mixed >> 31)) % limit).unwrap_or(0)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}
