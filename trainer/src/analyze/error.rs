//! Why an encoder can't be looked into.

use std::path::PathBuf;

use crate::encode::EncodeError;
use crate::export::ExportError;
use crate::range::OutOfRange;

/// An analysis that can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnalyzeError {
    /// The checkpoint.
    #[error(transparent)]
    Run(#[from] ExportError),
    /// The views.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A setting out of its range.
    #[error(transparent)]
    Range(#[from] OutOfRange),
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
