//! A list of rejects, a line each, on its way into a set.

use std::io::Write;

use schemas::{FileEntry, Reject};
use storage::{Address, Storage, Writer};

use super::state::json;
use crate::IngestError;

/// A list that is being written. Nobody sees it until it is published.
pub(crate) struct RejectList {
    file: String,
    at: Address,
    writer: Writer,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl RejectList {
    /// Begins the list `file` of the set in `out`.
    pub fn begin(storage: &Storage, out: &Address, file: &str) -> Result<Self, IngestError> {
        let at = out.join(file);
        let writer = storage.writer(&at)?;
        Ok(Self { file: file.to_owned(), at, writer, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Adds a line.
    pub fn add(&mut self, reject: &Reject) -> Result<(), IngestError> {
        let mut line = json(&self.at, reject)?;
        line.push('\n');
        self.hasher.update(line.as_bytes());
        self.bytes += line.len() as u64;
        let written = self.writer.write_all(line.as_bytes());
        written.map_err(|source| IngestError::Write { at: self.at.clone(), source })
    }

    /// Its name, size and hash, as far as it has come.
    pub fn entry(&self) -> FileEntry {
        let blake3 = self.hasher.finalize().to_hex().to_string();
        FileEntry { file: self.file.clone(), bytes: self.bytes, blake3 }
    }

    /// Puts it in its place.
    pub fn publish(self) -> Result<(), IngestError> {
        Ok(self.writer.finish()?)
    }
}
