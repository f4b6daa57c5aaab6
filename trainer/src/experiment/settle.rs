//! Shards → what is settled before the first run: how many steps each arm makes in the time there
//! is, and at which learning rate.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use voice::terminal::{self, duration};

use super::kept::{Machine, Setup, Trial};
use super::lab::Lab;
use super::plan::{self, Arm, RATES};
use super::{ExperimentError, read_json, write_json};
use crate::checkpoint::CheckpointFolder;
use crate::eval;
use crate::eval::linear::LinearSettings;
use crate::eval::record::Method;
use crate::metrics;
use crate::settings::Settings;
use crate::train::run::TrainError;

/// The file of what is settled, in an experiment's folder. Brought to another machine's, it has the
/// same arms make the same steps at the same rates there.
const FILE: &str = "settled.json";
/// Fewest and most steps of the run that tells how fast an arm is, which is a tenth of a run between.
const PACE_STEPS: (u64, u64) = (4, 60);
/// The seed of trials, which no run is likely to have.
const TRIAL_SEED: u64 = 1_000_003;
/// The part of a run that a rate is tried for.
const TRIAL: f64 = 1.0 / 6.0;
/// Minutes that it is tried for at least, unless the run is shorter: the first of them lower every
/// method's accuracy, so that a shorter trial favours a rate at which little has happened yet.
const TRIAL_MINUTES: f64 = 5.0;

/// What an experiment has settled before its first run; kept, so that it can be taken up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settled {
    setup: Setup,
    arms: Vec<ArmSettled>,
}

/// What is settled for an arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArmSettled {
    arm: Arm,
    /// How fast it is on a machine that does nothing else.
    pub views_per_s: f64,
    /// The steps it makes in the time of a run.
    pub steps: u64,
    /// One for each of the [`RATES`] that was tried so far.
    pub trials: Vec<Trial>,
    /// The rate, where it was given.
    given: Option<f64>,
}

impl Settled {
    /// What is settled for an arm that is made, or that one of these is rated by.
    pub fn of(&self, arm: Arm) -> &ArmSettled {
        self.arms.iter().find(|settled| settled.arm == arm).expect("every arm is settled first")
    }

    /// The rate that an arm trains at.
    pub fn rate(&self, arm: Arm) -> f64 {
        self.of(arm).given.unwrap_or_else(|| self.of(arm.rated_by()).rate())
    }

    /// The rates that were tried for it; none where it was given.
    pub fn tried(&self, arm: Arm) -> Vec<Trial> {
        match self.of(arm).given {
            Some(_) => vec![],
            None => self.of(arm.rated_by()).trials.clone(),
        }
    }
}

impl ArmSettled {
    /// The rate that was given, or that did best; the lower of two that did equally well.
    fn rate(&self) -> f64 {
        let better = |a: Trial, b: Trial| if b.accuracy > a.accuracy { b } else { a };
        let best = || self.trials.iter().copied().reduce(better).map(|trial| trial.rate);
        self.given.or_else(best).unwrap_or(RATES[0])
    }

    fn is_rated(&self) -> bool {
        self.given.is_some()
            || RATES.iter().all(|rate| self.trials.iter().any(|trial| trial.rate == *rate))
    }
}

/// Settles steps and rates of each arm: measured once, kept with the experiment.
pub(super) fn settle(lab: &Lab<'_>) -> Result<Settled, ExperimentError> {
    let Lab { request, console, .. } = *lab;
    let path = request.out.join(FILE);
    let mut settled = read(lab, &path)?;
    let keep = |settled: &Settled| write_json(&path, settled);
    let given =
        |arm: Arm| request.rates.iter().find(|(rated, _)| *rated == arm).map(|(_, rate)| *rate);
    // An arm that trains at another's rate needs that one settled, too.
    let needed = request.arms.iter().flat_map(|&arm| match given(arm) {
        Some(_) => vec![arm],
        None => vec![arm.rated_by(), arm],
    });
    for arm in needed {
        if let Some(at) = settled.arms.iter().position(|settled| settled.arm == arm) {
            let settled = &mut settled.arms[at];
            if given(arm).is_some_and(|rate| settled.given != Some(rate)) {
                (settled.given, settled.trials) = (given(arm), vec![]);
            }
            continue;
        }
        let views_per_s = pace(lab, arm)?;
        let views = request.scale.minutes * 60.0 * views_per_s;
        let steps = ((views / plan::BATCH as f64) as u64).max(1);
        console.message(&format!(
            "{arm}: {} views/s, so {steps} steps in {} minutes",
            terminal::rate(views_per_s),
            request.scale.minutes
        ));
        let given = given(arm);
        settled.arms.push(ArmSettled { arm, views_per_s, steps, trials: vec![], given });
        keep(&settled)?;
    }
    keep(&settled)?;
    try_rates(lab, &mut settled, keep)?;
    Ok(settled)
}

/// Tries the rates of the arms that have none.
fn try_rates(
    lab: &Lab<'_>,
    settled: &mut Settled,
    keep: impl Fn(&Settled) -> Result<(), ExperimentError>,
) -> Result<(), ExperimentError> {
    let Lab { request, console, .. } = *lab;
    let minutes = request.scale.minutes;
    let part = TRIAL.max((TRIAL_MINUTES / minutes).min(1.0));
    let is_rated_by = |arm: Arm| {
        let mut arms = request.arms.iter();
        arms.any(|made| made.rated_by() == arm && settled.of(*made).given.is_none())
    };
    let untried: Vec<_> = (0..settled.arms.len())
        .filter(|&at| is_rated_by(settled.arms[at].arm) && !settled.arms[at].is_rated())
        .flat_map(|at| RATES.map(|rate| (at, rate)))
        .filter(|(at, rate)| settled.arms[*at].trials.iter().all(|trial| trial.rate != *rate))
        .collect();
    if !untried.is_empty() {
        console.message(&format!(
            "{} to try rates, about {}; --rate ARM=RATE gives one",
            terminal::counted(untried.len() as u64, "short run"),
            duration(untried.len() as f64 * part * minutes * 60.0)
        ));
    }
    for (at, rate) in untried {
        let ArmSettled { arm, steps, .. } = settled.arms[at];
        let steps = ((steps as f64 * part) as u64).max(1);
        let accuracy = try_rate(lab, arm, steps, rate)?;
        console.message(&format!(
            "{arm} at a rate of {rate:e}: linear {} on held-out pictures",
            eval::score::percent(accuracy)
        ));
        settled.arms[at].trials.push(Trial { rate, accuracy });
        keep(settled)?;
    }
    Ok(())
}

/// What was settled before in the folder, if anything.
fn read(lab: &Lab<'_>, path: &Path) -> Result<Settled, ExperimentError> {
    let Some(found) = read_json::<Settled>(path)? else {
        return Ok(Settled { setup: lab.setup, arms: vec![] });
    };
    if found.setup == lab.setup {
        return Ok(found);
    }
    let found = serde_json::to_string(&found.setup).expect("numbers are always JSON");
    Err(ExperimentError::Other { out: lab.request.out.clone(), found })
}

/// How many views an arm trains on in a second, on a machine that does nothing else: what other
/// programs take of the cores is not counted.
fn pace(lab: &Lab<'_>, arm: Arm) -> Result<f64, ExperimentError> {
    let (fewest, most) = PACE_STEPS;
    let first = pace_of(lab, arm, fewest)?;
    let tenth = lab.request.scale.minutes * 6.0 * first / plan::BATCH as f64;
    match (tenth as u64).min(most) {
        steps if steps > fewest => pace_of(lab, arm, steps),
        _ => Ok(first),
    }
}

/// That of a run of so many steps.
fn pace_of(lab: &Lab<'_>, arm: Arm, steps: u64) -> Result<f64, ExperimentError> {
    let mut settings = lab.settings(arm, (steps, RATES[0], 0))?;
    settings.log_every = steps / 2;
    let folder = lab.request.out.join("pace").join(arm.name());
    train_anew(lab, arm, &folder, &settings)?;
    let records = metrics::read(&folder)?;
    // The first half warms up.
    let ([first, ..], Some(last)) = (records.as_slice(), records.last()) else { return Ok(1.0) };
    let machine = Machine::here(lab.device);
    let took = |of: fn(&metrics::Record) -> Option<f64>| Some(of(last)? - of(first)?);
    let computed = took(|record| record.core_s).map(|cores| cores / machine.cores as f64);
    let seconds = if machine.on_cores { computed } else { took(|record| record.elapsed_s) };
    let views = ((last.step - first.step) * plan::BATCH as u64) as f64;
    Ok(seconds.map_or(last.views_per_s, |seconds| views / seconds.max(1e-3)))
}

/// What a linear classifier makes of an arm's features after a short run at a rate. Both its parts are
/// of the pictures to train on; those to be judged on stay unseen.
fn try_rate(lab: &Lab<'_>, arm: Arm, steps: u64, rate: f64) -> Result<f64, ExperimentError> {
    let mut settings = lab.settings(arm, (steps, rate, TRIAL_SEED))?;
    settings.keep = 1;
    let folder = lab.request.out.join("rates").join(format!("{arm}-{rate:e}"));
    match train_anew(lab, arm, &folder, &settings) {
        Err(ExperimentError::Train(TrainError::NotFinite { step, .. })) => {
            let text = format!("step {step}: no finite loss, so the rate is too high");
            lab.console.message(&text);
            return Ok(0.0);
        }
        trained => trained?,
    }
    let checkpoint = CheckpointFolder::of_run(&folder).path(steps);
    let done = lab.judge(checkpoint, None, &[Method::Linear(LinearSettings::default())], 1)?;
    Ok(done.first().map_or(0.0, |done| done.record.score.top1))
}

/// Trains from the first step: a run that was begun says nothing of its pace, and is short.
fn train_anew(
    lab: &Lab<'_>,
    arm: Arm,
    folder: &Path,
    settings: &Settings,
) -> Result<(), ExperimentError> {
    let _ = fs::remove_dir_all(folder);
    lab.train(arm, folder, settings, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_one_that_did_best_or_the_one_that_was_given() {
        let trials = |accuracies: &[f64]| ArmSettled {
            arm: Arm::BASE,
            views_per_s: 1.0,
            steps: 1,
            trials: RATES
                .iter()
                .zip(accuracies)
                .map(|(&rate, &accuracy)| Trial { rate, accuracy })
                .collect(),
            given: None,
        };
        assert_eq!(trials(&[0.2, 0.4, 0.3]).rate(), RATES[1]);
        assert_eq!(trials(&[0.4, 0.4, 0.3]).rate(), RATES[0]);
        assert!(trials(&[0.4, 0.4, 0.3]).is_rated() && !trials(&[0.4]).is_rated());
        let given = ArmSettled { given: Some(7.0), ..trials(&[]) };
        assert!(given.is_rated() && given.rate() == 7.0);
    }
}
