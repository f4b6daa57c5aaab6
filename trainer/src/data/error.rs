//! What can be wrong with shards.

use std::error::Error;
use std::path::PathBuf;

use storage::{Address, StorageError};

/// Shards that can't be read, or not in the way that was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The folder has no usable manifest.
    #[error("{at}: {reason}")]
    Set {
        /// The folder or its manifest.
        at: String,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// A shard is missing, cut short or damaged.
    #[error(
        "{at}{}: {reason}; restore the file, or remake the set with ingest into an empty folder",
        group.map_or(String::new(), |group| format!(", row group {group}"))
    )]
    Shard {
        /// The shard.
        at: String,
        /// Its row group, if the fault lies in one.
        group: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// A target cell that the shards do not hold.
    #[error(
        "{at}: the shards hold cells of {found:?} pixels, but a tap needs {cell}; choose other --cells, or ingest with --cells that include it"
    )]
    Cell {
        /// The folder.
        at: String,
        /// The cell that is needed.
        cell: usize,
        /// The cells in the shards.
        found: Vec<u32>,
    },
    /// Fewer rows than a batch.
    #[error(
        "{at}: {rows} rows do not fill a batch of {batch}; lower --batch-size, or ingest more pictures or --views"
    )]
    TooFew {
        /// The folder.
        at: String,
        /// Rows in the set.
        rows: u64,
        /// Views a batch.
        batch: usize,
    },
    /// The store did not give the bytes of a shard.
    #[error("{0}")]
    Storage(String),
    /// The folder of the cache can't be used.
    #[error("--cache-dir {}: {reason}; give a folder that can be written, or leave it out", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A loader thread ended without a word.
    #[error("a loader thread failed: {0}")]
    Thread(String),
}

impl DataError {
    /// A fault in a shard as a whole.
    pub(super) fn shard(at: &Address, reason: impl ToString) -> Self {
        Self::Shard { at: at.to_string(), group: None, reason: reason.to_string() }
    }

    /// A fault in a row group.
    pub(super) fn group(at: &Address, group: usize, reason: impl ToString) -> Self {
        Self::Shard { at: at.to_string(), group: Some(group), reason: reason.to_string() }
    }
}

/// Keeps what the error says, with its causes, so that every thread can be told.
impl From<StorageError> for DataError {
    fn from(error: StorageError) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        Self::Storage(text)
    }
}
