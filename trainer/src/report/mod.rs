//! A run as one self-contained HTML page: losses, reconstructions, rejects.

mod page;
mod panels;

use std::path::{Path, PathBuf};

use crate::data::ShardSource;
use crate::export::{ExportError, find_checkpoint};
use crate::metrics::{self, MetricsError};
use crate::model::StateError;
use crate::plot::PlotError;

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
    /// The checkpoint's parameters do not fit its own sizes.
    #[error("checkpoint {}: {source}", path.display())]
    State {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        source: StateError,
    },
    /// The shards lack what the network was trained on.
    #[error("{shards}: {reason}; give the --shards the run was trained on")]
    OtherShards {
        /// The shards.
        shards: String,
        /// What is missing.
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
) -> Result<(), ReportError> {
    let (path, checkpoint) = find_checkpoint(run)?;
    let records = metrics::read(run)?;
    let set = ingest::read::ShardSet::open_at(source.storage(), source.folder())?;
    let rejects = set.rejects()?;
    let drawn = panels::draw(&checkpoint, &path, &set, source.folder(), views)?;
    let page = page::page(&checkpoint.header, set.manifest(), &rejects, &records, &drawn)?;
    std::fs::write(out, page).map_err(|source| ReportError::Write { path: out.to_owned(), source })
}
