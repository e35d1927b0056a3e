//! Finds out which object Envoy refuses, and keeps it out.
//!
//! Envoy acknowledges or refuses a whole resource (a route table, a listener) and rarely says because of what. This
//! state machine compares what was refused with what the same client acknowledged last: the objects whose parts
//! differ are the suspects, mostly one. Several are all taken back first, so that the acknowledged content is in the
//! store again, and then let in by halves; every answer of Envoy decides about one half (adaptive group testing).
//!
//! It is pure: no clock, no sockets. The pipeline tells it what was published and what clients answered, and turns its
//! [`Decision`]s into changes for the compiler, in the same batch.
//!
//! ```text
//! refused ──► one suspect ──► Refuse, then the acknowledged content must pass again
//!         └─► several ──────► Hold all ──► acknowledged content passes ──► Release one half ──► passes: next
//!                                      └─► is refused as well: give up,                    └─► refused: Hold, split it
//!                                          release all, report the client
//! ```
//! A refused object stays refused, for every client and after an Envoy restart, until it changes (or, with a port that was
//! taken, until the pipeline says that it did, for another try). Nothing here sends
//! the same content twice, so there is no loop of attempts.

mod search;
#[cfg(test)]
mod tests;

use ir::ObjectKey;
use search::{Search, Step};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

/// How many published versions of a resource are remembered; a client that answers for an older one is ignored.
const VERSIONS_KEPT: usize = 16;

/// How often a search starts over because other objects changed meanwhile and were refused, too.
const BASE_ATTEMPTS: u32 = 8;

/// The kinds of resources in which the guilty part has to be searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScopeKind {
    /// A RouteConfiguration.
    Routes,
    /// A Listener.
    Listener,
}

/// One resource that is accepted or refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// What it is.
    pub kind: ScopeKind,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ScopeKind::Routes => write!(f, "route table {}", self.name),
            ScopeKind::Listener => write!(f, "listener {}", self.name),
        }
    }
}

/// A client of the configuration stream, by the number the server gave it.
pub type Client = u64;

/// What a version of a resource consists of, as far as blame is concerned. Cheap to clone.
pub trait Content: Clone {
    /// Objects whose part differs from `since`; every object that has a part, when there is nothing to compare with.
    fn suspects(&self, since: Option<&Self>) -> BTreeSet<ObjectKey>;

    /// Objects of which the error text seems to quote the name or a value.
    fn quoted(&self, text: &str) -> BTreeSet<ObjectKey>;
}

/// What has to happen to an object, or what has to be said about a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its present version stays out while the search is on.
    Hold(ObjectKey, Arc<str>),
    /// Its present version may go out (again).
    Release(ObjectKey),
    /// Its present version is guilty.
    Refuse(ObjectKey, Arc<str>),
    /// No object can be blamed; the client is reported with this text.
    Report(Client, Arc<str>),
}

/// Everything known about refusals. `C` says which object contributed what to a version.
#[derive(Debug)]
pub struct Quarantine<C> {
    scopes: HashMap<Scope, History<C>>,
    searches: BTreeMap<Scope, Search>,
    /// Objects held by a search; the value is the search's scope.
    held: BTreeMap<ObjectKey, Scope>,
    refused: BTreeMap<ObjectKey, Arc<str>>,
}

#[derive(Debug)]
struct History<C> {
    published: VecDeque<Published<C>>,
    /// False when the resource is gone.
    present: bool,
    clients: HashMap<Client, Answers<C>>,
}

#[derive(Debug)]
struct Published<C> {
    version: u64,
    batch: u64,
    content: C,
}

/// What one client said about one resource.
#[derive(Debug)]
struct Answers<C> {
    acked: Option<(u64, C)>,
    refused: Option<(u64, Arc<str>)>,
    /// The client refused what it had acknowledged: nothing is blamed on objects until it accepts something again.
    hopeless: bool,
}

impl<C> Default for Quarantine<C> {
    fn default() -> Self {
        Self { scopes: HashMap::new(), searches: BTreeMap::new(), held: BTreeMap::new(), refused: BTreeMap::new() }
    }
}

impl<C> Default for History<C> {
    fn default() -> Self {
        Self { published: VecDeque::new(), present: false, clients: HashMap::new() }
    }
}

impl<C> Default for Answers<C> {
    fn default() -> Self {
        Self { acked: None, refused: None, hopeless: false }
    }
}

impl<C> History<C> {
    fn latest(&self) -> Option<&Published<C>> {
        if self.present { self.published.back() } else { None }
    }

    /// Drops versions before the oldest that a client has acknowledged last: nobody is compared with them, and what they
    /// hold may be all of a table that is nearly empty by now.
    fn forget(&mut self) {
        let place = |answers: &Answers<C>| {
            let (acked, _) = answers.acked.as_ref()?;
            self.published.iter().rposition(|published| published.version == *acked)
        };
        // Of a client that accepted nothing yet no place is known, and everything is kept.
        let oldest = self.clients.values().map(|answers| place(answers).unwrap_or(0)).min().unwrap_or(0);
        self.published.drain(..oldest);
    }

    fn find(&self, version: u64) -> Option<&Published<C>> {
        self.published.iter().rev().find(|published| published.version == version)
    }
}

impl<C: Content> Quarantine<C> {
    /// Takes note of a new version of a resource (or, with `None`, of its end), published with this batch.
    pub fn published(&mut self, batch: u64, scope: &Scope, content: Option<(u64, C)>) {
        let history = self.scopes.entry(scope.clone()).or_default();
        match content {
            Some((version, content)) => {
                history.present = true;
                history.published.push_back(Published { version, batch, content });
                if history.published.len() > VERSIONS_KEPT {
                    history.published.pop_front();
                }
            }
            None => {
                history.present = false;
                history.published.clear();
                history.clients.clear();
                if !self.searches.contains_key(scope) {
                    self.scopes.remove(scope);
                }
            }
        }
    }

    /// To be called when everything of a batch is published. Decisions made before are in it; a search whose step did
    /// not change the resource has its answer already, so this may decide something for the next batch.
    pub fn settled(&mut self, batch: u64) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let waiting: Vec<Scope> =
            self.searches.iter().filter(|(_, search)| search.unpublished).map(|(scope, _)| scope.clone()).collect();
        for scope in waiting {
            let Some(search) = self.searches.get_mut(&scope) else { continue };
            search.unpublished = false;
            let history = self.scopes.get(&scope);
            let Some(latest) = history.and_then(History::latest) else {
                self.passed(&scope, &mut decisions);
                continue;
            };
            search.since = latest.batch;
            let version = latest.version;
            if latest.batch == batch {
                continue;
            }
            // Nothing new goes out, so there may be no further answer. Without an owner anybody's counts.
            let owner = search.owner;
            let answer = history.into_iter().flat_map(|history| &history.clients).find_map(|(client, answers)| {
                let acked = answers.acked.as_ref().is_some_and(|(acked, _)| *acked == version);
                let refused = answers.refused.as_ref().is_some_and(|(refused, _)| *refused == version);
                ((acked || refused) && owner.is_none_or(|owner| owner == *client)).then_some((*client, refused))
            });
            if let Some((client, refused)) = answer {
                search.owner = Some(client);
                match refused {
                    true => self.failed(&scope, client, version, &mut decisions),
                    false => self.passed(&scope, &mut decisions),
                }
            }
        }
        decisions
    }

    /// A client acknowledged this version of a resource.
    pub fn acked(&mut self, client: Client, scope: &Scope, version: u64) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let Some(history) = self.scopes.get_mut(scope) else { return decisions };
        let Some((content, batch)) = history.find(version).map(|found| (found.content.clone(), found.batch)) else {
            return decisions;
        };
        let answers = history.clients.entry(client).or_default();
        *answers = Answers { acked: Some((version, content)), refused: None, hopeless: false };
        if !self.searches.contains_key(scope) {
            history.forget();
        }
        if let Some(search) = self.searches.get_mut(scope)
            && *search.owner.get_or_insert(client) == client
            && !search.unpublished
            && batch >= search.since
        {
            self.passed(scope, &mut decisions);
        }
        decisions
    }

    /// A client refused this version of a resource with this text.
    pub fn refused(&mut self, client: Client, scope: &Scope, version: u64, text: &Arc<str>) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let Some(history) = self.scopes.get_mut(scope) else { return decisions };
        let batch = history.find(version).map(|found| found.batch);
        let answers = history.clients.entry(client).or_default();
        answers.refused = Some((version, text.clone()));
        if answers.hopeless {
            return decisions;
        }
        let Some(batch) = batch else {
            return decisions;
        };
        match self.searches.get_mut(scope) {
            Some(search) => {
                if *search.owner.get_or_insert(client) == client && !search.unpublished && batch >= search.since {
                    self.failed(scope, client, version, &mut decisions);
                }
            }
            None => self.open(scope, client, version, text, &mut decisions),
        }
        decisions
    }

    /// These objects are guilty without a search: Envoy named the resource that only they use.
    pub fn refuse(&mut self, keys: impl IntoIterator<Item = ObjectKey>, text: &Arc<str>) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for key in keys {
            if !self.refused.contains_key(&key) {
                self.held.remove(&key);
                self.refused.insert(key.clone(), text.clone());
                decisions.push(Decision::Refuse(key, text.clone()));
            }
        }
        decisions
    }

    /// The object changed or is gone: what was said about its old version is void.
    pub fn changed(&mut self, key: &ObjectKey) -> Option<Decision> {
        let was_refused = self.refused.remove(key).is_some();
        let was_held = self.held.remove(key).is_some();
        for search in self.searches.values_mut() {
            search.changed(key);
        }
        (was_refused || was_held).then(|| Decision::Release(key.clone()))
    }

    /// A client is gone. Its searches wait for the next client that answers.
    pub fn disconnected(&mut self, client: Client) {
        for history in self.scopes.values_mut() {
            history.clients.remove(&client);
        }
        for search in self.searches.values_mut() {
            if search.owner == Some(client) {
                search.owner = None;
                search.unpublished = true;
            }
        }
    }

    /// Objects that are refused, with Envoy's words.
    pub fn refusals(&self) -> &BTreeMap<ObjectKey, Arc<str>> {
        &self.refused
    }

    /// How many searches are under way.
    pub fn searching(&self) -> usize {
        self.searches.len()
    }

    fn open(&mut self, scope: &Scope, client: Client, version: u64, text: &Arc<str>, decisions: &mut Vec<Decision>) {
        let Some(history) = self.scopes.get_mut(scope) else { return };
        let acked = history.clients.get(&client).and_then(|answers| answers.acked.as_ref()).map(|(_, content)| content);
        let Some(content) = history.find(version).map(|found| found.content.clone()) else { return };
        let (all, known) = (content.suspects(acked), acked.is_some());
        let free: Vec<ObjectKey> =
            all.iter().filter(|key| !self.held.contains_key(key) && !self.refused.contains_key(key)).cloned().collect();
        if free.is_empty() {
            // Another search has all of them in hand (or has just decided): its end looks here again.
            if all.is_empty() {
                self.give_up(scope, client, text, decisions);
            }
            return;
        }
        let mut search = Search::new(client, text.clone());
        if let [sole] = free.as_slice() {
            search.refused.push(sole.clone());
            self.refused.insert(sole.clone(), text.clone());
            decisions.push(Decision::Refuse(sole.clone(), text.clone()));
        } else {
            // A text that fits most of them says nothing.
            search.likely =
                Some(content.quoted(text)).filter(|likely| likely.len() * 2 <= free.len()).unwrap_or_default();
            // Of a client that was there before this process nothing is known, and all of this may serve there: to begin
            // with nothing would take it away. So the first guess is that Envoy's words are about the guilty.
            let guess = if known {
                Vec::new()
            } else {
                free.iter().filter(|key| search.likely.contains(key)).cloned().collect()
            };
            search.guesses = !guess.is_empty();
            let first = if guess.is_empty() { free } else { guess };
            self.hold(&first, scope, text, decisions);
            search.add_guilty(first);
        }
        self.searches.insert(scope.clone(), search);
    }

    fn hold(&mut self, keys: &[ObjectKey], scope: &Scope, text: &Arc<str>, decisions: &mut Vec<Decision>) {
        for key in keys {
            self.held.insert(key.clone(), scope.clone());
            decisions.push(Decision::Hold(key.clone(), text.clone()));
        }
    }

    /// What the search last put out was accepted.
    fn passed(&mut self, scope: &Scope, decisions: &mut Vec<Decision>) {
        if let Some(search) = self.searches.get_mut(scope) {
            search.passed();
            self.advance(scope, decisions);
        }
    }

    /// What the search last put out was refused.
    fn failed(&mut self, scope: &Scope, client: Client, version: u64, decisions: &mut Vec<Decision>) {
        let Some(history) = self.scopes.get_mut(scope) else { return };
        let acked = history.clients.get(&client).and_then(|answers| answers.acked.as_ref()).map(|(_, content)| content);
        let Some(content) = history.find(version).map(|found| found.content.clone()) else { return };
        let mut suspects = content.suspects(acked);
        suspects.retain(|key| !self.held.contains_key(key) && !self.refused.contains_key(key));
        let Some(search) = self.searches.get_mut(scope) else { return };
        let text = search.text.clone();
        let suspects: Vec<ObjectKey> = suspects.into_iter().collect();
        let exhausted = search.in_base() && {
            search.base_attempts += 1;
            search.base_attempts > BASE_ATTEMPTS
        };
        if suspects.is_empty() || exhausted {
            // Without an acknowledged content to compare with there may be parts that belong to no object.
            self.give_up(scope, client, &text, decisions);
            return;
        }
        search.failed(suspects.clone());
        self.hold(&suspects, scope, &text, decisions);
        let Some(search) = self.searches.get_mut(scope) else { return };
        if search.in_base() {
            search.unpublished = true;
        } else {
            self.advance(scope, decisions);
        }
    }

    /// Takes the next steps of a search until one needs an answer of Envoy.
    fn advance(&mut self, scope: &Scope, decisions: &mut Vec<Decision>) {
        let Some(search) = self.searches.get_mut(scope) else { return };
        let held = &mut self.held;
        loop {
            match search.next(|key| held.get(key) == Some(scope)) {
                Step::Refuse(key) => {
                    held.remove(&key);
                    self.refused.insert(key.clone(), search.text.clone());
                    decisions.push(Decision::Refuse(key, search.text.clone()));
                }
                Step::Test(keys) => {
                    for key in keys {
                        held.remove(&key);
                        decisions.push(Decision::Release(key));
                    }
                    search.unpublished = true;
                    return;
                }
                Step::Done => break,
            }
        }
        self.searches.remove(scope);
        if self.scopes.get(scope).is_some_and(|history| !history.present) {
            self.scopes.remove(scope);
        }
        self.reconsider(decisions);
    }

    /// The client refuses what it acknowledged before, or nothing that belongs to an object.
    fn give_up(&mut self, scope: &Scope, client: Client, text: &Arc<str>, decisions: &mut Vec<Decision>) {
        if let Some(search) = self.searches.remove(scope) {
            let held: Vec<ObjectKey> =
                self.held.iter().filter(|(_, by)| *by == scope).map(|(key, _)| key.clone()).collect();
            for key in held {
                self.held.remove(&key);
                decisions.push(Decision::Release(key));
            }
            for key in search.refused {
                if self.refused.remove(&key).is_some() {
                    decisions.push(Decision::Release(key));
                }
            }
        }
        if let Some(history) = self.scopes.get_mut(scope) {
            history.clients.entry(client).or_default().hopeless = true;
        }
        decisions.push(Decision::Report(client, format!("{scope}: {text}").into()));
        self.reconsider(decisions);
    }

    /// Looks at refusals that came in while another search had their suspects in hand.
    fn reconsider(&mut self, decisions: &mut Vec<Decision>) {
        let mut open = Vec::new();
        for (scope, history) in &self.scopes {
            let Some(latest) = history.latest() else { continue };
            if self.searches.contains_key(scope) {
                continue;
            }
            let refusal = history.clients.iter().find_map(|(client, answers)| {
                let (version, text) = answers.refused.as_ref()?;
                (!answers.hopeless && *version == latest.version).then(|| (*client, *version, text.clone()))
            });
            open.extend(refusal.map(|refusal| (scope.clone(), refusal)));
        }
        open.sort_by(|left, right| left.0.cmp(&right.0));
        for (scope, (client, version, text)) in open {
            if !self.searches.contains_key(&scope) {
                self.open(&scope, client, version, &text, decisions);
            }
        }
    }
}
