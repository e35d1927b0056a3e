//! `nuncio apiext`: the conversion webhook.

use super::args::ApiextArgs;
use crate::control::init_logging;
use crate::settings::Environment;
use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use webhook::apiext::{Options, Webhook};

/// Where a pod finds the namespace of its service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace of upstream's manifests.
const NAMESPACE: &str = "emissary-system";

/// Serves until SIGTERM or Ctrl-C.
pub fn run(args: &ApiextArgs) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process();
    init_logging(None, &logging(&environment));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args, &environment))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: &ApiextArgs, environment: &Environment) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let client = connect(args.kubeconfig.as_deref()).await?;
    let webhook = Webhook::bind(client, options(args, environment)).await?;
    let places = webhook.places()?;
    tracing::info!("reviews at {}, probes at {}", places.https, places.probes);
    let stop = CancellationToken::new();
    let running = tokio::spawn(webhook.run(stop.clone()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stops");
    stop.cancel();
    running.await?
}

/// A client of the API server: of this file, or of what the environment says.
///
/// It does not try again by itself, which would hold up other work for many minutes; its users do.
pub(super) async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    connect_to(kubeconfig, None).await
}

/// The same with a context of that file; without a file, of KUBECONFIG or ~/.kube/config.
pub(super) async fn connect_to(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Client> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match (kubeconfig, context) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path).with_context(|| path.display().to_string())?;
            Config::from_custom_kubeconfig(file, &options).await?
        }
        (None, Some(context)) => {
            Config::from_kubeconfig(&options).await.with_context(|| format!("context `{context}`"))?
        }
        (None, None) => Config::infer().await.context("no cluster is configured")?,
    };
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

fn options(args: &ApiextArgs, environment: &Environment) -> Options {
    let of_account = std::fs::read_to_string(NAMESPACE_FILE).ok();
    let of_account = of_account.as_deref().map(str::trim).filter(|namespace| !namespace.is_empty());
    let namespace = environment.get("POD_NAMESPACE").or(of_account).unwrap_or(NAMESPACE);
    // Host names are those of pods, but two processes on one machine are two replicas, too.
    let host = environment.get("HOSTNAME").unwrap_or("apiext");
    let mut options = Options::new(&args.service, namespace, &format!("{host}_{:x}", unique()));
    options.names.clone_from(&args.certificate_name);
    options.crd_labels.clone_from(&args.crd_label_selector);
    options.https = args.https;
    options.probes = args.probes;
    options.manage_authority = environment.get("DISABLE_CA_MANAGEMENT").is_none();
    options.manage_crds = environment.get("DISABLE_CRD_MANAGEMENT").is_none();
    options
}

/// A number that another process or container has only by accident.
fn unique() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// The environment for logging: `info` unless told otherwise, and upstream's further names of levels.
fn logging(environment: &Environment) -> Environment {
    let level = match environment.get("AES_LOG_LEVEL") {
        Some("debug") => "debug",
        Some("warn" | "warning") => "warn,kube_runtime=error,kube_client=error",
        Some("error" | "dpanic" | "panic" | "fatal") => "error",
        // Failed watches are told once, and not by the library at every attempt.
        _ => "info,kube_runtime=error,kube_client=error",
    };
    let get = |name: &'static str| environment.get(name).map(|value| (name, value));
    let others = [get("NUNCIO_LOG"), get("AMBASSADOR_JSON_LOGGING")];
    Environment::from_pairs(others.into_iter().flatten().chain([("AES_LOG_LEVEL", level)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ApiextArgs {
        ApiextArgs {
            service: "emissary-apiext".into(),
            crd_label_selector: None,
            kubeconfig: None,
            https: None,
            probes: None,
            certificate_name: Vec::new(),
        }
    }

    #[test]
    fn the_switches_turn_off_what_they_name() {
        let of = |pairs: &[(&str, &str)]| {
            let options = options(&args(), &Environment::from_pairs(pairs.iter().copied()));
            (options.manage_authority, options.manage_crds)
        };
        assert_eq!(of(&[]), (true, true));
        assert_eq!(of(&[("DISABLE_CA_MANAGEMENT", "1")]), (false, true));
        assert_eq!(of(&[("DISABLE_CRD_MANAGEMENT", "no")]), (true, false));
        assert_eq!(of(&[("DISABLE_CRD_MANAGEMENT", "")]), (true, true));
    }

    #[test]
    fn replicas_differ_and_live_where_they_are_told() {
        let environment = Environment::from_pairs([("POD_NAMESPACE", "gateway"), ("HOSTNAME", "pod-1")]);
        let [one, two] = [0, 1].map(|_| options(&args(), &environment));
        assert_eq!(one.target.dns_name(), "emissary-apiext.gateway.svc");
        assert!(one.identity.starts_with("pod-1_") && one.identity != two.identity);
    }
}
