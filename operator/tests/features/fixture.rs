//! A gateway in this process, over a folder of manifests.

use crate::client::{Client, Judge, PATIENCE};
use compiler::Options;
use diag::{Metrics, ObjectCounts};
use ir::{Kind, ObjectKey};
use operator::feed::files::{FileFeed, Folder, Sources};
use operator::feed::{Feed, FeedId};
use operator::mailbox::Mailbox;
use operator::pipeline::{Pipeline, Wiring};
use operator::snapshot::{Board, Snapshot};
use operator::status::{self, Condition};
use std::path::PathBuf;
use std::sync::Arc;
use xds::{Ads, Store};

pub struct Gateway {
    folder: tempfile::TempDir,
    pub mailbox: Arc<Mailbox>,
    pub board: Arc<Board>,
    metrics: Arc<Metrics>,
    pipeline: Option<std::thread::JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

/// The table of clear text on the Listener of these tests.
pub const TABLE: &str = "default/http/cleartext";

pub const BASE: &str = "
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http}
spec: {port: 8080, protocol: HTTP, securityModel: INSECURE, hostBinding: {namespace: {from: SELF}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: all}
spec: {hostname: '*', acmeProvider: {authority: none}, requestPolicy: {insecure: {action: Route}}}
";

pub fn mapping(name: &str, prefix: &str) -> String {
    with_header(name, prefix, "plain")
}

/// A Mapping that sets a request header; a header is what an Envoy may refuse.
pub fn with_header(name: &str, prefix: &str, header: &str) -> String {
    format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: {name}}}\nspec:\n  hostname: '*'\n  \
         prefix: {prefix}\n  service: 127.0.0.1:9\n  add_request_headers: {{x-test: {{value: {header}}}}}\n"
    )
}

pub fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, "default", name)
}

impl Gateway {
    /// A gateway that watches a folder with these files.
    pub fn start(files: &[(&str, &str)]) -> Self {
        Self::start_with(files, |_| Vec::new())
    }

    /// The same with further feeds.
    pub fn start_with(files: &[(&str, &str)], feeds: impl FnOnce(&Arc<Mailbox>) -> Vec<Box<dyn Feed>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        for (name, text) in files {
            std::fs::write(manifests.join(name), text).unwrap();
        }
        let mailbox = Arc::new(Mailbox::default());
        let store = Arc::new(Store::new());
        let board = Arc::new(Board::default());
        let events = mailbox.clone();
        let ads = Ads::new(store.clone(), move |said| events.events(said), xds::Options::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = ads.bind_unix(folder.path().join("ads.sock")).unwrap();
        tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        let sources = Sources { roots: vec![manifests], namespace: "default".into(), ..Sources::default() };
        let files: Box<dyn Feed> = Box::new(FileFeed::start(FeedId(0), Folder::new(sources), mailbox.clone()).unwrap());
        let feeds = std::iter::once(files).chain(feeds(&mailbox)).collect();
        let metrics = Arc::new(Metrics::default());
        let wiring = Wiring {
            options: Options::default(),
            mailbox: mailbox.clone(),
            store,
            board: board.clone(),
            feeds,
            metrics: metrics.clone(),
            memory: None,
            reports: None,
            paranoid: true,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pipeline = std::thread::spawn(move || runtime.block_on(Pipeline::new(wiring).run()));
        Self { folder, mailbox, board, metrics, pipeline: Some(pipeline), stop: Some(stop) }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("ads.sock")
    }

    /// A client that has the clear-text table.
    pub async fn client(&self, judge: Judge) -> Client {
        Client::connect(&self.socket(), &[TABLE], &[], judge).await
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join("manifests").join(name), text).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join("manifests").join(name)).unwrap();
    }

    /// Waits for a snapshot that fits.
    pub async fn until(&self, what: &str, fits: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut bell = self.board.subscribe();
        let waiting = async {
            loop {
                bell.borrow_and_update();
                let snapshot = self.board.load();
                if fits(&snapshot) {
                    return snapshot;
                }
                bell.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(snapshot) => snapshot,
            Err(_) => {
                let snapshot = self.board.load();
                let verdicts: Vec<_> = snapshot.entries.iter().map(|(_, entry)| entry.verdict.clone()).collect();
                panic!("not in time: {what}\n{verdicts:#?}\n{:?} batch {}", snapshot.clients, snapshot.batch);
            }
        }
    }

    /// Waits until the metrics have that line.
    pub async fn until_metric(&self, line: &str) {
        let begun = std::time::Instant::now();
        loop {
            let metrics = self.metrics.text(&ObjectCounts::default(), 0);
            if metrics.contains(line) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not in time: {line}{metrics}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Waits until a condition of an object has that value and reason, `True/Programmed`.
    pub async fn condition(&self, key: &ObjectKey, kind: &str, value: &str) -> Condition {
        let find = |snapshot: &Snapshot| {
            let entry = snapshot.entries.get(key)?;
            let all = status::conditions(&entry.verdict, snapshot.acknowledgement(entry), None);
            all.into_iter().find(|one| one.kind == kind && format!("{}/{}", one.status, one.reason) == value)
        };
        let snapshot = self.until(&format!("{key} {kind} {value}"), |snapshot| find(snapshot).is_some()).await;
        find(&snapshot).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.mailbox.close();
        drop(self.stop.take());
        if let Some(pipeline) = self.pipeline.take() {
            let _ = pipeline.join();
        }
        if !std::thread::panicking() {
            // Every batch of every test is compiled again from scratch.
            let metrics = self.metrics.text(&ObjectCounts::default(), 0);
            assert!(metrics.contains("nuncio_paranoid_differences_total 0\n"), "{metrics}");
        }
    }
}
