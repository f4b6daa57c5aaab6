//! A budget of bytes that the decoders share.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// So many bytes for all pictures in work. Cloned, it is the same budget.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    /// Who waits, in order of arrival: a large picture is not overtaken for ever by small ones.
    queue: VecDeque<u64>,
    tickets: u64,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        let shared = Shared { limit, state: Mutex::default(), changed: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// A budget without an end.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// The whole of it, in bytes.
    pub fn limit(&self) -> u64 {
        self.shared.limit
    }

    /// The bytes that are taken now.
    pub fn used(&self) -> u64 {
        self.shared.lock().used
    }

    /// How many wait for their share.
    pub fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Takes `bytes`; waits until so many are free and everybody who came before has theirs. None
    /// if the whole budget is less than that.
    ///
    /// A thread that holds some must not ask for more: two such may wait for each other for ever.
    pub fn acquire(&self, bytes: u64) -> Option<Reserved> {
        let shared = &self.shared;
        if bytes > shared.limit {
            return None;
        }
        let mut state = shared.lock();
        let ticket = state.tickets;
        state.tickets += 1;
        state.queue.push_back(ticket);
        while state.queue.front() != Some(&ticket) || shared.limit - state.used < bytes {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.queue.pop_front();
        state.used += bytes;
        let more_wait = !state.queue.is_empty();
        drop(state);
        if more_wait {
            shared.changed.notify_all();
        }
        Some(Reserved { shared: Arc::clone(shared), bytes })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.lock().used -= bytes;
            self.changed.notify_all();
        }
    }
}

/// Bytes taken from a [`MemoryBudget`]; given back when it is dropped.
#[derive(Debug)]
pub struct Reserved {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Reserved {
    /// The bytes taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes `bytes` of it, if as many more are free now. It goes before those who wait: who has
    /// some comes before who has none.
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let mut state = self.shared.lock();
        let is_free = self.shared.limit - state.used >= more;
        if is_free {
            state.used += more;
            self.bytes += more;
        }
        is_free
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let spare = self.bytes.saturating_sub(bytes);
        self.bytes -= spare;
        self.shared.give_back(spare);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shared.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn many_threads_never_hold_more_than_the_budget_and_all_get_their_share() {
        let budget = MemoryBudget::new(100);
        let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for round in 0..200 {
                        let bytes = (thread * 31 + round * 17) % 101;
                        let mut reserved = budget.acquire(bytes).unwrap();
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        most.fetch_max(now, Ordering::SeqCst);
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        reserved.shrink(bytes / 2);
                        assert_eq!(reserved.bytes(), bytes / 2);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 100);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_taken_grows_only_by_what_is_free() {
        let budget = MemoryBudget::new(100);
        let (mut one, mut other) = (budget.acquire(10).unwrap(), budget.acquire(20).unwrap());
        assert!(one.try_grow(80) && one.try_grow(5) && !other.try_grow(21));
        assert_eq!((one.bytes(), other.bytes(), budget.used()), (80, 20, 100));
        drop(one);
        assert!(other.try_grow(100) && !other.try_grow(101));
        drop(other);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn more_than_the_whole_is_refused_at_once() {
        let budget = MemoryBudget::new(100);
        let all = budget.acquire(100).unwrap();
        assert!(budget.acquire(101).is_none());
        drop(all);
        assert!(budget.acquire(100).is_some());
    }
}
