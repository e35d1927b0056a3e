//! What it costs that an endpoint moves, with the API server between the one who moves it and Envoy.

use super::histogram::Histogram;
use super::{LIMIT, TIME_TO_LIVE, api, text};
use crate::cluster::network::NODE_ADDRESS;
use crate::soak::backend::{INSTANCE, Instance};
use crate::soak::scale::{cpu, pause, share, waited};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::Empty;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const MOVES: usize = 200;
/// Between two moves, so that all that came of one is over before the next begins.
const REST: Duration = Duration::from_millis(50);
/// Between two questions whether it is there. To ask more often would cost the time that is measured.
const ASK: Duration = Duration::from_micros(500);
const PATH: &str = "http://127.0.0.1:8080/moved/";

/// What was seen.
pub(super) struct Moves {
    /// Milliseconds from the API server's answer to the write until a request reaches the new endpoint.
    live: Vec<f64>,
    /// The same from the beginning of the write.
    written: Vec<f64>,
    /// From the moment the control plane heard of it until Envoy had accepted it, by the control plane's own clock.
    accepted: String,
    /// CPU milliseconds of the control plane for each.
    cpu: f64,
    /// Milliseconds for each in which threads of the control plane and of Envoy could have run, and others had the cores.
    waits: [f64; 2],
    /// Milliseconds from the API server's answer until a watch of this program has the event: nothing can be faster.
    heard: Vec<f64>,
}

impl Moves {
    /// Says a name and a value for each figure.
    pub(super) fn rows(mut self, row: &mut impl FnMut(&str, String)) {
        let cell = |times: &mut [f64]| format!("{:.1} ({:.1}) ms", share(times, 50), share(times, 99));
        row(&format!("endpoint written → live, median (99 %) of {MOVES}"), cell(&mut self.live));
        row("the same, the API server's write counted in", cell(&mut self.written));
        row("heard of → accepted by Envoy, mean (99 %)", self.accepted);
        row("CPU of the control plane for each", format!("{:.2} ms", self.cpu));
        let [own, envoy] = self.waits;
        row("waiting for a core, for each: control plane / Envoy", format!("{own:.1} / {envoy:.1} ms"));
        row("endpoint written → a bare client's watch has it", cell(&mut self.heard));
    }
}

/// Moves the only endpoint of a Service between two instances.
pub(super) async fn moves(
    client: &Client,
    http: &Http<HttpConnector, Empty<Bytes>>,
    control: Pid,
    envoy: Pid,
) -> Result<Moves> {
    let address = NODE_ADDRESS.parse()?;
    let instances = [Instance::start_at("a", address).await?, Instance::start_at("b", address).await?];
    let [first, _] = &instances;
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "moved-1", "labels": {"kubernetes.io/service-name": "moved"}},
        "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": true}}], "ports": ports(first)});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "moved"},
            "spec": {"ports": [{"name": "http", "port": 80}]}}),
        slice.clone(),
        json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping", "metadata": {"name": "moved"},
            "spec": {"hostname": "*", "prefix": "/moved/", "service": "moved", "resolver": "endpoint"}}),
    ];
    for object in objects {
        let api = api(client, &object)?;
        api.create(&PostParams::default(), &serde_json::from_value::<DynamicObject>(object)?).await?;
    }
    reached(http, &first.name).await?;
    let slices = api(client, &slice)?;
    let times = async || Histogram::read(&text(8877, "/metrics").await?, TIME_TO_LIVE);
    let waiting = || Ok::<_, anyhow::Error>([waited(control)?, waited(envoy)?]);
    let (told, before, waited_before) = (times().await?, cpu(control)?, waiting()?);
    let (mut live, mut written) = (Vec::new(), Vec::new());
    for instance in instances.iter().rev().cycle().take(MOVES) {
        tokio::time::sleep(REST).await;
        let begun = Instant::now();
        let patch = Patch::Merge(json!({"ports": ports(instance)}));
        slices.patch("moved-1", &PatchParams::default(), &patch).await?;
        let answered = Instant::now();
        reached(http, &instance.name).await?;
        live.push(answered.elapsed().as_secs_f64() * 1e3);
        written.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    tokio::time::sleep(REST).await;
    let each = |after: f64, before: f64| (after - before) * 1e3 / MOVES as f64;
    let cpu = each(cpu(control)?, before);
    let ([own, proxy], [own_before, proxy_before]) = (waiting()?, waited_before);
    let waits = [each(own, own_before), each(proxy, proxy_before)];
    let accepted = times().await?.since(&told);
    Ok(Moves { live, written, accepted, cpu, waits, heard: heard(&slices, &instances).await? })
}

/// The same moves, watched by this program. They come after those that are measured, which they would disturb.
async fn heard(slices: &Api<DynamicObject>, instances: &[Instance]) -> Result<Vec<f64>> {
    let only = WatchParams::default().fields("metadata.name=moved-1");
    let mut events = slices.watch(&only, "0").await?.boxed();
    let mut times = Vec::new();
    for instance in instances.iter().rev().cycle().take(MOVES) {
        tokio::time::sleep(REST).await;
        let patch = Patch::Merge(json!({"ports": ports(instance)}));
        let write = async {
            let written = slices.patch("moved-1", &PatchParams::default(), &patch).await;
            written.map(|_| Instant::now())
        };
        let event = async {
            while let Some(event) = timeout(LIMIT, events.try_next()).await?? {
                if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                    && object.data.get("ports") == Some(&ports(instance))
                {
                    return Ok(Instant::now());
                }
            }
            bail!("the watch ended")
        };
        let (answered, came) = tokio::join!(write, event);
        times.push(came?.saturating_duration_since(answered?).as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn ports(instance: &Instance) -> Value {
    json!([{"name": "http", "port": instance.port, "protocol": "TCP"}])
}

/// Asks until the instance of that name answers.
async fn reached(http: &Http<HttpConnector, Empty<Bytes>>, name: &str) -> Result<()> {
    let uri: hyper::Uri = PATH.parse().context("no path")?;
    let begun = Instant::now();
    loop {
        let answer = http.get(uri.clone()).await;
        if answer
            .is_ok_and(|answer| answer.headers().get(INSTANCE).is_some_and(|came| came.as_bytes() == name.as_bytes()))
        {
            return Ok(());
        }
        if begun.elapsed() > LIMIT {
            bail!("the endpoint did not move");
        }
        pause(ASK).await;
    }
}
