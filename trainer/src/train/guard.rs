//! What stops a run whose numbers are none.

use std::path::Path;

use super::error::TrainError;
use crate::checkpoint::CheckpointFolder;
use crate::data::RowRef;

/// Stops a run whose numbers have left the finite, before they reach the parameters.
pub struct Guard<'a> {
    /// The optimizer step, from 1.
    pub step: u64,
    /// Of which the number was made.
    pub rows: &'a [RowRef],
    pub folder: &'a CheckpointFolder,
    /// The run's folder.
    pub out: &'a Path,
}

impl Guard<'_> {
    /// Refuses a number that is none; the rows it was made of are listed in the run's folder.
    pub fn check(&self, what: &str, value: f64) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        let list = self.out.join(format!("failed-step-{}.txt", self.step));
        let lines: String = self.rows.iter().map(|row| format!("{row}\n")).collect();
        storage::write_file(&list, lines)
            .map_err(|source| TrainError::Io { path: list.clone(), source })?;
        let checkpoint = match self.folder.steps()?.last() {
            Some(&step) => self.folder.path(step).display().to_string(),
            None => "none was written yet".to_owned(),
        };
        let first: Vec<_> = self.rows.iter().take(3).map(ToString::to_string).collect();
        let more = self.rows.len().saturating_sub(first.len());
        let rows = format!("{} and {more} more", first.join(", "));
        Err(TrainError::NotFinite {
            step: self.step,
            what: what.to_owned(),
            value,
            rows,
            list,
            checkpoint,
        })
    }
}
