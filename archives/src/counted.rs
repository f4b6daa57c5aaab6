//! The bytes of an archive as they are stored, counted.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use crate::{ArchiveError, Origin};

/// Data passed over that is longer than this is sought past, if the archive is plain.
pub(super) const SEEK: u64 = 4 << 20;

/// The stored bytes, counted.
pub(super) struct Counted {
    origin: Arc<dyn Origin>,
    reader: BufReader<Box<dyn Read + Send>>,
    at: u64,
    /// The storage failed, not what decodes its bytes.
    failed: bool,
}

impl Counted {
    pub(super) fn new(origin: Arc<dyn Origin>, at: u64) -> Result<Self, ArchiveError> {
        let reader = origin.reader(at).map_err(|source| ArchiveError::Io { offset: at, source })?;
        Ok(Self { origin, reader: BufReader::with_capacity(64 << 10, reader), at, failed: false })
    }

    /// Bytes before the one that is read next.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// How many there are in all.
    pub(super) fn stored(&self) -> u64 {
        self.origin.bytes()
    }

    /// Those that are held of what comes next.
    pub(super) fn buffer(&self) -> &[u8] {
        self.reader.buffer()
    }

    /// Another reader of the same, which stands `bytes` further on.
    pub(super) fn behind(&self, bytes: u64) -> Result<Self, ArchiveError> {
        Self::new(Arc::clone(&self.origin), self.at + bytes)
    }

    /// Whether the storage failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The next `bytes`, which are few.
    pub(super) fn exactly(
        &mut self,
        bytes: usize,
        within: &'static str,
    ) -> Result<Vec<u8>, ArchiveError> {
        let mut held = vec![0; bytes];
        match self.read_exact(&mut held) {
            Ok(()) => Ok(held),
            Err(error) => Err(self.error(error, within)),
        }
    }

    /// Passes over `bytes`.
    pub(super) fn pass(&mut self, bytes: u64, within: &'static str) -> Result<(), ArchiveError> {
        let passed = io::copy(&mut self.by_ref().take(bytes), &mut io::sink());
        match passed {
            Ok(passed) if passed == bytes => Ok(()),
            Ok(_) => Err(ArchiveError::Cut { offset: self.at, within }),
            Err(error) => Err(self.error(error, within)),
        }
    }

    /// Makes of an error in reading or decoding one that says which it was.
    pub(super) fn error(&self, error: io::Error, within: &'static str) -> ArchiveError {
        let offset = self.at;
        if self.failed {
            ArchiveError::Io { offset, source: error }
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            ArchiveError::Cut { offset, within }
        } else {
            ArchiveError::Damaged { offset, problem: error.to_string() }
        }
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.failed |=
            result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        result
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer);
        let read = self.note(read)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.reader.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
        Ok(self.reader.buffer())
    }

    fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.at += bytes as u64;
    }
}
