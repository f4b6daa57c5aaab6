//! What can be wrong with shards.

use std::error::Error;
use std::iter::successors;
use std::path::PathBuf;

use storage::{Address, StorageError};
use voice::terminal;

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
        "{at}{}: {reason}; `ingest verify {folder}` tells all that is damaged, `ingest repair {folder}` makes it again from the sources",
        group.map_or(String::new(), |group| format!(", row group {group}"))
    )]
    Shard {
        /// The shard.
        at: String,
        /// The folder of the set.
        folder: String,
        /// Its row group, if the fault lies in one.
        group: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// A target cell that the shards do not hold.
    #[error(
        "{at}: the shards hold {what} of {found:?} pixels, but a tap needs {cell}; choose other --cells, or ingest with {flag} for it"
    )]
    Cell {
        /// The folder.
        at: String,
        /// The cell that is needed.
        cell: usize,
        /// The cells in the shards.
        found: Vec<u32>,
        /// What the shards hold of cells.
        what: &'static str,
        /// The flag of `ingest` that makes it.
        flag: &'static str,
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
        Self::fault(at, None, reason)
    }

    /// A fault in a row group.
    pub(super) fn group(at: &Address, group: usize, reason: impl ToString) -> Self {
        Self::fault(at, Some(group), reason)
    }

    fn fault(at: &Address, group: Option<usize>, reason: impl ToString) -> Self {
        let at = at.to_string();
        // Shards lie in the set's folder itself.
        let folder = at.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned();
        Self::Shard { at, folder, group, reason: reason.to_string() }
    }
}

/// Keeps what the error says, with its causes, so that every thread can be told.
impl From<StorageError> for DataError {
    fn from(error: StorageError) -> Self {
        let first: &(dyn Error + 'static) = &error;
        Self::Storage(terminal::with_causes(successors(Some(first), |&error| error.source())))
    }
}
