//! Evaluations → what is told: means and spreads over seeds, and the time to an accuracy.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::plan::{Arm, Family};
use super::settle::{ArmSettled, Settled, Trial};
use super::{ExperimentError, Scale, run_folder};
use crate::compare::run::{Reached, RunData, reached};
use crate::eval::score::percent;

/// Means over the seeds of an arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmOutcome {
    /// The arm.
    pub arm: Arm,
    /// Its name.
    pub name: String,
    /// Minutes of training, on average.
    pub minutes: f64,
    /// Optimizer steps.
    pub steps: u64,
    /// The learning rates that were tried before, and the k-NN accuracy after each.
    pub tried: Vec<Trial>,
    /// The base rate that it trained at.
    pub rate: f64,
    /// Accuracies over time, by kind of evaluation.
    pub kinds: Vec<KindOutcome>,
}

/// Accuracies of an arm by one kind of evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindOutcome {
    /// `knn` or `linear`.
    pub kind: String,
    /// From the untrained encoder to the end.
    pub points: Vec<MeanPoint>,
    /// When the line of means first reached the family's [`Bar`], in minutes; none if it never did.
    pub minutes_to_bar: Option<f64>,
}

/// The accuracy at a time, over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeanPoint {
    /// Minutes of training, on average.
    pub minutes: f64,
    /// The mean of top-1.
    pub mean: f64,
    /// Its standard deviation over the seeds (with n − 1); 0 for one seed.
    pub deviation: f64,
    /// The lowest.
    pub least: f64,
    /// The highest.
    pub most: f64,
    /// Seeds behind it.
    pub seeds: usize,
}

/// What an experiment gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentOutcome {
    /// How large it was.
    pub scale: Scale,
    /// What each arm gave.
    pub arms: Vec<ArmOutcome>,
    /// For each kind and family, the accuracy to which times are told.
    pub bars: Vec<Bar>,
}

/// The accuracy to which a family's times are told: the best of a trained encoder of the arm that
/// did worst, so that every arm reached it; but no less than the untrained encoder's, for training
/// has brought nothing below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// The arms it is for.
    pub family: Family,
    /// The kind of evaluation.
    pub kind: String,
    /// The accuracy.
    pub accuracy: f64,
    /// It is the untrained encoder's, which not every arm has gone beyond.
    pub by_untrained: bool,
}

impl ExperimentOutcome {
    /// Reads the runs of an experiment.
    pub(super) fn read(
        out: &Path,
        settled: &Settled,
        scale: Scale,
    ) -> Result<Self, ExperimentError> {
        let read = |arm: &ArmSettled| -> Result<ArmOutcome, ExperimentError> {
            let runs: Vec<RunData> = (0..scale.seeds)
                .map(|seed| RunData::read(&run_folder(out, arm.arm, seed)))
                .collect::<Result<_, _>>()?;
            Ok(ArmOutcome::new(arm, &runs))
        };
        let arms = settled.arms.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(scale, arms))
    }

    fn new(scale: Scale, mut arms: Vec<ArmOutcome>) -> Self {
        let mut bars = vec![];
        for family in [Family::Vit, Family::Swin] {
            for kind in ["knn", "linear"] {
                let of = || arms.iter().filter(|arm| arm.arm.family == family);
                let kinds = || of().filter_map(|arm| arm.of(kind));
                let Some(least) = kinds().filter_map(KindOutcome::best).reduce(f64::min) else {
                    continue;
                };
                let untrained = kinds().filter_map(KindOutcome::untrained).reduce(f64::max);
                bars.push(Bar {
                    family,
                    kind: kind.to_owned(),
                    accuracy: untrained.map_or(least, |untrained| least.max(untrained)),
                    by_untrained: untrained.is_some_and(|untrained| untrained >= least),
                });
            }
        }
        for arm in &mut arms {
            for kind in &mut arm.kinds {
                let bar = bars.iter().find(|b| b.family == arm.arm.family && b.kind == kind.kind);
                kind.minutes_to_bar = bar.and_then(|bar| minutes_to(&kind.points, bar.accuracy));
            }
        }
        Self { scale, arms, bars }
    }

    /// The headings of [`ExperimentOutcome::rows`].
    pub const HEADINGS: [&'static str; 10] = [
        "arm",
        "base rate",
        "minutes",
        "steps",
        "k-NN, untrained",
        "k-NN",
        "minutes to the bar",
        "linear, untrained",
        "linear",
        "minutes to the bar",
    ];

    /// A row an arm.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let row = |arm: &ArmOutcome| {
            let point = |point: Option<&MeanPoint>| point.map_or("–".to_owned(), MeanPoint::text);
            let first = |kind| point(arm.of(kind).and_then(|kind| kind.points.first()));
            let last = |kind| point(arm.of(kind).and_then(|kind| kind.points.last()));
            let bar = |kind| {
                let minutes = arm.of(kind).and_then(|kind| kind.minutes_to_bar);
                minutes.map_or("–".to_owned(), |minutes| format!("{minutes:.1}"))
            };
            vec![
                arm.name.clone(),
                format!("{:e}", arm.rate),
                format!("{:.1}", arm.minutes),
                arm.steps.to_string(),
                first("knn"),
                last("knn"),
                bar("knn"),
                first("linear"),
                last("linear"),
                bar("linear"),
            ]
        };
        self.arms.iter().map(row).collect()
    }

    /// The table as Markdown.
    pub fn text(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&Self::HEADINGS.map(str::to_owned));
        text += &line(&Self::HEADINGS.map(|_| "---".to_owned()));
        for row in self.rows() {
            text += &line(&row);
        }
        text
    }
}

impl MeanPoint {
    /// Mean ± deviation in per cent; of one seed, its accuracy alone.
    pub fn text(&self) -> String {
        if self.seeds < 2 {
            return percent(self.mean);
        }
        format!("{} ± {:.1}", percent(self.mean), 100.0 * self.deviation)
    }
}

impl ArmOutcome {
    fn new(settled: &ArmSettled, runs: &[RunData]) -> Self {
        let arm = settled.arm;
        let last: Vec<_> = runs.iter().filter_map(|run| run.logged.last()).collect();
        let minutes = mean(&last.iter().map(|logged| logged.seconds / 60.0).collect::<Vec<_>>());
        let steps = last.iter().map(|logged| logged.step).max().unwrap_or(0);
        let kinds = ["knn", "linear"].into_iter().map(|kind| KindOutcome::new(kind, runs));
        Self {
            arm,
            name: arm.name(),
            minutes,
            steps,
            tried: settled.trials.clone(),
            rate: settled.rate(),
            kinds: kinds.collect(),
        }
    }

    /// What one kind of evaluation gave.
    pub fn of(&self, kind: &str) -> Option<&KindOutcome> {
        self.kinds.iter().find(|of| of.kind == kind)
    }
}

impl KindOutcome {
    fn new(kind: &str, runs: &[RunData]) -> Self {
        let all: Vec<_> = runs.iter().map(|run| run.points(kind)).collect();
        let count = all.iter().map(Vec::len).max().unwrap_or(0);
        let point = |at: usize| {
            let here: Vec<_> = all.iter().filter_map(|points| points.get(at)).collect();
            let accuracies: Vec<f64> = here.iter().map(|point| point.accuracy).collect();
            let minutes: Vec<f64> = here.iter().map(|point| point.seconds / 60.0).collect();
            MeanPoint {
                minutes: mean(&minutes),
                mean: mean(&accuracies),
                deviation: deviation(&accuracies),
                least: accuracies.iter().copied().fold(f64::INFINITY, f64::min),
                most: accuracies.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                seeds: here.len(),
            }
        };
        Self {
            kind: kind.to_owned(),
            points: (0..count).map(point).collect(),
            minutes_to_bar: None,
        }
    }

    /// The mean of the untrained encoders, which is the first point.
    fn untrained(&self) -> Option<f64> {
        self.points.first().map(|point| point.mean)
    }

    /// The best mean of a trained encoder.
    fn best(&self) -> Option<f64> {
        self.points.iter().skip(1).map(|point| point.mean).reduce(f64::max)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// When training first reached an accuracy that is no less than the untrained encoder's: an encoder
/// that only is no worse than untrained has reached nothing.
fn minutes_to(points: &[MeanPoint], accuracy: f64) -> Option<f64> {
    let untrained = points.first()?.mean;
    let points: Vec<_> = points
        .iter()
        .map(|point| crate::compare::run::Point {
            step: 0.0,
            seconds: 60.0 * point.minutes,
            accuracy: point.mean,
        })
        .collect();
    // Where the bar is the untrained encoder's, it is crossed for the first time after the start.
    let from = usize::from(untrained >= accuracy);
    let Reached { seconds, .. } = reached(&points[from..], accuracy)?;
    Some(seconds / 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Recipe;

    fn arm(recipe: Recipe, accuracies: &[f64]) -> ArmOutcome {
        let arm = Arm { family: Family::Vit, recipe };
        let point = |(i, &mean): (usize, &f64)| MeanPoint {
            minutes: i as f64,
            mean,
            deviation: 0.0,
            least: mean,
            most: mean,
            seeds: 1,
        };
        let points = accuracies.iter().enumerate().map(point).collect();
        let knn = KindOutcome { kind: "knn".into(), points, minutes_to_bar: None };
        ArmOutcome {
            arm,
            name: arm.name(),
            minutes: 2.0,
            steps: 9,
            tried: vec![],
            rate: 1e-3,
            kinds: vec![knn],
        }
    }

    #[test]
    fn times_are_told_to_an_accuracy_that_every_arm_reached() {
        let arms =
            vec![arm(Recipe::LocalmimHog, &[0.2, 0.5, 0.6]), arm(Recipe::Mae, &[0.2, 0.3, 0.4])];
        let outcome = ExperimentOutcome::new(Scale::SMALL, arms);
        assert_eq!(outcome.bars[0].accuracy, 0.4);
        let minutes = |i: usize| outcome.arms[i].kinds[0].minutes_to_bar.unwrap();
        assert!((minutes(0) - 2.0 / 3.0).abs() < 1e-9);
        assert!((minutes(1) - 2.0).abs() < 1e-9);
        let table = outcome.text();
        assert!(table.contains("| vit-mae | 1e-3 | 2.0 | 9 |"), "{table}");
    }

    #[test]
    fn no_bar_lies_below_the_untrained_encoder() {
        let arms =
            vec![arm(Recipe::LocalmimHog, &[0.5, 0.4, 0.6]), arm(Recipe::Mae, &[0.5, 0.1, 0.3])];
        let outcome = ExperimentOutcome::new(Scale::SMALL, arms);
        assert_eq!(outcome.bars[0].accuracy, 0.5);
        assert!(outcome.bars[0].by_untrained);
        let minutes = outcome.arms[0].kinds[0].minutes_to_bar.unwrap();
        assert!((minutes - 1.5).abs() < 1e-9, "{minutes}");
        assert_eq!(outcome.arms[1].kinds[0].minutes_to_bar, None);
    }

    #[test]
    fn the_spread_is_that_of_a_sample() {
        assert_eq!(deviation(&[1.0]), 0.0);
        assert!((deviation(&[1.0, 2.0, 3.0]) - 1.0).abs() < 1e-12);
    }
}
