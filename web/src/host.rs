//! The hosts that are asked: how many requests are on their way to each, and which are left alone.
//!
//! A host that gave no answer to some addresses in a row is taken for dead, and the others that it
//! has fail with the last fault at once. Their texts are those that they would have had, since a
//! fault of the host is the same for all of its addresses, so that it does not matter which of them
//! were tried. Now and then one is tried again. A host that answered before first has a rest in
//! which nobody asks it, and its addresses wait; and as long as connections to it can be made, it
//! needs three times the failures. What a host answers, even with an error, is no such failure: it
//! is there, and its other addresses may be well. But where trying again was of no use for as many
//! addresses in a row, the others are tried once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use url::Url;

use crate::fault::{self, Fault};
use crate::options::Options;

/// Hosts that are remembered before those are forgotten of which there is nothing to know.
const MANY: usize = 1 << 14;

/// The leave to ask a host once more than is being done.
#[derive(Debug)]
pub(crate) struct Slot {
    pub host: Arc<Host>,
    _permit: OwnedSemaphorePermit,
}

/// All hosts that are asked.
#[derive(Debug)]
pub(crate) struct Hosts {
    per_host: usize,
    failures: u32,
    rest: Duration,
    hosts: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    hosts: HashMap<(String, u16), Arc<Host>>,
    /// How many there may be before some are forgotten.
    most: usize,
}

/// One host and port.
#[derive(Debug)]
pub(crate) struct Host {
    slots: Arc<Semaphore>,
    failures: u32,
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// It has answered.
    answered: bool,
    /// Addresses in a row that failed for want of an answer.
    failed: u32,
    /// Addresses in a row that it asked to be left alone with for longer than is waited.
    busy: u32,
    /// Addresses in a row that were tried again in vain.
    vain: u32,
    /// It had its rest since it answered.
    rested: bool,
    /// Nobody asks it before.
    ready: Option<Instant>,
    /// It is taken for dead until then, for this fault.
    dead: Option<(Fault, Instant)>,
}

enum Turn {
    Now,
    At(Instant),
    Never(Fault),
}

impl Hosts {
    pub fn new(options: &Options) -> Self {
        Self {
            per_host: options.per_host.max(1),
            failures: options.host_failures.max(1),
            rest: options.host_rest,
            hosts: Mutex::new(Known { hosts: HashMap::new(), most: MANY }),
        }
    }

    /// The host of a URL.
    pub fn of(&self, url: &Url) -> Arc<Host> {
        let name = url.host_str().unwrap_or_default().to_owned();
        let key = (name, url.port_or_known_default().unwrap_or_default());
        let mut known = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if known.hosts.len() >= known.most {
            let now = Instant::now();
            known.hosts.retain(|_, host| Arc::strong_count(host) > 1 || host.is_special(now));
            known.most = MANY.max(2 * known.hosts.len());
        }
        let host = known.hosts.entry(key).or_insert_with(|| {
            Arc::new(Host {
                slots: Arc::new(Semaphore::new(self.per_host)),
                failures: self.failures,
                rest: self.rest,
                state: Mutex::default(),
            })
        });
        Arc::clone(host)
    }
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_special(&self, now: Instant) -> bool {
        let state = self.lock();
        let dead = state.dead.as_ref().is_some_and(|(_, until)| *until > now);
        dead || state.ready.is_some_and(|ready| ready > now)
    }

    /// Waits until the host may be asked; then it may be for as long as the slot is held.
    ///
    /// # Errors
    /// The fault of a host that is taken for dead.
    pub async fn enter(self: Arc<Self>) -> Result<Slot, Fault> {
        let permit = Arc::clone(&self.slots).acquire_owned().await;
        let permit = permit.map_err(|error| Fault::Machine(error.to_string()))?;
        Slot { host: self, _permit: permit }.ready().await
    }

    fn turn(&self) -> Turn {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some((fault, until)) = &mut state.dead {
            if *until > now {
                return Turn::Never(fault.clone());
            }
            // This one tries whether it lives again; the others don't wait for that.
            *until = now + self.rest;
            return Turn::Now;
        }
        match state.ready {
            Some(ready) if ready > now => Turn::At(ready),
            _ => Turn::Now,
        }
    }

    /// It answered with this status.
    pub fn answered(&self, status: u16) {
        let mut state = self.lock();
        let busy = matches!(status, 429 | 503);
        (state.answered, state.failed, state.rested) = (true, 0, false);
        if !busy {
            state.busy = 0;
        }
        if state.dead.as_ref().is_some_and(|(fault, _)| !busy || *fault != Fault::Status(status)) {
            state.dead = None;
        }
    }

    /// It asks to be left alone for a while.
    pub fn pause(&self, wait: Duration) {
        let ready = Instant::now() + wait;
        let mut state = self.lock();
        state.ready = state.ready.max(Some(ready));
    }

    /// It asks to be left alone for longer than is waited, and one address is given up for it.
    pub fn is_busy(&self, fault: &Fault) {
        let mut state = self.lock();
        state.busy += 1;
        if state.busy >= self.failures {
            state.dead = Some((fault.clone(), Instant::now() + self.rest));
        }
    }

    /// Whether to try again what may pass.
    pub fn is_worth_a_retry(&self) -> bool {
        self.lock().vain < self.failures
    }

    /// An address was tried again, and whether that helped.
    pub fn retried(&self, helped: bool) {
        let mut state = self.lock();
        state.vain = if helped { 0 } else { state.vain.saturating_add(1) };
    }

    /// One of its addresses failed for good.
    pub fn failed(&self, fault: &Fault) {
        let until = Instant::now() + self.rest;
        let mut state = self.lock();
        let most = match fault.host() {
            fault::Host::Well => return,
            fault::Host::Mute if state.answered => self.failures.saturating_mul(3),
            fault::Host::Gone | fault::Host::Mute => self.failures,
        };
        state.failed = state.failed.saturating_add(1);
        if state.failed < most {
            return;
        }
        if state.answered && !state.rested {
            state.rested = true;
            state.ready = state.ready.max(Some(until));
            // One more failure after that is enough.
            state.failed = most - 1;
        } else {
            state.dead = Some((fault.clone(), until));
        }
    }
}

impl Slot {
    /// Waits until the host may be asked.
    ///
    /// # Errors
    /// The fault of a host that is taken for dead.
    pub async fn ready(self) -> Result<Self, Fault> {
        loop {
            match self.host.turn() {
                Turn::Now => return Ok(self),
                Turn::Never(fault) => return Err(fault),
                // Those that came later are to stay behind.
                Turn::At(ready) => sleep_until(ready).await,
            }
        }
    }
}
