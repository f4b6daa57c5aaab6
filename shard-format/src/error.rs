//! Why a set can't be read or written.

use std::io;
use std::path::PathBuf;

use parquet::errors::ParquetError;
use schemas::LayoutError;
use storage::{Address, StorageError};

/// What is wrong with a set, where, and the way out. The causes that a system or a library gives are
/// sources of the error, not part of its text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardsError {
    /// Something could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An address that is no finished shard set.
    #[error("{at}: {problem}")]
    NoSet {
        /// The folder, or its manifest.
        at: Box<Address>,
        /// What it is instead, and the way out.
        problem: String,
    },
    /// A file of a set is not as it was written.
    #[error("{file}: {problem}")]
    Damaged {
        /// The file concerned.
        file: String,
        /// What is wrong with it, and the way out.
        problem: String,
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
    /// A shard could not be read.
    #[error("can't read the shard {at}; if it is damaged, `ingest repair {folder}` makes it again")]
    Unreadable {
        /// The shard.
        at: Box<Address>,
        /// The folder of its set.
        folder: String,
        /// What the Parquet library said.
        source: ParquetError,
    },
    /// The columns of a shard are not those of its layout.
    #[error("the shard {at} has other columns than it should")]
    Columns {
        /// The shard.
        at: Box<Address>,
        /// What does not fit.
        source: LayoutError,
    },
    /// A file could not be read to its end.
    #[error("can't read {at} to its end")]
    Read {
        /// The file.
        at: Address,
        /// What went wrong.
        source: io::Error,
    },
    /// The folder of the cache can't be used.
    #[error("{}: {reason}; give a folder that can be written, or leave it out", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A shard could not be written.
    #[error("can't write the shard {at}")]
    Write {
        /// The shard.
        at: Box<Address>,
        /// What the Parquet library said.
        source: ParquetError,
    },
}

impl ShardsError {
    /// A fault in a shard as a whole.
    pub(crate) fn shard(at: &Address, reason: impl ToString) -> Self {
        Self::fault(at, None, reason)
    }

    /// A fault in a row group of a shard.
    pub(crate) fn group(at: &Address, group: usize, reason: impl ToString) -> Self {
        Self::fault(at, Some(group), reason)
    }

    fn fault(at: &Address, group: Option<usize>, reason: impl ToString) -> Self {
        let at = at.to_string();
        let folder = folder(&at).to_owned();
        Self::Shard { at, folder, group, reason: reason.to_string() }
    }

    /// Names the shard that could not be read, and its set.
    pub(crate) fn unreadable<E: Into<ParquetError>>(at: &Address) -> impl FnOnce(E) -> Self {
        let at = Box::new(at.clone());
        move |source| {
            let folder = folder(&at.to_string()).to_owned();
            Self::Unreadable { at, folder, source: source.into() }
        }
    }

    /// Names the shard that could not be written. What the storage said speaks for itself.
    pub(crate) fn write<E: Into<ParquetError>>(at: &Address) -> impl FnOnce(E) -> Self {
        let at = Box::new(at.clone());
        move |source| Self::Write { at, source: source.into() }
    }
}

/// The folder of a shard: shards lie in that of their set itself.
fn folder(shard: &str) -> &str {
    shard.rsplit_once('/').map_or(".", |(folder, _)| folder)
}
