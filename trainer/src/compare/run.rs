//! What a run's folder tells: how loss and accuracy went over steps and time.

use std::fs;
use std::path::{Path, PathBuf};

use super::CompareError;
use crate::eval::record::{self, EvalRecord};
use crate::metrics::{self, Record};
use crate::settings::{SETTINGS_FILE, Settings};

/// A run as it is compared.
#[derive(Debug, Clone)]
pub struct RunData {
    /// What it is called here.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Recipe, encoder and the like, from its settings.
    pub facts: Vec<(String, String)>,
    /// Its seed.
    pub seed: Option<i64>,
    /// All else that decides its course.
    pub settings: toml::Table,
    /// The logged steps, rising.
    pub logged: Vec<Logged>,
    /// Seconds are reckoned from rates, for the records do not hold them.
    pub reckoned: bool,
    /// Its evaluations, by kind and step.
    pub evals: Vec<EvalRecord>,
}

/// A logged step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logged {
    /// The optimizer step.
    pub step: u64,
    /// Seconds of training behind it.
    pub seconds: f64,
    /// The loss.
    pub loss: f64,
}

/// An evaluation in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The checkpoint's step.
    pub step: f64,
    /// Seconds of training behind it.
    pub seconds: f64,
    /// Top-1 accuracy.
    pub accuracy: f64,
}

/// When an accuracy was reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reached {
    /// The step, on the line between two evaluations.
    pub step: f64,
    /// The seconds, likewise.
    pub seconds: f64,
    /// The first evaluation had reached it already, so that it may have been earlier.
    pub at_most: bool,
}

impl RunData {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// [`CompareError`] if it is no run's folder or something in it can't be read.
    pub fn read(path: &Path) -> Result<Self, CompareError> {
        let file = path.join(SETTINGS_FILE);
        let text = fs::read_to_string(&file)
            .map_err(|source| CompareError::NoRun { path: path.to_owned(), source })?;
        let settings: toml::Table = toml::from_str(&text)
            .map_err(|source| CompareError::Settings { path: file, source: Box::new(source) })?;
        let number = |key: &str| settings.get(key).and_then(toml::Value::as_integer).unwrap_or(1);
        let views = (number("batch-size") * number("accum")) as f64;
        let shown = ["recipe", "model", "target", "batch-size", "accum", "lr", "seed"];
        let facts = shown
            .into_iter()
            .filter_map(|key| {
                let value = settings.get(key)?;
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Some((key.to_owned(), value))
            })
            .collect();
        let records = metrics::read(path)?;
        let evals = record::read_all(path).map_err(CompareError::Eval)?;
        let name = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = name.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let reckoned = records.iter().any(|record| record.elapsed_s.is_none());
        let logged = logged(&records, views);
        let seed = settings.get("seed").and_then(toml::Value::as_integer);
        let decides = |flag: &str| flag != "seed" && !Settings::is_free(flag);
        let settings = settings.into_iter().filter(|(flag, _)| decides(flag)).collect();
        Ok(Self { name, path: path.to_owned(), facts, seed, settings, logged, reckoned, evals })
    }

    /// Seconds of training behind a step: on the line between the logged steps around it; none
    /// where nothing was logged.
    pub fn seconds_at(&self, step: f64) -> Option<f64> {
        let after = self.logged.partition_point(|logged| (logged.step as f64) < step);
        let last = self.logged.last()?;
        let Some(high) = self.logged.get(after) else { return Some(last.seconds) };
        let (low_step, low_seconds) = match after.checked_sub(1).map(|at| &self.logged[at]) {
            Some(low) => (low.step as f64, low.seconds),
            None => (0.0, 0.0),
        };
        let share = (step - low_step) / (high.step as f64 - low_step).max(1e-9);
        Some(low_seconds + share * (high.seconds - low_seconds))
    }

    /// Its evaluations of a kind, by step.
    pub fn points(&self, kind: &str) -> Vec<Point> {
        self.evals
            .iter()
            .filter(|eval| eval.kind() == kind)
            .filter_map(|eval| {
                let step = eval.step as f64;
                Some(Point { step, seconds: self.seconds_at(step)?, accuracy: eval.score.top1 })
            })
            .collect()
    }
}

fn logged(records: &[Record], views: f64) -> Vec<Logged> {
    let (mut step, mut seconds) = (0, 0.0);
    records
        .iter()
        .map(|record| {
            let more = record.step.saturating_sub(step) as f64 * views;
            seconds = record.elapsed_s.unwrap_or(seconds + more / record.views_per_s.max(1e-9));
            step = record.step;
            Logged { step, seconds, loss: record.loss }
        })
        .collect()
}

/// When `points`, by rising step, first reached an accuracy: on the line between the evaluations
/// before and after.
pub fn reached(points: &[Point], accuracy: f64) -> Option<Reached> {
    let at = points.iter().position(|point| point.accuracy >= accuracy)?;
    let high = points[at];
    let Some(low) = at.checked_sub(1).map(|at| points[at]) else {
        return Some(Reached { step: high.step, seconds: high.seconds, at_most: true });
    };
    let share = (accuracy - low.accuracy) / (high.accuracy - low.accuracy);
    Some(Reached {
        step: low.step + share * (high.step - low.step),
        seconds: low.seconds + share * (high.seconds - low.seconds),
        at_most: false,
    })
}
