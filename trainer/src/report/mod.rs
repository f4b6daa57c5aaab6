//! A run as one self-contained HTML page: losses, reconstructions, what was learned, rejects.

mod learned;
mod page;
mod panels;

use std::path::{Path, PathBuf};

use shards::{ShardSet, ShardSource, ShardsError};

use crate::device::DeviceKind;
use crate::encode::pictures::Given;
use crate::eval::record;
use crate::export::{ExportError, find_checkpoint};
use crate::metrics::{self, MetricsError};
use crate::model::StateError;
use crate::neighbours::{self, Found, NeighbourSettings, NeighboursError};
use crate::plot::PlotError;
use crate::progress::Console;
use page::Shown;

/// How much a report shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Views that are reconstructed.
    pub views: usize,
    /// Pictures of the set, drawn at random, among which neighbours are looked for; 0 for none.
    pub sample: usize,
}

impl Default for Contents {
    fn default() -> Self {
        Self { views: 6, sample: 300 }
    }
}

impl Contents {
    /// Pictures that are shown with their neighbours, and neighbours of each.
    const NEIGHBOURS: (usize, usize) = (6, 6);
}

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
    Shards(#[from] ShardsError),
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
    /// The run's evaluations.
    #[error(transparent)]
    Evaluations(std::io::Error),
    /// The neighbours.
    #[error(transparent)]
    Neighbours(NeighboursError),
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

/// Writes the report of the run in `run`, trained on the shards of `source`, to `out`; encoder and
/// decoders run on the CPU.
///
/// # Errors
/// [`ReportError`] if run or shards can't be read, or the page can't be written.
pub fn write(
    run: &Path,
    source: &ShardSource,
    out: &Path,
    contents: Contents,
    console: &Console,
) -> Result<(), ReportError> {
    let (path, checkpoint) = find_checkpoint(run, console)?;
    let records = metrics::read(run)?;
    // The set as the run began with it: what was appended since it has not seen.
    let set = ShardSet::open_whole(source.clone())?.as_of(&checkpoint.header.dataset)?;
    let set = set.ok_or_else(|| ReportError::OtherShards {
        path: path.clone(),
        shards: source.folder().to_string(),
    })?;
    let rejects = set.rejects()?;
    let drawn = panels::draw(&checkpoint, &path, &set, contents.views)?;
    let evaluations = record::read_all(run).map_err(ReportError::Evaluations)?;
    let neighbours = neighbours(&path, source, contents, console)?;
    let learned = learned::section(&evaluations, neighbours.as_ref());
    let shown = Shown { drawn: &drawn, learned: &learned };
    let page = page::page(&checkpoint.header, set.manifest(), &rejects, &records, shown)?;
    storage::write_file(out, page)
        .map_err(|source| ReportError::Write { path: out.to_owned(), source })
}

/// The neighbours of a few of the set's pictures; none of a set that has not two.
fn neighbours(
    checkpoint: &Path,
    source: &ShardSource,
    contents: Contents,
    console: &Console,
) -> Result<Option<Found>, ReportError> {
    if contents.sample < 2 {
        return Ok(None);
    }
    let (queries, k) = Contents::NEIGHBOURS;
    let request = neighbours::NeighboursRequest {
        checkpoint: checkpoint.to_owned(),
        storage: source.storage().clone(),
        given: Given::Shards(source.folder().clone()),
        queries: vec![],
        settings: NeighbourSettings {
            queries,
            k,
            sample: contents.sample,
            ..NeighbourSettings::default()
        },
        cache: None,
    };
    match neighbours::find(&request, DeviceKind::Cpu, console) {
        Ok(found) => Ok(Some(found)),
        Err(NeighboursError::TooFew { .. }) => Ok(None),
        Err(error) => Err(ReportError::Neighbours(error)),
    }
}
