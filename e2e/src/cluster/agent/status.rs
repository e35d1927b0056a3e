//! The status of a pod: from what the agent knows of its containers to the object's fields.

use super::{NODE_ADDRESS, Problem};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Where a container stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// It is not started yet, or not again.
    Waiting(Problem),
    /// Its program runs.
    Running(Timestamp),
    /// Its program has ended.
    Terminated(Terminated),
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Terminated {
    /// The exit status; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// `Completed`, `Error`, or `StartError`.
    pub reason: &'static str,
    /// What there is to say about it.
    pub message: String,
    /// When it began and ended.
    pub times: (Timestamp, Timestamp),
}

/// A container of a pod.
#[derive(Clone, Debug)]
pub struct ContainerRecord {
    /// Its name in the pod.
    pub name: String,
    /// The image that the pod names.
    pub image: String,
    /// Where it stands.
    pub phase: Phase,
    /// How it ended the time before.
    pub last: Option<Terminated>,
    /// How often it was started again.
    pub restarts: i32,
    /// Its startup probe has succeeded.
    pub started: bool,
    /// Its readiness probe says so.
    pub ready: bool,
}

impl ContainerRecord {
    /// A container that nothing has happened to.
    pub fn new(name: &str, image: &str, waiting_for: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            phase: Phase::Waiting(Problem::new(waiting_for, String::new())),
            last: None,
            restarts: 0,
            started: false,
            ready: false,
        }
    }

    fn status(&self) -> Value {
        let state = match &self.phase {
            Phase::Waiting(problem) if problem.message.is_empty() => json!({"waiting": {"reason": problem.reason}}),
            Phase::Waiting(problem) => json!({"waiting": {"reason": problem.reason, "message": problem.message}}),
            Phase::Running(since) => json!({"running": {"startedAt": time(*since)}}),
            Phase::Terminated(ended) => json!({"terminated": ended.status()}),
        };
        let last = self.last.as_ref().map_or_else(|| json!({}), |ended| json!({"terminated": ended.status()}));
        json!({
            "name": self.name, "image": self.image, "imageID": self.image, "state": state, "lastState": last,
            "restartCount": self.restarts, "started": self.started, "ready": self.ready,
        })
    }

    fn exit_code(&self) -> Option<i32> {
        match &self.phase {
            Phase::Terminated(ended) => Some(ended.code),
            _ => None,
        }
    }

    fn has_run(&self) -> bool {
        self.last.is_some() || !matches!(self.phase, Phase::Waiting(_))
    }
}

impl Terminated {
    fn status(&self) -> Value {
        let mut status = json!({
            "exitCode": self.code, "reason": self.reason, "startedAt": time(self.times.0), "finishedAt": time(self.times.1),
        });
        if let (false, Some(status)) = (self.message.is_empty(), status.as_object_mut()) {
            status.insert("message".to_owned(), json!(self.message));
        }
        status
    }
}

/// What the agent knows of a pod.
#[derive(Clone, Debug)]
pub struct PodRecord {
    /// When the agent saw it first.
    pub start: Timestamp,
    /// Its address, once it has one.
    pub address: Option<Ipv4Addr>,
    /// Its init containers.
    pub init: Vec<ContainerRecord>,
    /// Its containers.
    pub containers: Vec<ContainerRecord>,
    /// All init containers have done their part.
    pub initialized: bool,
    /// No container will be started again.
    pub finished: bool,
    /// Its end was asked for.
    pub deleting: bool,
    /// Since when the conditions are as they are.
    transitions: BTreeMap<&'static str, (bool, Timestamp)>,
}

impl PodRecord {
    /// A pod that nothing has happened to.
    pub fn new(pod: &Pod, start: Timestamp) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let init: Vec<_> = spec.init_containers.unwrap_or_default();
        let waiting_for = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        let record = |name: &str, image: &Option<String>, waiting_for| {
            ContainerRecord::new(name, image.as_deref().unwrap_or_default(), waiting_for)
        };
        Self {
            start,
            address: None,
            init: init.iter().map(|one| record(&one.name, &one.image, "PodInitializing")).collect(),
            containers: spec.containers.iter().map(|one| record(&one.name, &one.image, waiting_for)).collect(),
            initialized: init.is_empty(),
            finished: false,
            deleting: false,
            transitions: BTreeMap::new(),
        }
    }

    /// The status that the pod should have, as a patch.
    pub fn status(&mut self, pod: &Pod, now: Timestamp) -> Value {
        let containers_ready =
            !self.deleting && !self.finished && self.initialized && self.containers.iter().all(|one| one.ready);
        let ready = containers_ready && gates_are_open(pod);
        let mut conditions = Vec::new();
        for (kind, holds) in [
            ("PodReadyToStartContainers", self.address.is_some() && !self.finished),
            ("Initialized", self.initialized),
            ("ContainersReady", containers_ready),
            ("Ready", ready),
        ] {
            let since = self.transitions.entry(kind).or_insert((holds, now));
            if since.0 != holds {
                *since = (holds, now);
            }
            let mut condition = json!({
                "type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": time(since.1),
                "reason": null, "message": null,
            });
            let reason = match kind {
                "Initialized" => Some("ContainersNotInitialized"),
                "ContainersReady" | "Ready" if self.finished => Some("PodCompleted"),
                "Ready" if containers_ready => Some("ReadinessGatesNotReady"),
                "ContainersReady" | "Ready" => Some("ContainersNotReady"),
                _ => None,
            };
            if let (false, Some(reason), Some(condition)) = (holds, reason, condition.as_object_mut()) {
                condition.insert("reason".to_owned(), json!(reason));
                let unready: Vec<&str> =
                    self.containers.iter().filter(|one| !one.ready).map(|one| one.name.as_str()).collect();
                if reason == "ContainersNotReady" {
                    let message = format!("containers with unready status: [{}]", unready.join(" "));
                    condition.insert("message".to_owned(), json!(message));
                }
            }
            conditions.push(condition);
        }
        let mut status = Map::new();
        let mut set = |name: &str, value: Value| status.insert(name.to_owned(), value);
        set("phase", json!(self.phase()));
        set("startTime", time(self.start));
        set("hostIP", json!(NODE_ADDRESS));
        set("hostIPs", json!([{"ip": NODE_ADDRESS}]));
        if let Some(address) = self.address {
            set("podIP", json!(address));
            set("podIPs", json!([{"ip": address}]));
        }
        set("conditions", Value::Array(conditions));
        set("containerStatuses", self.containers.iter().map(ContainerRecord::status).collect());
        if !self.init.is_empty() {
            set("initContainerStatuses", self.init.iter().map(ContainerRecord::status).collect());
        }
        json!({"metadata": {"uid": pod.uid()}, "status": status})
    }

    fn phase(&self) -> &'static str {
        if self.finished {
            let good = self.containers.iter().all(|one| one.exit_code() == Some(0));
            return if good { "Succeeded" } else { "Failed" };
        }
        if self.initialized && self.containers.iter().any(ContainerRecord::has_run) { "Running" } else { "Pending" }
    }
}

/// True when whoever has to agree to the pod's readiness does.
fn gates_are_open(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let holds = |kind: &str| conditions.clone().any(|condition| condition.type_ == kind && condition.status == "True");
    pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten()).all(|gate| holds(&gate.condition_type))
}

/// To the second, as the API has it.
fn time(at: Timestamp) -> Value {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    serde_json::to_value(Time(whole)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(gates: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {
                "initContainers": [{"name": "i", "image": "x"}],
                "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y:1"}],
                "readinessGates": gates,
            },
        }))
        .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn condition<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a Value) {
        let conditions = status["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
        (found["status"].as_str().unwrap(), &found["lastTransitionTime"])
    }

    #[test]
    fn a_pod_becomes_ready_and_ends() {
        let pod = pod(json!([]));
        let mut record = PodRecord::new(&pod, at(0));
        let status = record.status(&pod, at(1));
        assert_eq!(status["status"]["phase"], "Pending");
        assert_eq!(status["status"]["initContainerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
        assert_eq!(condition(&status, "Initialized").0, "False");

        record.initialized = true;
        record.address = Some(Ipv4Addr::new(10, 244, 0, 9));
        for container in &mut record.containers {
            container.phase = Phase::Running(at(2));
            container.ready = true;
        }
        let status = record.status(&pod, at(5));
        assert_eq!((&status["status"]["phase"], &status["status"]["podIP"]), (&json!("Running"), &json!("10.244.0.9")));
        assert_eq!(condition(&status, "Ready"), ("True", &json!("1970-01-01T00:00:05Z")));
        // Nothing new, so no new time.
        assert_eq!(record.status(&pod, at(9)), status);

        record.containers[1].ready = false;
        let status = record.status(&pod, at(10));
        assert_eq!(condition(&status, "Ready"), ("False", &json!("1970-01-01T00:00:10Z")));
        assert_eq!(status["status"]["conditions"][3]["message"], "containers with unready status: [b]");

        record.containers[1].ready = true;
        record.deleting = true;
        assert_eq!(condition(&record.status(&pod, at(11)), "Ready").0, "False");

        record.finished = true;
        for (container, code) in record.containers.iter_mut().zip([0, 3]) {
            let message = String::new();
            container.phase = Phase::Terminated(Terminated { code, reason: "Error", message, times: (at(2), at(12)) });
        }
        assert_eq!(record.status(&pod, at(12))["status"]["phase"], "Failed");
    }

    #[test]
    fn a_readiness_gate_has_a_say() {
        let mut pod = pod(json!([{"conditionType": "example.com/gate"}]));
        let mut record = PodRecord::new(&pod, at(0));
        record.initialized = true;
        for container in &mut record.containers {
            container.ready = true;
        }
        let status = record.status(&pod, at(1));
        assert_eq!((condition(&status, "ContainersReady").0, condition(&status, "Ready").0), ("True", "False"));
        let open = json!({"conditions": [{"type": "example.com/gate", "status": "True"}]});
        pod.status = Some(serde_json::from_value(open).unwrap());
        assert_eq!(condition(&record.status(&pod, at(1)), "Ready").0, "True");
    }
}
