//! Remote pictures, fetched several at once.

use std::io::Read;
use std::path::Path;
use std::thread::Scope;

use archives::{COMPANION, Limits};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use pictures::{MemoryBudget, Reserved};
use schemas::{Fault, Reason};
use storage::{Address, Storage, StorageError};

use super::{Body, Owner, take, too_large};
use crate::{IngestError, source};

/// Pictures of buckets that are fetched at once.
pub(crate) const FETCHES: usize = 32;
/// What one takes whose size is not known before it comes.
const FROM_A_BUCKET: u64 = 1 << 20;
/// The same of the web, where it grows with what comes.
const FROM_THE_WEB: u64 = 64 << 10;

pub(super) type Fetched = Result<Result<Bytes, Fault>, IngestError>;

/// A picture on its way.
#[derive(Debug)]
pub(crate) enum Coming {
    Stored { body: Receiver<Fetched>, taken: Option<Reserved> },
    Web(web::Download<Share>),
}

impl Coming {
    /// What came, and what it takes of the room for bytes on their way.
    ///
    /// # Errors
    /// [`IngestError`] where it is not this picture that is at fault.
    pub fn wait(self, most: u64) -> Result<(Result<Bytes, Fault>, Option<Reserved>), IngestError> {
        match self {
            Self::Stored { body, taken } => {
                Ok((body.recv().unwrap_or(Err(IngestError::Stopped))?, taken))
            }
            Self::Web(download) => {
                let (page, share) = download.wait();
                let mut taken = share.and_then(|Share(taken)| taken);
                let body = page.map_or_else(of_web, |web::Page { body, codings }| {
                    if let Some(taken) = &mut taken {
                        taken.shrink(body.len() as u64);
                    }
                    let limits = Limits { member_bytes: most, ..Limits::default() };
                    Ok(archives::undone(body, &codings, &limits))
                })?;
                Ok((body, taken))
            }
        }
    }
}

/// A part of the room for bytes on their way.
#[derive(Debug)]
pub(crate) struct Share(Option<Reserved>);

impl web::Room for Share {
    fn grow(&mut self, bytes: u64) -> bool {
        self.0.as_mut().is_some_and(|taken| taken.try_grow(bytes))
    }
}

/// How pictures are had.
#[derive(Clone, Copy)]
pub(crate) struct Reach<'a> {
    pub storage: &'a Storage,
    pub web: &'a web::Options,
    /// Bounds the bytes on their way.
    pub room: &'a MemoryBudget,
    /// Bytes that a picture may have.
    pub most: u64,
}

struct Job {
    at: Address,
    body: Sender<Fetched>,
}

/// What fetches pictures: threads for those of buckets, each of which must come, and a fetcher for
/// the web, where some never do. Both start with the first picture; the threads end when this is
/// dropped.
pub(super) struct Fetcher<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    storage: &'env Storage,
    options: &'env web::Options,
    room: &'env MemoryBudget,
    most: u64,
    jobs: Option<Sender<Job>>,
    web: Option<web::Fetcher>,
}

impl<'scope, 'env> Fetcher<'scope, 'env> {
    pub fn new(scope: &'scope Scope<'scope, 'env>, reach: &Reach<'env>) -> Self {
        let Reach { storage, web: options, room, most } = *reach;
        Self { scope, storage, options, room, most, jobs: None, web: None }
    }

    /// A local picture of so many bytes, of the source `root`, which takes its room; what is too large
    /// by its size is not read.
    pub fn file(&self, path: &Path, root: &Address, bytes: u64) -> Body {
        let taken = if bytes > self.most { None } else { take(self.room, bytes) };
        Body::File { path: path.to_owned(), owner: Owner::Source(root.clone()), bytes, taken }
    }

    /// A picture wherever it lies, of which nobody has said how large it is.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn body(&mut self, at: Address, root: &Address) -> Result<Body, IngestError> {
        Ok(match at.local() {
            Some(path) => {
                let bytes = path.metadata().map_or(0, |about| about.len());
                self.file(path, root, bytes)
            }
            None => Body::Coming { body: self.fetch(at, 0, 0)?, bytes: 0, named: None },
        })
    }

    /// Begins to fetch a picture of so many bytes, 0 if that is not known, which takes the room of so
    /// many files beside it, too.
    ///
    /// # Errors
    /// [`IngestError::Downloads`] if nothing can be fetched from the web.
    pub fn fetch(&mut self, at: Address, bytes: u64, beside: usize) -> Result<Coming, IngestError> {
        if let Some(url) = at.url() {
            let fetcher = match &self.web {
                Some(fetcher) => fetcher,
                None => {
                    let fetcher = web::Fetcher::new(self.options.clone(), self.most);
                    self.web.insert(fetcher.map_err(IngestError::Downloads)?)
                }
            };
            let share = Share(take(self.room, FROM_THE_WEB));
            return Ok(Coming::Web(fetcher.fetch(url, share)));
        }
        // All at once: who waits for a part while holding another may wait for ever.
        let bytes = if bytes == 0 { FROM_A_BUCKET } else { bytes };
        let taken = take(self.room, bytes + beside as u64 * COMPANION);
        Ok(Coming::Stored { body: self.stored(at), taken })
    }

    /// Begins to fetch a file that lies beside a picture of a bucket, and takes no room of its own.
    pub fn beside(&mut self, at: Address) -> Receiver<Fetched> {
        self.stored(at)
    }

    fn stored(&mut self, at: Address) -> Receiver<Fetched> {
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

/// A picture of a bucket.
pub(super) fn read(storage: &Storage, at: &Address, most: u64) -> Fetched {
    let mut bytes = Vec::new();
    let read = storage.reader(at, 0).map_err(std::io::Error::from);
    match read.and_then(|reader| reader.take(most.saturating_add(1)).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > most => Ok(Err(too_large(bytes.len() as u64, most))),
        Ok(_) => Ok(Ok(bytes.into())),
        Err(error) => failed(at, error),
    }
}

/// What can't be had from a bucket may be sound, so that the run must not pass over it. What is not
/// there is told without what the store said, which is other words each time.
fn failed(at: &Address, error: std::io::Error) -> Fetched {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let message = match error.downcast::<StorageError>() {
        Ok(error) if missing => error.to_string(),
        Ok(error) => return Err(error.into()),
        Err(source) => return Err(IngestError::Fetch { at: at.clone(), source }),
    };
    Ok(Err(Fault { reason: Reason::Unreadable, message }))
}

/// A web address that fails is one of the many of a crawl that are dead, unless it is this machine
/// that can't go on.
fn of_web(fault: web::Fault) -> Fetched {
    let (reason, message) = match fault {
        web::Fault::Machine(problem) => return Err(IngestError::Machine(problem)),
        web::Fault::TooLarge { bytes: Some(bytes), most } => {
            return Ok(Err(too_large(bytes, most)));
        }
        web::Fault::TooLarge { .. } => (Reason::TooLarge, format!("{fault} (--max-bytes)")),
        web::Fault::Private(kind) => return Ok(Err(source::private(kind))),
        web::Fault::Forbidden(_) => {
            (Reason::Disallowed, format!("{fault} (--ignore-robots-tag allows it)"))
        }
        fault => (Reason::Unreadable, fault.to_string()),
    };
    Ok(Err(Fault { reason, message }))
}
