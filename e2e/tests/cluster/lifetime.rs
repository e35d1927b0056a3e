//! Beginnings and ends, of all kinds.

use crate::support::{CLUSTER, Fingerprint, Traces, output, possible, repository, run, shared, skip, turn, unique};
use e2e::cluster::state::State;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Ends a cluster even if the test fails.
struct Named(String);

impl Named {
    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(CLUSTER);
        command.args([action, "--name", &self.0]);
        command
    }

    fn exec(&self, words: &[&str]) -> Command {
        let mut command = self.command("exec");
        command.arg("--").args(words);
        command
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.command("down").stdout(Stdio::null()).status();
    }
}

/// The word that names a part of a cluster that is no whole one, in what `up` prints.
const ALONE: &str = "API server only";

#[test]
fn a_second_cluster_lives_and_ends_beside_the_first() {
    let Some(first) = shared("two clusters") else { return };
    let _turn = turn();
    let second = Named(unique("second"));
    let printed = output(&mut second.command("up"));
    assert!(printed.contains("is ready") && !printed.contains(ALONE), "{printed}");
    let state = State::of(&second.0).unwrap();
    let fingerprint = Fingerprint::of(state.folder());
    assert!(fingerprint.traces().processes.len() >= 8, "{:?}", fingerprint.traces());

    // Up again finds the same one.
    let keeper = state.pid("keeper");
    output(&mut second.command("up"));
    assert_eq!(state.pid("keeper"), keeper);

    output(second.exec(&["kubectl", "create", "namespace", "of-the-second"]).stdout(Stdio::null()));
    let seen_by_first = output(first.command("kubectl").args(["get", "namespaces", "-o", "name"]));
    assert!(!seen_by_first.contains("of-the-second"), "{seen_by_first}");

    // Exit status, standard input and signals are those of the command.
    assert_eq!(run(&mut second.exec(&["sh", "-c", "exit 37"])).status.code(), Some(37));
    let mut cat = second.exec(&["cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through\n").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through\n");
    let trap = "trap 'exit 5' TERM; echo set; while :; do sleep 0.05; done";
    let mut trapped = second.exec(&["bash", "-c", trap]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 4];
    std::io::Read::read_exact(trapped.stdout.as_mut().unwrap(), &mut line).unwrap();
    kill(Pid::from_raw(trapped.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(trapped.wait().unwrap().code(), Some(5));

    // A component that dies comes back.
    output(&mut second.exec(&[
        "bash",
        "-c",
        "kill -9 $(pgrep -f '/kube-apiserve[r] ' || pgrep -f 'kube-apiserve[r] --')",
    ]));
    crate::support::wait_until("the API server again", || {
        run(&mut second.exec(&["kubectl", "get", "namespace", "of-the-second"])).status.success()
    });

    // The first process takes everything with it, and the keeper removes the files.
    kill(state.pid("init").unwrap(), Signal::SIGKILL).unwrap();
    fingerprint.expect_nothing();
    assert!(!run(&mut second.exec(&["true"])).status.success());
    let printed = output(&mut second.command("down"));
    assert!(printed.contains("no cluster"), "{printed}");
    output(first.command("kubectl").args(["get", "namespace", "default"]));
}

#[test]
fn without_the_keeper_everything_ends_and_the_next_one_can_begin() {
    if !possible("the end of the keeper") {
        return;
    }
    let _turn = turn();
    let cluster = Named(unique("killed"));
    let printed = output(&mut cluster.command("up"));
    if printed.contains(ALONE) {
        return skip("the end of the keeper", &printed);
    }
    let state = State::of(&cluster.0).unwrap();
    let fingerprint = Fingerprint::of(state.folder());
    kill(state.pid("keeper").unwrap(), Signal::SIGKILL).unwrap();
    crate::support::wait_until("the end of all processes", || fingerprint.traces().processes.is_empty());
    assert_eq!(fingerprint.traces(), Traces { processes: vec![], mounts: vec![], folder: true });
    output(&mut cluster.command("down"));
    fingerprint.expect_nothing();
}

#[test]
fn with_programs_of_envtest_there_is_an_api_server() {
    if !possible("programs of envtest") {
        return;
    }
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let binaries = e2e::cluster::binaries::build(&mut |_| {}).unwrap();
    for name in ["etcd", "kube-apiserver", "kubectl"] {
        std::os::unix::fs::symlink(binaries.path(name).unwrap(), folder.path().join(name)).unwrap();
    }
    let cluster = Named(unique("envtest"));
    let with = |mut command: Command| output(command.env("KUBEBUILDER_ASSETS", folder.path()));
    let printed = with(cluster.command("up"));
    assert!(printed.contains(ALONE) && printed.contains("KUBEBUILDER_ASSETS is set"), "{printed}");
    assert!(with(cluster.exec(&["kubectl", "get", "namespaces"])).contains("kube-system"));
    // Those of 4.1 in the same folder are the gateway's own schemas, which no API server takes: they are not structural.
    let definitions = repository().join("../shared/corpus/crds/v3.9.yaml");
    if definitions.is_file() {
        with(cluster.exec(&["kubectl", "create", "-f", definitions.to_str().unwrap()]));
        with(cluster.exec(&["kubectl", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]));
        let served = with(cluster.exec(&["kubectl", "api-resources", "--api-group=getambassador.io", "-o", "name"]));
        assert_eq!(served.lines().count(), 14, "{served}");
    } else {
        skip("upstream's definitions", "../shared/corpus is not there");
    }
    let state = State::of(&cluster.0).unwrap();
    let first = state.pid("init").unwrap();
    let components = e2e::process::descendants(first);
    assert_eq!(components.len(), 2);
    output(&mut cluster.command("down"));
    crate::support::wait_until("the end of etcd and the API server", || {
        components.iter().chain([&first]).all(|process| !e2e::process::is_alive(*process))
    });
    assert!(!state.exists());
}

#[test]
fn a_cluster_of_the_users_own_is_used_as_it_is() {
    let cluster = Named("never-started".to_owned());
    let with = |mut command: Command| output(command.env("KUBECONFIG", "/their/own"));
    assert!(with(cluster.command("up")).contains("KUBECONFIG is set"));
    assert_eq!(with(cluster.exec(&["sh", "-c", "echo $KUBECONFIG"])), "/their/own\n");
    with(cluster.command("down"));
    assert!(!State::of("never-started").unwrap().exists());
}

#[test]
fn an_ordinary_user_can_have_one() {
    if !possible("an ordinary user's cluster") {
        return;
    }
    if !Uid::effective().is_root() {
        return skip("an ordinary user's cluster", "all the others were such, since this user is one");
    }
    let _turn = turn();
    // Programs in folders that this user can read, and a place of its own.
    let place = tempfile::Builder::new().prefix("user-").tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let binaries = e2e::cluster::binaries::build(&mut |_| {}).unwrap();
    std::fs::create_dir(at("programs")).unwrap();
    lend(Path::new(CLUSTER), &at("cluster"));
    for name in ["kubernetes", "coredns"] {
        lend(&binaries.path(name).unwrap(), &at("programs").join(name));
    }
    for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl"] {
        std::os::unix::fs::symlink("kubernetes", at("programs").join(name)).unwrap();
    }
    std::fs::create_dir(at("home")).unwrap();
    std::os::unix::fs::chown(at("home"), Some(65534), Some(65534)).unwrap();

    let user = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(at("cluster")).args(words);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", at("home")).env("TMPDIR", at("home"));
        command.env("NUNCIO_CLUSTER_BIN", at("programs")).current_dir("/");
        command
    };
    let printed = output(&mut user(&["up"]));
    if printed.contains(ALONE) {
        skip("an ordinary user's cluster", &printed);
        output(&mut user(&["down"]));
        return;
    }
    let fingerprint = Fingerprint::of(&at("home/nuncio-cluster-65534/nuncio"));
    assert!(output(&mut user(&["exec", "--", "kubectl", "get", "namespaces"])).contains("kube-system"));
    assert_eq!(
        output(&mut user(&["exec", "--", "getent", "hosts", "kubernetes.default"])).split(' ').next(),
        Some("10.96.0.1")
    );
    // Pods, too.
    lend(Path::new(env!("CARGO_BIN_EXE_sample-app")), &at("sample-app"));
    output(&mut user(&["load", &format!("mine={}", at("sample-app").display())]));
    let pod = "kubectl run web --image=mine:1 --port=80 --expose -- web=v3@0.0.0.0:80 \
               && kubectl wait --for=condition=Ready --timeout=60s pod/web \
               && curl --silent --fail --max-time 10 --retry 20 --retry-all-errors --retry-delay 1 http://web/";
    let answer = output(&mut user(&["exec", "--", "bash", "-c", pod]));
    assert!(answer.contains("\"version\": \"v3\""), "{answer}");
    assert!(output(&mut user(&["logs", "web"])).contains("listens on"));

    let status = run(&mut user(&["exec", "--", "sh", "-c", "kill -9 $$"])).status;
    assert_eq!((status.code(), status.signal()), (Some(137), None));
    output(&mut user(&["down"]));
    fingerprint.expect_nothing();
    assert_eq!(std::fs::read_dir(at("home")).unwrap().count(), 0);
}

/// Makes a program available under another path, without a copy where that is possible.
fn lend(program: &Path, at: &Path) {
    let program = program.canonicalize().unwrap();
    if std::fs::hard_link(&program, at).is_err() {
        std::fs::copy(&program, at).unwrap();
    }
}
