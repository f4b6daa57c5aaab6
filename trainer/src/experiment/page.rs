//! The experiment as one page.

use maud::{Markup, html};
use voice::html::{document, table};

use super::outcome::{ArmOutcome, Bar, ExperimentOutcome};
use super::plan::{Family, RATES};
use super::{ExperimentError, Scale};
use crate::eval::score::percent;
use crate::plot::{Axes, Series, Shape, figure};

/// The page, with everything it shows inside it.
pub(super) fn page(outcome: &ExperimentOutcome) -> Result<String, ExperimentError> {
    let title = "The comparison at a small size";
    let Scale { minutes, seeds, train_pictures, test_pictures } = outcome.scale;
    let seeds = if seeds == 1 { "one seed".to_owned() } else { format!("each of {seeds} seeds") };
    let bars: Vec<_> = outcome.bars.iter().map(named).collect();
    let body = html! {
        h1 { (title) }
        p {
            "Each arm trained for " (minutes) " minutes from " (seeds) " on the same shards. Its "
            "frozen encoder was judged by at most " (train_pictures) " labelled pictures to learn "
            "from and " (test_pictures) " to be tested on, before training and at every quarter of "
            "it. Means over the seeds, ± the standard deviation."
        }
        (table(&ExperimentOutcome::HEADINGS, outcome.rows()))
        p {
            "A bar is the best accuracy of a trained encoder of the arm of a family that did worst, "
            "so that every arm reached it, but no less than the untrained encoder's: "
            (bars.join("; ")) "."
        }
        p { "In the plots, the dashed line is the untrained encoder's accuracy." }
        h2 { "Rates" }
        p {
            "Each arm's base learning rate is the best of those that were tried, for a sixth of a "
            "run each, by k-NN on labelled pictures held out from those to train on. None of the "
            "pictures above to be tested on took part where they are given apart."
        }
        (rates(&outcome.arms))
        (family(outcome, Family::Vit)?)
        (family(outcome, Family::Swin)?)
    };
    Ok(document(title, &body))
}

/// A family as it is written.
fn name(family: Family) -> &'static str {
    match family {
        Family::Vit => "ViT",
        Family::Swin => "Swin",
    }
}

fn named(bar: &Bar) -> String {
    let whose = if bar.by_untrained { " (the untrained encoder's)" } else { "" };
    format!("{}, {} {}{whose}", name(bar.family), bar.kind, percent(bar.accuracy))
}

/// What each arm reached at each rate.
fn rates(arms: &[ArmOutcome]) -> Markup {
    let mut headings = vec!["arm".to_owned()];
    headings.extend(RATES.map(|rate| format!("{rate:e}")));
    let row = |arm: &ArmOutcome| {
        let tried = arm.tried.iter().map(|trial| percent(trial.accuracy));
        std::iter::once(arm.name.clone()).chain(tried).collect::<Vec<_>>()
    };
    table(&headings, arms.iter().map(row))
}

/// Accuracies of a family's arms over time, a plot for each kind of evaluation.
fn family(outcome: &ExperimentOutcome, family: Family) -> Result<Markup, ExperimentError> {
    let arms: Vec<_> = outcome.arms.iter().filter(|arm| arm.arm.family == family).collect();
    Ok(html! {
        @if !arms.is_empty() {
            h2 { (name(family)) ", k-NN" }
            (accuracies(&arms, "knn")?)
            h2 { (name(family)) ", linear classifier" }
            (accuracies(&arms, "linear")?)
        }
    })
}

fn accuracies(arms: &[&ArmOutcome], kind: &str) -> Result<Markup, ExperimentError> {
    let series: Vec<Series> = arms
        .iter()
        .filter_map(|arm| {
            let points = arm.of(kind)?.points.iter();
            let points = points.map(|point| (point.minutes, 100.0 * point.mean)).collect();
            let name = arm.arm.recipe.name().to_owned();
            Some(Series { name, points, shape: Shape::DottedLine })
        })
        .collect();
    let untrained = arms.iter().filter_map(|arm| arm.of(kind)?.points.first());
    let untrained = untrained.map(|point| point.mean).reduce(f64::max);
    let axes = Axes {
        from: Some(0.0),
        level: untrained.map(|accuracy| 100.0 * accuracy),
        ..Axes::new("minutes of training", "top-1 accuracy in per cent")
    };
    Ok(figure(&series, &axes)?)
}
