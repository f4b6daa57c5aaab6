//! An object that is seen when it is finished, and not before.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::multipart::PartId;

use crate::file::FileWriter;
use crate::remote::Remote;
use crate::runtime::{Task, wait};
use crate::{Address, StorageError, local};

/// S3's limit.
const MOST_PARTS: usize = 10_000;

/// How long a writer that is dropped waits for its upload to be given up.
const ABORT: Duration = Duration::from_secs(5);

/// Writes an object. Nothing is seen at the address before [`finish`](Self::finish); a writer that
/// is dropped before leaves things as they were. Errors carry a [`StorageError`].
#[derive(Debug)]
pub struct Writer {
    at: Address,
    kind: Kind,
    spoilt: bool,
}

#[derive(Debug)]
enum Kind {
    Local(FileWriter),
    Remote(Box<RemoteWriter>),
}

impl Writer {
    /// Writes an object of about so many bytes.
    pub(crate) fn open(
        remote: Option<Remote>,
        at: &Address,
        bytes: u64,
    ) -> Result<Self, StorageError> {
        let kind = match remote {
            None => Kind::Local(local::writer(at)?),
            Some(remote) => {
                remote.uploads("write")?;
                let enough = usize::try_from(bytes / MOST_PARTS as u64 + 1).unwrap_or(usize::MAX);
                Kind::Remote(Box::new(RemoteWriter {
                    part_bytes: remote.limits.part_bytes.max(enough),
                    remote,
                    part: BytesMut::new(),
                    upload: None,
                    bytes: 0,
                }))
            }
        };
        Ok(Self { at: at.clone(), kind, spoilt: false })
    }

    /// Makes what was written the object at the address, over what was there. It is kept even if
    /// the machine fails right after.
    ///
    /// # Errors
    ///
    /// If that is not known to have succeeded, or an earlier write failed.
    pub fn finish(self) -> Result<(), StorageError> {
        if self.spoilt {
            return Err(StorageError::Spoilt { address: self.at.to_string() });
        }
        match self.kind {
            Kind::Local(writer) => writer.finish().map_err(StorageError::local("write", &self.at)),
            Kind::Remote(writer) => writer.finish(),
        }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.spoilt {
            return Err(StorageError::Spoilt { address: self.at.to_string() }.into());
        }
        let result = match &mut self.kind {
            Kind::Local(writer) => writer
                .write_all(bytes)
                .map(|()| bytes.len())
                .map_err(StorageError::local("write", &self.at)),
            Kind::Remote(writer) => writer.write(bytes),
        };
        self.spoilt = result.is_err();
        Ok(result?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct RemoteWriter {
    remote: Remote,
    /// Bytes of a part.
    part_bytes: usize,
    /// Bytes that are not sent yet; less than a part.
    part: BytesMut,
    /// None while one part can hold everything.
    upload: Option<Upload>,
    bytes: u64,
}

impl RemoteWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, StorageError> {
        let size = self.part_bytes;
        if self.part.len() == size {
            // Full, and more is to come: it is not the last.
            let part = mem::take(&mut self.part).freeze();
            if self.upload.is_none() {
                self.upload = Some(Upload::begin(&self.remote)?);
            }
            if let Some(upload) = &mut self.upload {
                upload.send(part)?;
            }
        }
        if self.part.is_empty() && self.upload.is_some() {
            self.part.reserve(size);
        }
        let count = bytes.len().min(size - self.part.len());
        self.part.extend_from_slice(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn finish(mut self) -> Result<(), StorageError> {
        let part = mem::take(&mut self.part).freeze();
        match self.upload.take() {
            None => {
                let remote = self.remote.clone();
                wait("write", &self.remote.at, async move { remote.put(part).await })
            }
            Some(mut upload) => {
                upload.send(part)?;
                upload.complete(self.bytes)
            }
        }
    }
}

impl std::fmt::Debug for RemoteWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteWriter").field("at", &self.remote.at).finish_non_exhaustive()
    }
}

/// A multipart upload; given up when it is dropped.
struct Upload {
    remote: Remote,
    /// None once it is complete.
    id: Option<String>,
    sent: Vec<PartId>,
    /// Parts on their way, in order after those that are sent.
    going: VecDeque<Task<PartId>>,
}

impl Upload {
    fn begin(remote: &Remote) -> Result<Self, StorageError> {
        let asked = remote.clone();
        let id = wait("write", &remote.at, async move { asked.begin_upload().await })?;
        let (sent, going) = (Vec::new(), VecDeque::new());
        Ok(Self { remote: remote.clone(), id: Some(id), sent, going })
    }

    fn send(&mut self, part: Bytes) -> Result<(), StorageError> {
        let index = self.sent.len() + self.going.len();
        let limits = Arc::clone(&self.remote.limits);
        if index == MOST_PARTS {
            return Err(StorageError::TooLarge {
                address: self.remote.at.to_string(),
                parts: MOST_PARTS,
                part_bytes: limits.part_bytes.max(part.len()),
            });
        }
        while self.going.len() >= limits.uploads {
            self.arrive()?;
        }
        let (remote, id) = (self.remote.clone(), self.id.clone().unwrap_or_default());
        self.going.push_back(Task::start("write", &self.remote.at, async move {
            remote.upload(id, index, part).await
        })?);
        Ok(())
    }

    /// Waits for the first part on its way.
    fn arrive(&mut self) -> Result<(), StorageError> {
        if let Some(first) = self.going.pop_front() {
            self.sent.push(first.wait()?);
        }
        Ok(())
    }

    fn complete(mut self, bytes: u64) -> Result<(), StorageError> {
        while !self.going.is_empty() {
            self.arrive()?;
        }
        let (remote, parts) = (self.remote.clone(), mem::take(&mut self.sent));
        let id = self.id.clone().unwrap_or_default();
        wait(
            "write",
            &self.remote.at,
            async move { remote.complete_upload(id, parts, bytes).await },
        )?;
        self.id = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        // Parts that arrive after the upload is given up would stay.
        self.going.clear();
        let remote = self.remote.clone();
        // Best effort: nothing is seen of the parts in any case.
        let _ = wait("abort the upload to", &self.remote.at, async move {
            let _ = tokio::time::timeout(ABORT, remote.abort_upload(id)).await;
            Ok(())
        });
    }
}
