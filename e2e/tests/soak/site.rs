//! A small gateway with one instance behind it, and somebody who asks it all the time.

use crate::support::programs;
use e2e::soak::backend::Instance;
use e2e::soak::client::{Dialer, Http1, request};
use e2e::soak::gateway::{Gateway, Programs};
use e2e::soak::ledger::Entry;
use e2e::soak::world::{custom, file};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Nothing here takes that long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Site {
    pub gateway: Gateway,
    pub dialer: Dialer,
    instance: Instance,
}

impl Site {
    /// Serves `/0/`, `/1/`, … from one instance.
    pub async fn start(mappings: usize, arguments: &[String]) -> Option<Self> {
        Self::start_with(mappings, arguments, |_| {}).await
    }

    /// The same by other programs.
    pub async fn start_with(mappings: usize, arguments: &[String], change: impl FnOnce(&mut Programs)) -> Option<Self> {
        let mut programs = programs()?;
        programs.arguments.extend_from_slice(arguments);
        change(&mut programs);
        let [port, tls] = e2e::net::free_ports().unwrap();
        let instance = Instance::start("here").await.unwrap();
        let binding = json!({ "namespace": { "from": "ALL" } });
        let listener = json!({ "port": port, "protocol": "HTTP", "securityModel": "INSECURE", "hostBinding": binding });
        let host = json!({ "hostname": "*", "acmeProvider": { "authority": "none" },
                           "requestPolicy": { "insecure": { "action": "Route" } } });
        let mut files =
            vec![("base.yaml".to_owned(), file(&[custom("Listener", "http", listener), custom("Host", "any", host)]))];
        files.extend((0..mappings).map(|index| (format!("{index}.yaml"), mapping(index, instance.port))));
        let gateway = Gateway::start(&programs, &files).unwrap();
        gateway.wait_ready(PATIENCE).unwrap();
        let site = Self { gateway, dialer: Dialer::new((port, tls)).unwrap(), instance };
        site.until("the first answer", async || site.status("/0/").await == Some(200)).await;
        Some(site)
    }

    /// Adds or replaces a Mapping.
    pub fn put(&self, index: usize) {
        self.gateway.write(&format!("{index}.yaml"), &mapping(index, self.port())).unwrap();
    }

    /// Of the instance.
    pub fn port(&self) -> u16 {
        self.instance.port
    }

    /// The status of an answer on a new connection.
    pub async fn status(&self, path: &str) -> Option<u16> {
        let mut connection = self.dialer.http1(Entry::Any).await.ok()?.0;
        Some(connection.send(request(Entry::Any, false, path, 0).unwrap()).await.ok()?.head.status.as_u16())
    }

    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let begun = Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < PATIENCE, "not in time: {what}\n{}", self.gateway.output());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks for `/0/` over kept connections until [`Asking::end`].
    pub fn ask(&self) -> Asking {
        let (end, lost, answered) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
        let (dialer, stop) = (self.dialer.clone(), end.clone());
        let (failures, successes): (Arc<AtomicUsize>, Arc<AtomicUsize>) = (Arc::clone(&lost), Arc::clone(&answered));
        let task = tokio::spawn(async move {
            let mut connection: Option<Http1> = None;
            while !stop.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let failure = match &mut connection {
                    Some(open) => match open.send(request(Entry::Any, false, "/0/", 0).unwrap()).await {
                        Ok(reply) if reply.answer() == "here" => None,
                        Ok(reply) => Some(format!("{}: {}", reply.answer(), reply.text())),
                        Err(error) => Some(format!("{error:#}")),
                    },
                    none => match dialer.http1(Entry::Any).await {
                        Ok((open, _)) => none.insert(open).is_closed().then(|| "closed at once".to_owned()),
                        Err(error) => Some(format!("{error:#}")),
                    },
                };
                match failure {
                    None => _ = successes.fetch_add(1, Ordering::Relaxed),
                    Some(failure) => {
                        crate::support::say(&format!("lost: {failure}\n"));
                        connection = None;
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Asking { end, lost, answered, task }
    }
}

pub struct Asking {
    end: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Asking {
    /// Requests answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Requests answered, and lost.
    pub async fn end(self) -> (usize, usize) {
        self.end.store(true, Ordering::Release);
        self.task.await.unwrap();
        (self.answered.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }
}

pub fn mapping(index: usize, port: u16) -> String {
    let spec = json!({ "hostname": "*", "prefix": format!("/{index}/"), "service": format!("127.0.0.1:{port}") });
    file(&[custom("Mapping", &format!("m{index}"), spec)])
}
