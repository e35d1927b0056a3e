//! Pods as a user sees them: what they get, how they end, and what the cluster makes of it.

use crate::support::{CLUSTER, apply, output, run, script, shared, wait_until};
use e2e::cluster::Cluster;
use nix::unistd::Uid;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A field of an object, as `kubectl -o jsonpath` prints it; empty when there is none.
fn field(cluster: &Cluster, object: &str, path: &str) -> String {
    let answer = run(cluster.command("kubectl").args(["get", object, "-o", &format!("jsonpath={path}")]));
    String::from_utf8(answer.stdout).unwrap()
}

fn log(cluster: &Cluster, pod: &str, more: &[&str]) -> String {
    output(Command::new(CLUSTER).args(["logs", "--name", cluster.state().name(), pod]).args(more))
}

/// A Deployment of the sample application, and its Service.
fn deploy(cluster: &Cluster, name: &str, replicas: u32, lifecycle: &str) {
    apply(
        cluster,
        &format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n  \
             selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
             containers:\n      - name: app\n        image: registry.example/sample-app:1.0\n        \
             args: [\"{name}=$(VERSION)@0.0.0.0:8080\"]\n        env: [{{name: VERSION, value: v1}}]\n        \
             ports: [{{name: http, containerPort: 8080}}]\n        \
             readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}\n        lifecycle: {lifecycle}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n  \
             ports: [{{name: http, port: 80, targetPort: http}}]\n"
        ),
    );
}

fn rolled_out(cluster: &Cluster, name: &str) {
    output(cluster.command("kubectl").args(["rollout", "status", "--timeout=120s", &format!("deployment/{name}")]));
}

/// How many endpoints of the Service are ready, according to the real controller.
fn ready_endpoints(cluster: &Cluster, service: &str) -> usize {
    let list = ["get", "endpointslices", "-o", "json", "-l"];
    let label = format!("kubernetes.io/service-name={service}");
    let list = output(cluster.command("kubectl").args(list).arg(label));
    let list: Value = serde_json::from_str(&list).unwrap();
    let slices = list["items"].as_array().unwrap().iter();
    let endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count()
}

#[test]
fn a_deployment_answers_at_every_size() {
    let Some(cluster) = shared("Deployments") else { return };
    deploy(cluster, "sized", 1, "null");
    rolled_out(cluster, "sized");
    let answer = "curl --silent --fail --max-time 10 --retry 30 --retry-all-errors --retry-delay 1 http://sized/";
    assert!(script(cluster, answer).contains("\"version\": \"v1\""));

    let scale = |size: u32| script(cluster, &format!("kubectl scale deployment/sized --replicas={size}"));
    scale(50);
    rolled_out(cluster, "sized");
    wait_until("50 endpoints", || ready_endpoints(cluster, "sized") == 50);
    assert!(script(cluster, answer).contains("\"version\": \"v1\""));

    scale(0);
    script(cluster, "kubectl wait --for=delete --timeout=100s pod -l app=sized");
    wait_until("no endpoints", || ready_endpoints(cluster, "sized") == 0);
    let programs = script(cluster, "pgrep -cf 'sample-app size[d]' || true");
    assert_eq!(programs.trim(), "0");

    scale(1);
    rolled_out(cluster, "sized");
    assert!(script(cluster, answer).contains("\"version\": \"v1\""));
}

#[test]
fn a_rollout_loses_no_request() {
    let Some(cluster) = shared("a rollout") else { return };
    // The time that it takes until everybody knows that a pod goes.
    deploy(cluster, "rolled", 2, "{preStop: {sleep: {seconds: 2}}}");
    rolled_out(cluster, "rolled");
    let seen = script(
        cluster,
        "address=$(kubectl get service rolled -o jsonpath={.spec.clusterIP})\n\
         curl --silent --fail --max-time 10 --retry 30 --retry-all-errors --retry-delay 1 --output /dev/null http://$address/\n\
         before=$(kubectl get pods -l app=rolled -o name | sort)\n\
         kubectl rollout restart deployment/rolled >/dev/null\n\
         kubectl rollout status --timeout=120s deployment/rolled >/dev/null & waiting=$!\n\
         good=0; bad=0\n\
         while kill -0 $waiting 2>/dev/null || [ $good -lt 20 ]; do\n\
             if curl --silent --fail --max-time 5 --output /dev/null http://$address/; then good=$((good+1)); else bad=$((bad+1)); fi\n\
         done\n\
         wait $waiting\n\
         kubectl wait --for=delete --timeout=60s $before >/dev/null\n\
         echo $bad of $((good+bad)) lost",
    );
    assert!(seen.starts_with("0 of "), "{seen}");
}

#[test]
fn a_pod_finds_what_its_manifest_says() {
    let Some(cluster) = shared("volumes and environment") else { return };
    apply(
        cluster,
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a.txt: "from a ConfigMap", key: value}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {password: from-a-secret}
---
apiVersion: v1
kind: Pod
metadata: {name: equipped, labels: {color: red}}
spec:
  restartPolicy: Never
  initContainers:
  - {name: first, image: sample-app, command: [sh, -c, "echo from-init > /shared/file"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: app
    image: sample-app
    workingDir: /srv/here
    command: [bash, -euc]
    args:
    - |
      cat /etc/settings/a.txt; echo
      cat /etc/settings/mine/key; echo
      cat /a/secret/place/password /shared/file; echo
      echo "$(KEY) $COMPOSED $POD_NAME $POD_IP"
      echo "prefixed $PRE_key"
      cat /about/labels; echo
      pwd; hostname
      [ "$(hostname -i)" = "$POD_IP" ] && echo own address
      [ -n "$KUBERNETES_SERVICE_HOST" ] && echo service variables
      folder=/var/run/secrets/kubernetes.io/serviceaccount
      curl --silent --max-time 10 --cacert $folder/ca.crt -H "Authorization: Bearer $(cat $folder/token)" \
          https://kubernetes.default.svc/apis/authentication.k8s.io/v1/selfsubjectreviews -X POST -H 'content-type: application/json' \
          -d '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}' | grep -o 'system:serviceaccount:default:default'
      touch /etc/settings/new 2>/dev/null || echo read-only
      echo written > /etc/on-top && cat /etc/on-top
      [ $BASHPID = 1 ] && echo first process
      exit 3
    env:
    - {name: KEY, valueFrom: {configMapKeyRef: {name: settings, key: key}}}
    - {name: COMPOSED, value: "<$(KEY)-$(UNKNOWN)-$$(KEY)>"}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    envFrom: [{prefix: PRE_, configMapRef: {name: settings}}]
    volumeMounts:
    - {name: settings, mountPath: /etc/settings, readOnly: true}
    - {name: secret, mountPath: /a/secret/place}
    - {name: shared, mountPath: /shared}
    - {name: about, mountPath: /about}
  volumes:
  - {name: settings, projected: {sources: [{configMap: {name: settings}}, {configMap: {name: settings, items: [{key: key, path: mine/key}]}}]}}
  - {name: secret, secret: {secretName: hidden}}
  - {name: shared, emptyDir: {}}
  - {name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
"#,
    );
    wait_until("the end of the pod", || field(cluster, "pod/equipped", "{.status.phase}") == "Failed");
    let address = field(cluster, "pod/equipped", "{.status.podIP}");
    let expected = format!(
        "from a ConfigMap\nvalue\nfrom-a-secretfrom-init\n\nvalue <value-$(UNKNOWN)-$(KEY)> equipped {address}\nprefixed value\n\
         color=\"red\"\n/srv/here\nequipped\nown address\nservice variables\nsystem:serviceaccount:default:default\n\
         read-only\nwritten\nfirst process\n"
    );
    assert_eq!(log(cluster, "equipped", &["-c", "app"]), expected);
    assert_eq!(field(cluster, "pod/equipped", "{.status.containerStatuses[0].state.terminated.exitCode}"), "3");
    assert_eq!(
        field(cluster, "pod/equipped", "{.status.initContainerStatuses[0].state.terminated.reason}"),
        "Completed"
    );
    assert!(!Path::new("/etc/on-top").exists(), "a container wrote to the machine");
}

#[test]
fn what_is_wrong_with_a_pod_can_be_seen() {
    let Some(cluster) = shared("broken pods") else { return };
    apply(
        cluster,
        "{apiVersion: v1, kind: Pod, metadata: {name: crashing}, spec: {containers: [{name: c, image: sample-app, \
         command: [sh, -c, 'echo out of luck >&2; exit 9'], terminationMessagePolicy: FallbackToLogsOnError}]}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: unknown}, spec: {containers: [{name: c, image: 'example.com/later:1', \
         args: ['x=v1@0.0.0.0:80']}]}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: misspelt}, spec: {containers: [{name: c, image: sample-app, \
         command: [no-such-program]}]}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: unset}, spec: {containers: [{name: c, image: sample-app, \
         command: [sleep, infinity], envFrom: [{configMapRef: {name: missing-settings}}]}]}}\n",
    );
    let state =
        |pod: &str| field(cluster, &format!("pod/{pod}"), "{.status.containerStatuses[0].state.waiting.reason}");

    wait_until("a crash loop", || {
        let restarts = field(cluster, "pod/crashing", "{.status.containerStatuses[0].restartCount}");
        restarts.parse::<u32>().is_ok_and(|count| count >= 2) && state("crashing") == "CrashLoopBackOff"
    });
    let last = field(cluster, "pod/crashing", "{.status.containerStatuses[0].lastState.terminated}");
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&last["exitCode"], &last["message"]), (&9.into(), &"out of luck\n".into()));
    assert_eq!(log(cluster, "crashing", &["--previous"]), "out of luck\n");

    wait_until("a missing program", || state("misspelt") == "CrashLoopBackOff");
    assert!(log(cluster, "misspelt", &[]).contains("no-such-program"));

    wait_until("a missing ConfigMap", || state("unset") == "CreateContainerConfigError");
    script(cluster, "kubectl create configmap missing-settings --from-literal=a=b");
    wait_until("the pod with its ConfigMap", || field(cluster, "pod/unset", "{.status.phase}") == "Running");

    wait_until("an unknown image", || ["ErrImagePull", "ImagePullBackOff"].contains(&state("unknown").as_str()));
    cluster.load("example.com/later", Path::new(env!("CARGO_BIN_EXE_sample-app"))).unwrap();
    output(cluster.command("kubectl").args(["wait", "--for=condition=Ready", "--timeout=60s", "pod/unknown"]));

    let events = output(cluster.command("kubectl").args(["get", "events", "-o", "jsonpath={.items[*].message}"]));
    for words in
        ["Back-off restarting failed container c", "it is not in the image table", "\"missing-settings\" not found"]
    {
        assert!(events.contains(words), "{words}: {events}");
    }
}

#[test]
fn probes_decide() {
    let Some(cluster) = shared("probes") else { return };
    apply(
        cluster,
        "{apiVersion: v1, kind: Pod, metadata: {name: probed}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, \
         image: sample-app, command: [sh, -c, 'touch /tmp/ready; sleep infinity'], \
         startupProbe: {exec: {command: [sh, -c, 'touch /tmp/asked; test -e /tmp/ready']}, periodSeconds: 1, timeoutSeconds: 20}, \
         readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1, timeoutSeconds: 20, failureThreshold: 1}, \
         livenessProbe: {exec: {command: [test, '!', -e, /tmp/dead]}, periodSeconds: 1, timeoutSeconds: 20, failureThreshold: 1}}]}}",
    );
    let ready = || field(cluster, "pod/probed", r#"{.status.conditions[?(@.type=="Ready")].status}"#);
    wait_until("readiness", || ready() == "True");
    // The file system of the pod as its processes see it; the startup probe has left a mark there.
    let in_pod = |command: &str| {
        let find = "for p in /proc/[0-9]*; do r=$p/root; if [ -e $r/tmp/asked ]; then echo $r; break; fi; done";
        script(cluster, &format!("root=$({find}); cd $root/tmp; {command}"))
    };
    in_pod("rm ready");
    wait_until("unreadiness", || ready() == "False");
    in_pod("touch ready");
    wait_until("readiness again", || ready() == "True");
    in_pod("touch dead");
    wait_until("a restart", || field(cluster, "pod/probed", "{.status.containerStatuses[0].restartCount}") == "1");
    // It is a new file system, in which nobody is dead.
    wait_until("readiness after the restart", || ready() == "True");
}

#[test]
fn rights_and_writing_can_be_taken_away() {
    let Some(cluster) = shared("rights") else { return };
    apply(
        cluster,
        "{apiVersion: v1, kind: Pod, metadata: {name: locked}, spec: {restartPolicy: Never, \
         securityContext: {runAsNonRoot: true, runAsUser: 8888}, volumes: [{name: t, emptyDir: {}}], containers: [{name: c, \
         image: sample-app, command: [bash, -c, 'id -u; touch /x /usr/x 2>/dev/null || echo read-only; echo a >/tmp/a && cat /tmp/a; \
         grep -E \"CapBnd|NoNewPrivs\" /proc/self/status'], volumeMounts: [{name: t, mountPath: /tmp}], \
         securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}}",
    );
    wait_until("the end of the pod", || field(cluster, "pod/locked", "{.status.phase}") == "Succeeded");
    // An ordinary user is the only one in the cluster.
    let user = if Uid::effective().is_root() { "8888" } else { "0" };
    let expected = format!("{user}\nread-only\na\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\n");
    assert_eq!(log(cluster, "locked", &[]), expected);
}

#[test]
fn a_deleted_pod_has_its_time_and_leaves_nothing() {
    let Some(cluster) = shared("deletion") else { return };
    apply(
        cluster,
        "{apiVersion: v1, kind: Pod, metadata: {name: leaving}, spec: {terminationGracePeriodSeconds: 20, containers: [{name: c, \
         image: sample-app, command: [bash, -c, 'trap \"echo told; sleep 0.5; echo done; exit 0\" TERM; while :; do sleep 0.05; done'], \
         lifecycle: {preStop: {exec: {command: [sh, -c, 'echo hook > /proc/1/fd/1']}}}}]}}",
    );
    output(cluster.command("kubectl").args(["wait", "--for=condition=Ready", "--timeout=60s", "pod/leaving"]));
    let uid = field(cluster, "pod/leaving", "{.metadata.uid}");
    let device = format!("ip route get {} | grep -o 'pod[0-9]*'", field(cluster, "pod/leaving", "{.status.podIP}"));
    let device = script(cluster, &device);
    let began = std::time::Instant::now();
    output(cluster.command("kubectl").args(["delete", "pod", "leaving"]));
    assert!(began.elapsed().as_secs() < 15, "it waited for the whole grace period");
    assert_eq!(log(cluster, "leaving", &[]), "hook\ntold\ndone\n");
    let left = format!("{{ ls /run/pods/{uid} || ip link show {}; }} 2>/dev/null || true", device.trim());
    assert_eq!(script(cluster, &left), "");
}
