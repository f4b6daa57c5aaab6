//! How a batch is spread over what computes it.
//!
//! A GPU takes a batch whole. Burn's CPU backend spreads only large matrix products over threads,
//! so there a batch is cut into slices of a few views, each thread takes one after the other, and
//! their gradients are added in the slices' order. Neither the cut nor the order depends on the
//! number of threads; so the result doesn't either, to the last bit.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use burn::module::Module;
use kernels::Trainable;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::batch::Loaded;
use super::step::{StepOutput, Timing, forward_backward};
use crate::model::{LocalMim, LossKind};

/// Views a slice: few enough for a core's cache, enough for full speed of the matrix products.
const SLICE_VIEWS: usize = 8;

/// The way from a batch to its losses and gradients.
#[derive(Debug)]
pub struct Slices {
    /// One thread each, so that what runs in it stays on its core; none where batches stay whole.
    pools: Vec<ThreadPool>,
}

impl Slices {
    /// Batches stay whole.
    pub fn whole() -> Self {
        Self { pools: vec![] }
    }

    /// Batches are cut and spread over `threads` threads.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn over_threads(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = |i| {
            let builder = ThreadPoolBuilder::new().num_threads(1);
            builder.thread_name(move |_| format!("step-{i}")).build()
        };
        Ok(Self { pools: (0..threads.max(1)).map(pool).collect::<Result<_, _>>()? })
    }

    /// Losses and gradients of a batch. The times are those of one thread that had a slice, on
    /// average.
    pub fn run<B: Trainable>(
        &self,
        model: &LocalMim<B>,
        loss: LossKind,
        loaded: &Loaded<B>,
        device: &B::Device,
        timing: Timing,
    ) -> StepOutput<B> {
        self.spread(model, loaded.batch.views, device, |model, views| {
            let start = Instant::now();
            let slice = loaded.views(views, device);
            let upload = start.elapsed();
            let mut output = forward_backward(model, loss, slice, timing);
            output.times.upload = upload;
            output
        })
    }

    /// The sum of what `one` gives for all parts of a batch of `views` views.
    pub fn spread<B: Trainable, M: Module<B>>(
        &self,
        model: &M,
        views: usize,
        device: &B::Device,
        one: impl Fn(&M, Range<usize>) -> StepOutput<B> + Sync,
    ) -> StepOutput<B> {
        if self.pools.is_empty() {
            return one(model, 0..views);
        }

        let count = views.div_ceil(SLICE_VIEWS);
        // Leaves of their own keep the slices' graphs apart; the tensors are shared.
        let models: Vec<_> = (0..count).map(|_| model.clone().fork(device)).collect();
        let models: Vec<_> = models.into_iter().map(|model| Mutex::new(Some(model))).collect();
        let next = AtomicUsize::new(0);
        let sum = Mutex::new(InOrder { waiting: BTreeMap::new(), added: 0, sum: None });
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(model) = models.get(at) else { return };
                let Some(model) = lock(model).take() else { return };
                let start = at * SLICE_VIEWS;
                let output = one(&model, start..views.min(start + SLICE_VIEWS));
                lock(&sum).add(at, output);
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                self.pools.iter().map(|pool| scope.spawn(|| pool.install(work))).collect();
            for thread in threads {
                if let Err(panic) = thread.join() {
                    resume_unwind(panic);
                }
            }
        });
        let sum = sum.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).sum;
        let mut sum = sum.expect("a batch has a view");
        // Threads for which there is no slice take no time.
        sum.times /= self.pools.len().min(count) as u32;
        sum
    }
}

/// Outputs that are added in the slices' order, whenever they come.
struct InOrder<B: Trainable> {
    waiting: BTreeMap<usize, StepOutput<B>>,
    added: usize,
    sum: Option<StepOutput<B>>,
}

impl<B: Trainable> InOrder<B> {
    fn add(&mut self, at: usize, output: StepOutput<B>) {
        self.waiting.insert(at, output);
        while let Some(output) = self.waiting.remove(&self.added) {
            self.added += 1;
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum.plus(output),
                None => output,
            });
        }
    }
}

/// A thread that panics ends the step, so nobody sees what it left behind.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
