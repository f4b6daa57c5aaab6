//! Why views can't be had, or can't be encoded.

use std::path::PathBuf;

use shards::{GroupRef, ShardSet, ShardsError};

use crate::model::StateError;

/// Views that can't be had or encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The checkpoint's parameters do not fit its own sizes.
    #[error("checkpoint {}: {source}", path.display())]
    State {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        source: StateError,
    },
    /// The shards.
    #[error(transparent)]
    Shards(#[from] ShardsError),
    /// The pictures.
    #[error(transparent)]
    Ingest(#[from] ingest::IngestError),
    /// Views of another size than the encoder's.
    #[error(
        "{at}: views of {found} pixels, but the encoder takes {expected}; ingest with --size {expected}"
    )]
    Size {
        /// The shards.
        at: String,
        /// The side of their views.
        found: usize,
        /// The side that the encoder takes.
        expected: usize,
    },
    /// A file that was named as a picture.
    #[error("{}: can't be used as a picture: {reason}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A set that was named as a folder of pictures.
    #[error("--pictures {0}: it is a folder of shards; name it with --shards")]
    IsSet(String),
    /// A row that does not fit its set.
    #[error("{at}: {reason}; remake the set with ingest into an empty folder")]
    Row {
        /// The row group.
        at: String,
        /// What is wrong.
        reason: String,
    },
    /// The system gives no thread.
    #[error("can't start a thread: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl EncodeError {
    /// A fault in a row group.
    pub(crate) fn row(dataset: &ShardSet, group: GroupRef, reason: String) -> Self {
        let at = format!("{}, row group {}", dataset.address(group.shard), group.group);
        Self::Row { at, reason }
    }
}
