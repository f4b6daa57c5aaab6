//! An object's bytes in order, with the next ranges on their way.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use object_store::Error as StoreError;

use crate::local::LocalReader;
use crate::remote::{Remote, Version};
use crate::runtime::{Task, wait};
use crate::{Address, StorageError};

/// Reads an object in order. Errors carry a [`StorageError`].
#[derive(Debug)]
pub struct Reader(Kind);

#[derive(Debug)]
enum Kind {
    Local(LocalReader),
    Remote(RemoteReader),
}

impl Reader {
    pub(crate) fn open(
        remote: Option<Remote>,
        at: &Address,
        from: u64,
    ) -> Result<Self, StorageError> {
        Ok(Self(match remote {
            None => Kind::Local(LocalReader::open(at, from)?),
            Some(remote) => Kind::Remote(RemoteReader::open(remote, at, from)?),
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
    /// Ranges on their way, in order.
    coming: VecDeque<Task<Bytes>>,
    /// What came and was not read yet.
    here: Bytes,
}

impl RemoteReader {
    fn open(remote: Remote, at: &Address, from: u64) -> Result<Self, StorageError> {
        let asked = remote.clone();
        let version = wait("read", at, async move {
            let missing = || StorageError::Missing {
                action: "read",
                address: asked.at.to_string(),
                source: Box::new(StoreError::NotFound {
                    path: asked.path.to_string(),
                    source: "no such object".into(),
                }),
            };
            asked.version("read").await?.ok_or_else(missing)
        })?;
        if from > version.bytes {
            let (address, range) = (at.to_string(), from..from);
            return Err(StorageError::Beyond { address, bytes: version.bytes, range });
        }
        let mut reader = Self {
            remote,
            version: Arc::new(version),
            next: from,
            coming: VecDeque::new(),
            here: Bytes::new(),
        };
        reader.ask()?;
        Ok(reader)
    }

    /// Asks for ranges until as many are on their way as may be.
    fn ask(&mut self) -> Result<(), StorageError> {
        let limits = &self.remote.limits;
        while self.coming.len() < limits.ahead.max(1) && self.next < self.version.bytes {
            let end = self.version.bytes.min(self.next + limits.range_bytes);
            let range = self.next..end;
            let (remote, version) = (self.remote.clone(), Arc::clone(&self.version));
            self.coming.push_back(Task::start("read", &self.remote.at, async move {
                Ok(remote.range(range, Some(&version)).await?.0)
            })?);
            self.next = end;
        }
        Ok(())
    }
}

impl Read for RemoteReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while self.here.is_empty() {
            let Some(first) = self.coming.front() else { return Ok(0) };
            // One that failed stays in front, so that a second call does not read past the gap.
            self.here = first.wait()?;
            self.coming.pop_front();
            self.ask()?;
        }
        let count = into.len().min(self.here.len());
        self.here.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

impl std::fmt::Debug for RemoteReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteReader").field("at", &self.remote.at).finish_non_exhaustive()
    }
}
