//! What can be wrong with shards.

use std::path::{Path, PathBuf};

/// Shards that can't be read, or not in the way that was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The folder has no usable manifest.
    #[error("{}: {reason}", path.display())]
    Set {
        /// The folder or its manifest.
        path: PathBuf,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// A shard is missing, cut short or damaged.
    #[error(
        "{}{}: {reason}; restore the file, or remake the set with ingest into an empty folder",
        path.display(),
        group.map_or(String::new(), |group| format!(", row group {group}"))
    )]
    Shard {
        /// The shard.
        path: PathBuf,
        /// Its row group, if the fault lies in one.
        group: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// A target cell that the shards do not hold.
    #[error(
        "{}: the shards hold cells of {found:?} pixels, but a tap needs {cell}; choose other --cells, or ingest with --cells that include it",
        path.display()
    )]
    Cell {
        /// The folder.
        path: PathBuf,
        /// The cell that is needed.
        cell: usize,
        /// The cells in the shards.
        found: Vec<u32>,
    },
    /// Fewer rows than a batch.
    #[error(
        "{}: {rows} rows do not fill a batch of {batch}; lower --batch-size, or ingest more pictures or --views",
        path.display()
    )]
    TooFew {
        /// The folder.
        path: PathBuf,
        /// Rows in the set.
        rows: u64,
        /// Views a batch.
        batch: usize,
    },
    /// A loader thread ended without a word.
    #[error("a loader thread failed: {0}")]
    Thread(String),
}

impl DataError {
    /// A fault in a shard as a whole.
    pub(super) fn shard(path: &Path, reason: impl ToString) -> Self {
        Self::Shard { path: path.to_owned(), group: None, reason: reason.to_string() }
    }

    /// A fault in a row group.
    pub(super) fn group(path: &Path, group: usize, reason: impl ToString) -> Self {
        Self::Shard { path: path.to_owned(), group: Some(group), reason: reason.to_string() }
    }
}
