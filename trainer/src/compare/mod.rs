//! Runs beside each other: loss and accuracy over steps and over time, and how long each took to
//! reach a stated accuracy.

mod page;
pub mod run;
pub mod seeds;

use std::path::{Path, PathBuf};

use crate::eval::record::EvalRecord;
use crate::eval::score::percent;
use crate::metrics::MetricsError;
use crate::plot::PlotError;
use run::{Point, Reached, RunData, reached};

/// Runs that can't be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A folder without settings.
    #[error("{} is no run's folder: its settings.toml can't be read: {source}", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Settings that are no TOML.
    #[error("{}: {source}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A run's metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A run's evaluations.
    #[error("evaluation {0}; remove the file, or evaluate again")]
    Eval(std::io::Error),
    /// The stated accuracy.
    #[error("--accuracy: must be 0 to 1, as in 0.5 for 50 %, not {0}")]
    Accuracy(f64),
    /// A plot.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The page can't be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs, and what comes out of them.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The runs, in the order given.
    pub runs: Vec<RunData>,
    /// One for each kind of evaluation that some run has.
    pub kinds: Vec<Kind>,
}

/// How the runs did by one kind of evaluation.
#[derive(Debug, Clone)]
pub struct Kind {
    /// The kind.
    pub name: String,
    /// The accuracy to which the time is told.
    pub accuracy: f64,
    /// The evaluations do not all have the same settings, train and test rows.
    pub unlike: bool,
    /// Each run's, in the order of the runs.
    pub outcomes: Vec<RunOutcome>,
}

/// How one run did by one kind of evaluation.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// The evaluations.
    pub points: Vec<Point>,
    /// The best of them.
    pub best: Option<Point>,
    /// When the stated accuracy was reached, if it was.
    pub reached: Option<Reached>,
    /// The time to it over that of the run that reached it first.
    pub ratio: Option<f64>,
}

impl Comparison {
    /// Compares runs; without an `accuracy` it is, for each kind of evaluation, the highest that
    /// every run that has any reached.
    ///
    /// # Errors
    /// [`CompareError::Accuracy`] if it is no share.
    pub fn new(mut runs: Vec<RunData>, accuracy: Option<f64>) -> Result<Self, CompareError> {
        if let Some(accuracy) = accuracy
            && !(0.0..=1.0).contains(&accuracy)
        {
            return Err(CompareError::Accuracy(accuracy));
        }
        // Runs whose folders have one name are told by their paths.
        let names: Vec<_> = runs.iter().map(|run| run.name.clone()).collect();
        for run in &mut runs {
            if names.iter().filter(|name| **name == run.name).count() > 1 {
                run.name = run.path.display().to_string();
            }
        }
        let mut names: Vec<_> =
            runs.iter().flat_map(|run| &run.evals).map(EvalRecord::kind).collect();
        names.sort_unstable();
        names.dedup();
        let kinds = names.into_iter().map(|name| kind(&runs, &name, accuracy)).collect();
        Ok(Self { runs, kinds })
    }

    /// The headings of [`rows`](Self::rows).
    pub const HEADINGS: [&str; 7] = [
        "Run",
        "Evaluation",
        "Best top-1",
        "Accuracy",
        "Steps to it",
        "Time to it",
        "Times the fastest",
    ];

    /// A row for each run and kind of evaluation.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for kind in &self.kinds {
            for (run, outcome) in self.runs.iter().zip(&kind.outcomes) {
                let best = outcome.best.map_or("–".into(), |best| {
                    format!("{} at step {:.0}", percent(best.accuracy), best.step)
                });
                let mut row = vec![run.name.clone(), kind.name.clone(), best];
                row.push(percent(kind.accuracy));
                match outcome.reached {
                    Some(Reached { step, seconds, at_most }) => {
                        let most = if at_most { "≤ " } else { "" };
                        row.push(format!("{most}{step:.0}"));
                        row.push(format!("{most}{}", duration(seconds)));
                    }
                    None => {
                        let mut evals = run.evals.iter();
                        let judged = evals.any(|eval| eval.kind() == kind.name);
                        let why = if judged { "not reached" } else { "not evaluated" };
                        row.extend([why.into(), why.into()]);
                    }
                }
                row.push(outcome.ratio.map_or("–".into(), |ratio| format!("{ratio:.2}")));
                rows.push(row);
            }
        }
        rows
    }

    /// The table as text, its columns aligned.
    pub fn text(&self) -> String {
        if self.kinds.is_empty() {
            return "no run has an evaluation; `trainer eval knn` makes one\n".to_owned();
        }
        let mut rows = vec![Self::HEADINGS.map(str::to_owned).to_vec()];
        rows.extend(self.rows());
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..Self::HEADINGS.len()).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}  "));
            text += cells.collect::<String>().trim_end();
            text.push('\n');
        }
        for kind in self.kinds.iter().filter(|kind| kind.unlike) {
            text += &format!("{}: {}\n", kind.name, Self::UNLIKE);
        }
        text
    }

    /// What is said of a kind whose evaluations are unlike.
    pub const UNLIKE: &str = "not all of these evaluations have the same settings, train and test \
                              rows; their accuracies can't be compared";
}

fn kind(runs: &[RunData], name: &str, accuracy: Option<f64>) -> Kind {
    let best = |points: &[Point]| {
        points.iter().copied().reduce(|a, b| if b.accuracy > a.accuracy { b } else { a })
    };
    let all: Vec<_> = runs.iter().map(|run| run.points(name)).collect();
    let accuracy = accuracy.unwrap_or_else(|| {
        let bests = all.iter().filter_map(|points| best(points));
        bests.map(|best| best.accuracy).fold(1.0, f64::min)
    });
    let reach: Vec<_> = all.iter().map(|points| reached(points, accuracy)).collect();
    let fastest =
        reach.iter().flatten().map(|reached| reached.seconds).fold(f64::INFINITY, f64::min);
    let mut judged: Vec<_> = runs
        .iter()
        .flat_map(|run| &run.evals)
        .filter(|eval| eval.kind() == name)
        .map(|eval| {
            // Not the addresses, for one set may be named in several ways.
            let sides = [&eval.train, &eval.test].map(|side| (side.rows, side.pictures));
            (&eval.method, sides, eval.split, eval.seed)
        })
        .collect();
    judged.dedup();
    let outcomes = all
        .into_iter()
        .zip(reach)
        .map(|(points, reached)| RunOutcome {
            best: best(&points),
            ratio: reached.and_then(|reached| (fastest > 0.0).then(|| reached.seconds / fastest)),
            points,
            reached,
        })
        .collect();
    Kind { name: name.to_owned(), accuracy, unlike: judged.len() > 1, outcomes }
}

/// Seconds in words.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.2} h", s / 3600.0),
    }
}

/// Writes the page of these runs to `out`.
///
/// # Errors
/// [`CompareError`] if a run can't be read, or the page can't be written.
pub fn write(
    runs: &[PathBuf],
    out: &Path,
    accuracy: Option<f64>,
) -> Result<Comparison, CompareError> {
    let runs = runs.iter().map(|path| RunData::read(path)).collect::<Result<_, _>>()?;
    let comparison = Comparison::new(runs, accuracy)?;
    let page = page::page(&comparison)?;
    storage::write_file(out, page)
        .map_err(|source| CompareError::Write { path: out.to_owned(), source })?;
    Ok(comparison)
}

#[cfg(test)]
mod tests {
    use super::seeds::Seeds;
    use super::*;
    use crate::eval::knn::KnnSettings;
    use crate::eval::record::{EvalRecord, Method, Side};
    use crate::eval::score::Score;
    use run::Logged;

    /// A run of a step a second (or so many seconds), judged at these steps.
    fn run(name: &str, seconds: f64, accuracies: &[(u64, f64)]) -> RunData {
        let logged = (1..=10)
            .map(|i| Logged { step: 10 * i, seconds: seconds * 10.0 * i as f64, loss: 1.0 })
            .collect();
        let side = Side { shards: "s".into(), rows: 10, pictures: 10, unlabelled: 0 };
        let evals = accuracies.iter().map(|&(step, top1)| EvalRecord {
            method: Method::Knn(KnnSettings::default()),
            step,
            checkpoint: "c".into(),
            recipe: "r".into(),
            model: "m".into(),
            feature: "f".into(),
            dim: 1,
            seed: 0,
            train: side.clone(),
            test: side.clone(),
            split: None,
            shared_pictures: 0,
            layers: vec![],
            score: Score { top1, ..Score::new(&[], &[], &[]) },
        });
        RunData {
            name: name.into(),
            path: name.into(),
            facts: vec![],
            seed: Some(0),
            settings: toml::Table::new(),
            logged,
            reckoned: false,
            evals: evals.collect(),
        }
    }

    fn outcomes(runs: Vec<RunData>, accuracy: Option<f64>) -> Kind {
        Comparison::new(runs, accuracy).unwrap().kinds.remove(0)
    }

    #[test]
    fn the_time_to_an_accuracy_lies_between_the_evaluations_around_it() {
        let fast = run("fast", 1.0, &[(20, 0.2), (40, 0.6), (80, 0.7)]);
        let slow = run("slow", 2.0, &[(20, 0.1), (60, 0.3), (100, 0.5)]);
        let kind = outcomes(vec![fast, slow], Some(0.4));
        let [fast, slow] = kind.outcomes.as_slice() else { panic!("two runs") };
        // Half way from step 20 to 40 at a second a step; from 60 to 100 at two.
        let expected = Reached { step: 30.0, seconds: 30.0, at_most: false };
        let found = fast.reached.unwrap();
        assert!((found.step - 30.0).abs() < 1e-9 && (found.seconds - 30.0).abs() < 1e-9);
        assert_eq!(found.at_most, expected.at_most);
        let found = slow.reached.unwrap();
        assert!((found.step - 80.0).abs() < 1e-9 && (found.seconds - 160.0).abs() < 1e-9);
        assert!((fast.ratio.unwrap() - 1.0).abs() < 1e-9);
        assert!((slow.ratio.unwrap() - 160.0 / 30.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_stated_accuracy_it_is_the_highest_that_all_runs_reached() {
        let better = run("better", 1.0, &[(50, 0.2), (100, 0.9)]);
        let worse = run("worse", 1.0, &[(50, 0.4), (100, 0.3)]);
        let kind = outcomes(vec![better, worse, run("unjudged", 1.0, &[])], None);
        assert_eq!(kind.accuracy, 0.4);
        // The worse one had it at its first evaluation, perhaps earlier.
        assert!(kind.outcomes[1].reached.unwrap().at_most);
        assert!(!kind.outcomes[0].reached.unwrap().at_most);
        assert_eq!(kind.outcomes[2].reached, None);
    }

    #[test]
    fn an_accuracy_that_a_run_missed_has_no_time() {
        let comparison = Comparison::new(
            vec![
                run("a", 1.0, &[(10, 0.1), (100, 0.6)]),
                run("b", 1.0, &[(10, 0.1)]),
                run("c", 1.0, &[]),
            ],
            Some(0.5),
        )
        .unwrap();
        assert_eq!(comparison.kinds[0].outcomes[1].reached, None);
        let text = comparison.text();
        assert!(text.lines().nth(2).unwrap().contains("not reached"), "{text}");
        assert!(text.lines().nth(3).unwrap().contains("not evaluated"), "{text}");
        let error = Comparison::new(vec![], Some(50.0)).unwrap_err();
        assert!(error.to_string().contains("--accuracy: must be 0 to 1"), "{error}");
    }

    #[test]
    fn runs_of_one_name_are_told_by_their_paths_and_unlike_evaluations_are_marked() {
        let mut other = run("run", 1.0, &[(10, 0.1)]);
        other.path = "elsewhere/run".into();
        other.evals[0].test.rows = 11;
        let comparison = Comparison::new(vec![run("run", 1.0, &[(10, 0.1)]), other], None).unwrap();
        assert_eq!(comparison.runs[1].name, "elsewhere/run");
        assert!(comparison.kinds[0].unlike);
        assert!(comparison.text().contains(Comparison::UNLIKE));
        let page = page::page(&comparison).unwrap();
        assert!(page.contains("elsewhere/run") && page.contains("Beware"));
    }

    #[test]
    fn runs_that_differ_in_their_seed_alone_are_one_line() {
        let of = |name: &str, seed, lr: f64| RunData {
            seed: Some(seed),
            settings: toml::Table::from_iter([("lr".to_owned(), lr.into())]),
            ..run(name, 1.0, &[(10, 0.1 * (1.0 + seed as f64)), (100, 0.5)])
        };
        let runs = vec![of("a-0", 0, 0.1), of("b-0", 0, 0.2), of("a-1", 1, 0.1), of("c", 0, 0.1)];
        let groups: Vec<_> = Seeds::of(&runs).into_iter().map(|s| (s.name, s.runs)).collect();
        let expected = [("a, 2 seeds", vec![0, 2]), ("b-0", vec![1]), ("c", vec![3])];
        assert_eq!(groups, expected.map(|(name, runs)| (name.to_owned(), runs)));
        let page = page::page(&Comparison::new(runs, None).unwrap()).unwrap();
        assert!(page.contains("a, 2 seeds") && page.contains("<polygon"));
        assert!(page.contains("<td>a-0</td>"), "the tables still have each run");
    }

    #[test]
    fn a_step_between_two_records_has_a_time_between_theirs() {
        let run = run("a", 3.0, &[]);
        assert_eq!(run.seconds_at(0.0), Some(0.0));
        assert_eq!(run.seconds_at(5.0), Some(15.0));
        assert_eq!(run.seconds_at(20.0), Some(60.0));
        assert_eq!(run.seconds_at(25.0), Some(75.0));
        assert_eq!(run.seconds_at(500.0), Some(300.0), "nothing is known after the last");
    }
}
