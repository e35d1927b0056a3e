//! Gateways with many Mappings: what a switch costs its clients, and how soon a change is live.

use super::backend::Instance;
use super::client::{Dialer, Http1, LIMIT, request};
use super::gateway::{Gateway, Programs};
use super::ledger::Entry;
use super::load::fingerprint;
use super::walk::certificates;
use super::world::{custom, file, secret, set, tls_host};
use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Mappings in one file.
const PER_FILE: usize = 500;
/// Hosts that share the Mappings, where they are not all in one `*`.
const HOSTS: usize = 100;
/// Connections of the load, and how often each asks: 200 requests a second.
const CONNECTIONS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(40);
/// What the names of Hosts that come and go begin with.
const GUEST: &str = "guest";
/// When nobody holds on to what is deleted any more, and free pages are given back.
const GIVEN_BACK: Duration = Duration::from_secs(30);
/// For the first configuration.
const START: Duration = Duration::from_secs(600);

/// How Mappings are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// All in the Host `*`, clear text.
    Star,
    /// Evenly in a hundred TLS Hosts that redirect clear text.
    Hosts,
    /// Like [`Layout::Star`], and each path is a regular expression.
    Regex,
}

/// How the new target of a switch is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// EndpointSlices.
    Slices,
    /// ClusterIP.
    ClusterIp,
    /// A name that Envoy resolves.
    Name,
}

/// A gateway with many Mappings, of which one is switched.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    pub(crate) dialer: Dialer,
    instances: BTreeMap<String, Arc<Instance>>,
    layout: Layout,
    tls_port: u16,
    certificates: Vec<(String, String, String)>,
}

/// What the load saw.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    failures: AtomicU64,
    end: AtomicBool,
}

impl Scene {
    pub(crate) async fn start(programs: &Programs, mappings: usize, layout: Layout) -> Result<Self> {
        let ports = crate::net::free_ports::<2>()?;
        let certificates = certificates()?;
        let mut instances = BTreeMap::new();
        for name in ["a", "b"] {
            instances.insert(name.to_owned(), Arc::new(Instance::start(name).await?));
        }
        let scene_files = files(ports, mappings, layout, &instances, &certificates);
        let gateway = Gateway::start(programs, &scene_files)?;
        gateway.wait_ready(START)?;
        let dialer = Dialer::new((ports[0], ports[1]))?;
        Ok(Self { gateway, dialer, instances, layout, tls_port: ports[1], certificates })
    }

    pub(crate) fn entry(&self) -> Entry {
        if self.layout == Layout::Hosts { Entry::First } else { Entry::Any }
    }

    /// The hostname of Mappings that are asked for at [`Scene::entry`].
    pub(crate) fn hostname(&self) -> String {
        hostname(self.layout, 0)
    }

    /// The route table of that hostname.
    pub(crate) fn table(&self) -> String {
        let name = if self.layout == Layout::Hosts { "default/tls/default/h0" } else { "default/clear/cleartext" };
        name.to_owned()
    }

    /// The path that Envoy finds last: shorter prefixes come behind longer ones, so it is the shortest one in a bucket that is
    /// as full as any, the shortest of its Host, or the shortest expression of all.
    pub(crate) fn slowest(&self, mappings: usize) -> String {
        let index = match self.layout {
            Layout::Star => 10,
            Layout::Hosts => HOSTS,
            Layout::Regex => 1,
        };
        if index < mappings { format!("/m{index}/") } else { "/switched/".to_owned() }
    }

    /// Back to where [`Scene::change`] begins, without the Hosts that it added: each of them has a table of its own with
    /// everything for `*`. Envoy has everything of that when it returns.
    pub(crate) async fn reset(&self) -> Result<()> {
        let mut connection = self.dialer.http1(self.entry()).await?.0;
        let instance = self.instances.get("a").context("no such instance")?;
        self.gateway.write("a.yaml", &service("a", instance, Target::Slices))?;
        self.gateway.write("switched.yaml", &switched(self.layout, "a"))?;
        for entry in std::fs::read_dir(self.gateway.folder())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(GUEST) {
                self.gateway.remove(&name)?;
            }
        }
        let path = format!("/reset-{}/", std::time::UNIX_EPOCH.elapsed()?.as_nanos());
        self.gateway.write("reset.yaml", &file(&[mapping("reset", &self.hostname(), &path, "a")]))?;
        self.until(&mut connection, "/switched/", "a", Instant::now()).await?;
        self.until(&mut connection, &path, "a", Instant::now()).await?;
        self.settle(1).await?;
        Ok(())
    }

    /// Waits until there are that many clients of the stream, to each of which everything is said and answered, and gives what
    /// the control plane tells of them.
    pub(crate) async fn settle(&self, count: usize) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let clients = self.gateway.clients();
            if let Some(all) = clients.as_ref().and_then(Value::as_array)
                && all.len() == count
                && all.iter().all(is_settled)
            {
                return Ok(clients.unwrap_or_default());
            }
            if begun.elapsed() > LIMIT {
                bail!("something is not answered after {LIMIT:?}: {clients:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Changes a `Mapping`, an `endpoint`, a `certificate`, or adds a `Host`; the time until that is live.
    pub(crate) async fn change(&self, what: &str, round: usize) -> Result<Duration> {
        let name = if round.is_multiple_of(2) { "b" } else { "a" };
        match what {
            "Mapping" => {
                let mut connection = self.dialer.http1(self.entry()).await?.0;
                let begun = self.gateway.write("switched.yaml", &switched(self.layout, name))?;
                self.until(&mut connection, "/switched/", name, begun).await
            }
            "endpoint" => self.endpoint(name).await,
            "certificate" => self.certificate(round).await,
            _ => self.host(round).await,
        }
    }

    /// Asks on one connection until the answer is that one; the time since `begun`.
    pub(crate) async fn until(
        &self,
        connection: &mut Http1,
        path: &str,
        answer: &str,
        begun: Instant,
    ) -> Result<Duration> {
        loop {
            let reply = connection.send(request(self.entry(), false, path, 0)?).await?;
            if reply.answer() == answer {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > LIMIT {
                bail!("{path} answers {} instead of {answer} after {LIMIT:?}", reply.answer());
            }
            // To ask more often would cost the time that is measured.
            pause((begun.elapsed() / 50).max(Duration::from_micros(500))).await;
        }
    }

    fn load(&self, path: &str) -> (Arc<Seen>, JoinSet<()>) {
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (seen, dialer, entry, path) = (seen.clone(), self.dialer.clone(), self.entry(), path.to_owned());
            tasks.spawn(async move {
                let mut connection = None;
                let mut ticks = tokio::time::interval(PAUSE);
                while !seen.end.load(Ordering::Acquire) {
                    ticks.tick().await;
                    let good = ask(&mut connection, &dialer, entry, &path).await.unwrap_or(false);
                    seen.requests.fetch_add(1, Ordering::Relaxed);
                    if !good {
                        connection = None;
                        seen.failures.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        (seen, tasks)
    }
}

async fn ask(connection: &mut Option<Http1>, dialer: &Dialer, entry: Entry, path: &str) -> Result<bool> {
    let open = match connection {
        Some(open) => open,
        none => none.insert(dialer.http1(entry).await?.0),
    };
    Ok(open.send(request(entry, false, path, 0)?).await?.head.status == 200)
}

/// Whether a client has everything and has said so.
fn is_settled(client: &Value) -> bool {
    let types = client.get("types").and_then(Value::as_array);
    let open = |kind: &Value, field: &str| kind.get(field).and_then(Value::as_u64) != Some(0);
    let live = client.get("live_batch").and_then(Value::as_u64).is_some_and(|batch| batch > 0);
    live && types.is_some_and(|types| types.iter().all(|kind| !open(kind, "pending") && !open(kind, "waiting")))
}

fn listener(name: &str, port: u16, protocol: &str, model: &str) -> Value {
    let binding = json!({ "namespace": { "from": "ALL" } });
    let spec = json!({ "port": port, "protocol": protocol, "securityModel": model, "hostBinding": binding });
    custom("Listener", name, spec)
}

fn tls_listener(port: u16) -> String {
    // As users have it. With SECURE, clear text would get the routes of all Hosts there instead of their redirects.
    file(&[listener("tls", port, "HTTPS", "XFP")])
}

fn hostname(layout: Layout, index: usize) -> String {
    if layout == Layout::Hosts { format!("h{}.example", index % HOSTS) } else { "*".to_owned() }
}

pub(crate) fn mapping(name: &str, hostname: &str, prefix: &str, service: &str) -> Value {
    custom("Mapping", name, json!({ "hostname": hostname, "prefix": prefix, "service": service }))
}

fn switched(layout: Layout, service: &str) -> String {
    file(&[mapping("switched", &hostname(layout, 0), "/switched/", service)])
}

fn slice_of(service: &str, instance: &Instance) -> Value {
    json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": format!("{service}-1"), "labels": { "kubernetes.io/service-name": service } },
            "endpoints": [{ "addresses": ["127.0.0.1"], "conditions": { "ready": true } }],
            "ports": [{ "name": "http", "port": instance.port, "protocol": "TCP" }] })
}

fn service(name: &str, instance: &Instance, target: Target) -> String {
    let port = if target == Target::ClusterIp { instance.port } else { 80 };
    let mut spec = json!({ "ports": [{ "name": "http", "port": port }] });
    if target == Target::ClusterIp {
        set(&mut spec, "clusterIP", json!("127.0.0.1"));
    }
    let mut service = service_of(name);
    set(&mut service, "spec", spec);
    file(&[service, slice_of(name, instance)])
}

fn files(
    ports: [u16; 2],
    mappings: usize,
    layout: Layout,
    instances: &BTreeMap<String, Arc<Instance>>,
    certificates: &[(String, String, String)],
) -> Vec<(String, String)> {
    let mut files = vec![("clear.yaml".to_owned(), file(&[listener("clear", ports[0], "HTTP", "INSECURE")]))];
    // Each Listener has a table with everything for `*`; the second one comes with the first TLS Host.
    if layout == Layout::Hosts {
        files.push(("tls.yaml".to_owned(), tls_listener(ports[1])));
    }
    let mut hosts = Vec::new();
    match layout {
        Layout::Star | Layout::Regex => hosts.push(custom(
            "Host",
            "any",
            json!({ "hostname": "*", "acmeProvider": { "authority": "none" },
                    "requestPolicy": { "insecure": { "action": "Route" } } }),
        )),
        Layout::Hosts => {
            hosts.extend(
                (0..HOSTS)
                    .map(|index| tls_host(&format!("h{index}"), &format!("h{index}.example"), "cert", "Redirect")),
            );
        }
    }
    files.push(("hosts.yaml".to_owned(), file(&hosts)));
    if let Some((certificate, key, _)) = certificates.first() {
        files.push(("cert.yaml".to_owned(), file(&[secret("cert", certificate, key)])));
    }
    for (name, instance) in instances {
        files.push((format!("{name}.yaml"), service(name, instance, Target::Slices)));
    }
    let all: Vec<Value> = (1..mappings)
        .map(|index| {
            let mut mapping = mapping(&format!("m{index}"), &hostname(layout, index), &format!("/m{index}/"), "a");
            if let Some(spec) = mapping.get_mut("spec").filter(|_| layout == Layout::Regex) {
                set(spec, "prefix", json!(format!("/m{index}/.*")));
                set(spec, "prefix_regex", json!(true));
            }
            mapping
        })
        .collect();
    for (index, part) in all.chunks(PER_FILE).enumerate() {
        files.push((format!("mappings-{index}.yaml"), file(part)));
    }
    files.push(("switched.yaml".to_owned(), switched(layout, "a")));
    files
}

/// Switches one Mapping among many to Services that nobody used before, under 200 requests a second. Gives a line of a
/// table, and the number of failures.
pub async fn switches(programs: &Programs, mappings: usize, target: Target, count: usize) -> Result<(String, u64)> {
    let scene = Scene::start(programs, mappings, Layout::Star).await?;
    let mut connection = scene.dialer.http1(scene.entry()).await?.0;
    let begun = Instant::now();
    scene.until(&mut connection, "/switched/", "a", begun).await?;
    let (seen, mut tasks) = scene.load("/switched/");
    let mut times = Vec::new();
    let mut kept = Vec::new();
    for number in 0..count {
        let name = format!("new-{number}");
        let instance = Instance::start(&name).await?;
        let at = match target {
            Target::Name => format!("localhost:{}", instance.port),
            Target::ClusterIp => format!("{name}:{}", instance.port),
            Target::Slices => name.clone(),
        };
        if target != Target::Name {
            // The Service is there before anybody uses it, as in a cluster.
            scene.gateway.write(&format!("{name}.yaml"), &service(&name, &instance, target))?;
        }
        let begun = scene.gateway.write("switched.yaml", &switched(scene.layout, &at))?;
        times.push(scene.until(&mut connection, "/switched/", &name, begun).await?.as_secs_f64() * 1e3);
        kept.push(instance);
        // Requests go on between two switches, and to the old target's end.
        tokio::time::sleep(PAUSE * 8).await;
    }
    seen.end.store(true, Ordering::Release);
    while tasks.join_next().await.is_some() {}
    let (requests, failures) = (seen.requests.load(Ordering::Relaxed), seen.failures.load(Ordering::Relaxed));
    let (median, longest) = (share(&mut times, 50), share(&mut times, 100));
    let line = format!(
        "{mappings:>6} Mappings, {target:?}: {count} switches, {requests} requests, {failures} failures, live after \
         {median:.0} ms (median), {longest:.0} ms (longest)\n"
    );
    Ok((line, failures))
}

/// How soon changes of a Mapping, an endpoint, a certificate and a Host are live among many Mappings, and what they cost
/// the control plane and Envoy. Says lines of a table as they are known.
pub async fn live(
    programs: &Programs,
    mappings: usize,
    layout: Layout,
    rounds: usize,
    say: impl Fn(&str) -> Result<()>,
) -> Result<()> {
    let scene = Scene::start(programs, mappings, layout).await?;
    let control = scene.gateway.control_plane().context("no control plane")?;
    let envoy = scene.gateway.envoy().context("no Envoy")?;
    for what in ["Mapping", "endpoint", "certificate", "Host"] {
        if what == "certificate" && layout != Layout::Hosts {
            continue;
        }
        // Where the last sort of change left off.
        scene.reset().await?;
        let (before, envoy_before) = (cpu(control)?, cpu(envoy)?);
        let mut times = Vec::new();
        for round in 0..rounds {
            let time = scene.change(what, round).await?;
            times.push(time.as_secs_f64() * 1e3);
            // The next one begins when all that came of this one is over.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let per = |used: f64| used * 1e3 / rounds as f64;
        let (own, envoys) = (per(cpu(control)? - before), per(cpu(envoy)? - envoy_before));
        let (median, slow) = (share(&mut times, 50), share(&mut times, 99));
        say(&format!(
            "{mappings:>6} Mappings, {layout:?}: {what:<11} live after {median:>6.1} ms (median) {slow:>6.1} ms (99 %), \
             controller {own:>5.1} ms CPU, Envoy {envoys:>5.1} ms CPU\n",
        ))?;
    }
    Ok(())
}

/// Creates and deletes that many Mappings, with a Service each, again and again. Gives the memory of the control plane in
/// the beginning, and for each round with all of them and some seconds after they are gone.
pub async fn churn(programs: &Programs, mappings: usize, rounds: usize) -> Result<String> {
    let scene = Scene::start(programs, 1, Layout::Star).await?;
    let mut connection = scene.dialer.http1(scene.entry()).await?.0;
    let control = scene.gateway.control_plane().context("no control plane")?;
    let instance = scene.instances.get("a").context("no instance")?;
    let mut text = format!("{mappings} Mappings and Services come and go: {:.0} MiB before", memory(control)?);
    for round in 0..rounds {
        let names: Vec<String> = (0..mappings).map(|index| format!("churn-{round}-{index}")).collect();
        for (index, part) in names.chunks(PER_FILE).enumerate() {
            let objects = part.iter().flat_map(|name| {
                [mapping(name, "*", &format!("/{name}/"), name), service_of(name), slice_of(name, instance)]
            });
            scene.gateway.write(&format!("churn-{index}.yaml"), &file(&objects.collect::<Vec<_>>()))?;
        }
        let last = format!("/churn-{round}-{}/", mappings.saturating_sub(1));
        scene.patiently(&mut connection, &last, "a").await?;
        let high = memory(control)?;
        for index in 0..mappings.div_ceil(PER_FILE) {
            scene.gateway.remove(&format!("churn-{index}.yaml"))?;
        }
        scene.patiently(&mut connection, &last, "404").await?;
        tokio::time::sleep(GIVEN_BACK).await;
        let _ = write!(text, ", {high:.0} → {:.0}", memory(control)?);
    }
    text.push_str(" MiB\n");
    Ok(text)
}

fn service_of(name: &str) -> Value {
    let spec = json!({ "ports": [{ "name": "http", "port": 80 }] });
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec })
}

/// Resident memory in MiB.
fn memory(pid: Pid) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0)
}

impl Scene {
    /// Like [`Scene::until`], for changes of everything.
    async fn patiently(&self, connection: &mut Http1, path: &str, answer: &str) -> Result<()> {
        let begun = Instant::now();
        while connection.send(request(self.entry(), false, path, 0)?).await?.answer() != answer {
            if begun.elapsed() > START {
                bail!("{path} does not answer {answer} after {START:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The endpoint of a Service moves to another instance.
    async fn endpoint(&self, name: &str) -> Result<Duration> {
        let instance = self.instances.get(name).context("no such instance")?;
        let mut connection = self.dialer.http1(self.entry()).await?.0;
        let begun = self.gateway.write("a.yaml", &service("a", instance, Target::Slices))?;
        self.until(&mut connection, "/switched/", name, begun).await
    }

    async fn certificate(&self, round: usize) -> Result<Duration> {
        let (certificate, key, print) =
            self.certificates.get((round + 1) % self.certificates.len()).context("no certificate")?;
        let begun = self.gateway.write("cert.yaml", &file(&[secret("cert", certificate, key)]))?;
        self.handshake("h1.example", Some(print), begun).await
    }

    /// A TLS Host comes; beside `*` a Listener for it comes with the first one.
    async fn host(&self, round: usize) -> Result<Duration> {
        let (certificate, key, print) = self.certificates.first().context("no certificate")?;
        let name = format!("{GUEST}{round}");
        let objects = [tls_host(&name, &format!("{name}.example"), &name, "Redirect"), secret(&name, certificate, key)];
        if self.layout == Layout::Star && round == 0 {
            self.gateway.write(&format!("{GUEST}s.yaml"), &tls_listener(self.tls_port))?;
        }
        let begun = self.gateway.write(&format!("{name}.yaml"), &file(&objects))?;
        self.handshake(&format!("{name}.example"), Some(print), begun).await
    }

    async fn handshake(&self, name: &str, wanted: Option<&str>, begun: Instant) -> Result<Duration> {
        loop {
            let came = self.dialer.certificate(name).await.ok().flatten();
            if came.map(|der| fingerprint(&der)).as_deref() == wanted {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > LIMIT {
                bail!("{name} has not the certificate after {LIMIT:?}");
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
}

/// Sleeps. Timers of the runtime are as coarse as a millisecond, so that shorter times stop the thread.
pub(crate) async fn pause(time: Duration) {
    if time < Duration::from_millis(2) {
        std::thread::sleep(time);
    } else {
        tokio::time::sleep(time).await;
    }
}

pub(crate) fn share(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    let last = times.len().saturating_sub(1);
    times.get((times.len() * percent / 100).min(last)).copied().unwrap_or(0.0)
}

/// CPU seconds of the main thread, which is the one that takes Envoy's configuration in.
pub(crate) fn cpu_of_main(pid: Pid) -> Result<f64> {
    Ok(run_time(&std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?) / 1e9)
}

/// CPU seconds of all threads, from the scheduler's run times, which are finer than the ticks of `stat`.
pub(crate) fn cpu(pid: Pid) -> Result<f64> {
    of_all_threads(pid, run_time)
}

/// Seconds in which threads could have run and had no core, all threads together.
pub(crate) fn waited(pid: Pid) -> Result<f64> {
    of_all_threads(pid, |text| number(text, 1))
}

fn of_all_threads(pid: Pid, nanoseconds: impl Fn(&str) -> f64) -> Result<f64> {
    let mut all = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        all += nanoseconds(&std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default());
    }
    Ok(all / 1e9)
}

fn run_time(text: &str) -> f64 {
    number(text, 0)
}

/// One of the numbers of a `schedstat`: nanoseconds on a core, nanoseconds ready without one, turns.
fn number(text: &str, index: usize) -> f64 {
    text.split_whitespace().nth(index).and_then(|number| number.parse().ok()).unwrap_or(0.0)
}
