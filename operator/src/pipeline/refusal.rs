//! From what Envoy refuses to the objects that are kept out, and back in.

use super::Pipeline;
use crate::blame;
use crate::quarantine::Decision;
use crate::replicas::Refused;
use compiler::{Change, Refusal};
use ir::ObjectKey;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;
use xds::ResourceType;

impl Pipeline {
    /// A client refused a response: whose fault that is, or what is to be tried to find out.
    pub(super) fn refused(
        &mut self,
        client: u64,
        kind: ResourceType,
        resources: &[(Arc<str>, xds::Version)],
        detail: &str,
    ) {
        let bounded = |text: &str| -> Arc<str> { text.chars().take(1_000).collect::<String>().into() };
        let text = bounded(detail);
        let charges = blame::charges(kind, resources, detail);
        for (scope, version) in &charges.scopes {
            let more = self.quarantine.refused(client, scope, *version, &text);
            self.decided.extend(more);
        }
        let mut guilty = charges.objects;
        for cluster in &charges.clusters {
            guilty.extend(self.compiler.users_of_cluster(cluster));
        }
        for (listener, text) in &charges.listeners {
            let behind = blame::listener_of(listener).map(|key| vec![key]);
            let behind = behind.unwrap_or_else(|| self.compiler.objects_of_listener(listener));
            self.decided.extend(self.quarantine.refuse(behind, &bounded(text)));
        }
        if kind == ResourceType::Secret {
            // The Secret itself serves others, too; those who use it for this are to be told.
            let users: BTreeSet<ObjectKey> =
                resources.iter().flat_map(|(name, _)| self.compiler.users_of_secret(name)).collect();
            for secret in &guilty {
                self.refused_with.entry(secret.clone()).or_default().extend(users.iter().cloned());
            }
            guilty.extend(users);
        }
        // Services and Secrets have no status, and are not left out: Envoy goes on with what it has of them.
        let (mut guilty, others): (Vec<_>, Vec<_>) = guilty.into_iter().partition(|key| key.kind.is_custom());
        for key in &others {
            self.report_client(client, format!("{} of {key}: {text}", kind.short()).into());
        }
        guilty.sort();
        guilty.dedup();
        let found = charges.scopes.len() + charges.listeners.len() + guilty.len() + others.len() > 0;
        if charges.unknown || (!charges.divided && !found) {
            let names: Vec<&str> = resources.iter().map(|(name, _)| &**name).take(5).collect();
            self.report_client(client, format!("{} {}: {text}", kind.short(), names.join(", ")).into());
        }
        self.decided.extend(self.quarantine.refuse(guilty, &text));
    }

    /// Carries out what the quarantine decided, mostly as a change for the compiler.
    pub(super) fn decision(&mut self, decision: Decision, changes: &mut Vec<Change>) {
        match decision {
            Decision::Hold(key, text) => self.keep_out(key, text, true, changes),
            Decision::Refuse(key, text) => {
                tracing::warn!(object = %key, error = &*text, "refused by Envoy");
                self.keep_out(key, text, false, changes);
            }
            Decision::Release(key) => {
                self.board.remember(|remembered| {
                    remembered.refused.contains_key(&key)
                        && Arc::make_mut(&mut remembered.refused).remove(&key).is_some()
                });
                if let Some(memory) = &mut self.memory {
                    memory.forget(&key);
                }
                let refusals = self.quarantine.refusals().iter();
                let local = refusals.filter(|(_, text)| blame::cannot_bind(text)).map(|(key, _)| key.kind).collect();
                self.progress.released(&key, &local);
                changes.push(Change::Refusal(key, None));
            }
            Decision::Report(client, text) => self.report_client(client, text),
        }
    }

    /// One line instead of one for each object that is held.
    pub(super) fn tell_search(&mut self, decisions: &[Decision]) {
        let searching = self.quarantine.searching() > 0;
        let held = decisions.iter().filter(|decision| matches!(decision, Decision::Hold(..))).count();
        if searching && !self.searching && held > 0 {
            let text = decisions.iter().find_map(|decision| match decision {
                Decision::Hold(_, text) => Some(&**text),
                _ => None,
            });
            let text = text.unwrap_or_default();
            self.reporter
                .note(format!("Envoy refuses something that comes of {held} objects, which are tried apart: {text}"));
        }
        self.searching = searching && (self.searching || held > 0);
    }

    fn keep_out(&mut self, key: ObjectKey, text: Arc<str>, held: bool, changes: &mut Vec<Change>) {
        // Objects from annotations are known to the compiler only.
        let known = self.prints.get(&key).copied();
        let Some(fingerprint) = known.or_else(|| self.compiler.object(&key).map(|object| object.fingerprint)) else {
            return;
        };
        if let Some(object) = self.compiler.object(&key).filter(|_| !held) {
            let local = blame::cannot_bind(&text);
            self.retries.refused(&key, &text, Instant::now());
            let refused = Refused { uid: object.uid.clone(), generation: object.generation, text: text.clone() };
            self.progress.refused(key.clone(), refused, local);
        }
        let refusal = Refusal { fingerprint, held, text };
        // What Envoy refused must not come back as the last good version.
        self.retain.remove(&key);
        if !held {
            self.board.remember(|remembered| {
                Arc::make_mut(&mut remembered.refused).insert(key.clone(), refusal.clone()).as_ref() != Some(&refusal)
            });
            if let Some(memory) = &mut self.memory {
                memory.remember(&key, &refusal);
            }
        }
        changes.push(Change::Refusal(key, Some(refusal)));
    }

    fn report_client(&mut self, client: u64, text: Arc<str>) {
        tracing::error!(client, error = &*text, "Envoy refuses configuration, and no object can be blamed");
        self.reporter.note(format!("Envoy refuses configuration, and no object can be blamed: {text}"));
        if let Some(known) = Arc::make_mut(&mut self.snapshot.clients).get_mut(&client) {
            known.reports.push(text);
            let extra = known.reports.len().saturating_sub(20);
            known.reports.drain(..extra);
        }
    }
}
