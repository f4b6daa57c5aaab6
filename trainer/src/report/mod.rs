//! A run as one self-contained HTML page: losses, reconstructions, rejects.

mod page;
mod panels;

use std::path::{Path, PathBuf};

use ingest::read::ShardSet;

use crate::data::{DataError, Dataset, ShardSource};
use crate::export::{ExportError, find_checkpoint};
use crate::metrics::{self, MetricsError};
use crate::model::StateError;
use crate::plot::PlotError;
use crate::progress::Console;

/// Views drawn unless told otherwise.
pub const DEFAULT_VIEWS: usize = 6;

/// A report that can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The run's checkpoint.
    #[error(transparent)]
    Run(#[from] ExportError),
    /// The run's metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The shards.
    #[error(transparent)]
    Shards(#[from] ingest::IngestError),
    /// The shards, as training reads them.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The checkpoint's parameters do not fit its own sizes.
    #[error("checkpoint {}: {source}", path.display())]
    State {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        source: StateError,
    },
    /// The run was trained on other shards.
    #[error(
        "checkpoint {} was made on another shard set than {shards}; give the --shards that the run was trained on",
        path.display()
    )]
    OtherShards {
        /// The checkpoint.
        path: PathBuf,
        /// The shards now.
        shards: String,
    },
    /// The checkpoint's network asks for what the shards on which it was trained do not hold.
    #[error("checkpoint {}: its network does not fit the shards: {reason}", path.display())]
    Unfit {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A plot.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// Something could not be drawn.
    #[error("the report can't be drawn: {0}")]
    Draw(String),
    /// The page can't be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Writes the report of the run in `run`, trained on the shards of `source`, to `out`; `views` pictures are
/// reconstructed, on the CPU.
///
/// # Errors
/// [`ReportError`] if run or shards can't be read, or the page can't be written.
pub fn write(
    run: &Path,
    source: &ShardSource,
    out: &Path,
    views: usize,
    console: &Console,
) -> Result<(), ReportError> {
    let (path, checkpoint) = find_checkpoint(run, console)?;
    let records = metrics::read(run)?;
    // The set as the run began with it: what was appended since it has not seen.
    let dataset =
        Dataset::open(source.clone())?.as_of(&checkpoint.header.dataset)?.ok_or_else(|| {
            ReportError::OtherShards { path: path.clone(), shards: source.folder().to_string() }
        })?;
    let set = ShardSet::new(source.storage(), source.folder(), dataset.manifest().clone());
    let rejects = set.rejects()?;
    let drawn = panels::draw(&checkpoint, &path, &set, views)?;
    let page = page::page(&checkpoint.header, set.manifest(), &rejects, &records, &drawn)?;
    std::fs::write(out, page).map_err(|source| ReportError::Write { path: out.to_owned(), source })
}
