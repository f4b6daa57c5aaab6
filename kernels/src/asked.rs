//! What the host asks of a device, counted.
//!
//! Counted are the launches of the kernels in this crate, what is sent up through it, and the waits
//! that are told to it. The few launches and waits that are Burn's and CubeCL's own are not: CubeCL 0.10
//! tells of them in logs for people alone, its clients' servers are types of its own that nothing can
//! be put before, and its profiling waits for the device at every launch. A stand-in for the driver
//! (`tests/cuda`) counts all.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use burn::tensor::backend::Backend;

static LAUNCHES: AtomicU64 = AtomicU64::new(0);
static UPLOADS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static WAITS: AtomicU64 = AtomicU64::new(0);

/// How often it was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// For a kernel.
    pub launches: u64,
    /// To take something up.
    pub uploads: u64,
    /// Of so many bytes in all.
    pub bytes: u64,
    /// To be done, while the host waits.
    pub waits: u64,
}

impl Asked {
    /// Since the program began, of all its devices.
    pub fn so_far() -> Self {
        Self {
            launches: LAUNCHES.load(Relaxed),
            uploads: UPLOADS.load(Relaxed),
            bytes: BYTES.load(Relaxed),
            waits: WAITS.load(Relaxed),
        }
    }
}

impl Sub for Asked {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            launches: self.launches - before.launches,
            uploads: self.uploads - before.uploads,
            bytes: self.bytes - before.bytes,
            waits: self.waits - before.waits,
        }
    }
}

pub(crate) fn launch() {
    LAUNCHES.fetch_add(1, Relaxed);
}

/// So many bytes are sent up.
pub(crate) fn upload(bytes: usize) {
    UPLOADS.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
}

/// The host is about to wait.
pub fn wait() {
    WAITS.fetch_add(1, Relaxed);
}

/// Waits until a device has done what it was asked for. If it fails it says no more than the next read
/// will say itself.
pub fn sync<B: Backend>(device: &B::Device) {
    wait();
    let _ = B::sync(device);
}
