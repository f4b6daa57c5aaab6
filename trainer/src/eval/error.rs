//! Why an encoder can't be judged, or its features be had.

use std::path::PathBuf;

use crate::data::dataset::GroupRef;
use crate::data::{DataError, Dataset};
use crate::export::ExportError;
use crate::model::StateError;

/// An evaluation that can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The checkpoint.
    #[error(transparent)]
    Run(#[from] ExportError),
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
    Data(#[from] DataError),
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
    /// A set without labels.
    #[error(
        "{at}: no row has a label ({unlabelled} have none); put the pictures of each class into a folder of its name and ingest them again"
    )]
    Unlabelled {
        /// The shards.
        at: String,
        /// Its rows.
        unlabelled: u64,
    },
    /// Classes of the test set that the train set lacks.
    #[error(
        "{at}: the classes {unknown:?} are not among those of the train set ({known}); give sets with the same classes"
    )]
    UnknownClasses {
        /// The test shards.
        at: String,
        /// The classes that are missed.
        unknown: Vec<String>,
        /// The first of those that are there.
        known: String,
    },
    /// A split that leaves nothing on one side.
    #[error(
        "{at}: {pictures} labelled pictures are too few to part {share} of them off; give --test-shards"
    )]
    TooFew {
        /// The shards.
        at: String,
        /// Its pictures.
        pictures: usize,
        /// The share for the test.
        share: f64,
    },
    /// A setting out of its range.
    #[error("--{flag} {found} is out of range: {expected}")]
    Range {
        /// The flag.
        flag: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An encoder whose attention is no map of the whole view.
    #[error(
        "checkpoint {}: a Swin attends within windows, so there is no map of the whole view; analyze a ViT",
        path.display()
    )]
    NoAttention {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A loss, or weights, that are no numbers.
    #[error("{method}, step {step}: {what} is {value}; lower --lr")]
    NotFinite {
        /// What is trained.
        method: &'static str,
        /// The step, from 1.
        step: u64,
        /// What is not finite.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// The system gives no thread.
    #[error("can't start a thread: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// Something could not be drawn.
    #[error("the page can't be drawn: {0}")]
    Draw(String),
    /// The folder of the results can't be written.
    #[error("{}: results are to lie there, but it can't be written: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Figures that can't be written.
    #[error("{figures}, which can't be kept: {source}")]
    Unkept {
        /// What came out.
        figures: String,
        /// Why.
        source: Box<EvalError>,
    },
    /// A file can't be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl EvalError {
    /// A fault in a row group.
    pub(super) fn row(dataset: &Dataset, group: GroupRef, reason: String) -> Self {
        let at = format!("{}, row group {}", dataset.address(group.shard), group.group);
        Self::Row { at, reason }
    }
}
