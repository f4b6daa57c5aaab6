//! A file at an address, to be read in part.

use std::io::{self, Read};
use std::ops::Range;

use archives::Origin;
use bytes::Bytes;
use storage::{Address, Storage};

/// A file that lies in a storage.
pub(crate) struct Stored {
    pub storage: Storage,
    pub at: Address,
    /// Its size when it was listed.
    pub bytes: u64,
}

impl Origin for Stored {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.storage.reader(&self.at, from)?))
    }

    fn read_range(&self, range: Range<u64>) -> io::Result<Bytes> {
        Ok(self.storage.read_range(&self.at, range)?)
    }
}
