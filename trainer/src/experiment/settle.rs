//! Shards → what is settled before the first run: how many steps each arm makes in the time there
//! is, and at which learning rate.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use voice::terminal::{self, duration};

use super::kept::{self, Machine, SETTLED_FILE, Setup, Trial};
use super::lab::Lab;
use super::plan::{self, Arm, RATES};
use super::{ExperimentError, ExperimentRequest, read_json, write_json};
use crate::checkpoint::CheckpointFolder;
use crate::eval;
use crate::eval::linear::LinearSettings;
use crate::eval::record::Method;
use crate::metrics;
use crate::settings::Settings;

/// Fewest and most steps of the run that tells how fast an arm is, which is a tenth of a run between.
const PACE_STEPS: (u64, u64) = (4, 60);
/// The folder of those runs in an experiment's.
const PACE_FOLDER: &str = "pace";
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
    /// What the arm was when it was settled; earlier releases did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settings: Option<Settings>,
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
    /// As it is for a setup, given where it was found; an error if it was for another.
    fn of_setup(self, setup: &Setup, out: &Path) -> Result<Self, ExperimentError> {
        let differences = self.setup.differences(setup);
        if !differences.is_empty() {
            let found = differences.join("; ");
            return Err(ExperimentError::Other { out: out.to_owned(), found });
        }
        Ok(Self { setup: setup.clone(), ..self })
    }

    fn find(&self, arm: Arm) -> Option<&ArmSettled> {
        self.arms.iter().find(|settled| settled.arm == arm)
    }

    /// An error if a run in the experiment's folder was begun otherwise.
    fn refuse_other_runs(&self, out: &Path) -> Result<(), ExperimentError> {
        for (folder, run) in kept::runs(out)? {
            let Some(settled) = self.find(run.arm) else { continue };
            if (run.steps, run.rate) != (settled.steps, self.rate(run.arm)) {
                return Err(ExperimentError::Other { out: folder, found: run.told() });
            }
        }
        Ok(())
    }

    /// What its arms were when they were settled, where that is known: of earlier releases the run
    /// that told an arm's pace says it.
    fn trained_as(&self, experiment: &Path) -> Result<Vec<(Arm, Settings)>, ExperimentError> {
        let of = |settled: &ArmSettled| {
            let settings = match &settled.settings {
                Some(settings) => Some(settings.clone()),
                None => kept::settings(&experiment.join(PACE_FOLDER).join(settled.arm.name()))?,
            };
            Ok(settings.map(|settings| (settled.arm, settings)))
        };
        self.arms.iter().filter_map(|settled| of(settled).transpose()).collect()
    }

    /// What is settled for an arm that is made, or that one of these is rated by.
    pub fn of(&self, arm: Arm) -> &ArmSettled {
        self.find(arm).expect("every arm is settled first")
    }

    /// The rate that an arm trains at.
    pub fn rate(&self, arm: Arm) -> f64 {
        let own = self.of(arm);
        own.given.unwrap_or_else(|| self.find(arm.rated_by()).unwrap_or(own).rate())
    }

    /// What is settled for an arm, in words.
    fn told(&self, arm: Arm) -> String {
        kept::told(self.of(arm).steps, self.rate(arm))
    }

    /// The rates that were tried for it; none where it was given.
    pub fn tried(&self, arm: Arm) -> Vec<Trial> {
        let rated_by = self.of(arm.rated_by());
        match self.of(arm).given.or(rated_by.given) {
            Some(_) => vec![],
            None => rated_by.trials.clone(),
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
    let path = request.out.join(SETTLED_FILE);
    let left = lab.left_to_train()?;
    let mut settled = read(lab, &path, &left)?;
    let given =
        |arm: Arm| request.rates.iter().find(|(rated, _)| *rated == arm).map(|(_, rate)| *rate);
    for of in &mut settled.arms {
        of.given = given(of.arm).or(of.given);
    }
    // Before anything is written.
    settled.refuse_other_runs(&request.out)?;
    let trained = settled.trained_as(&request.out)?;
    lab.refuse_other_releases(&request.out, trained, &left, "choose another --out")?;
    let keep = |settled: &Settled| write_json(&path, settled);
    for arm in needed(request) {
        if settled.find(arm).is_some() {
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
        let settings = Some(lab.settings(arm, (steps, RATES[0], TRIAL_SEED))?);
        settled.arms.push(ArmSettled { arm, settings, views_per_s, steps, trials: vec![], given });
        keep(&settled)?;
    }
    keep(&settled)?;
    try_rates(lab, &mut settled, keep)?;
    Ok(settled)
}

/// The arms of which something must be settled: an arm that trains at another's rate needs that one,
/// too.
fn needed(request: &ExperimentRequest) -> impl Iterator<Item = Arm> {
    let is_given = |arm: Arm| request.rates.iter().any(|(rated, _)| *rated == arm);
    request.arms.iter().flat_map(move |&arm| match is_given(arm) {
        true => vec![arm],
        false => vec![arm.rated_by(), arm],
    })
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

/// What was settled before in the folder, with what the folder that is to be followed has settled,
/// where the arms that are `left` to train are the same there.
fn read(lab: &Lab<'_>, path: &Path, left: &[Arm]) -> Result<Settled, ExperimentError> {
    let ExperimentRequest { out, like, .. } = lab.request;
    let found = read_json::<Settled>(path)?.map(|found| found.of_setup(&lab.setup, out));
    let mut settled = found.unwrap_or_else(|| {
        let setup = lab.setup.clone();
        Ok(Settled { setup, arms: vec![] })
    })?;
    let Some(like) = like else { return Ok(settled) };
    let unsettled = |what: String| ExperimentError::Unsettled { like: like.clone(), what };
    let other = read_json::<Settled>(&like.join(SETTLED_FILE))?;
    let other = other.ok_or_else(|| unsettled("anything".to_owned()))?;
    let other = other.of_setup(&lab.setup, like)?;
    lab.refuse_other_releases(like, other.trained_as(like)?, left, "leave --like out")?;
    for arm in needed(lab.request) {
        let Some(theirs) = other.find(arm) else { continue };
        if arm.rated_by() == arm && !theirs.is_rated() {
            return Err(unsettled(format!("the rate of {arm}")));
        }
        match settled.find(arm) {
            None => settled.arms.push(theirs.clone()),
            Some(_) if settled.told(arm) == other.told(arm) => {}
            Some(_) => {
                let (ours, theirs) = (settled.told(arm), other.told(arm));
                let found = format!("{arm}: {ours}; in {}: {theirs}", like.display());
                return Err(ExperimentError::Other { out: out.clone(), found });
            }
        }
    }
    Ok(settled)
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
    let folder = lab.request.out.join(PACE_FOLDER).join(arm.name());
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
    let checkpoint = CheckpointFolder::of_run(&folder).path(steps);
    let methods = [Method::Linear(LinearSettings::default())];
    let done = train_anew(lab, arm, &folder, &settings)
        .and_then(|()| lab.judge(checkpoint, None, &methods, 1));
    match done {
        Err(error) if error.is_not_finite() => {
            lab.console
                .message(&format!("{arm} at a rate of {rate:e}, which is too high: {error}"));
            Ok(0.0)
        }
        done => Ok(done?.first().map_or(0.0, |done| done.record.score.top1)),
    }
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
            settings: None,
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
