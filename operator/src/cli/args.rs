//! Every argument of every command.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Nuncio, a gateway control plane for Envoy that reads getambassador.io resources.
#[derive(Debug, Parser)]
#[command(
    name = "nuncio",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
Examples:
  nuncio serve manifests/                 serve a folder, follow its changes, run Envoy
  nuncio entrypoint                       serve a Kubernetes cluster; what a pod runs without arguments
  nuncio check manifests/                 say what is wrong with manifests, without running anything
  nuncio why shop.example.com / manifests/  say which Mapping answers
  nuncio dump status                      what a running gateway says about every object
  nuncio convert --to v3alpha1 old.yaml   lift manifests to the newest version

Environment: AMBASSADOR_ID, AMBASSADOR_NAMESPACE, AMBASSADOR_SINGLE_NAMESPACE, AMBASSADOR_ENVOY_BIND_ADDRESS, \
AMBASSADOR_READY_PORT, AMBASSADOR_DRAIN_TIME, ENVOY_CONCURRENCY, AMBASSADOR_JSON_LOGGING, AES_LOG_LEVEL and \
DISABLE_STRICT_LABEL_SELECTORS mean what they mean to Emissary-ingress; so do, in a cluster, \
AMBASSADOR_CERTS_SINGLE_NAMESPACE, AMBASSADOR_LABEL_SELECTOR, AMBASSADOR_FIELD_SELECTOR, AMBASSADOR_CONFIG_DIR, \
AMBASSADOR_HEALTHCHECK_BIND_ADDRESS, AMBASSADOR_HEALTHCHECK_BIND_PORT and AMBASSADOR_HEALTHCHECK_IP_FAMILY. All variables: \
docs/environment.md."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve manifests from files: watch them, run Envoy, tell what becomes of every change
    Serve(ServeArgs),
    /// Serve the objects of a Kubernetes cluster: watch them, run Envoy, write their status
    Entrypoint(EntrypointArgs),
    /// Judge manifests offline; status 1 when any object is refused or degraded
    Check(CheckArgs),
    /// Say which Mapping answers a request, and why the others do not
    Why(WhyArgs),
    /// Say what changes between two sets of manifests
    Diff(DiffArgs),
    /// Show what a running gateway knows
    Dump(DumpArgs),
    /// Convert manifests between v1, v2 and v3alpha1
    Convert(ConvertArgs),
    /// Print the custom resource definitions
    Crds(CrdsArgs),
    /// Convert custom resources between their versions for API servers (HTTPS webhook)
    Apiext(ApiextArgs),
    /// Rewrite stored custom resources in the storage version of their kind
    MigrateStorage(MigrateStorageArgs),
    /// Print the version
    Version,
    /// The control plane of `serve` and `entrypoint`, started by them.
    #[command(hide = true)]
    ControlPlane(ControlArgs),
    /// Becomes another program that ends with the process that started this one.
    #[command(hide = true)]
    GuardedExec(GuardedExecArgs),
}

/// Arguments of `serve`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nuncio serve manifests/quickstart
  nuncio serve --choose-ports --diag 127.0.0.1:0 gateway/ backends.yaml
  nuncio serve --envoy none --ads unix:/run/nuncio/ads.sock manifests/
  nuncio serve --ads 0.0.0.0:18000 --ads-cert tls.crt --ads-key tls.key --ads-client-ca ca.crt manifests/

Standard output tells every object's verdict, then one line for each change and how long it took to be live. \
Logs go to standard error. SIGTERM and Ctrl-C drain connections and end with status 0; a second signal ends at once.")]
pub struct ServeArgs {
    /// Folders (read recursively: *.yaml, *.yml, *.json) and files
    #[arg(required = true, value_name = "DIR")]
    pub paths: Vec<PathBuf>,
    /// Replace ports that are taken by free ones, and say so
    #[arg(long)]
    pub choose_ports: bool,
    /// The rest.
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// Arguments of `entrypoint`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nuncio entrypoint                                        in a pod
  KUBECONFIG=~/.kube/config nuncio entrypoint --diag 127.0.0.1:8877

The cluster is that of KUBECONFIG or ~/.kube/config, else the one around the pod. Envoy is ready on port 8006 \
(AMBASSADOR_READY_PORT); probes, metrics and diagnostics are on port 8877. Lines about what changes go to standard \
output, logs to standard error. SIGTERM drains connections and ends with status 0; a second signal ends at once.")]
pub struct EntrypointArgs {
    /// The rest.
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// What every running gateway can be told.
#[derive(Args, Clone, Debug)]
pub struct GatewayArgs {
    /// The Envoy to run, or `none`. Default: NUNCIO_ENVOY, the copy installed by `make envoy`, `envoy` on PATH
    #[arg(long, value_name = "PATH|none")]
    pub envoy: Option<PathBuf>,
    /// Where further Envoys get their configuration: a UNIX socket, or an address (then with mutual TLS)
    #[arg(long, value_name = "unix:PATH|ADDR")]
    pub ads: Option<AdsAddress>,
    /// Certificate chain for `--ads ADDR`, PEM
    #[arg(long, value_name = "FILE")]
    pub ads_cert: Option<PathBuf>,
    /// Private key for `--ads ADDR`, PEM
    #[arg(long, value_name = "FILE")]
    pub ads_key: Option<PathBuf>,
    /// Authorities that client certificates of Envoys must come from, PEM
    #[arg(long, value_name = "FILE")]
    pub ads_client_ca: Option<PathBuf>,
    /// Where diagnostics, probes and metrics are served, or `none`. Default: 127.0.0.1:8877; in a cluster 0.0.0.0:8877
    #[arg(long, value_name = "ADDR|none")]
    pub diag: Option<DiagAddress>,
    /// Form of log lines on standard error
    #[arg(long, value_name = "FORM", env = "NUNCIO_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Seconds that connections get to end on SIGTERM. Default: 10; in a cluster 25, as pods get 30 to end
    #[arg(long, value_name = "SECONDS", env = "AMBASSADOR_DRAIN_TIME")]
    pub drain_time: Option<u64>,
    /// Worker threads of Envoy. Default: one for each processor
    #[arg(long, value_name = "N", env = "ENVOY_CONCURRENCY")]
    pub concurrency: Option<u32>,
    /// Compile everything again from scratch beside every change and report any difference; slow
    #[arg(long)]
    pub paranoid: bool,
}

/// Arguments of `apiext`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Runs in the cluster, in as many replicas as wanted; one of them holds the Lease emissary-ca-mgr-leader and writes. It keeps \
an authority in the Secret emissary-ingress-webhook-ca, points the getambassador.io CRDs of several versions to the \
Service, renews everything in time, and repairs what others overwrite. HTTPS on port 8443 (/webhooks/crd-convert), probes \
on port 8080 (/probes/live, /probes/ready).

Environment: POD_NAMESPACE (default: that of the service account, else emissary-system), AES_LOG_LEVEL (default: info), \
DISABLE_CA_MANAGEMENT (not empty: somebody else fills the Secret), DISABLE_CRD_MANAGEMENT (not empty: somebody else points \
the CRDs here).

Examples:
  nuncio apiext emissary-apiext
  nuncio apiext emissary-apiext --crd-label-selector app.kubernetes.io/part-of=emissary-apiext")]
pub struct ApiextArgs {
    /// The Service that API servers call, in the namespace of this process
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Only CRDs with these labels
    #[arg(long, value_name = "K=V[,K=V]")]
    pub crd_label_selector: Option<String>,
    /// How to reach the API server. Default: KUBECONFIG, ~/.kube/config, the service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where to serve HTTPS. Default: port 8443 of all addresses
    #[arg(long, value_name = "ADDR")]
    pub https: Option<SocketAddr>,
    /// Where to serve probes. Default: port 8080 of all addresses
    #[arg(long, value_name = "ADDR")]
    pub probes: Option<SocketAddr>,
    /// A further name or address in the certificate, for who does not come by the Service; may be given several times
    #[arg(long, value_name = "NAME")]
    pub certificate_name: Vec<String>,
}

/// Arguments of `migrate-storage`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
An API server keeps objects in the version they were last written in. This writes each of them once more, page by page, and \
then sets status.storedVersions of the definition. Run again after an interruption, it goes on where it was.

Exit status: 0 all objects are in the storage version; 1 some object could not be written, or a version has to stay; \
2 could not run.

Examples:
  nuncio migrate-storage                       all kinds
  nuncio migrate-storage Mapping Host          two of them
  nuncio migrate-storage --remove v1           take v1 out of the definitions afterwards")]
pub struct MigrateStorageArgs {
    /// Kinds. Default: all
    #[arg(value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Versions to take out of the definitions once no object is stored in them; may be given several times
    #[arg(long, value_name = "VERSION")]
    pub remove: Vec<String>,
    /// Objects in a page
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub page_size: u32,
    /// How to reach the API server. Default: KUBECONFIG, ~/.kube/config, the service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Arguments of the control plane process.
#[derive(Args, Clone, Debug)]
pub struct ControlArgs {
    /// The folder shared with the supervisor and Envoy.
    #[arg(long)]
    pub runtime: PathBuf,
    /// The process that has to be the parent.
    #[arg(long)]
    pub parent: i32,
    /// It was running before.
    #[arg(long)]
    pub restarted: bool,
    /// Objects come from the API server of Kubernetes.
    #[arg(long)]
    pub kubernetes: bool,
    /// See [`ServeArgs::choose_ports`].
    #[arg(long)]
    pub choose_ports: bool,
    /// See [`ServeArgs::paths`].
    pub paths: Vec<PathBuf>,
    /// What the supervisor was told.
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// Arguments of the guard.
#[derive(Args, Clone, Debug)]
pub struct GuardedExecArgs {
    /// The process that has to be the parent.
    #[arg(long)]
    pub parent: i32,
    /// Program and arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Exit status: 0 every object is fine; 1 an object is refused or degraded, or a file does not parse; 2 could not run.

Examples:
  nuncio check manifests/
  nuncio check --output envoy manifests/ | jq '.clusters[].name'
  nuncio check --output bootstrap --assume-file /certs/tls.crt m.yaml > envoy.json && envoy --mode validate -c envoy.json")]
pub struct CheckArgs {
    /// Folders and files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// What to print
    #[arg(long, value_name = "WHAT", default_value = "problems")]
    pub output: CheckOutput,
    /// Count a certificate file as existing; may be given several times
    #[arg(long, value_name = "PATH")]
    pub assume_file: Vec<String>,
}

/// What `check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// One line for each finding.
    Problems,
    /// Envoy resources, JSON.
    Envoy,
    /// Rows of the compiler, for its developers.
    Ir,
    /// The status of every object, JSON.
    Status,
    /// A complete static Envoy configuration, JSON. Holds private keys.
    Bootstrap,
}

/// Arguments of `why`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
By manifests; with --from by what a running gateway serves at this moment; with --context or --kubeconfig by what is in \
a cluster, compiled here.

Exit status: 0 something answers; 1 nothing does; 2 could not run.

Examples:
  nuncio why shop.example.com /cart/ manifests/
  nuncio why shop.example.com /cart/ --from http://127.0.0.1:8877
  nuncio why shop.example.com /cart/ --context production
  nuncio why shop.example.com '/cart/?beta=1' --tls --method POST --header x-user:7 manifests/")]
pub struct WhyArgs {
    /// The host that is asked, with a port if the client sends one
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Path and query
    #[arg(value_name = "PATH")]
    pub path: String,
    /// Folders and files
    #[arg(required_unless_present_any = ["from", "context", "kubeconfig"], value_name = "MANIFESTS")]
    pub paths: Vec<PathBuf>,
    /// Address of a running gateway's diagnostics
    #[arg(long, value_name = "URL", conflicts_with_all = ["paths", "context", "kubeconfig"])]
    pub from: Option<String>,
    /// Or the objects of a cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Method of the request
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// A header of the request; may be given several times
    #[arg(long, value_name = "NAME:VALUE")]
    pub header: Vec<String>,
    /// The request comes over TLS
    #[arg(long)]
    pub tls: bool,
    /// Only the listener with this port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
}

/// A cluster to read objects from.
#[derive(Args, Clone, Debug, Default)]
pub struct ClusterArgs {
    /// Read the objects of the cluster of this context
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Read the objects of the cluster of this file. Default with --context: KUBECONFIG, ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

impl ClusterArgs {
    /// Whether a cluster is named.
    pub fn is_wanted(&self) -> bool {
        self.context.is_some() || self.kubeconfig.is_some()
    }
}

/// Arguments of `diff`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Lines begin with `object`, `route` or `envoy`, then + (new), - (gone) or ~ (different). With --context or --kubeconfig what \
is in the cluster is OLD, and NEW is what would be applied to it.

Exit status: 0 nothing is different; 1 something is; 2 could not run.

Examples:
  nuncio diff manifests.old/ manifests/
  nuncio diff --overlay manifests/ new-mapping.yaml
  nuncio diff --context production new-mapping.yaml")]
pub struct DiffArgs {
    /// Two folders or files, the old and the new; with a cluster just the new
    #[arg(value_name = "MANIFESTS", required = true, num_args = 1..=2)]
    pub paths: Vec<PathBuf>,
    /// NEW is what would be applied to OLD, not all there is
    #[arg(long)]
    pub overlay: bool,
    /// The old objects, instead.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `dump`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nuncio dump status
  nuncio dump clients --from http://127.0.0.1:8877
  nuncio dump envoy | jq '.routes | length'")]
pub struct DumpArgs {
    /// What to show
    #[arg(value_name = "WHAT")]
    pub what: DumpWhat,
    /// Address of the gateway's diagnostics
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8877")]
    pub from: String,
    /// Print JSON instead of lines for people
    #[arg(long)]
    pub json: bool,
}

/// What `dump` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DumpWhat {
    /// Every object with its conditions.
    Status,
    /// Envoy resources, JSON.
    Envoy,
    /// Connected Envoys with their last ACK and NACK.
    Clients,
}

/// Arguments of `convert`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
It is the conversion of the webhook: an object that goes to another version and back is the same again. Where v3alpha1 has no \
way to say what v1 or v2 says, `spec.v2Spelling` remembers it. Objects of other groups and versions, and documents in which nothing is \
converted, pass through untouched; comments inside of a converted object are lost. Standard error tells what was changed.

Exit status: 0 everything is converted; 1 an object cannot be, or a document does not parse (it is printed as it was); 2 could not run.

Examples:
  nuncio convert --to v3alpha1 --for-good --in-place manifests/
  kubectl get mappings.v2.getambassador.io -A -o yaml | nuncio convert --to v3alpha1 > mappings.yaml
  nuncio convert --to v2 --output json m.yaml | jq .spec")]
pub struct ConvertArgs {
    /// Folders (read recursively: *.yaml, *.yml, *.json) and files, or `-`. Default: standard input
    #[arg(value_name = "PATH|-")]
    pub paths: Vec<PathBuf>,
    /// The version wanted
    #[arg(long, value_name = "VERSION")]
    pub to: ConvertVersion,
    /// Leave out what only helps to convert back: `v2Spelling`, `v2ExplicitTLS`, `v2BoolHeaders` and the like
    #[arg(long)]
    pub for_good: bool,
    /// Rewrite the files in which something changes instead of printing all
    #[arg(long, short)]
    pub in_place: bool,
    /// Form of the output. Default: as it is read
    #[arg(long, value_name = "FORM", conflicts_with = "in_place")]
    pub output: Option<ManifestForm>,
    /// Give v3alpha1 objects the ids that the webhook gives them in v1 and v2, which no old gateway acts on
    #[arg(long)]
    pub prefix_ids: bool,
}

/// A version of the API group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConvertVersion {
    /// Ambassador 0.x and 1.x.
    V1,
    /// Ambassador 1.x.
    V2,
    /// Emissary-ingress 2.x and later.
    V3alpha1,
}

/// How manifests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManifestForm {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Arguments of `crds`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
By default v3alpha1 is the only version, and nothing else has to run. With `--conversion webhook` v1 and v2 are served, too, \
and the API server asks a webhook (`nuncio apiext`) to convert; it puts its certificate authority into the definitions itself.

Examples:
  nuncio crds | kubectl apply -f -
  nuncio crds --conversion webhook | kubectl apply -f -
  nuncio crds --conversion webhook --storage v2 --service-namespace emissary | kubectl apply -f -")]
pub struct CrdsArgs {
    /// Who converts between versions
    #[arg(long, value_name = "WHO", default_value = "none")]
    pub conversion: CrdConversion,
    /// The version that objects are stored in. Default: v3alpha1
    #[arg(long, value_name = "VERSION")]
    pub storage: Option<CrdStorage>,
    /// Service of the webhook
    #[arg(long, value_name = "NAME", default_value = "emissary-apiext")]
    pub service_name: String,
    /// Namespace of that Service
    #[arg(long, value_name = "NAMESPACE", default_value = "emissary-system")]
    pub service_namespace: String,
    /// Port of that Service
    #[arg(long, value_name = "PORT", default_value_t = 443, value_parser = clap::value_parser!(u16).range(1..))]
    pub service_port: u16,
    /// Value of the label `app.kubernetes.io/part-of`, by which a webhook knows the definitions that are its own
    #[arg(long, value_name = "LABEL", default_value = "emissary-apiext")]
    pub part_of: String,
}

/// Who converts objects between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CrdConversion {
    /// Nobody: v3alpha1 is the only version.
    None,
    /// A webhook: all versions are served.
    Webhook,
}

/// The version that objects are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CrdStorage {
    /// As Emissary-ingress stores them.
    V2,
    /// What the gateway reads.
    V3alpha1,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the configuration stream is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdsAddress {
    /// A UNIX socket.
    Unix(PathBuf),
    /// TCP, with mutual TLS only.
    Tcp(SocketAddr),
}

impl FromStr for AdsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("the path is missing after `unix:`".into()),
            Some(path) => Ok(AdsAddress::Unix(path.into())),
            None => text.parse().map(AdsAddress::Tcp).map_err(|_| "neither `unix:PATH` nor `ADDRESS:PORT`".into()),
        }
    }
}

/// Where the diagnostics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiagAddress {
    /// Nowhere.
    None,
    /// There.
    Tcp(SocketAddr),
}

impl FromStr for DiagAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(DiagAddress::None),
            text => text.parse().map(DiagAddress::Tcp).map_err(|_| "neither `none` nor `ADDRESS:PORT`".into()),
        }
    }
}

impl GatewayArgs {
    /// The same arguments in words, for the control plane.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                let mut word = OsString::from(format!("--{name}="));
                word.push(value);
                words.push(word);
            }
        };
        let path = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        option("envoy", path(&self.envoy));
        option(
            "ads",
            self.ads.as_ref().map(|ads| match ads {
                AdsAddress::Unix(path) => {
                    let mut text = OsString::from("unix:");
                    text.push(path);
                    text
                }
                AdsAddress::Tcp(address) => address.to_string().into(),
            }),
        );
        option("ads-cert", path(&self.ads_cert));
        option("ads-key", path(&self.ads_key));
        option("ads-client-ca", path(&self.ads_client_ca));
        option(
            "diag",
            self.diag.as_ref().map(|diag| match diag {
                DiagAddress::None => "none".into(),
                DiagAddress::Tcp(address) => address.to_string().into(),
            }),
        );
        let form = |form: LogFormat| if form == LogFormat::Json { "json" } else { "text" };
        option("log-format", self.log_format.map(|format| form(format).into()));
        option("drain-time", self.drain_time.map(|seconds| seconds.to_string().into()));
        if self.paranoid {
            words.push("--paranoid".into());
        }
        words
    }

    /// Whether no Envoy is to be run.
    pub fn without_envoy(&self) -> bool {
        self.envoy.as_ref().is_some_and(|path| path.as_os_str() == "none")
    }
}
