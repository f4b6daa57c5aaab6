//! Runs → what is told: each arm's accuracies, how much sooner one arm is than another, and what a
//! change gains.

use serde::{Deserialize, Serialize};

use super::claims::{Claim, changes, claims};
use super::gather::{Axis, Gathered, Group};
use super::judged::Kind;
use super::kept::{Machine, Setup};
use super::notes::notes;
use super::plan::Arm;
use super::ratio::{Gain, Level, Sooner, Verdict, mean};

/// What an experiment gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentOutcome {
    /// One for each setup, whose runs can be compared.
    pub groups: Vec<GroupOutcome>,
    /// Folders of runs that are not finished, which are left out.
    pub unfinished: Vec<String>,
    /// Those of runs whose numbers were none, with the step, which are left out, too.
    pub diverged: Vec<String>,
}

/// What the runs of one setup gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupOutcome {
    /// What they share.
    pub setup: Setup,
    /// Pictures that classifiers learned from and were tested on, in the first run.
    pub judged: Option<(u64, u64)>,
    /// Where they were made.
    pub machines: Vec<String>,
    /// What a reader of the figures must know.
    pub notes: Vec<String>,
    /// By what they are told: core time where all have it, else the clock; views where they were made
    /// on several machines.
    pub time: Axis,
    /// Each arm.
    pub arms: Vec<ArmOutcome>,
    /// How much sooner.
    pub sooner: Vec<SoonerOutcome>,
    /// What changes gain.
    pub gains: Vec<GainOutcome>,
}

/// What an arm gave, over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmOutcome {
    /// Its name.
    pub name: String,
    /// Its seeds.
    pub seeds: Vec<u64>,
    /// Its base rate; several where seeds differ in it.
    pub rates: Vec<f64>,
    /// Thousands of views seen, on average.
    pub views: f64,
    /// Minutes by the clock, on average.
    pub clock: Option<f64>,
    /// Minutes of all cores, on average.
    pub cores: Option<f64>,
    /// By each kind of evaluation.
    pub kinds: Vec<KindOutcome>,
}

/// Accuracies of an arm by one kind of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KindOutcome {
    /// The kind.
    pub kind: Kind,
    /// Of the untrained encoder, on average.
    pub untrained: f64,
    /// At the end, on average.
    pub end: f64,
    /// The standard deviation of that over the seeds (with n − 1); none of one seed.
    pub deviation: Option<f64>,
    /// The best of the means along the way.
    pub best: f64,
    /// The layer that did best in the first seed's end, counted from 1, of how many.
    pub layer: Option<(usize, usize)>,
}

/// How much sooner an arm reaches what another reaches in its whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SoonerOutcome {
    /// The arm that is said to be faster.
    pub fast: String,
    /// The other.
    pub slow: String,
    /// The paper's ratio of times.
    pub paper: Option<f64>,
    /// The kind of evaluation.
    pub kind: Kind,
    /// By what it is measured.
    pub axis: Axis,
    /// What came out; none where the slower arm was at no time better than an untrained encoder.
    pub found: Option<Sooner>,
    /// What can be said of it.
    pub verdict: Option<Verdict>,
    /// When both reach each accuracy that both do.
    pub levels: Vec<Level>,
}

/// What an arm has at the end that another has not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GainOutcome {
    /// The arm.
    pub arm: String,
    /// The one that it is held against.
    pub against: String,
    /// The kind of evaluation.
    pub kind: Kind,
    /// The difference of accuracies.
    pub gain: Gain,
}

impl ExperimentOutcome {
    /// Of runs that were put together.
    pub(super) fn new(gathered: &Gathered) -> Self {
        let unfinished = gathered.unfinished.iter().map(|path| path.display().to_string());
        let diverged = gathered.diverged.iter();
        let diverged = diverged.map(|(path, step)| format!("{} (by step {step})", path.display()));
        Self {
            diverged: diverged.collect(),
            groups: gathered.groups.iter().map(GroupOutcome::new).collect(),
            unfinished: unfinished.collect(),
        }
    }
}

impl GroupOutcome {
    fn new(group: &Group) -> Self {
        let arms = group.arms();
        let has = |arm: &Arm| arms.contains(arm);
        let claims = claims();
        let here = claims.iter().filter(|claim| has(&claim.fast) && has(&claim.slow));
        let sooner = here.flat_map(|claim| sooner(group, claim)).collect();
        let changes = changes().into_iter().filter(|(a, b)| has(a) && has(b));
        let gains = changes.flat_map(|(arm, against)| gains(group, arm, against)).collect();
        Self {
            setup: group.setup.clone(),
            judged: judged(group),
            machines: group.machines(&arms).into_iter().map(Machine::text).collect(),
            notes: notes(group),
            time: group.measure(&arms),
            arms: arms.iter().map(|&arm| ArmOutcome::new(group, arm)).collect(),
            sooner,
            gains,
        }
    }
}

impl ArmOutcome {
    fn new(group: &Group, arm: Arm) -> Self {
        let runs: Vec<_> = group.of(arm).collect();
        // Of several machines, minutes are of several kinds.
        let of_one = group.machines(&[arm]).len() < 2;
        let at_end = |axis| {
            if !of_one && axis != Axis::Views {
                return None;
            }
            let ends: Option<Vec<f64>> = runs
                .iter()
                .map(|run| run.curve(Kind::Linear, axis)?.last().map(|end| end.0))
                .collect();
            ends.map(|ends| average(&ends))
        };
        let kind = |kind: Kind| {
            let curves: Option<Vec<_>> =
                runs.iter().map(|run| run.curve(kind, Axis::Views)).collect();
            let curves = curves?;
            let line = mean(&curves.iter().collect::<Vec<_>>());
            let ends: Vec<f64> = curves.iter().filter_map(|curve| Some(curve.last()?.1)).collect();
            Some(KindOutcome {
                kind,
                untrained: line.first()?.1,
                end: average(&ends),
                deviation: deviation(&ends),
                best: line.iter().skip(1).map(|point| point.1).fold(0.0, f64::max),
                layer: runs.first()?.best_layer(kind),
            })
        };
        Self {
            name: arm.name(),
            seeds: runs.iter().map(|run| run.record.seed).collect(),
            rates: distinct(runs.iter().map(|run| run.record.rate)),
            views: at_end(Axis::Views).unwrap_or(0.0),
            clock: at_end(Axis::Clock),
            cores: at_end(Axis::Cores),
            kinds: Kind::ALL.into_iter().filter_map(kind).collect(),
        }
    }
}

/// A claim by each kind of evaluation and each measure that its runs have.
fn sooner(group: &Group, claim: &Claim) -> Vec<SoonerOutcome> {
    let mut all = vec![];
    for kind in Kind::ALL {
        for axis in Axis::ALL {
            let (fast, slow) = group.pairs(claim.fast, claim.slow, kind, axis);
            if fast.is_empty() {
                continue;
            }
            let found = Sooner::of(&fast, &slow);
            all.push(SoonerOutcome {
                fast: claim.fast.name(),
                slow: claim.slow.name(),
                paper: claim.paper,
                kind,
                axis,
                verdict: found.map(|found| found.verdict()),
                found,
                levels: Level::all(&fast, &slow),
            });
        }
    }
    all
}

/// A change by each kind of evaluation.
fn gains(group: &Group, arm: Arm, against: Arm) -> Vec<GainOutcome> {
    let of = |kind: Kind| {
        let (a, b) = group.pairs(arm, against, kind, Axis::Views);
        let ends = a.iter().zip(&b).filter_map(|(a, b)| Some(a.last()?.1 - b.last()?.1));
        let gain = Gain::of(&ends.collect::<Vec<_>>())?;
        Some(GainOutcome { arm: arm.name(), against: against.name(), kind, gain })
    };
    Kind::ALL.into_iter().filter_map(of).collect()
}

/// How many pictures the encoders were judged from, and on.
fn judged(group: &Group) -> Option<(u64, u64)> {
    let end = group.runs.first()?.end(Kind::Linear)?;
    Some((end.train.pictures, end.test.pictures))
}

fn distinct(rates: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut distinct = vec![];
    rates.for_each(|rate| {
        if !distinct.contains(&rate) {
            distinct.push(rate);
        }
    });
    distinct
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// That of a sample.
fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = average(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_a_sample() {
        assert_eq!(deviation(&[1.0]), None);
        assert!((deviation(&[1.0, 2.0, 3.0]).unwrap() - 1.0).abs() < 1e-12);
    }
}
