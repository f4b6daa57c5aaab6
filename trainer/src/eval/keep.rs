//! What came out → the run's folder: the figures, their page, a fine-tuned classifier.

use std::path::{Path, PathBuf};

use storage::FileWriter;

use super::error::KeepError;
use super::page;
use super::record::EvalRecord;
use crate::checkpoint::Header;
use crate::export::{self, ExportError};
use crate::model::State;
use crate::progress::Console;

/// What an evaluation gave, and where it lies.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The figures.
    pub record: EvalRecord,
    /// Their file.
    pub json: PathBuf,
    /// The page that shows them.
    pub page: PathBuf,
    /// A fine-tuned encoder with its head, with timm's names.
    pub weights: Option<PathBuf>,
}

/// A fine-tuned encoder with its head.
pub(super) struct Tuned<'a> {
    /// Of the checkpoint from which it was tuned.
    pub header: &'a Header,
    /// The parameters of encoder and head.
    pub parameters: &'a State,
    /// The classes that it tells.
    pub classes: &'a [String],
}

/// Refuses a folder before the work of which nothing could be kept in it.
pub(super) fn writable(folder: &Path) -> Result<(), KeepError> {
    // Never finished, so that nothing is left of it.
    FileWriter::create(&folder.join("probe"))
        .map(drop)
        .map_err(|source| KeepError::Folder { path: folder.to_owned(), source })
}

/// Writes what came out into the run's folder; a classifier that timm has no place for is told.
pub(super) fn keep(
    record: EvalRecord,
    tuned: Option<Tuned<'_>>,
    run: &Path,
    console: &Console,
) -> Result<Evaluated, KeepError> {
    let mut kept = None;
    if let Some(Tuned { header, parameters, classes }) = tuned {
        let weights = record.stem(run).with_extension("safetensors");
        match export::export_classifier(header, parameters, classes, &weights) {
            Ok(()) => kept = Some(weights),
            Err(error @ ExportError::NoTopTap { .. }) => {
                console.message(&format!("the fine-tuned weights are not kept: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Evaluated { weights: kept, ..write(record, run)? })
}

fn write(record: EvalRecord, run: &Path) -> Result<Evaluated, KeepError> {
    let stem = record.stem(run);
    let (json, page) = (stem.with_extension("json"), stem.with_extension("html"));
    let text = serde_json::to_vec_pretty(&record).expect("names and numbers are always JSON");
    let html = page::page(&record)?;
    for (path, bytes) in [(&page, html.as_bytes()), (&json, &text)] {
        storage::write_file(path, bytes)
            .map_err(|source| KeepError::Write { path: path.clone(), source })?;
    }
    Ok(Evaluated { record, json, page, weights: None })
}
