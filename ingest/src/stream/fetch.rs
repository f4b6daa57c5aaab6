//! Remote pictures, fetched several at once.

use std::error::Error;
use std::io::Read;
use std::thread::Scope;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use schemas::Reason;
use storage::{Address, Storage, StorageError};

use super::too_large;
use crate::picture::Fault;
use crate::{IngestError, terminal};

/// Pictures that are fetched at once.
const FETCHES: usize = 32;

type Fetched = Result<Result<Bytes, Fault>, IngestError>;

struct Job {
    at: Address,
    body: Sender<Fetched>,
}

/// The threads that fetch; they start with the first picture and end when this is dropped.
pub(super) struct Fetcher<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    storage: &'env Storage,
    most: u64,
    jobs: Option<Sender<Job>>,
}

impl<'scope, 'env> Fetcher<'scope, 'env> {
    pub fn new(scope: &'scope Scope<'scope, 'env>, storage: &'env Storage, most: u64) -> Self {
        Self { scope, storage, most, jobs: None }
    }

    /// Begins to fetch; the bytes come through the channel.
    pub fn fetch(&mut self, at: Address) -> Receiver<Fetched> {
        let (body, receiver) = bounded(1);
        let jobs = self.jobs.get_or_insert_with(|| {
            let (jobs, receiver) = bounded::<Job>(0);
            for _ in 0..FETCHES {
                let (receiver, storage, most) = (receiver.clone(), self.storage, self.most);
                self.scope.spawn(move || {
                    for Job { at, body } in receiver {
                        // A picture that nobody waits for any more is of no use.
                        let _ = body.send(read(storage, &at, most));
                    }
                });
            }
            jobs
        });
        // The threads take jobs for as long as this holds the sender.
        let _ = jobs.send(Job { at, body });
        receiver
    }
}

fn read(storage: &Storage, at: &Address, most: u64) -> Fetched {
    let mut bytes = Vec::new();
    let read = storage.reader(at, 0).map_err(std::io::Error::from);
    match read.and_then(|reader| reader.take(most.saturating_add(1)).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > most => Ok(Err(too_large(bytes.len() as u64, most))),
        Ok(_) => Ok(Ok(bytes.into())),
        Err(error) => failed(at, error),
    }
}

/// What can't be had from a bucket may be sound, so that the run must not pass over it; a web
/// address that fails to the end is one of the many of a crawl that are dead.
fn failed(at: &Address, error: std::io::Error) -> Fetched {
    let web = at.is_web();
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let error = match error.downcast::<StorageError>() {
        Ok(error) if web || missing => with_causes(&error),
        Err(error) if web || missing => with_causes(&error),
        Ok(error) => return Err(error.into()),
        Err(source) => return Err(IngestError::Fetch { at: at.clone(), source }),
    };
    Ok(Err(Fault { reason: Reason::Unreadable, message: error }))
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    terminal::with_causes(std::iter::successors(Some(error), |&error| error.source()))
}
