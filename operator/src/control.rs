//! The control plane process: everything but Envoy. Started by the supervisor, and ends with it.

mod cluster;
mod lines;
mod logging;

pub use logging::init as init_logging;

use crate::cli::args::{AdsAddress, ControlArgs, DiagAddress};
use crate::feed::files::{FileFeed, Folder, Sources};
use crate::feed::ports::{PortChooser, taken};
use crate::feed::{Feed, FeedId};
use crate::mailbox::Mailbox;
use crate::pipeline::{Audience, Pipeline, RefusalMemory, Wiring};
use crate::room;
use crate::settings::Environment;
use crate::snapshot::Board;
use crate::supervisor::{self, ADS_SOCKET};
use crate::view::{Counted, Probe, View};
use anyhow::{Context, anyhow, bail};
use diag::Metrics;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use xds::{Ads, Store, TlsIdentity};

/// Lines for people that may wait for a slow terminal. There is room for all of them from the start.
const LINES: usize = 20_000;

/// Runs until the supervisor sends SIGTERM or ends. SIGUSR1 fails readiness.
pub fn run(args: &ControlArgs) -> anyhow::Result<ExitCode> {
    if !supervisor::end_with(args.parent)? {
        return Ok(ExitCode::SUCCESS);
    }
    room::keep_little();
    let environment = Environment::of_process();
    init_logging(args.gateway.log_format, &environment);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(args, &environment))
}

async fn serve(args: &ControlArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut unready = signal(SignalKind::user_defined1())?;
    let mut options = environment.options();
    options.endpoint_slices = args.kubernetes;
    let mailbox = Arc::new(Mailbox::default());
    let store = Arc::new(Store::new());
    let board = Arc::new(Board::default());
    let metrics = Arc::new(Metrics::default());
    let events = mailbox.clone();
    let ads = Ads::new(store.clone(), move |said| events.events(said), xds::Options::default());

    let stop = CancellationToken::new();
    let (failed, mut failure) = tokio::sync::mpsc::channel::<anyhow::Error>(4);
    let (places, thread) = listen(&ads, args, &stop, &failed).await?;

    let (reports, incoming) = sync_channel(LINES);
    let mut printer = lines::Printer::new(args.restarted, args.kubernetes, places);
    if let Some(address) = diagnostics_address(args)? {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("--diag: cannot listen on {address}"))?;
        printer.diagnostics = Some(listener.local_addr()?);
        let view = View {
            board: board.clone(),
            store: store.clone(),
            ads: ads.clone(),
            options: options.clone(),
            needs_proxy: !args.gateway.without_envoy(),
            probe: Probe::new(args.restarted),
            counted: Counted::default(),
        };
        let router = diag::router(Arc::new(view), metrics.clone());
        let (until, failed) = (stop.clone(), failed.clone());
        tokio::spawn(async move {
            if let Err(error) = diag::serve(listener, router, async move { until.cancelled().await }).await {
                let _ = failed.send(anyhow!(error).context("diagnostics")).await;
            }
        });
    }

    let sources = Sources {
        roots: args.paths.clone(),
        namespace: options.namespace.clone(),
        expansion: environment.expansion(),
        ports: args
            .choose_ports
            .then(|| PortChooser::new(environment.bind_address(), &args.runtime.join("ports.json"))),
        elsewhere: args.kubernetes,
        ..Sources::default()
    };
    let feed = FileFeed::start(FeedId(0), Folder::new(sources), mailbox.clone())?;
    let mut feeds: Vec<Box<dyn Feed>> = vec![Box::new(feed)];
    let mut writing = None;
    if args.kubernetes {
        let parts = cluster::Parts {
            environment,
            options: &options,
            mailbox: &mailbox,
            board: &board,
            metrics: &metrics,
            runtime: &thread.runtime,
            parent: args.parent,
        };
        let (more, statuses) = cluster::start(FeedId(feeds.len()), parts).await?;
        feeds.extend(more);
        writing = Some(statuses);
    }
    let wiring = Wiring {
        options,
        mailbox: mailbox.clone(),
        store,
        board,
        feeds,
        metrics,
        memory: Some(RefusalMemory::open(&args.runtime.join("refused.json"))),
        reports: Some(Audience { to: reports, custom_only: args.kubernetes }),
        paranoid: args.gateway.paranoid,
    };
    std::thread::Builder::new().name("lines".into()).spawn(move || printer.run(&incoming))?;
    let ended = thread.ended;
    let mut pipeline = thread.runtime.spawn(async move {
        let _ended = ended.drop_guard();
        Pipeline::new(wiring).run().await;
    });
    let result = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(ExitCode::SUCCESS),
            _ = unready.recv() => mailbox.drain(),
            Some(error) = failure.recv() => break Err(error),
            // Without its pipeline the process is of no use: the supervisor starts another one.
            _ = &mut pipeline => break Err(anyhow!("the pipeline ended")),
        }
    };
    stop.cancel();
    if let Some(writing) = writing {
        writing.end().await;
    }
    mailbox.close();
    if result.is_ok() {
        let _ = pipeline.await;
    }
    // An unexpected end is worth a restart; status 2 would mean that it is not.
    result.or_else(|error| {
        tracing::error!(error = format!("{error:#}"), "the control plane ends");
        Ok(ExitCode::from(1))
    })
}

/// The thread of the pipeline, which also serves the Envoy next door.
struct PipelineThread {
    runtime: tokio::runtime::Handle,
    /// To be cancelled when the pipeline has ended.
    ended: CancellationToken,
}

/// Opens the sockets of the configuration stream: the private one, and what `--ads` asks for. Returns what to tell.
async fn listen(
    ads: &Ads,
    args: &ControlArgs,
    stop: &CancellationToken,
    failed: &tokio::sync::mpsc::Sender<anyhow::Error>,
) -> anyhow::Result<(Vec<String>, PipelineThread)> {
    let mut places = Vec::new();
    let unix = match &args.gateway.ads {
        Some(AdsAddress::Unix(path)) => {
            places.push(format!("unix:{}", path.display()));
            path.clone()
        }
        _ => args.runtime.join(ADS_SOCKET),
    };
    let thread = serve_next_door(ads.clone(), unix, stop.clone(), failed.clone()).await?;
    if let Some(AdsAddress::Tcp(address)) = args.gateway.ads {
        let server = ads.bind_tls(address, identity(args)?).await.context("--ads")?;
        places.push(server.address().to_string());
        let (until, report) = (stop.clone(), failed.clone());
        tokio::spawn(async move {
            if let Err(error) = server.serve(async move { until.cancelled().await }).await {
                let _ = report.send(error.into()).await;
            }
        });
    }
    Ok((places, thread))
}

/// Serves the UNIX socket from the thread of the pipeline: the Envoy next door is told of a change by the thread that made it,
/// nobody has to be woken, and no large page of the diagnostics stands before it. Its requests wait while a large table
/// compiles; what comes of them would have to wait for that anyway.
async fn serve_next_door(
    ads: Ads,
    path: PathBuf,
    stop: CancellationToken,
    failed: tokio::sync::mpsc::Sender<anyhow::Error>,
) -> anyhow::Result<PipelineThread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = PipelineThread { runtime: runtime.handle().clone(), ended: CancellationToken::new() };
    let ended = thread.ended.clone();
    let (bound, listens) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("pipeline".into()).spawn(move || {
        runtime.block_on(async move {
            let server = match ads.bind_unix(&path) {
                Ok(server) => server,
                Err(error) => return drop(bound.send(Err(error))),
            };
            let _ = bound.send(Ok(()));
            if let Err(error) = server.serve(stop.cancelled_owned()).await {
                let _ = failed.send(error.into()).await;
            }
            ended.cancelled().await;
        });
    })?;
    listens.await.context("the thread of the configuration stream ended")?.context("--ads")?;
    Ok(thread)
}

fn identity(args: &ControlArgs) -> anyhow::Result<TlsIdentity> {
    let gateway = &args.gateway;
    let (Some(cert), Some(key), Some(client_ca)) = (&gateway.ads_cert, &gateway.ads_key, &gateway.ads_client_ca) else {
        bail!("--ads on an address needs --ads-cert, --ads-key and --ads-client-ca: the stream carries private keys");
    };
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(TlsIdentity { cert: read(cert)?, key: read(key)?, client_ca: read(client_ca)? })
}

/// With `--choose-ports` a taken port gives way to a free one; it is kept over restarts of the control plane.
fn diagnostics_address(args: &ControlArgs) -> anyhow::Result<Option<SocketAddr>> {
    let mut address = match args.gateway.diag {
        Some(DiagAddress::None) => return Ok(None),
        Some(DiagAddress::Tcp(address)) => address,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, 8877)),
    };
    let memory = args.runtime.join("diag-port");
    if let Some(port) = std::fs::read_to_string(&memory).ok().and_then(|text| text.parse().ok()) {
        address.set_port(port);
    } else {
        let ip: IpAddr = address.ip();
        let free = || std::net::TcpListener::bind((ip, 0)).and_then(|socket| socket.local_addr()).map(|at| at.port());
        if address.port() == 0 || (args.choose_ports && taken(ip, address.port())) {
            address.set_port(free()?);
        }
        std::fs::write(&memory, address.port().to_string())?;
    }
    Ok(Some(address))
}
