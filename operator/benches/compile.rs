//! `make bench`: what compiling and rendering cost, in CPU time of the thread that does it.
//!
//! Without arguments: the five shapes at 1,000 and 10,000 Mappings (300 × 300 for the last), and two of them with eighteen
//! fields in each Mapping, each in a process of its own so that the peak of memory is its own; then the bytes of one
//! Mapping, which `--sizes` prints alone. With paths: the manifests below them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first surprise"
)]

#[path = "compile/size.rs"]
mod size;

use compiler::{Change, Compiler, Object, Options};
use envoy::Renderer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SHAPES: [&str; 7] =
    ["one-host", "tls-hosts", "one-service", "own-services", "shared", "one-service*", "own-services*"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--bench")).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--shape", shape, size] => report(shape, shape_objects(shape, size.parse().unwrap())),
        ["--sizes"] => size::print(),
        [] => {
            heading();
            for size in ["1000", "10000"] {
                for shape in SHAPES {
                    run_apart(&["--shape", shape, size]);
                }
            }
            size::print();
        }
        paths => {
            let mut objects = Vec::new();
            paths.iter().for_each(|path| read(Path::new(path), &mut objects));
            heading();
            report("manifests", objects);
        }
    }
}

fn heading() {
    println!(
        "CPU ms (median of 7; from scratch: best of 7, from decoded objects; decoding their specs is the last column), bytes of\n\
         the changed resources, peak memory of the process; * with eighteen fields in each Mapping\n"
    );
    println!(
        "{:<14} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>9} {:>11} {:>8} {:>8}",
        "shape",
        "mappings",
        "scratch",
        "action",
        "prefix",
        "add",
        "add /",
        "endpoint",
        "resync",
        "push kB",
        "full kB",
        "peak MB",
        "decode"
    );
}

fn run_apart(args: &[&str]) {
    let status = std::process::Command::new(std::env::current_exe().unwrap()).args(args).status().unwrap();
    assert!(status.success());
}

/// Nanoseconds that this thread has run.
fn cpu() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock per thread");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

fn peak_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

struct Pipeline {
    compiler: Compiler,
    renderer: Renderer,
    batch: u64,
}

impl Pipeline {
    fn new() -> Self {
        Self {
            compiler: Compiler::new(Options::default()),
            renderer: Renderer::new(envoy::Options::default()),
            batch: 0,
        }
    }

    /// CPU ms, and bytes that would be sent.
    fn apply(&mut self, changes: Vec<Change>) -> (f64, usize) {
        let start = cpu();
        let outcome = self.compiler.apply(changes);
        self.batch += 1;
        let delta = self.renderer.apply(&outcome.rows, self.batch);
        let spent = cpu() - start;
        assert_eq!(outcome.panics, 0);
        (spent as f64 / 1e6, delta.upserts.iter().map(|resource| resource.payload.len()).sum())
    }
}

fn puts(objects: &[Arc<Object>]) -> Vec<Change> {
    objects.iter().cloned().map(Change::Put).collect()
}

fn report(shape: &str, values: Vec<Value>) {
    let objects: Vec<Arc<Object>> = values.iter().filter_map(object).collect();
    let mappings: Vec<&Value> = values.iter().filter(|value| value["kind"] == "Mapping").collect();
    let (mut scratch, mut decode) = (f64::MAX, f64::MAX);
    let mut full = 0;
    let mut pipeline = Pipeline::new();
    for _ in 0..7 {
        let start = cpu();
        objects.iter().for_each(|object| drop(std::hint::black_box(object.spec())));
        let decoded = (cpu() - start) as f64 / 1e6;
        pipeline = Pipeline::new();
        // It decodes each object when its turn comes, and keeps none.
        let (spent, bytes) = pipeline.apply(puts(&objects));
        (scratch, decode, full) = (scratch.min(spent - decoded), decode.min(decoded), bytes);
    }
    let victim = |index: usize| mappings.get((index + 1) * 97 % mappings.len().max(1)).copied().cloned();
    let edited = |index: usize, field: &str, setting: Value| {
        let mut value = victim(index)?;
        value["spec"][field] = setting;
        object(&value)
    };
    let pushed = std::cell::Cell::new(0);
    let median = |pipeline: &mut Pipeline, make: &dyn Fn(usize) -> Option<Vec<Change>>| -> f64 {
        let mut spent: Vec<f64> = Vec::new();
        for index in 0..7 {
            let Some(changes) = make(index) else { return f64::NAN };
            let (ms, bytes) = pipeline.apply(changes);
            spent.push(ms);
            pushed.set(bytes);
        }
        spent.sort_by(f64::total_cmp);
        spent[3]
    };
    let one = |object: Option<Arc<Object>>| object.map(|object| vec![Change::Put(object)]);
    let action = median(&mut pipeline, &|index| one(edited(index, "timeout_ms", json!(4000 + index))));
    let prefix = median(&mut pipeline, &|index| one(edited(index, "prefix", json!(format!("/moved/{index}/")))));
    let add = median(&mut pipeline, &|index| {
        let mut value = victim(index)?;
        value["metadata"]["name"] = json!(format!("added-{index}"));
        value["spec"]["prefix"] = json!(format!("/added/{index}/"));
        one(object(&value))
    });
    let kilobytes = pushed.get() / 1000;
    let everywhere = median(&mut pipeline, &|index| {
        let mut value = victim(index)?;
        value["metadata"]["name"] = json!("everywhere");
        value["spec"]["prefix"] = json!("/");
        value["spec"]["timeout_ms"] = json!(5000 + index);
        one(object(&value))
    });
    let slices: Vec<&Value> = values.iter().filter(|value| value["kind"] == "EndpointSlice").collect();
    let endpoint = median(&mut pipeline, &|index| {
        let mut value = (*slices.first()?).clone();
        value["endpoints"][0]["addresses"][0] = json!(format!("10.9.0.{}", index + 1));
        one(object(&value))
    });
    pipeline.apply(puts(&objects));
    // As a watch restart brings them: equal objects, decoded anew.
    let again: Vec<Vec<Arc<Object>>> = (0..7).map(|_| values.iter().filter_map(object).collect()).collect();
    let resync = median(&mut pipeline, &|index| Some(puts(&again[index])));
    println!(
        "{shape:<14} {:>8} {scratch:>9.1} {action:>8.2} {prefix:>8.2} {add:>8.2} {everywhere:>8.2} {endpoint:>9.3} {resync:>8.1} {kilobytes:>9} {:>11} {:>8} {decode:>8.1}",
        mappings.len(),
        full / 1000,
        peak_mb()
    );
}

fn object(value: &Value) -> Option<Arc<Object>> {
    Object::from_value(value, "default").ok().flatten().map(Arc::new)
}

fn shape_objects(shape: &str, mappings: usize) -> Vec<Value> {
    let mut values = vec![listener("http", 8080, "HTTP"), listener("https", 8443, "HTTPS")];
    let (shape, rich) = shape.strip_suffix('*').map_or((shape, false), |shape| (shape, true));
    let (hosts, shared) = match shape {
        "tls-hosts" => (100.min(mappings / 10), false),
        "shared" => (if mappings > 1000 { 300 } else { 100 }, true),
        _ => (0, false),
    };
    let count = if shared { hosts } else { mappings };
    let services = match shape {
        "one-service" => 1,
        "own-services" => count,
        _ => 100,
    };
    if hosts == 0 {
        values.push(custom(
            "Host",
            "any",
            json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } }),
        ));
    } else {
        let certificate = rcgen::generate_simple_self_signed(vec!["example.com".to_owned()]).unwrap();
        let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
        for host in 0..hosts {
            values.push(json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": { "name": format!("cert-{host}"), "namespace": "default" },
                "stringData": { "tls.crt": chain, "tls.key": key } }));
            values.push(custom("Host", &format!("host-{host}"), json!({ "hostname": format!("host-{host}.example.com"), "tlsSecret": { "name": format!("cert-{host}") } })));
        }
    }
    for service in 0..services {
        values.push(json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": format!("service-{service}"), "namespace": "default" },
            "spec": { "clusterIP": format!("10.{}.{}.{}", 100 + service / 65536, service / 256 % 256, service % 256), "ports": [{ "port": 80, "targetPort": 8080 }] } }));
    }
    values.push(json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "service-0-a", "namespace": "default", "labels": { "kubernetes.io/service-name": "service-0" } },
        "ports": [{ "port": 8080, "protocol": "TCP", "name": "" }],
        "endpoints": [{ "addresses": ["10.9.0.100"], "conditions": { "ready": true } }] }));
    for index in 0..count {
        let hostname =
            if hosts == 0 || shared { "*".to_owned() } else { format!("host-{}.example.com", index % hosts) };
        let mut spec = json!({
            "hostname": hostname, "prefix": format!("/team-{}/service-{index}/api/", index % 37),
            "service": format!("service-{}", index % services), "timeout_ms": 3000 + index % 5,
        });
        if rich {
            for (field, setting) in fields().as_object().unwrap() {
                spec[field] = setting.clone();
            }
        }
        if index == 0 {
            spec["resolver"] = json!("kubernetes-endpoint");
        }
        values.push(custom("Mapping", &format!("mapping-{index}"), spec));
    }
    values
}

/// With hostname, prefix, service and timeout eighteen fields.
fn fields() -> Value {
    json!({
        "idle_timeout_ms": 9000, "retry_policy": { "retry_on": "5xx", "num_retries": 3 },
        "cors": { "origins": ["https://a.example"], "methods": ["GET"] }, "headers": { "x-a": "1" },
        "regex_headers": { "x-b": "a.*" }, "query_parameters": { "q": "1" },
        "add_request_headers": { "x-c": { "value": "%REQ(x-d)%" } }, "remove_response_headers": ["server"],
        "circuit_breakers": [{ "max_connections": 100 }], "load_balancer": { "policy": "round_robin" },
        "rewrite": "/x/", "allow_upgrade": ["websocket"], "weight": 100, "precedence": 1,
    })
}

fn custom(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": { "name": name, "namespace": "default", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z" }, "spec": spec })
}

fn listener(name: &str, port: u16, protocol: &str) -> Value {
    custom(
        "Listener",
        name,
        json!({ "port": port, "protocol": protocol, "securityModel": "XFP", "hostBinding": { "namespace": { "from": "ALL" } } }),
    )
}

fn read(path: &Path, values: &mut Vec<Value>) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| read(entry, values));
        return;
    }
    if !path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json") {
        return;
    }
    let text = std::fs::read_to_string(path).expect("a readable file");
    values.extend(api::yaml::documents(&text, 1_000_000).expect("YAML"));
}
