//! Work over threads, its results in order.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::EvalError;

/// Gives each worker a thread, which takes one item after the other, and what `work` makes of
/// each, in the items' order.
///
/// A worker's own thread pool has one thread, so that a network in it stays on its core.
///
/// # Errors
/// The first of `work`'s errors, in the items' order; or if the system gives no thread.
pub fn spread<W: Send, I: Sync, T: Send>(
    workers: Vec<W>,
    items: &[I],
    work: impl Fn(&W, &I) -> Result<T, EvalError> + Sync,
) -> Result<Vec<T>, EvalError> {
    let pool = |i| {
        let builder = ThreadPoolBuilder::new().num_threads(1);
        builder.thread_name(move |_| format!("eval-{i}")).build()
    };
    let pools: Vec<ThreadPool> = (0..workers.len()).map(pool).collect::<Result<_, _>>()?;
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let done: Mutex<Vec<(usize, Result<T, EvalError>)>> = Mutex::new(Vec::new());
    let take = |worker: W| {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = work(&worker, item);
            if result.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        let take = &take;
        let threads: Vec<_> = pools
            .iter()
            .zip(workers)
            .map(|(pool, worker)| scope.spawn(move || pool.install(|| take(worker))))
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
