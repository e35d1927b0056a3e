//! The random walk: one edit after the other, often before the last one is live.

use super::backend::Instance;
use super::client::{Dialer, LIMIT};
use super::gateway::{DRAIN, Gateway};
use super::ledger::{Answer, Entry, Ledger, Probe};
use super::load::fingerprint;
use super::witness::{Witness, generation, is_programmed};
use super::world::{By, Member, Random, Service, World, custom, file, secret, set, tls_host};
use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections at each entry on which an edit has to be seen: enough to reach every worker of Envoy.
const WITNESSES: usize = 3;
/// Certificates made in advance, as making one takes a while.
const CERTIFICATES: usize = 8;
/// Services that exist at the same time, used or not.
const SERVICES: usize = 24;
/// Time after which an instance that nobody routes to may end.
const OLD_AGE: Duration = Duration::from_secs(1);
/// How long a route to a name may be held back, and a little more: decision 40 of the gateway.
const HELD: Duration = Duration::from_millis(1_200);
/// Further TLS Hosts that come and go.
const GUESTS: usize = 3;

/// What the walk may do besides edits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variants {
    /// Endpoints of new Services come a little after the Mappings that use them.
    pub late: bool,
    /// A Mapping leads to a name that does not resolve, and comes and goes.
    pub stuck: bool,
    /// The control plane is killed or stopped from time to time.
    pub kill: bool,
}

/// The walk and everything that it edits.
pub struct Walk<'a> {
    gateway: &'a Gateway,
    ledger: Arc<Ledger>,
    dialer: Dialer,
    world: World,
    random: Random,
    variants: Variants,
    certificates: Vec<(String, String, String)>,
    witnesses: Vec<Witness>,
    guests: [bool; GUESTS],
    made: usize,
    leaving: Vec<(Instant, usize, Arc<Instance>)>,
    stuck: bool,
    /// Slices that are held back, and until when.
    held: Vec<(Instant, usize, Vec<Arc<Instance>>)>,
    /// Routes to a name that Envoy resolves were edited, and may be held back.
    resolves: bool,
    /// What came from behind each Service after its last edit.
    behind: BTreeMap<usize, BTreeSet<Answer>>,
    last: usize,
    settled: usize,
    /// Seconds from the last edit to its being live.
    pub times: Vec<f64>,
}

/// The files that a world begins with.
pub fn files(world: &World, certificates: &[(String, String, String)]) -> Vec<(String, String)> {
    let mut files = vec![
        ("listeners.yaml".to_owned(), world.listeners()),
        ("hosts.yaml".to_owned(), world.hosts()),
        ("module.yaml".to_owned(), world.module()),
        ("marker.yaml".to_owned(), marker(0)),
    ];
    for (index, name) in ["cert-h0", "cert-h1"].iter().enumerate() {
        if let Some((certificate, key, _)) = certificates.get(index) {
            files.push((format!("{name}.yaml"), file(&[secret(name, certificate, key)])));
        }
    }
    files.extend((0..world.services.len()).map(|index| (service_file(index), world.service(index))));
    files.extend((0..world.slots.len()).map(|index| (slot_file(index), world.slot(index))));
    files
}

/// Certificates for the TLS Hosts, each with its key and fingerprint.
pub fn certificates() -> Result<Vec<(String, String, String)>> {
    let make = |_| {
        let made = rcgen::generate_simple_self_signed(["h0.example".to_owned(), "h1.example".to_owned()])?;
        Ok((made.cert.pem(), made.signing_key.serialize_pem(), fingerprint(made.cert.der())))
    };
    (0..CERTIFICATES).map(make).collect()
}

fn marker(number: usize) -> String {
    let spec = json!({ "hostname": "*", "prefix": "/marker/", "host_redirect": true,
                       "service": format!("e{number}.example") });
    let mut mapping = custom("Mapping", "marker", spec);
    if let Some(metadata) = mapping.get_mut("metadata") {
        set(metadata, "generation", number.into());
    }
    file(&[mapping])
}

fn service_file(index: usize) -> String {
    format!("service-{index}.yaml")
}

fn slot_file(index: usize) -> String {
    format!("slot-{index}.yaml")
}

impl<'a> Walk<'a> {
    /// A walk over what `files` wrote for this world.
    pub fn new(
        gateway: &'a Gateway,
        ledger: Arc<Ledger>,
        dialer: Dialer,
        world: World,
        certificates: Vec<(String, String, String)>,
        seed: u64,
        variants: Variants,
    ) -> Self {
        let mut begin = world.all_answers();
        for (entry, place) in [(Entry::First, 0), (Entry::Second, 1)] {
            if let Some((_, _, print)) = certificates.get(place) {
                begin.push((Probe::Certificate(entry), [Answer::from(print.as_str())].into()));
            }
        }
        let last = ledger.edit("the beginning".into(), begin);
        ledger.settle(last);
        Self {
            gateway,
            ledger,
            dialer,
            made: world.services.len(),
            behind: (0..world.services.len()).map(|service| (service, world.answers_of(service))).collect(),
            world,
            random: Random(seed),
            variants,
            certificates,
            witnesses: [Entry::Any, Entry::First, Entry::Second]
                .into_iter()
                .flat_map(|entry| (0..WITNESSES).map(move |_| Witness::new(entry)))
                .collect(),
            guests: [false; GUESTS],
            leaving: Vec::new(),
            stuck: false,
            held: Vec::new(),
            resolves: false,
            last,
            settled: last,
            times: Vec::new(),
        }
    }

    /// That many edits, and the end of the last one.
    pub async fn run(&mut self, edits: usize) -> Result<()> {
        let from = self.last;
        while self.last < from + edits {
            self.step().await?;
            self.late_ones(false)?;
            match self.random.below(4) {
                0 | 1 => self.settle().await?,
                2 => tokio::time::sleep(Duration::from_millis(5)).await,
                _ => {}
            }
            self.bury();
        }
        self.late_ones(true)?;
        self.settle().await
    }

    async fn step(&mut self) -> Result<()> {
        match self.random.below(100) {
            0..=21 => self.switch().await?,
            22..=29 => self.weigh()?,
            30..=43 => self.option()?,
            44..=49 => self.reorder()?,
            50..=54 => self.come_and_go()?,
            55..=64 => self.endpoints()?,
            65..=69 => self.roll_out().await?,
            70..=75 => self.rotate()?,
            76..=80 => self.guest().await?,
            81..=83 => self.clear_action()?,
            84 => self.context()?,
            85..=89 => self.module()?,
            90..=92 => self.hostname()?,
            93..=95 => self.forget_service()?,
            96 | 97 if self.variants.stuck => self.unresolvable()?,
            98 | 99 if self.variants.kill => self.disturb_control_plane().await?,
            _ => self.reorder()?,
        }
        // A switch to a name is told by its condition only, and until then the old target has to stay as it is.
        if self.resolves { self.settle().await } else { Ok(()) }
    }

    /// Notes what is right from now on and then writes the file.
    fn put(&mut self, what: String, name: &str, text: &str) -> Result<()> {
        let changed = self.world.all_answers().into_iter();
        let changed: Vec<_> = changed.filter(|(probe, answers)| self.ledger.expected(*probe) != *answers).collect();
        self.last = self.ledger.edit(what, changed);
        self.gateway.write(name, text).map(drop)
    }

    fn put_slot(&mut self, what: String, slot: usize) -> Result<()> {
        self.resolves |= self.world.resolves(slot);
        let text = self.world.slot(slot);
        self.put(format!("slot {slot}: {what}"), &slot_file(slot), &text)
    }

    fn put_service(&mut self, what: String, service: usize) -> Result<()> {
        let text = self.world.service(service);
        let now = self.world.answers_of(service);
        if let Some(before) = self.behind.insert(service, now.clone()) {
            self.ledger.follow(&before, &now);
        }
        self.put(format!("service {service}: {what}"), &service_file(service), &text)
    }

    fn any_slot(&mut self) -> usize {
        self.random.below(self.world.slots.len())
    }

    /// A Mapping goes to another Service, often to one that nobody used before.
    async fn switch(&mut self) -> Result<()> {
        let service = match self.random.below(3) {
            0 => self.new_service().await?,
            1 => match self.world.unused().first() {
                Some(unused) => *unused,
                None => self.new_service().await?,
            },
            _ => {
                let living: Vec<usize> = (0..self.world.services.len()).filter(|one| self.lives(*one)).collect();
                self.random.pick(&living).copied().unwrap_or(0)
            }
        };
        let slot = self.any_slot();
        let place = self.random.below(2);
        let Some(found) = self.world.slots.get_mut(slot) else { return Ok(()) };
        let options = json!({});
        match found.members.len() {
            0 => found.members.push(Member { service, weight: None, options }),
            many => {
                if let Some(member) = found.members.get_mut(place.min(many - 1)) {
                    member.service = service;
                }
            }
        }
        self.put_slot(format!("member {place} to service {service}"), slot)
    }

    fn lives(&self, service: usize) -> bool {
        self.world.services.get(service).is_some_and(|one| !one.gone)
    }

    /// A Service with a ClusterIP or with EndpointSlices, and an instance of its own.
    async fn new_service(&mut self) -> Result<usize> {
        let living = (0..self.world.services.len()).filter(|one| self.lives(*one)).count();
        if living >= SERVICES
            && let Some(unused) = self.world.unused().first().copied()
        {
            return Ok(unused);
        }
        let index = self.world.services.len();
        let instance = self.instance().await?;
        let by = match self.random.below(5) {
            0 => By::Name,
            1 | 2 => By::ClusterIp,
            _ => By::Slices,
        };
        let late = self.variants.late && by == By::Slices && self.random.one_in(2);
        let instances = if late { Vec::new() } else { vec![instance.clone()] };
        self.world.services.push(Service { name: format!("svc-{index}"), by, instances, gone: false });
        if late {
            let after = Duration::from_millis(u64::try_from(20 + self.random.below(200))?);
            self.held.push((Instant::now() + after, index, vec![instance]));
        }
        self.put_service(format!("is new, found {by:?}"), index)?;
        Ok(index)
    }

    async fn instance(&mut self) -> Result<Arc<Instance>> {
        self.made += 1;
        Ok(Arc::new(Instance::start(&format!("b{}", self.made)).await?))
    }

    /// Endpoints that come after what uses them.
    fn late_ones(&mut self, all: bool) -> Result<()> {
        let now = Instant::now();
        let (due, held) = std::mem::take(&mut self.held).into_iter().partition(|(at, ..)| all || *at <= now);
        self.held = held;
        let due: Vec<(Instant, usize, Vec<Arc<Instance>>)> = due;
        for (_, service, instances) in due {
            if self.lives(service) {
                if let Some(found) = self.world.services.get_mut(service) {
                    found.instances.extend(instances);
                }
                self.put_service("its endpoints come late".into(), service)?;
            }
        }
        Ok(())
    }

    /// A canary comes, gets another share, or goes.
    fn weigh(&mut self) -> Result<()> {
        let slot = self.any_slot();
        let weight = self.random.pick(&[10, 50, 90, 100]).copied();
        let living: Vec<usize> = (0..self.world.services.len()).filter(|one| self.lives(*one)).collect();
        let service = self.random.pick(&living).copied().unwrap_or(0);
        let ends = self.random.one_in(3);
        let Some(found) = self.world.slots.get_mut(slot).filter(|slot| slot.first.is_none()) else { return Ok(()) };
        let what = match found.members.len() {
            1 => {
                found.members.push(Member { service, weight, options: json!({}) });
                format!("a canary of {weight:?} at service {service}")
            }
            2 if ends => {
                found.members.pop();
                "the canary ends".into()
            }
            2 => {
                if let Some(canary) = found.members.get_mut(1) {
                    canary.weight = weight;
                }
                format!("the canary gets {weight:?}")
            }
            _ => return Ok(()),
        };
        self.put_slot(what, slot)
    }

    /// An option of a Mapping that is in use: most make another cluster.
    fn option(&mut self) -> Result<()> {
        let slot = self.any_slot();
        let number = 1000 + self.random.below(9000);
        let options = match self.random.below(9) {
            0 => json!({}),
            1 => json!({ "connect_timeout_ms": number }),
            2 => json!({ "timeout_ms": 20_000 + number }),
            3 => json!({ "cluster_tag": format!("t{number}") }),
            4 => json!({ "circuit_breakers": [{ "max_connections": number }] }),
            5 => json!({ "resolver": "endpoint", "load_balancer": { "policy": "least_request" } }),
            6 => json!({ "add_request_headers": { "x-edit": { "value": format!("{number}") } } }),
            7 => json!({ "cluster_idle_timeout_ms": 20_000 + number }),
            _ => json!({ "resolver": "endpoint", "keepalive": { "time": 100, "interval": 10 } }),
        };
        let place = self.random.below(2);
        let Some(found) = self.world.slots.get_mut(slot) else { return Ok(()) };
        let Some(place) = found.members.len().checked_sub(1).map(|last| place.min(last)) else { return Ok(()) };
        // The members of a group share one load balancer and one set of header edits.
        for (index, member) in found.members.iter_mut().enumerate() {
            if index == place || found.first.is_none() {
                member.options = options.clone();
            }
        }
        self.put_slot(format!("options of member {place}: {options}"), slot)
    }

    /// Two Mappings that match the same requests change their order, or begin or end to be two.
    fn reorder(&mut self) -> Result<()> {
        let slot = self.any_slot();
        let living: Vec<usize> = (0..self.world.services.len()).filter(|one| self.lives(*one)).collect();
        let service = self.random.pick(&living).copied().unwrap_or(0);
        let ends = self.random.one_in(4);
        let Some(found) = self.world.slots.get_mut(slot) else { return Ok(()) };
        let what = match (found.first, found.members.len()) {
            (None, 1) => {
                found.members.push(Member { service, weight: None, options: json!({}) });
                found.first = Some(1);
                format!("another Mapping before it, to service {service}")
            }
            (Some(_), 2) if ends => {
                found.first = None;
                found.members.pop();
                "only the first Mapping stays".to_owned()
            }
            (Some(first), 2) => {
                found.first = Some(1 - first);
                format!("Mapping {} comes first", 1 - first)
            }
            _ => return Ok(()),
        };
        self.put_slot(what, slot)
    }

    /// All Mappings of a path go, or come back.
    fn come_and_go(&mut self) -> Result<()> {
        let slot = self.any_slot();
        let living: Vec<usize> = (0..self.world.services.len()).filter(|one| self.lives(*one)).collect();
        let service = self.random.pick(&living).copied().unwrap_or(0);
        let Some(found) = self.world.slots.get_mut(slot) else { return Ok(()) };
        let what = if found.members.is_empty() {
            found.members.push(Member { service, weight: None, options: json!({}) });
            format!("comes back at service {service}")
        } else {
            found.members.clear();
            found.first = None;
            "is deleted".to_owned()
        };
        self.put_slot(what, slot)
    }

    /// Endpoints of a Service with EndpointSlices: one more, one less, none, some again.
    fn endpoints(&mut self) -> Result<()> {
        let services = self.world.services.iter().enumerate();
        let able: Vec<usize> =
            services.filter(|(_, service)| service.by == By::Slices && !service.gone).map(|(index, _)| index).collect();
        let Some(service) = self.random.pick(&able).copied() else { return Ok(()) };
        let everybody: Vec<Arc<Instance>> = self.world.services.iter().flat_map(|one| one.instances.clone()).collect();
        let everybody: Vec<Arc<Instance>> =
            everybody.into_iter().filter(|one| !self.leaving.iter().any(|(.., old)| old.name == one.name)).collect();
        let more = self.random.pick(&everybody).cloned();
        let fate = self.random.below(6);
        let Some(found) = self.world.services.get_mut(service) else { return Ok(()) };
        let what = match (fate, found.instances.len()) {
            (0, 1..) => {
                let gone = std::mem::take(&mut found.instances);
                self.retire_unused(gone);
                "has no endpoints".to_owned()
            }
            (1 | 2, 2..) => {
                let gone = found.instances.remove(0);
                self.retire_unused(vec![gone]);
                "one endpoint less".to_owned()
            }
            (_, 0..4) => match more.filter(|more| !found.instances.iter().any(|one| one.name == more.name)) {
                Some(more) => {
                    let what = format!("one endpoint more, {}", more.name);
                    found.instances.push(more);
                    what
                }
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        self.put_service(what, service)
    }

    /// New instances take over, then the old ones end.
    async fn roll_out(&mut self) -> Result<()> {
        let services = self.world.services.iter().enumerate();
        let able: Vec<usize> = services
            .filter(|(_, service)| service.by == By::Slices && !service.gone && !service.instances.is_empty())
            .map(|(index, _)| index)
            .collect();
        let Some(service) = self.random.pick(&able).copied() else { return Ok(()) };
        let new = self.instance().await?;
        let Some(found) = self.world.services.get_mut(service) else { return Ok(()) };
        found.instances.push(new);
        self.put_service("rollout begins".into(), service)?;
        let Some(found) = self.world.services.get_mut(service) else { return Ok(()) };
        let kept = found.instances.pop();
        let old = std::mem::replace(&mut found.instances, kept.into_iter().collect());
        self.put_service("rollout ends".into(), service)?;
        self.retire_unused(old);
        Ok(())
    }

    /// Instances that no Service has any more end some time after that is live.
    fn retire_unused(&mut self, candidates: Vec<Arc<Instance>>) {
        for instance in candidates {
            let used = self.world.services.iter().flat_map(|one| &one.instances).any(|one| one.name == instance.name);
            if !used {
                // Of the edit that is about to be written, or was just written.
                self.leaving.push((Instant::now() + OLD_AGE, self.last + 1, instance));
            }
        }
    }

    fn bury(&mut self) {
        let (settled, now) = (self.settled, Instant::now());
        let due = |(at, edit, _): &(Instant, usize, Arc<Instance>)| *edit <= settled && *at <= now;
        let (due, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.leaving).into_iter().partition(due);
        self.leaving = waiting;
        for (_, _, instance) in due {
            self.ledger.retire(instance.name.clone());
            instance.retire();
        }
    }

    /// A certificate is replaced.
    fn rotate(&mut self) -> Result<()> {
        let first = self.random.one_in(2);
        let (name, entry) = if first { ("cert-h0", Entry::First) } else { ("cert-h1", Entry::Second) };
        let Some((certificate, key, print)) = self.random.pick(&self.certificates).cloned() else { return Ok(()) };
        let text = file(&[secret(name, &certificate, &key)]);
        let right: BTreeSet<Answer> = [Answer::from(print.as_str())].into();
        self.last = self.ledger.edit(format!("{name} becomes {print}"), [(Probe::Certificate(entry), right)]);
        self.gateway.write(&format!("{name}.yaml"), &text).map(drop)
    }

    /// Another TLS Host comes or goes, and nobody else notices.
    async fn guest(&mut self) -> Result<()> {
        let number = self.random.below(GUESTS);
        let (hostname, path) = (format!("x{number}.example"), format!("guest-{number}.yaml"));
        let Some(present) = self.guests.get_mut(number) else { return Ok(()) };
        *present = !*present;
        if *present {
            let Some((certificate, key, print)) = self.random.pick(&self.certificates).cloned() else { return Ok(()) };
            let secret_name = format!("cert-x{number}");
            let host = tls_host(&format!("x{number}"), &hostname, &secret_name, "Redirect");
            let text = file(&[host, secret(&secret_name, &certificate, &key)]);
            self.put(format!("Host {hostname} comes"), &path, &text)?;
            self.until_handshake(&hostname, Some(&print)).await;
        } else {
            self.last = self.ledger.edit(format!("Host {hostname} goes"), []);
            self.gateway.remove(&path)?;
            self.until_handshake(&hostname, None).await;
        }
        Ok(())
    }

    async fn until_handshake(&self, hostname: &str, wanted: Option<&str>) {
        let begun = Instant::now();
        loop {
            let came = self.dialer.open(hostname, true, false).await.ok().and_then(|(_, certificate)| certificate);
            let came = came.map(|der| fingerprint(&der));
            if came.as_deref() == wanted {
                return;
            }
            if begun.elapsed() > LIMIT {
                self.ledger.fault(format!("{hostname} shows {came:?} instead of {wanted:?} after {LIMIT:?}"));
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Clear text for a TLS Host is redirected or routed.
    fn clear_action(&mut self) -> Result<()> {
        self.world.clear_second = !self.world.clear_second;
        let text = self.world.hosts();
        self.put(format!("Host h1 in clear text: routed {}", self.world.clear_second), "hosts.yaml", &text)
    }

    /// The TLS settings of the first Host change: its connections are drained, and no others.
    fn context(&mut self) -> Result<()> {
        self.world.min_tls = if self.world.min_tls == "v1.2" { "v1.3" } else { "v1.2" };
        let text = self.world.hosts();
        self.ledger.disturb(Some(Entry::First), DRAIN + LIMIT);
        self.put(format!("TLSContext of h0: at least {}", self.world.min_tls), "hosts.yaml", &text)
    }

    /// Defaults of routes and of clusters, seldom those of the connection managers.
    fn module(&mut self) -> Result<()> {
        let number = 1000 + self.random.below(9000);
        let fate = self.random.below(7);
        let Some(config) = self.world.module.as_object_mut() else { return Ok(()) };
        let what = match fate {
            0..=2 => ("cluster_request_timeout_ms", Value::from(20_000 + number)),
            3..=5 => ("cluster_idle_timeout_ms", Value::from(20_000 + number)),
            _ => ("server_name", Value::from(format!("server-{number}"))),
        };
        config.insert(what.0.to_owned(), what.1.clone());
        if fate == 6 {
            self.ledger.disturb(None, DRAIN + LIMIT);
        }
        self.resolves |= (0..self.world.slots.len()).any(|slot| self.world.resolves(slot));
        let text = self.world.module();
        self.put(format!("Module {}: {}", what.0, what.1), "module.yaml", &text)
    }

    /// A path is for all names, or for one.
    fn hostname(&mut self) -> Result<()> {
        let slot = self.any_slot();
        let Some(found) = self.world.slots.get_mut(slot) else { return Ok(()) };
        found.hostname = if found.hostname == "*" { "h0.example" } else { "*" };
        let what = format!("hostname {}", found.hostname);
        self.put_slot(what, slot)
    }

    /// A Service that nothing uses is deleted at once, while the gateway may still be switching away from it.
    fn forget_service(&mut self) -> Result<()> {
        let unused = self.world.unused();
        let Some(service) = self.random.pick(&unused).copied() else { return Ok(()) };
        self.held.retain(|(_, held, _)| *held != service);
        if let Some(found) = self.world.services.get_mut(service) {
            found.gone = true;
            let old = std::mem::take(&mut found.instances);
            self.retire_unused(old);
        }
        self.last = self.ledger.edit(format!("service {service} is deleted"), []);
        self.gateway.remove(&service_file(service))
    }

    /// A Mapping to a name that does not resolve: Envoy withholds acknowledgements of clusters while it is there.
    fn unresolvable(&mut self) -> Result<()> {
        self.stuck = !self.stuck;
        let spec = json!({ "hostname": "*", "prefix": "/stuck/", "service": "name-without-address.invalid:80" });
        let text = if self.stuck { file(&[custom("Mapping", "stuck", spec)]) } else { String::new() };
        self.put(format!("a stuck cluster: {}", self.stuck), "stuck.yaml", &text)
    }

    /// Envoy serves on, whatever becomes of the control plane.
    async fn disturb_control_plane(&mut self) -> Result<()> {
        let Some(process) = self.gateway.control_plane() else { return Ok(()) };
        if self.random.one_in(2) {
            self.last = self.ledger.edit("the control plane is killed".into(), []);
            kill(process, Signal::SIGKILL)?;
        } else {
            self.last = self.ledger.edit("the control plane stands still".into(), []);
            kill(process, Signal::SIGSTOP)?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            kill(process, Signal::SIGCONT)?;
        }
        Ok(())
    }

    /// Waits until everything written so far is live at every entry, on several connections to each.
    pub async fn settle(&mut self) -> Result<()> {
        let number = self.last;
        let begun = Instant::now();
        self.gateway.write("marker.yaml", &marker(number))?;
        let dialer = &self.dialer;
        let waits = self.witnesses.iter_mut().map(|witness| witness.wait(dialer, number));
        let seen = futures::future::join_all(waits).await;
        if seen.contains(&false) {
            self.ledger.fault(format!("edits up to {number} are not live everywhere after {LIMIT:?}"));
            return Ok(());
        }
        self.times.push(begun.elapsed().as_secs_f64());
        if std::mem::take(&mut self.resolves) {
            self.until_programmed(number).await;
        }
        self.ledger.settle(number);
        self.settled = number;
        Ok(())
    }

    /// Waits until all Mappings of the slots are programmed, as long as a route to a name may be held back.
    async fn until_programmed(&self, number: usize) {
        let begun = Instant::now();
        while begun.elapsed() < HELD && !self.is_programmed(number).unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_programmed(&self, number: usize) -> Option<bool> {
        let status = serde_json::from_str(&self.gateway.page("/api/v1/status")?).ok()?;
        // Envoy may have the marker a little before the page tells of it.
        Some(generation(&status, "marker")? >= number && is_programmed(&status, "slot-")?)
    }
}
