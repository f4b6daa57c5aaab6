//! The threads on which a call from Python works, without Python's lock.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::input;

/// Lets go of Python's lock while `work` runs, with the threads of this process for what it does side
/// by side. A process that was forked has none of its parent's, nor of those that all share, and would
/// wait for them without end: it gets its own.
pub fn detach<T: Send>(py: Python<'_>, work: impl FnOnce() -> PyResult<T> + Send) -> PyResult<T> {
    let threads = of_process()?;
    py.detach(|| threads.install(work))
}

fn of_process() -> PyResult<&'static ThreadPool> {
    static THREADS: Mutex<Option<(u32, &ThreadPool)>> = Mutex::new(None);
    let here = std::process::id();
    let mut of_process = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    match *of_process {
        Some((process, threads)) if process == here => Ok(threads),
        _ => {
            // Never dropped: a fork's copy of its parent's has no threads that could end.
            let threads = Box::leak(Box::new(ThreadPoolBuilder::new().build().map_err(input)?));
            Ok(of_process.insert((here, threads)).1)
        }
    }
}
