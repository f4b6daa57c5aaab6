//! Folders of experiments → their runs, put together: what is compared lies in one group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ExperimentError;
use super::kept::{RUNS_FOLDER, RunRecord, Setup};
use super::plan::Arm;
use super::ratio::Curve;
use crate::analyze::{self, NmiRecord};
use crate::eval::record::{self, EvalRecord, LayerScore};
use crate::metrics::{self, Record};

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

/// By what training is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// By the clock, in minutes.
    Clock,
    /// By what the cores computed, in minutes of all of them: what the clock shows on a machine that
    /// does nothing else.
    Cores,
    /// By views seen, in thousands.
    Views,
}

impl Axis {
    /// All.
    pub const ALL: [Self; 3] = [Self::Clock, Self::Cores, Self::Views];

    /// As axes are labelled.
    pub fn label(self) -> &'static str {
        match self {
            Self::Clock => "minutes of training by the clock",
            Self::Cores => "minutes of all cores",
            Self::Views => "thousands of views seen",
        }
    }

    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Cores => "core time",
            Self::Views => "views",
        }
    }
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it is a run of.
    pub record: RunRecord,
    /// Its folder.
    pub folder: PathBuf,
    metrics: Vec<Record>,
    evals: Vec<EvalRecord>,
    /// Mutual information of its attention, untrained and trained, where it was measured.
    pub nmi: Vec<NmiRecord>,
}

impl Run {
    /// Reads a run's folder; none where it is no arm's.
    fn read(folder: &Path) -> Result<Option<Self>, ExperimentError> {
        let Some(record) = RunRecord::read(folder)? else { return Ok(None) };
        let io = |source| ExperimentError::Io { path: folder.to_owned(), source };
        Ok(Some(Self {
            metrics: metrics::read(folder)?,
            evals: record::read_all(folder).map_err(io)?,
            nmi: analyze::read_nmi(folder).map_err(io)?,
            folder: folder.to_owned(),
            record,
        }))
    }

    /// Whether its last step was judged in both ways.
    fn is_finished(&self) -> bool {
        Kind::ALL.into_iter().all(|kind| self.judged(kind, self.record.steps).is_some())
    }

    fn judged(&self, kind: Kind, step: u64) -> Option<&EvalRecord> {
        self.evals.iter().find(|eval| eval.step == step && eval.method.name() == kind.method())
    }

    /// What training had taken after a step that was judged.
    fn spent(&self, step: u64, axis: Axis) -> Option<f64> {
        if axis == Axis::Views {
            return Some((step * self.record.batch) as f64 / 1000.0);
        }
        if step == 0 {
            return Some(0.0);
        }
        let record = self.metrics.iter().find(|record| record.step == step)?;
        let cores = self.record.machine.cores.max(1) as f64;
        match axis {
            Axis::Clock => Some(record.elapsed_s? / 60.0),
            Axis::Cores if self.record.machine.on_cores => Some(record.core_s? / cores / 60.0),
            _ => None,
        }
    }

    /// Top-1 accuracy, of the best layer, from the untrained encoder to the end; none where training
    /// is not known to have been measured so.
    pub fn curve(&self, kind: Kind, axis: Axis) -> Option<Curve> {
        let of_kind = self.evals.iter().filter(|eval| eval.method.name() == kind.method());
        of_kind.map(|eval| Some((self.spent(eval.step, axis)?, eval.score.top1))).collect()
    }

    /// The layer that did best in the end, counted from 1, of how many.
    pub fn best_layer(&self, kind: Kind) -> Option<(usize, usize)> {
        let layers = &self.judged(kind, self.record.steps)?.layers;
        Some((LayerScore::best(layers)?.layer, layers.len()))
    }
}

/// What lies in a folder, by name; nothing where there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Runs that can be compared.
#[derive(Debug, Clone)]
pub struct Group {
    /// What they share.
    pub setup: Setup,
    /// By arm, in the order in which arms are listed, then by seed.
    pub runs: Vec<Run>,
}

impl Group {
    /// The arms of which there are runs.
    pub fn arms(&self) -> Vec<Arm> {
        let mut arms: Vec<_> = self.runs.iter().map(|run| run.record.arm).collect();
        arms.dedup();
        arms
    }

    /// The runs of an arm, by seed.
    pub fn of(&self, arm: Arm) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.record.arm == arm)
    }

    /// Curves of the seeds that two arms share, in the same order.
    pub fn pairs(&self, a: Arm, b: Arm, kind: Kind, axis: Axis) -> (Vec<Curve>, Vec<Curve>) {
        let seed = |run: &Run| run.record.seed;
        self.of(a)
            .filter_map(|one| {
                let other = self.of(b).find(|other| seed(other) == seed(one))?;
                Some((one.curve(kind, axis)?, other.curve(kind, axis)?))
            })
            .unzip()
    }

    /// Whether all runs were measured so.
    pub fn has(&self, axis: Axis) -> bool {
        self.runs.iter().all(|run| run.curve(Kind::Linear, axis).is_some())
    }
}

/// All runs of some folders.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// The finished ones.
    pub groups: Vec<Group>,
    /// The folders of runs that are not.
    pub unfinished: Vec<PathBuf>,
}

/// Puts the runs of experiments together.
///
/// # Errors
/// [`ExperimentError`] if a folder can't be read, there is no run, or two are the same.
pub fn gather(folders: &[PathBuf]) -> Result<Gathered, ExperimentError> {
    let mut runs: Vec<Run> = vec![];
    let mut unfinished = vec![];
    for folder in folders {
        let all = folder.join(RUNS_FOLDER);
        let io = |source| ExperimentError::Io { path: all.clone(), source };
        for path in entries(&all).map_err(io)? {
            let Some(run) = Run::read(&path)? else { continue };
            if !run.is_finished() {
                unfinished.push(path);
                continue;
            }
            let same = |other: &&Run| {
                let (a, b) = (&other.record, &run.record);
                (a.arm, a.seed, a.setup) == (b.arm, b.seed, b.setup)
            };
            if let Some(other) = runs.iter().find(same) {
                return Err(ExperimentError::Twice { a: other.folder.clone(), b: path });
            }
            runs.push(run);
        }
    }
    if runs.is_empty() {
        return Err(ExperimentError::NoRuns { folders: folders.to_vec() });
    }
    let all = Arm::all();
    let place = |run: &Run| all.iter().position(|arm| *arm == run.record.arm);
    runs.sort_by_key(|run| (place(run), run.record.seed));
    let mut groups: Vec<Group> = vec![];
    for run in runs {
        match groups.iter_mut().find(|group| group.setup == run.record.setup) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { setup: run.record.setup, runs: vec![run] }),
        }
    }
    Ok(Gathered { groups, unfinished })
}
