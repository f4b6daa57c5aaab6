//! The threads on which requests run, one set for the whole program.

use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::{Address, StorageError};

/// Two threads move bytes and check them; everything else is waiting.
const THREADS: usize = 2;

/// The runtime's handle. The runtime itself is never dropped, since one of its own threads might be
/// the last to hold it, and must not wait for itself. A process that was forked has none of its parent's
/// threads, and so gets a runtime of its own.
pub(crate) fn handle(action: &'static str, at: &Address) -> Result<&'static Handle, StorageError> {
    type Made = &'static io::Result<Runtime>;
    static RUNTIME: Mutex<Option<(u32, Made)>> = Mutex::new(None);
    let here = std::process::id();
    let mut of_process = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = match *of_process {
        Some((process, runtime)) if process == here => runtime,
        _ => of_process.insert((here, Box::leak(Box::new(runtime())))).1,
    };
    match runtime {
        Ok(runtime) => Ok(runtime.handle()),
        Err(error) => Err(StorageError::Threads {
            action,
            address: at.to_string(),
            source: io::Error::new(error.kind(), error.to_string()),
        }),
    }
}

fn runtime() -> io::Result<Runtime> {
    // Several libraries may bring a provider; the first that a program installs stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Builder::new_multi_thread().worker_threads(THREADS).thread_name("storage").enable_all().build()
}

/// Runs a request to its end. Waits on a channel, so that it may be called from anywhere, threads of
/// another runtime among them.
pub(crate) fn wait<T: Send + 'static>(
    action: &'static str,
    at: &Address,
    request: impl Future<Output = Result<T, StorageError>> + Send + 'static,
) -> Result<T, StorageError> {
    Task::start(action, at, request)?.wait()
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Task<T> {
    action: &'static str,
    address: String,
    result: mpsc::Receiver<Result<T, StorageError>>,
    abort: tokio::task::AbortHandle,
}

impl<T: Send + 'static> Task<T> {
    pub fn start(
        action: &'static str,
        at: &Address,
        request: impl Future<Output = Result<T, StorageError>> + Send + 'static,
    ) -> Result<Self, StorageError> {
        let (sender, result) = mpsc::sync_channel(1);
        let task = handle(action, at)?.spawn(async move {
            // Nobody waits any more if this fails.
            let _ = sender.send(request.await);
        });
        Ok(Self { action, address: at.to_string(), result, abort: task.abort_handle() })
    }

    pub fn wait(&self) -> Result<T, StorageError> {
        self.result.recv().unwrap_or_else(|_| {
            Err(StorageError::Threads {
                action: self.action,
                address: self.address.clone(),
                source: io::Error::other("the request's thread panicked"),
            })
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.abort.abort();
    }
}
