//! What stops a run.

use std::path::PathBuf;

use storage::StorageError;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::device::NoDevice;
use crate::metrics::MetricsError;
use crate::model::state::StateError;
use crate::ranks::RanksError;
use crate::settings::SettingsError;

/// What stops a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The shards.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The shards, in mid-run.
    #[error(
        "{source}; the run got as far as step {step}, which {} keeps: once the shards can be read again, --resume goes on from there",
        checkpoint.display()
    )]
    Unread {
        /// What can't be read.
        source: DataError,
        /// Optimizer steps made.
        step: u64,
        /// The checkpoint after them.
        checkpoint: PathBuf,
    },
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The device.
    #[error(transparent)]
    Device(#[from] NoDevice),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A checkpoint's parameters.
    #[error("checkpoint {}: {source}", path.display())]
    State {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        source: StateError,
    },
    /// The run's folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The run's folder holds an earlier run.
    #[error(
        "{} holds a run that has made {step} steps; pass --resume to go on with it, or choose another --out",
        out.display()
    )]
    Occupied {
        /// The run's folder.
        out: PathBuf,
        /// Its newest checkpoint's step.
        step: u64,
    },
    /// Another program trains into the run's folder.
    #[error(
        "another trainer is at work in {}; wait for it to end or stop it, or choose another --out",
        .0.display()
    )]
    Locked(PathBuf),
    /// The run's folder can't be locked.
    #[error(transparent)]
    Lock(#[from] StorageError),
    /// A resumed run's settings differ from its checkpoint's.
    #[error("checkpoint {} was made with other settings: {differences}; leave them out to go on as before, or start anew with another --out", path.display())]
    Conflict {
        /// The checkpoint.
        path: PathBuf,
        /// Each flag with its earlier value and the one now.
        differences: String,
    },
    /// A resumed run's shards are others.
    #[error(
        "checkpoint {} was made on another shard set than {}; give its --shards, or start anew with another --out",
        path.display(),
        shards
    )]
    OtherShards {
        /// The checkpoint.
        path: PathBuf,
        /// The shards now.
        shards: String,
    },
    /// The settings of a resumed run do not make the network of its checkpoint.
    #[error("checkpoint {} holds another network than this release makes of its settings; use the release that wrote it", .0.display())]
    OtherNetwork(PathBuf),
    /// The shards hold too few rows for a step.
    #[error(
        "{batches} batches of {batch_size} views make less than one step of --accum {accum}; lower --batch-size or --accum"
    )]
    TooFew {
        /// Batches in the whole schedule.
        batches: u64,
        /// Views a batch.
        batch_size: usize,
        /// Batches a step.
        accum: usize,
    },
    /// Other ranks, or what keeps them from training with this one.
    #[error(transparent)]
    Ranks(#[from] RanksError),
    /// A batch has less than a view for each rank.
    #[error(
        "--batch-size {batch_size} has not a view for each of {ranks} ranks; it is that of all of them together"
    )]
    FewViews {
        /// Views a batch.
        batch_size: usize,
        /// Ranks in all.
        ranks: usize,
    },
    /// A rank's thread panicked.
    #[error("rank {rank} panicked: {text}")]
    Panicked {
        /// Its number.
        rank: usize,
        /// What it said.
        text: String,
    },
    /// The system gives no thread.
    #[error("can't start a thread: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// A loss or gradient that is no number.
    #[error("step {step}: {what} is {value}. Rows: {rows}; all of them are in {}. Last good checkpoint: {checkpoint}. Lower --lr, set --clip-grad 1, or use --precision f32", list.display())]
    NotFinite {
        /// The optimizer step, from 1.
        step: u64,
        /// What is not finite.
        what: String,
        /// Its value.
        value: f64,
        /// The first rows of the batch.
        rows: String,
        /// The file that lists all rows.
        list: PathBuf,
        /// The last checkpoint, or that there is none.
        checkpoint: String,
    },
}
