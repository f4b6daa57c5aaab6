//! Shards → what is settled before the first run: how many steps each arm makes in the time there
//! is, and at which learning rate.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use voice::terminal;

use super::plan::{self, Arm, Plan, RATES};
use super::{Bench, ExperimentError, ExperimentRequest, Scale, write};
use crate::checkpoint::CheckpointFolder;
use crate::eval;
use crate::eval::knn::KnnSettings;
use crate::eval::record::Method;
use crate::metrics;
use crate::settings::Settings;
use crate::train::run::TrainError;

/// Steps of the run that tells how fast an arm is.
const PACE_STEPS: u64 = 12;

/// What an experiment has settled before its first run; kept, so that it can be taken up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settled {
    scale: Scale,
    pub(super) arms: Vec<ArmSettled>,
}

/// What is settled for an arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ArmSettled {
    pub(super) arm: Arm,
    /// How fast it is here.
    views_per_s: f64,
    /// The steps it makes in the time of a run.
    pub(super) steps: u64,
    /// One for each of the [`RATES`] that was tried so far.
    pub(super) trials: Vec<Trial>,
}

/// What a learning rate gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The base learning rate.
    pub rate: f64,
    /// Top-1 accuracy by k-NN on pictures held out from those to train on; 0 where the loss became
    /// no number.
    pub accuracy: f64,
}

impl Settled {
    pub(super) fn of(&self, arm: Arm) -> &ArmSettled {
        self.arms.iter().find(|settled| settled.arm == arm).expect("every arm is settled first")
    }
}

impl ArmSettled {
    /// The rate that did best; the lower of two that did equally well.
    pub(super) fn rate(&self) -> f64 {
        let better = |a: Trial, b: Trial| if b.accuracy > a.accuracy { b } else { a };
        self.trials.iter().copied().reduce(better).map_or(RATES[0], |trial| trial.rate)
    }
}

/// Settles steps and rates of each arm: measured once, kept with the experiment.
pub(super) fn settle(bench: &Bench<'_>) -> Result<Settled, ExperimentError> {
    let Bench { request, dataset, console, .. } = *bench;
    let path = request.out.join("settled.json");
    let mut settled = read(request, &path)?;
    let keep = |settled: &Settled| {
        let text = serde_json::to_vec_pretty(settled).expect("numbers are always JSON");
        write(&path, &text)
    };
    for &arm in &request.arms {
        if settled.arms.iter().any(|settled| settled.arm == arm) {
            continue;
        }
        let views_per_s = pace(bench, arm)?;
        let views = request.scale.minutes * 60.0 * views_per_s;
        let steps = ((views / plan::BATCH as f64) as u64).max(plan::POINTS);
        console.message(&format!(
            "{}: {} views/s, so {steps} steps in {} minutes",
            arm.name(),
            terminal::rate(views_per_s),
            request.scale.minutes
        ));
        settled.arms.push(ArmSettled { arm, views_per_s, steps, trials: vec![] });
        keep(&settled)?;
    }
    for at in 0..settled.arms.len() {
        let ArmSettled { arm, steps, ref trials, .. } = settled.arms[at];
        if !request.arms.contains(&arm) {
            continue;
        }
        let tried = |rate: &f64| trials.iter().any(|trial| trial.rate == *rate);
        let untried: Vec<f64> = RATES.into_iter().filter(|rate| !tried(rate)).collect();
        for rate in untried {
            let plan = Plan {
                steps: ((steps as f64 * plan::TRIAL) as u64).max(1),
                rate,
                rows: dataset.rows(),
                // One that no run has.
                seed: request.scale.seeds,
            };
            let accuracy = try_rate(bench, arm, plan)?;
            console.message(&format!(
                "{} at a rate of {rate:e}: knn {} on held-out pictures",
                arm.name(),
                eval::score::percent(accuracy)
            ));
            settled.arms[at].trials.push(Trial { rate, accuracy });
            keep(&settled)?;
        }
    }
    // Those that were asked for, in that order, whatever else the folder holds.
    let place = |settled: &ArmSettled| request.arms.iter().position(|arm| *arm == settled.arm);
    settled.arms.retain(|settled| place(settled).is_some());
    settled.arms.sort_by_key(place);
    Ok(settled)
}

/// What was settled before in the folder, if anything.
fn read(request: &ExperimentRequest, path: &Path) -> Result<Settled, ExperimentError> {
    let io = |source| ExperimentError::Io { path: path.to_owned(), source };
    let found = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice::<Settled>(&bytes)
            .map_err(|source| io(io::Error::other(source)))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Settled { scale: request.scale, arms: vec![] });
        }
        Err(source) => return Err(io(source)),
    };
    let other = |found| ExperimentError::Other { out: request.out.clone(), found };
    let mut trials = found.arms.iter().flat_map(|arm| &arm.trials);
    if let Some(trial) = trials.find(|trial| !RATES.contains(&trial.rate)) {
        return Err(other(format!("a base rate of {:e} among those that were tried", trial.rate)));
    }
    if found.scale == request.scale {
        return Ok(found);
    }
    let Scale { minutes, seeds, train_pictures, test_pictures } = found.scale;
    Err(other(format!(
        "{minutes} minutes, {seeds} seeds, {train_pictures} and {test_pictures} pictures to judge on"
    )))
}

/// How many views an arm trains on in a second.
fn pace(bench: &Bench<'_>, arm: Arm) -> Result<f64, ExperimentError> {
    let plan = Plan { steps: PACE_STEPS, rate: RATES[0], rows: bench.dataset.rows(), seed: 0 };
    let mut settings = arm.settings(plan, bench.device)?;
    settings.log_every = PACE_STEPS / 2;
    let folder = bench.request.out.join("pace").join(arm.name());
    train_anew(bench, &folder, &settings)?;
    // The first half warms up.
    Ok(metrics::read(&folder)?.last().map_or(1.0, |record| record.views_per_s))
}

/// What k-NN makes of an arm's features after a short run at a rate. Both its parts are of the
/// pictures to train on; those to be judged on stay unseen.
fn try_rate(bench: &Bench<'_>, arm: Arm, plan: Plan) -> Result<f64, ExperimentError> {
    let mut settings = arm.settings(plan, bench.device)?;
    settings.checkpoint_every = plan.steps;
    settings.keep = 1;
    let folder = bench.request.out.join("rates").join(format!("{}-{:e}", arm.name(), plan.rate));
    match train_anew(bench, &folder, &settings) {
        Err(ExperimentError::Train(TrainError::NotFinite { step, .. })) => {
            let text = format!("step {step}: no finite loss, so the rate is too high");
            bench.console.message(&text);
            return Ok(0.0);
        }
        trained => trained?,
    }
    let checkpoint = CheckpointFolder::of_run(&folder).path(plan.steps);
    let done = bench.judge(checkpoint, None, &[Method::Knn(KnnSettings::default())], 1)?;
    Ok(done.first().map_or(0.0, |done| done.record.score.top1))
}

/// Trains from the first step: a run that was begun says nothing of its pace, and is short.
fn train_anew(
    bench: &Bench<'_>,
    folder: &Path,
    settings: &Settings,
) -> Result<(), ExperimentError> {
    let _ = fs::remove_dir_all(folder);
    bench.train(folder, settings, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::plan::Arm;

    #[test]
    fn the_rate_is_the_one_that_did_best() {
        let trials = |accuracies: &[f64]| ArmSettled {
            arm: Arm::all()[0],
            views_per_s: 1.0,
            steps: 1,
            trials: RATES
                .iter()
                .zip(accuracies)
                .map(|(&rate, &accuracy)| Trial { rate, accuracy })
                .collect(),
        };
        assert_eq!(trials(&[0.2, 0.4, 0.3]).rate(), RATES[1]);
        assert_eq!(trials(&[0.4, 0.4, 0.3]).rate(), RATES[0]);
    }
}
