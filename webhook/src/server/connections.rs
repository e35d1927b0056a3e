//! Which connections there are, and which has to go when there are too many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// The connections of a server.
pub struct Connections {
    most: usize,
    most_newcomers: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    count: usize,
    /// Those without an answered review, oldest first.
    newcomers: BTreeMap<u64, CancellationToken>,
}

/// A connection's place. Dropping it gives the place back.
pub struct Connection {
    id: u64,
    proved: AtomicBool,
    evicted: CancellationToken,
    of: Arc<Connections>,
}

impl Connections {
    /// Room for so many connections, and for so many newcomers among them.
    pub fn new(most: usize, most_newcomers: usize) -> Self {
        Self { most, most_newcomers: most_newcomers.max(1), open: Mutex::default() }
    }

    /// A place for a new connection. Where there is none, the oldest newcomer loses its own; none if nobody is new.
    pub fn admit(self: &Arc<Self>) -> Option<Connection> {
        let mut open = self.open();
        if (open.newcomers.len() >= self.most_newcomers || open.count >= self.most) && !open.evict(None) {
            return None;
        }
        let (id, evicted) = (open.next, CancellationToken::new());
        open.next += 1;
        open.count += 1;
        open.newcomers.insert(id, evicted.clone());
        drop(open);
        Some(Connection { id, proved: AtomicBool::new(false), evicted, of: self.clone() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Ends the oldest newcomer but one.
    fn evict(&mut self, but: Option<u64>) -> bool {
        let Some(id) = self.newcomers.keys().find(|id| Some(**id) != but).copied() else { return false };
        if let Some(token) = self.newcomers.remove(&id) {
            token.cancel();
        }
        true
    }
}

impl Connection {
    /// A review of it was answered.
    pub fn prove(&self) {
        if !self.proved.swap(true, Ordering::Relaxed) {
            self.of.open().newcomers.remove(&self.id);
        }
    }

    /// Whether a review of it was answered.
    pub fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Relaxed)
    }

    /// Is cancelled when the connection has to make room.
    pub fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }

    /// Ends the oldest newcomer but this one, for what it holds.
    pub fn displace_another(&self) -> bool {
        self.of.open().evict(Some(self.id))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.of.open();
        open.newcomers.remove(&self.id);
        open.count = open.count.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_newcomer_makes_room_and_who_proved_itself_stays() {
        let all = Arc::new(Connections::new(10, 2));
        let [proved, old, new] = [0, 1, 2].map(|n| {
            let one = all.admit().unwrap();
            if n == 0 {
                one.prove();
            }
            one
        });
        assert!(!old.evicted().is_cancelled());
        let newest = all.admit().unwrap();
        assert!(old.evicted().is_cancelled());
        assert!(!new.evicted().is_cancelled() && !proved.evicted().is_cancelled());
        assert!(newest.displace_another() && new.evicted().is_cancelled());
        assert!(!newest.displace_another(), "nobody else is new");
    }

    #[test]
    fn without_newcomers_a_full_server_refuses() {
        let all = Arc::new(Connections::new(2, 2));
        let kept: Vec<_> = (0..2).map(|_| all.admit().unwrap()).collect();
        kept.iter().for_each(Connection::prove);
        assert!(all.admit().is_none());
        drop(kept);
        assert!(all.admit().is_some());
    }
}
