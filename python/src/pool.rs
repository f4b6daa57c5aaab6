//! Memory of batches that are gone, for those that come: a batch is tens of megabytes, and to be
//! given new pages for it takes longer than to fill them.

use std::collections::VecDeque;
use std::mem::take;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::buffer::{Buffer, ScalarBuffer};
use bytes::Bytes;

/// Lists of floats that wait to be used again, as long as an epoch lasts.
#[derive(Debug)]
pub struct Pool {
    waiting: Mutex<VecDeque<Vec<f32>>>,
    /// How many wait at most; none once nobody takes any.
    most: AtomicUsize,
}

/// A list of floats that goes back when it is no longer needed.
#[derive(Debug)]
pub struct Lent {
    values: Vec<f32>,
    pool: Arc<Pool>,
}

impl Pool {
    /// One that keeps so many lists.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), most: AtomicUsize::new(most) })
    }

    /// Nobody takes any more: those that wait are freed, and so are others when they come back.
    pub fn close(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.most.store(0, Relaxed);
        waiting.clear();
    }

    /// So many values, whatever they are: who takes them writes all.
    pub fn take(self: &Arc<Self>, values: usize) -> Lent {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let at = waiting.iter().position(|of| of.len() == values);
        let found = at.and_then(|at| waiting.remove(at));
        drop(waiting);
        Lent { values: found.unwrap_or_else(|| vec![0.0; values]), pool: Arc::clone(self) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut waiting = self.pool.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(take(&mut self.values));
        // Those of other sizes than come now go first: they were put in before.
        if waiting.len() > self.pool.most.load(Relaxed) {
            waiting.pop_front();
        }
    }
}

impl Deref for Lent {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.values)
    }
}

impl From<Lent> for ScalarBuffer<f32> {
    /// Without a copy.
    fn from(lent: Lent) -> Self {
        let values = lent.len();
        Self::new(Buffer::from(Bytes::from_owner(lent)), 0, values)
    }
}
