//! Work over threads, its results in order.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::EncodeError;

/// Gives each worker a thread, which takes one item after the other, and what `work` makes of
/// each, in the items' order.
///
/// # Errors
/// As [`in_order`].
pub fn spread<W: Send, I: Sync, T: Send>(
    workers: Vec<W>,
    items: &[I],
    work: impl Fn(&W, &I) -> Result<T, EncodeError> + Sync,
) -> Result<Vec<T>, EncodeError> {
    let mut all = Vec::with_capacity(items.len());
    in_order(workers, items, work, |made| {
        all.push(made);
        Ok::<(), EncodeError>(())
    })?;
    Ok(all)
}

/// Gives each worker a thread, which takes one item after the other; what `work` makes of each is
/// handed to `take` on this thread, in the items' order. Workers are ahead of it by a few items at
/// most, so that however many there are, few results are held.
///
/// A worker's own thread pool has one thread, so that a network in it stays on its core.
///
/// # Errors
/// The first of `work`'s and `take`'s errors, in the items' order; or if the system gives no
/// thread.
pub fn in_order<W: Send, I: Sync, T: Send, E: From<EncodeError>>(
    workers: Vec<W>,
    items: &[I],
    work: impl Fn(&W, &I) -> Result<T, EncodeError> + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let pool = |i| {
        let builder = ThreadPoolBuilder::new().num_threads(1);
        builder.thread_name(move |_| format!("eval-{i}")).build()
    };
    let pools = (0..workers.len()).map(pool).collect::<Result<Vec<ThreadPool>, _>>();
    let pools = pools.map_err(EncodeError::from)?;
    let queue = Queue::new(items.len(), workers.len() + 2);
    std::thread::scope(|scope| {
        // Whatever ends this thread's part, the workers are let go.
        let _stop = Stop(&queue);
        let (work, queue) = (&work, &queue);
        for (pool, worker) in pools.iter().zip(workers) {
            scope.spawn(move || {
                pool.install(move || {
                    while let Some(at) = queue.next() {
                        queue
                            .done(at, catch_unwind(AssertUnwindSafe(|| work(&worker, &items[at]))));
                    }
                });
            });
        }
        for at in 0..items.len() {
            match queue.wait(at) {
                Ok(made) => take(made?)?,
                Err(panic) => resume_unwind(panic),
            }
        }
        Ok(())
    })
}

/// What came of an item.
type Made<T> = Result<Result<T, EncodeError>, Box<dyn Any + Send>>;

/// Items that are handed out, and results that are waited for.
struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    items: usize,
    /// Items that may be handed out beyond those taken.
    ahead: usize,
}

struct State<T> {
    next: usize,
    taken: usize,
    done: BTreeMap<usize, Made<T>>,
    stopped: bool,
}

impl<T> Queue<T> {
    fn new(items: usize, ahead: usize) -> Self {
        let state = State { next: 0, taken: 0, done: BTreeMap::new(), stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), items, ahead }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `until` gives something.
    fn when<R>(&self, mut until: impl FnMut(&mut State<T>) -> Option<R>) -> R {
        let mut state = self.state();
        loop {
            if let Some(result) = until(&mut state) {
                return result;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next item; none if there are no more.
    fn next(&self) -> Option<usize> {
        self.when(|state| {
            if state.stopped || state.next == self.items {
                return Some(None);
            }
            (state.next < state.taken + self.ahead).then(|| {
                state.next += 1;
                Some(state.next - 1)
            })
        })
    }

    fn done(&self, at: usize, made: Made<T>) {
        self.state().done.insert(at, made);
        self.changed.notify_all();
    }

    /// What came of an item, when it has.
    fn wait(&self, at: usize) -> Made<T> {
        let made = self.when(|state| {
            let made = state.done.remove(&at)?;
            state.taken = at + 1;
            Some(made)
        });
        self.changed.notify_all();
        made
    }
}

/// Stops the handing out when it is dropped.
struct Stop<'a, T>(&'a Queue<T>);

impl<T> Drop for Stop<'_, T> {
    fn drop(&mut self) {
        self.0.state().stopped = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn fault(reason: usize) -> EncodeError {
        EncodeError::Row { at: String::new(), reason: reason.to_string() }
    }

    #[test]
    fn results_come_in_order_and_few_are_held() {
        let (begun, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<usize> = (0..500).collect();
        let mut all = vec![];
        let work = |_: &(), &item: &usize| {
            let ahead = begun.fetch_add(1, Ordering::SeqCst) - taken.load(Ordering::SeqCst);
            assert!(ahead <= 6, "{ahead} are ahead");
            Ok(item)
        };
        let take = |item| {
            all.push(item);
            taken.fetch_add(1, Ordering::SeqCst);
            Ok::<(), EncodeError>(())
        };
        in_order(vec![(); 3], &items, work, take).unwrap();
        assert_eq!(all, items);
    }

    #[test]
    fn the_first_error_in_order_ends_the_work() {
        let items: Vec<usize> = (0..100).collect();
        let odd = |_: &(), &item: &usize| if item > 40 { Err(fault(item)) } else { Ok(item) };
        let error = spread(vec![(); 4], &items, odd).unwrap_err().to_string();
        assert!(error.contains("41"), "{error}");
        let refuse = |item| if item == 7 { Err(fault(item)) } else { Ok(()) };
        let error = in_order(vec![(); 4], &items, |(), &item| Ok(item), refuse).unwrap_err();
        assert!(error.to_string().contains('7'), "{error}");
    }

    #[test]
    fn a_panic_of_a_worker_is_one_of_the_caller() {
        let items = [0, 1, 2];
        let work = |_: &(), &item: &i32| if item == 1 { panic!("in a worker") } else { Ok(item) };
        let caught = catch_unwind(AssertUnwindSafe(|| spread(vec![(); 2], &items, work)));
        assert!(caught.is_err());
    }
}
