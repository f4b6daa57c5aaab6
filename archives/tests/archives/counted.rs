//! An archive that tells how much of it is read.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use archives::Origin;
use bytes::Bytes;

/// An archive that counts what is read of it, or fails at a place.
pub struct Counted {
    pub bytes: Bytes,
    pub claimed: u64,
    pub fails_at: u64,
    pub read: Arc<AtomicU64>,
}

impl Counted {
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let claimed = bytes.len() as u64;
        Self { bytes, claimed, fails_at: u64::MAX, read: Arc::default() }
    }
}

struct CountedReader {
    inner: Box<dyn Read + Send>,
    left: u64,
    read: Arc<AtomicU64>,
}

impl Read for CountedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read as u64;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Origin for Counted {
    fn bytes(&self) -> u64 {
        self.claimed
    }

    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let inner = self.bytes.reader(from)?;
        let left = self.fails_at.saturating_sub(from);
        Ok(Box::new(CountedReader { inner, left, read: Arc::clone(&self.read) }))
    }

    fn read_range(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.end > self.fails_at {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.bytes.read_range(range)
    }
}
