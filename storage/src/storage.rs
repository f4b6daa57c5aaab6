//! The front: one call for every kind of address.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::options::Limits;
use crate::remote::{Client, Reach, Remote, connect, reach};
use crate::runtime::{self, wait};
use crate::{Address, Lock, Reader, StorageError, StorageOptions, Writer, local};

/// What lies at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its size; 0 for a folder.
    pub bytes: u64,
    /// Differs when the object does: the store's ETag, or size and time of change of a local file.
    /// Empty for a folder.
    pub version: String,
    /// Whether it is a folder; in a bucket, whether something lies below.
    pub folder: bool,
}

/// An object below a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its address from the folder on; [`Address::join`] gives the whole.
    pub relative: String,
    /// Its size.
    pub bytes: u64,
}

/// Reaches what addresses name. Clones are cheap and share their clients, one a bucket.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    options: StorageOptions,
    limits: Arc<Limits>,
    clients: Mutex<HashMap<Reach, Arc<Client>>>,
}

impl Storage {
    /// Reaches everything; credentials are looked for when they are needed.
    ///
    /// # Errors
    ///
    /// [`StorageError::Address`] if the endpoint is no http URL.
    pub fn new(options: StorageOptions) -> Result<Self, StorageError> {
        if let Some(endpoint) = &options.endpoint
            && !url::Url::parse(endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        {
            return Err(StorageError::Address {
                text: endpoint.clone(),
                problem: "not an endpoint; write it as in https://s3.example.com".to_owned(),
            });
        }
        let limits = Arc::new(Limits::new(&options));
        Ok(Self(Arc::new(Inner { options, limits, clients: Mutex::default() })))
    }

    /// Reaches everything, with the default options.
    #[must_use]
    pub fn local() -> Self {
        let options = StorageOptions::default();
        let limits = Arc::new(Limits::new(&options));
        Self(Arc::new(Inner { options, limits, clients: Mutex::default() }))
    }

    /// What it was told.
    #[must_use]
    pub fn options(&self) -> &StorageOptions {
        &self.0.options
    }

    /// What lies at an address; None if nothing does.
    ///
    /// # Errors
    ///
    /// If that can't be found out.
    pub fn stat(&self, at: &Address) -> Result<Option<Stat>, StorageError> {
        match self.remote("look at", at)? {
            None => local::stat(at),
            Some(remote) => wait("look at", at, async move { remote.stat().await }),
        }
    }

    /// Every object below a folder, at any depth and in any order; none if there is no such folder.
    /// In a local folder, links to folders are not followed, and what a [`Writer`] has not finished
    /// is passed over.
    ///
    /// # Errors
    ///
    /// If the listing is not complete, and for http addresses.
    pub fn list(&self, folder: &Address) -> Result<Vec<Listed>, StorageError> {
        match self.remote("list", folder)? {
            None => local::list(folder),
            Some(remote) => wait("list", folder, async move { remote.list().await }),
        }
    }

    /// All bytes of an object.
    ///
    /// # Errors
    ///
    /// [`StorageError::Missing`] if there is nothing, and if the bytes can't be had complete.
    pub fn read(&self, at: &Address) -> Result<Bytes, StorageError> {
        match self.remote("read", at)? {
            None => local::read(at),
            Some(remote) => wait("read", at, async move { remote.read().await }),
        }
    }

    /// Exactly these bytes of an object.
    ///
    /// # Errors
    ///
    /// [`StorageError::Beyond`] if the object ends before; otherwise as [`read`](Self::read).
    pub fn read_range(&self, at: &Address, range: Range<u64>) -> Result<Bytes, StorageError> {
        match self.remote("read", at)? {
            None => local::read_range(at, range),
            Some(_) if range.is_empty() => Ok(Bytes::new()),
            Some(remote) => wait("read", at, async move { remote.read_range(range).await }),
        }
    }

    /// The bytes of an object in order, from one on. Ranges are fetched ahead. If the object changes
    /// in between, reading ends with an error.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`StorageError::Beyond`] if the object ends before `from`.
    pub fn reader(&self, at: &Address, from: u64) -> Result<Reader, StorageError> {
        Reader::open(self.remote("read", at)?, at, from)
    }

    /// Writes an object of any size. Nothing is seen at the address before
    /// [`finish`](Writer::finish).
    ///
    /// # Errors
    ///
    /// If nothing can be written there.
    pub fn writer(&self, at: &Address) -> Result<Writer, StorageError> {
        self.writer_of(at, 0)
    }

    /// As [`writer`](Self::writer), for an object of about so many bytes: where an upload's parts
    /// would be too many for them, they are larger.
    ///
    /// # Errors
    ///
    /// As [`writer`](Self::writer).
    pub fn writer_of(&self, at: &Address, bytes: u64) -> Result<Writer, StorageError> {
        Writer::open(self.remote("write", at)?, at, bytes)
    }

    /// Writes an object, over what is there.
    ///
    /// # Errors
    ///
    /// If it is not known to be written. What was there before is then still there, or the new
    /// object is; never a part of one.
    pub fn put(&self, at: &Address, bytes: impl Into<Bytes>) -> Result<(), StorageError> {
        let bytes = bytes.into();
        match self.remote("write", at)? {
            None => local::put(at, &bytes),
            Some(remote) => wait("write", at, async move { remote.put(bytes).await }),
        }
    }

    /// Removes an object; fine if there is none.
    ///
    /// # Errors
    ///
    /// If it may still be there.
    pub fn delete(&self, at: &Address) -> Result<(), StorageError> {
        match self.remote("delete", at)? {
            None => local::delete(at),
            Some(remote) => wait("delete", at, async move { remote.delete().await }),
        }
    }

    /// Takes a lock; None if somebody else holds it. In a bucket that may take as long as the
    /// lease, a minute: a lock that was not renewed for so long is taken over.
    ///
    /// # Errors
    ///
    /// If it can't be told who holds it.
    pub fn lock(&self, at: &Address) -> Result<Option<Lock>, StorageError> {
        Lock::take(self.remote("lock", at)?, at)
    }

    /// Removes what writers that were killed left in a local folder itself; returns how many files.
    /// Writers at work are not disturbed. Does nothing in a bucket, where nothing is left that could
    /// be seen.
    ///
    /// # Errors
    ///
    /// If the folder can't be read.
    pub fn sweep(&self, folder: &Address) -> Result<usize, StorageError> {
        local::sweep(folder)
    }

    /// None for a local address.
    fn remote(&self, action: &'static str, at: &Address) -> Result<Option<Remote>, StorageError> {
        let Some((reach, path)) = reach(at.place()) else { return Ok(None) };
        if let Reach::Web(url, true) = &reach {
            web::check(url).map_err(|kind| {
                let (address, source) = (at.to_string(), kind);
                StorageError::Private { action, address, source }
            })?;
        }
        // Clients need the runtime, and what it sets up for them.
        let _runtime = runtime::handle(action, at)?.enter();
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match clients.get(&reach) {
            Some(client) => Arc::clone(client),
            None => {
                let client = connect(&reach, &self.0.options).map_err(|source| {
                    StorageError::Settings { address: at.to_string(), source: source.into() }
                })?;
                let client = Arc::new(client);
                clients.insert(reach, Arc::clone(&client));
                client
            }
        };
        Ok(Some(Remote { at: at.clone(), path, client, limits: Arc::clone(&self.0.limits) }))
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self::local()
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}
