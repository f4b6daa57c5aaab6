//! The page itself.

use maud::{Markup, html};
use voice::html::{document, table};

use super::run::RunData;
use super::seeds::{At, Seeds, mean};
use super::{CompareError, Comparison, Kind, duration};
use crate::eval::score::percent;
use crate::plot::{Axes, Series, Shape, figure};

/// Points of a line of losses; of more, neighbours are averaged.
const LOSS_POINTS: usize = 600;

/// The unit of a time axis.
struct Unit {
    name: &'static str,
    seconds: f64,
}

impl Unit {
    /// The largest unit of which the longest run takes several.
    fn of(runs: &[RunData]) -> Self {
        let last = runs.iter().filter_map(|run| run.logged.last());
        match last.map(|logged| logged.seconds).fold(0.0, f64::max) {
            s if s < 300.0 => Self { name: "seconds of training", seconds: 1.0 },
            s if s < 3.0 * 3600.0 => Self { name: "minutes of training", seconds: 60.0 },
            _ => Self { name: "hours of training", seconds: 3600.0 },
        }
    }
}

/// The comparison as HTML, with everything it shows inside it.
pub fn page(comparison: &Comparison) -> Result<String, CompareError> {
    let Comparison { runs, kinds } = comparison;
    let unit = Unit::of(runs);
    let title = match runs.len() {
        1 => "One run".to_owned(),
        count => format!("Comparison of {count} runs"),
    };
    let body = html! {
        h1 { (title) }
        (runs_table(runs))
        @if runs.iter().any(|run| run.reckoned) {
            p { "Where a run's records do not hold the time, it is reckoned from their rates." }
        }
        @for kind in kinds { (kind_section(runs, kind, &unit)?) }
        @if kinds.is_empty() {
            p { "No run has an evaluation; " code { "trainer eval knn" } " makes one." }
        } @else {
            h2 { "Time to an accuracy" }
            p {
                "It is taken on the line between the evaluations before and after; ≤ stands where the "
                "first evaluation had reached it already. A checkpoint's time is that of the training "
                "behind it, without evaluations and pauses."
            }
            (table(&Comparison::HEADINGS, comparison.rows()))
        }
        h2 { "Loss" }
        p {
            "Losses of different recipes can't be compared: they are of other targets, and sums over "
            "other numbers of taps. What can be compared is the shape of a line, and lines of one "
            "recipe."
        }
        (losses(runs, &unit)?)
    };
    Ok(document(&title, &body))
}

/// Losses over steps, and over time.
fn losses(runs: &[RunData], unit: &Unit) -> Result<Markup, CompareError> {
    let losses = |x: &dyn Fn(u64, f64) -> f64| {
        let line = |run: usize| {
            let logged = runs[run].logged.iter();
            let points = logged.map(|at| (at.step as f64, x(at.step, at.seconds), at.loss));
            points.collect()
        };
        by_seeds(runs, line, Shape::Line)
    };
    let by_step = losses(&|step, _| step as f64);
    let by_time = losses(&|_, seconds| seconds / unit.seconds);
    let figure = |series: &[Series], x| {
        let axes = Axes { log_y: true, from: Some(0.0), ..Axes::new(x, "loss (logarithmic)") };
        figure(series, &axes)
    };
    Ok(html! { (figure(&by_step, "step")?) (figure(&by_time, unit.name)?) })
}

/// A line a run, or for runs that differ in their seed alone their mean, with a band from the lowest
/// to the highest.
fn by_seeds(runs: &[RunData], line: impl Fn(usize) -> Vec<At>, shape: Shape) -> Vec<Series> {
    let of = |seeds: Seeds| {
        let lines: Vec<_> = seeds.runs.into_iter().map(&line).collect();
        let (points, band) = mean(&lines);
        let (points, band) = (thinned(points), thinned(band));
        let points = points.into_iter().map(|[x, y]| (x, y)).collect();
        let band = band.into_iter().map(|[x, low, high]| (x, low, high)).collect();
        Series::of(seeds.name, points, shape).with_band(band)
    };
    Seeds::of(runs).into_iter().map(of).collect()
}

/// Neighbours averaged until at most [`LOSS_POINTS`] are left.
fn thinned<const N: usize>(points: Vec<[f64; N]>) -> Vec<[f64; N]> {
    let each = points.len().div_ceil(LOSS_POINTS).max(1);
    let mean = |points: &[[f64; N]]| {
        let sum = |at: usize| points.iter().map(|point| point[at]).sum::<f64>();
        std::array::from_fn(|at| sum(at) / points.len() as f64)
    };
    points.chunks(each).map(mean).collect()
}

fn runs_table(runs: &[RunData]) -> Markup {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in runs.iter().flat_map(|run| &run.facts) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let fact = |key: &&str| {
                let fact = run.facts.iter().find(|(name, _)| name == key);
                fact.map_or("–".to_owned(), |(_, value)| value.clone())
            };
            let mut row = vec![run.name.clone()];
            row.extend(keys.iter().map(fact));
            match run.logged.last() {
                Some(last) => row.extend([last.step.to_string(), duration(last.seconds)]),
                None => row.extend(["–".into(), "–".into()]),
            }
            row
        })
        .collect();
    let mut headings = vec!["run"];
    headings.extend(keys);
    headings.extend(["last logged step", "time to it"]);
    table(&headings, rows)
}

fn kind_section(runs: &[RunData], kind: &Kind, unit: &Unit) -> Result<Markup, CompareError> {
    Ok(html! {
        h2 { "Accuracy: " (kind.name) }
        p {
            "Top-1 accuracy. The dashed line is " (percent(kind.accuracy))
            ", to which the time is told below."
        }
        @if kind.unlike { p { strong { "Beware: " (Comparison::UNLIKE) "." } } }
        (accuracies(runs, kind, unit)?)
    })
}

/// Accuracies over steps, and over time.
fn accuracies(runs: &[RunData], kind: &Kind, unit: &Unit) -> Result<Markup, CompareError> {
    let accuracies = |x: &dyn Fn(f64, f64) -> f64| {
        let line = |run: usize| {
            let points = kind.outcomes[run].points.iter();
            let points = points.map(|at| (at.step, x(at.step, at.seconds), 100.0 * at.accuracy));
            points.collect()
        };
        by_seeds(runs, line, Shape::DottedLine)
    };
    let by_step = accuracies(&|step, _| step);
    let by_time = accuracies(&|_, seconds| seconds / unit.seconds);
    let figure = |series: &[Series], x| {
        let axes = Axes {
            from: Some(0.0),
            level: Some(100.0 * kind.accuracy),
            ..Axes::new(x, "top-1 accuracy, %")
        };
        figure(series, &axes)
    };
    Ok(html! { (figure(&by_step, "step")?) (figure(&by_time, unit.name)?) })
}
