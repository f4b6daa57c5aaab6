//! One holder at a time, over machines.
//!
//! In a bucket, a lock is an object that its holder created and writes anew, both conditionally,
//! six times a lease. Who finds one watches it: if it is written anew, somebody holds it; if nothing
//! happens for a whole lease, its holder is gone, and it is written over, again on the condition
//! that it has not changed. No clock is compared with another machine's. A holder that could not
//! renew for a whole lease knows that it may have lost the lock.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use object_store::UpdateVersion;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::remote::{Put, Remote};
use crate::runtime::{Task, wait};
use crate::{Address, StorageError, local};

const RENEWALS_A_LEASE: u32 = 6;

/// A lock that is held; released when it is dropped.
#[derive(Debug)]
pub struct Lock(Kind);

#[derive(Debug)]
enum Kind {
    /// Open for as long as the lock is to be held.
    Local(File),
    Remote(RemoteLock),
}

impl Lock {
    pub(crate) fn take(remote: Option<Remote>, at: &Address) -> Result<Option<Self>, StorageError> {
        let Some(remote) = remote else {
            return Ok(local::lock(at)?.map(|file| Self(Kind::Local(file))));
        };
        let lock = RemoteLock::take(remote, at)?;
        Ok(lock.map(|lock| Self(Kind::Remote(lock))))
    }

    /// That the lock is still held. Ask before a step that must not be taken twice.
    ///
    /// # Errors
    ///
    /// [`StorageError::LockLost`] if it could not be renewed in time, or somebody took it over.
    pub fn check(&self) -> Result<(), StorageError> {
        match &self.0 {
            Kind::Local(_) => Ok(()),
            Kind::Remote(lock) => lock.check(),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Kind::Local(file) = &self.0 {
            // To close it is not enough: a program that was just started may hold a copy of the
            // descriptor for a moment. What can't be unlocked is when the last one is closed.
            let _ = file.unlock();
        }
    }
}

/// A word that nobody else draws.
fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

struct RemoteLock {
    held: Arc<Held>,
    renewal: Task<()>,
}

struct Held {
    remote: Remote,
    /// Tells this holder from every other.
    holder: String,
    state: Mutex<State>,
    lost: AtomicBool,
    /// Ends the renewals.
    released: Notify,
}

struct State {
    version: UpdateVersion,
    /// When the last renewal that succeeded was begun.
    renewed: Instant,
}

impl RemoteLock {
    fn take(remote: Remote, at: &Address) -> Result<Option<Self>, StorageError> {
        let asked = remote.clone();
        let holder = token();
        let name = holder.clone();
        let state = wait("lock", at, async move { take(&asked, &name).await })?;
        let Some(state) = state else { return Ok(None) };
        let held = Arc::new(Held {
            remote,
            holder,
            state: Mutex::new(state),
            lost: AtomicBool::new(false),
            released: Notify::new(),
        });
        let kept = Arc::clone(&held);
        let renewal = Task::start("lock", at, async move {
            kept.keep().await;
            Ok(())
        })?;
        Ok(Some(Self { held, renewal }))
    }

    fn check(&self) -> Result<(), StorageError> {
        let lease = self.held.remote.limits.lease;
        let old = self.held.state().renewed.elapsed() > lease;
        if old || self.held.lost.load(Ordering::Relaxed) {
            return Err(StorageError::LockLost { address: self.held.remote.at.to_string() });
        }
        Ok(())
    }
}

/// Writes the lock anew, so that its version changes.
async fn write(
    remote: &Remote,
    over: Option<UpdateVersion>,
    holder: &str,
) -> Result<Put, StorageError> {
    let put = token();
    let bytes = Bytes::from(format!("{holder} {put}\n"));
    remote.put_if("lock", bytes, over, (holder, &put)).await
}

async fn take(remote: &Remote, holder: &str) -> Result<Option<State>, StorageError> {
    let lease = remote.limits.lease;
    let mut seen: Option<(UpdateVersion, Instant)> = None;
    let over = loop {
        let now = remote.lock_version().await?;
        match (now, &seen) {
            // Gone, or never there.
            (None, _) => break None,
            (Some(now), None) => seen = Some((now, Instant::now())),
            (Some(now), Some((seen, _))) if *seen != now => return Ok(None),
            (Some(now), Some((_, at))) if at.elapsed() > lease => break Some(now),
            (Some(_), Some(_)) => {}
        }
        tokio::time::sleep(lease / (2 * RENEWALS_A_LEASE)).await;
    };
    let renewed = Instant::now();
    Ok(match write(remote, over, holder).await? {
        Put::Done(version) | Put::Earlier(version) => Some(State { version, renewed }),
        Put::Other => None,
    })
}

impl Held {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lock until it is lost or released.
    async fn keep(&self) {
        let lease = self.remote.limits.lease;
        while timeout(lease / RENEWALS_A_LEASE, self.released.notified()).await.is_err() {
            // What failed for now is tried again the next time.
            if let Ok(Ok(false)) = timeout(lease / 2, self.renew()).await {
                return;
            }
        }
    }

    /// False if somebody took the lock over.
    async fn renew(&self) -> Result<bool, StorageError> {
        // Twice, if a renewal that was cut off turns out to have had its effect: when it had it is
        // not known, so it does not count.
        for _ in 0..2 {
            let renewed = Instant::now();
            let over = self.state().version.clone();
            match write(&self.remote, Some(over), &self.holder).await? {
                Put::Done(version) => {
                    *self.state() = State { version, renewed };
                    break;
                }
                Put::Earlier(version) => self.state().version = version,
                Put::Other => {
                    self.lost.store(true, Ordering::Relaxed);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

impl Drop for RemoteLock {
    fn drop(&mut self) {
        // A renewal on its way is not cut off: it might have its effect, unseen.
        self.held.released.notify_one();
        let _ = self.renewal.wait();
        if self.check().is_err() {
            return;
        }
        let held = Arc::clone(&self.held);
        let lease = held.remote.limits.lease;
        // Renewed just before, the object can't be another's when it is deleted. If that fails, it
        // is taken over when its lease is over.
        let _ = wait("release", &self.held.remote.at, async move {
            let _ = timeout(lease / 2, async {
                if held.renew().await? { held.remote.delete().await } else { Ok(()) }
            })
            .await;
            Ok(())
        });
    }
}

impl std::fmt::Debug for RemoteLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteLock").field("at", &self.held.remote.at).finish_non_exhaustive()
    }
}
