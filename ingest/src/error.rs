//! What can stop a run. A bad picture never does: it becomes a line of `rejects.jsonl`.

use std::io;
use std::path::{Path, PathBuf};

use crate::view::Crop;

/// Why a run could not start or go on, with the way out. The causes that a system or a library
/// gives are sources of the error, not part of its text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// A file could not be read or written.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A setting out of its range.
    #[error("{flag}: {problem}")]
    Setting {
        /// The flag that sets it.
        flag: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The root is no folder.
    #[error("{}: no such folder; give the folder that holds the pictures", .0.display())]
    Root(PathBuf),
    /// The output is the root itself.
    #[error(
        "--out {} is the folder of the pictures itself; give a folder of its own for the shards",
        .0.display()
    )]
    OutIsRoot(PathBuf),
    /// The output holds something that is not ours to write over.
    #[error(
        "--out {} is not empty and was not made by ingest (it holds `{found}`); give an empty or new folder",
        out.display()
    )]
    Foreign {
        /// The output folder.
        out: PathBuf,
        /// One of the entries in it.
        found: String,
    },
    /// An earlier run on the same output had other settings or pictures.
    #[error(
        "{} was begun by a run that differs from this one:\n{}\nGive another --out, repeat the earlier settings, or delete the folder.",
        out.display(),
        .differences.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
    )]
    Differs {
        /// The output folder.
        out: PathBuf,
        /// A sentence a difference, which names the flag.
        differences: Vec<String>,
    },
    /// A set that its manifest calls finished is not as the manifest has it.
    #[error("{}: {problem}; delete the folder and run ingest again", path.display())]
    Damaged {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder that is no shard set.
    #[error("{}: {problem}", path.display())]
    NoSet {
        /// The folder.
        path: PathBuf,
        /// What it is instead, and the way out.
        problem: String,
    },
    /// Another run writes to the same output.
    #[error("another ingest is writing to {}; wait for it to end, or give another --out", .0.display())]
    Locked(PathBuf),
    /// There is not a single file to look at.
    #[error(
        "no file found under {} (hidden files are passed over); give the folder that holds the pictures",
        .0.display()
    )]
    NothingFound(PathBuf),
    /// Not one file became a row.
    #[error("none of the {rejected} files could be used; {} says why for each", rejects.display())]
    NothingAccepted {
        /// How many were rejected.
        rejected: u64,
        /// The list of them.
        rejects: PathBuf,
    },
    /// [`Progress::shard`](crate::Progress::shard) asked to stop.
    #[error("stopped; the finished shards are kept, and the same command goes on from there")]
    Stopped,
    /// Parquet could not be written or read.
    #[error("can't write or read the shard {}", path.display())]
    Parquet {
        /// The shard.
        path: PathBuf,
        /// What the Parquet library said.
        source: parquet::errors::ParquetError,
    },
    /// The columns of a shard are not those of its layout.
    #[error("the shard {} has other columns than it should", path.display())]
    Columns {
        /// The shard.
        path: PathBuf,
        /// What does not fit.
        source: schemas::LayoutError,
    },
    /// The targets could not be computed with these settings.
    #[error(transparent)]
    Targets(#[from] targets::TargetError),
    /// A crop could not be cut out of its picture.
    #[error("can't cut {crop:?} out of a picture: {problem}")]
    Crop {
        /// The crop.
        crop: Crop,
        /// What the resizer said.
        problem: String,
    },
    /// The worker threads could not be started.
    #[error("can't start the worker threads: {0}")]
    Threads(String),
}

impl IngestError {
    /// Makes of an [`io::Error`] one that says what was done to which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Names the shard that a Parquet error concerns.
    pub(crate) fn parquet<E>(path: &Path) -> impl FnOnce(E) -> Self
    where
        E: Into<parquet::errors::ParquetError>,
    {
        let path = path.to_owned();
        move |source| Self::Parquet { path, source: source.into() }
    }
}
