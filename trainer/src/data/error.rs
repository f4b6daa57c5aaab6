//! What can be wrong with shards, or with what is asked of them.

use std::error::Error;
use std::iter::successors;

use shards::ShardsError;
use voice::terminal;

/// Shards that can't be read, or not in the way that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The shards.
    #[error(transparent)]
    Shards(ShardsError),
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
    /// A loader thread ended without a word.
    #[error("a loader thread failed: {0}")]
    Thread(String),
}

/// Of a store that fails the error keeps all that it says, with its causes, so that it can be told in
/// one sentence with what became of a run.
impl From<ShardsError> for DataError {
    fn from(error: ShardsError) -> Self {
        match error {
            ShardsError::Storage(error) => {
                let first: &(dyn Error + 'static) = &error;
                let chain = successors(Some(first), |&error| error.source());
                Self::Storage(terminal::with_causes(chain))
            }
            error => Self::Shards(error),
        }
    }
}
