//! What a run's folder has of the encoder's worth at the points of the run.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ExperimentError;
use super::kept::RunRecord;
use super::plan;
use crate::checkpoint::CheckpointFolder;
use crate::eval::record::{self, EvalRecord};
use crate::metrics;

/// How an encoder is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// By a linear classifier.
    Linear,
    /// By its nearest neighbours.
    Knn,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Linear, Self::Knn];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Knn => "k-NN",
        }
    }

    /// As evaluations call it.
    fn method(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Knn => "knn",
        }
    }
}

/// The evaluations that an experiment made of a run.
#[derive(Debug, Clone)]
pub(super) struct Judged(Vec<EvalRecord>);

impl Judged {
    /// Those in a run's folder. Others that lie there, of the topmost layer alone, are passed over.
    pub fn read(run: &Path) -> Result<Self, ExperimentError> {
        let io = |source| ExperimentError::Io { path: run.to_owned(), source };
        let mut evals = record::read_all(run).map_err(io)?;
        evals.retain(|eval| !eval.layers.is_empty());
        Ok(Self(evals))
    }

    /// How a step did.
    pub fn at(&self, kind: Kind, step: u64) -> Option<&EvalRecord> {
        self.0.iter().find(|eval| eval.step == step && eval.method.name() == kind.method())
    }

    /// Whether a step was judged in both ways.
    pub fn has(&self, step: u64) -> bool {
        Kind::ALL.into_iter().all(|kind| self.at(kind, step).is_some())
    }

    /// The points of a run of so many steps that were not judged, from the untrained encoder on.
    pub fn missing(&self, steps: u64) -> impl Iterator<Item = u64> {
        let points = std::iter::once(0).chain(plan::points(steps));
        points.filter(|&step| !self.has(step))
    }
}

/// Whether nothing is left to train of a run: its last step was judged or can be, or it was made and
/// its checkpoints were left behind where it was.
pub(super) fn is_trained(run: &RunRecord, folder: &Path) -> Result<bool, ExperimentError> {
    if Judged::read(folder)?.has(run.steps) {
        return Ok(true);
    }
    let last = metrics::read(folder)?.last().map(|record| record.step);
    let checkpoints = CheckpointFolder::of_run(folder);
    Ok(last == Some(run.steps)
        && (checkpoints.path(run.steps).exists() || checkpoints.steps()?.is_empty()))
}
