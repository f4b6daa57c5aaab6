//! What is left of an experiment, and about how long it takes.

use std::time::Instant;

use voice::terminal::{counted, duration};

use super::ExperimentError;
use super::judged::{Judged, is_trained};
use super::kept::RunRecord;
use super::lab::Lab;
use super::settle::Settled;
use crate::checkpoint::CheckpointFolder;

/// What a picture that is judged takes of what one that is trained on takes: all of it is seen, but
/// nothing is learned.
const JUDGED: f64 = 1.5;

/// What is ahead.
pub(super) struct Ahead<'a> {
    lab: &'a Lab<'a>,
    /// The runs, with the seconds of their training and of judging them once.
    runs: Vec<(&'a RunRecord, f64, f64)>,
    begun: Instant,
    /// Seconds that were left by plan when this began.
    planned: f64,
}

impl<'a> Ahead<'a> {
    /// Of runs that are begun or not.
    pub fn of(
        lab: &'a Lab<'a>,
        settled: &Settled,
        runs: &'a [RunRecord],
    ) -> Result<Self, ExperimentError> {
        let scale = lab.request.scale;
        let pictures = [scale.train_pictures, scale.test_pictures];
        let pictures = pictures.map(|most| most.min(lab.setup.pictures)).iter().sum::<u64>();
        let of = |run: &'a RunRecord| {
            let pace = settled.of(run.arm).views_per_s.max(1e-9);
            let training = (run.steps * run.batch) as f64 / pace;
            (run, training, JUDGED * pictures as f64 / pace)
        };
        let runs = runs.iter().map(of).collect();
        let mut ahead = Self { lab, runs, begun: Instant::now(), planned: 0.0 };
        ahead.planned = ahead.left()?.1;
        Ok(ahead)
    }

    /// Runs and seconds that are left, by plan.
    fn left(&self) -> Result<(usize, f64), ExperimentError> {
        let (mut runs, mut seconds) = (0, 0.0);
        for &(run, training, judging) in &self.runs {
            let folder = self.lab.folder(run);
            let to_judge = Judged::read(&folder)?.missing(run.steps).count();
            let diverged = RunRecord::read(&folder)?.is_some_and(|kept| kept.diverged.is_some());
            if diverged || to_judge == 0 {
                continue;
            }
            let made = match is_trained(run, &folder)? {
                true => run.steps,
                false => CheckpointFolder::of_run(&folder).steps()?.last().copied().unwrap_or(0),
            };
            runs += 1;
            let to_train = run.steps.saturating_sub(made) as f64 / run.steps as f64;
            seconds += to_train * training + to_judge as f64 * judging;
        }
        Ok((runs, seconds))
    }

    /// What is told before the first run.
    pub fn told(&self) -> Result<String, ExperimentError> {
        let (left, seconds) = self.left()?;
        let done = self.runs.len() - left;
        let cores = "on a machine that does nothing else";
        Ok(format!(
            "{} to make, {done} made already: about {} {cores}",
            counted(left as u64, "run"),
            duration(seconds)
        ))
    }

    /// What is told at a point of a run: `text` came out there.
    pub fn at(&self, run: &RunRecord, step: u64, text: &str) -> Result<String, ExperimentError> {
        let (left, seconds) = self.left()?;
        // As slow as it has been so far, which is known after a while.
        let done = self.planned - seconds;
        let spent = self.begun.elapsed().as_secs_f64();
        let slowness = if spent > 60.0 { spent / done.max(1e-9) } else { 1.0 };
        Ok(format!(
            "{}, seed {}, step {step} of {}: {text}; {} of {} left, about {}",
            run.arm,
            run.seed,
            run.steps,
            left,
            counted(self.runs.len() as u64, "run"),
            duration(seconds * slowness)
        ))
    }
}
