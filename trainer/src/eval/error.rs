//! Why an encoder can't be judged, or the figures not be kept.

use std::path::PathBuf;

use super::sides::SidesError;
use crate::checkpoint::CheckpointError;
use crate::encode::EncodeError;
use crate::export::ExportError;
use crate::range::OutOfRange;

/// An evaluation that can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The checkpoint.
    #[error(transparent)]
    Run(#[from] ExportError),
    /// A setting out of its range.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// The train and the test set.
    #[error(transparent)]
    Sides(#[from] SidesError),
    /// The views.
    #[error(transparent)]
    Encode(#[from] EncodeError),
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
    /// It was asked to stop; what was learned is kept.
    #[error("stopped; the same command goes on")]
    Stopped,
    /// The folder of the results.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// Figures that can't be written.
    #[error("{figures}, which can't be kept: {source}")]
    Unkept {
        /// What came out.
        figures: String,
        /// Why.
        source: KeepError,
    },
}

/// Results that can't be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The folder of the results can't be written.
    #[error("{}: results are to lie there, but it can't be written: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The fine-tuned weights.
    #[error(transparent)]
    Weights(#[from] ExportError),
    /// What a tuning goes on from.
    #[error(transparent)]
    Unfinished(#[from] CheckpointError),
    /// Something could not be drawn.
    #[error("the page can't be drawn: {0}")]
    Draw(String),
    /// A file can't be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
