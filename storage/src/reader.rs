//! An object's bytes in order, with the next ranges on their way.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::answer::Answer;
use crate::local::LocalReader;
use crate::remote::{Remote, Version, Whole};
use crate::runtime::{Task, wait};
use crate::{Address, StorageError};

/// Reads an object in order. Errors carry a [`StorageError`].
#[derive(Debug)]
pub struct Reader(Kind);

#[derive(Debug)]
enum Kind {
    Local(LocalReader),
    Remote(Box<RemoteReader>),
}

impl Reader {
    pub(crate) fn open(
        remote: Option<Remote>,
        at: &Address,
        from: u64,
    ) -> Result<Self, StorageError> {
        Ok(Self(match remote {
            None => Kind::Local(LocalReader::open(at, from)?),
            Some(remote) => Kind::Remote(Box::new(RemoteReader::open(remote, at, from)?)),
        }))
    }

    /// The size of the whole object in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.0 {
            Kind::Local(reader) => reader.size(),
            Kind::Remote(reader) => reader.version.bytes,
        }
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Local(reader) => reader.read(into),
            Kind::Remote(reader) => reader.read(into),
        }
    }
}

struct RemoteReader {
    remote: Remote,
    version: Arc<Version>,
    /// Where the next range begins that is to be asked for.
    next: u64,
    /// What was given to the caller ends here.
    position: u64,
    coming: Coming,
    /// What came and was not read yet.
    here: Bytes,
}

/// How bytes come.
enum Coming {
    /// Ranges on their way, in order.
    Ranges(VecDeque<Task<Bytes>>),
    /// One body from a server that knows no ranges.
    Whole(Whole),
    /// Not at all: a gap must not be read past.
    Failed,
}

impl RemoteReader {
    fn open(remote: Remote, at: &Address, from: u64) -> Result<Self, StorageError> {
        let asked = remote.clone();
        let version = wait("read", at, async move { asked.existing("read").await })?;
        if from > version.bytes {
            let (address, range) = (at.to_string(), from..from);
            return Err(StorageError::Beyond { address, bytes: version.bytes, range });
        }
        let mut reader = Self {
            remote,
            version: Arc::new(version),
            next: from,
            position: from,
            coming: Coming::Ranges(VecDeque::new()),
            here: Bytes::new(),
        };
        reader.ask()?;
        Ok(reader)
    }

    /// Asks for ranges until as many are on their way as may be.
    fn ask(&mut self) -> Result<(), StorageError> {
        let limits = &self.remote.limits;
        let Coming::Ranges(coming) = &mut self.coming else { return Ok(()) };
        while coming.len() < limits.ahead.max(1) && self.next < self.version.bytes {
            let range = self.next..self.version.bytes.min(self.next + limits.range_bytes);
            self.next = range.end;
            let (remote, version) = (self.remote.clone(), Arc::clone(&self.version));
            coming.push_back(Task::start("read", &self.remote.at, async move {
                Ok(remote.range(range, Some(&version)).await?.0)
            })?);
        }
        Ok(())
    }

    /// The bytes from the position on; some, but at the end.
    fn come(&mut self) -> Result<Bytes, StorageError> {
        if let Coming::Ranges(coming) = &mut self.coming {
            let Some(first) = coming.pop_front() else { return Ok(Bytes::new()) };
            match first.wait() {
                Err(error) if Answer::is_whole(&error) => {
                    let (remote, version) = (self.remote.clone(), Arc::clone(&self.version));
                    self.coming = Coming::Whole(Whole::new(remote, version, self.position));
                }
                result => {
                    self.ask()?;
                    return result;
                }
            }
        }
        match &self.coming {
            Coming::Whole(whole) => {
                let whole = whole.clone();
                wait("read", &self.remote.at, async move { whole.next().await })
            }
            _ => Err(StorageError::Spoilt { address: self.remote.at.to_string() }),
        }
    }
}

impl Read for RemoteReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.here.is_empty() {
            match self.come() {
                Ok(bytes) => self.here = bytes,
                Err(error) => {
                    self.coming = Coming::Failed;
                    return Err(error.into());
                }
            }
        }
        let count = into.len().min(self.here.len());
        self.here.copy_to_slice(&mut into[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl std::fmt::Debug for RemoteReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteReader").field("at", &self.remote.at).finish_non_exhaustive()
    }
}
