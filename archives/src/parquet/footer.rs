//! The end of a file, from which its metadata is read.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, buf::Reader};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::super::Origin;
use super::thrift::Input;
use super::{Trouble, Troubles, note};

/// Most bytes of a file's metadata. Decoded they take some hundred times as many.
const METADATA: u64 = 32 << 20;

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(ParquetError::General(message.into()))
}

/// The field of a file's metadata that says how columns are encrypted.
const ENCRYPTION: i64 = 8;

/// The end of a file, from which its metadata is read.
pub(super) struct Footer {
    origin: Arc<dyn Origin>,
    troubles: Troubles,
    /// What was read: the last bytes, then the metadata.
    read: Mutex<Vec<Bytes>>,
}

impl Footer {
    pub(super) fn new(origin: Arc<dyn Origin>, troubles: Troubles) -> Self {
        Self { origin, troubles, read: Mutex::default() }
    }

    /// Whether the metadata, or some of the columns, can't be read without a key.
    pub(super) fn is_encrypted(&self) -> bool {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.iter().any(|bytes| bytes.ends_with(b"PARE"))
            // Of a file that is cut short the end says nothing.
            || read.iter().any(|bytes| bytes.ends_with(b"PAR1"))
                && read.last().and_then(|metadata| says_encrypted(metadata)).unwrap_or(false)
    }
}

/// Whether metadata have a field about encryption; none if they can't be read.
fn says_encrypted(metadata: &[u8]) -> Option<bool> {
    let mut input = Input::new(metadata);
    let mut field = 0;
    while let Some(kind) = input.field(&mut field)? {
        if field == ENCRYPTION {
            return Some(true);
        }
        input.skip(kind, 0)?;
    }
    Some(false)
}

impl Length for Footer {
    fn len(&self) -> u64 {
        self.origin.bytes()
    }
}

impl ChunkReader for Footer {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let length = self.len().saturating_sub(start);
        Ok(self.get_bytes(start, usize::try_from(length)?)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|&end| end <= self.len());
        let Some(end) = end else { return error("it points beyond the file's end") };
        if length as u64 > METADATA {
            return error(format!("{length} bytes of metadata, where {METADATA} are allowed"));
        }
        let bytes = self.origin.read_range(start..end).map_err(|source| {
            note(&self.troubles, Trouble::Io(source));
            ParquetError::General("the storage failed".to_owned())
        })?;
        self.read.lock().unwrap_or_else(PoisonError::into_inner).push(bytes.clone());
        Ok(bytes)
    }
}
