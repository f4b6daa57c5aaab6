//! The experiment as one page.

use std::fmt::Write;

use super::outcome::{ArmOutcome, Outcome};
use super::plan::{Family, RATES};
use super::{ExperimentError, Scale};
use crate::eval::page::percent;
use crate::html::{document, table};
use crate::plot::{Axes, Series, Shape, plot};

/// The page, with everything it shows inside it.
pub(super) fn page(outcome: &Outcome) -> Result<String, ExperimentError> {
    let Scale { minutes, seeds, train_pictures, test_pictures } = outcome.scale;
    let mut body = "<h1>The comparison at a small size</h1>".to_owned();
    let seeds = if seeds == 1 { "one seed".to_owned() } else { format!("each of {seeds} seeds") };
    let _ = write!(
        body,
        "<p>Each arm trained for {minutes} minutes from {seeds} on the same shards. Its frozen \
         encoder was judged by at most {train_pictures} labelled pictures to learn from and \
         {test_pictures} to be tested on, before training and at every quarter of it. Means over \
         the seeds, ± the standard deviation.</p>"
    );
    body += &table(&Outcome::HEADINGS, &outcome.rows());
    body += "<p>A bar is the best accuracy of a trained encoder of the arm of a family that did worst, \
             so that every arm reached it, but no less than the untrained encoder's: ";
    let bars: Vec<_> = outcome
        .bars
        .iter()
        .map(|bar| {
            let family = match bar.family {
                Family::Vit => "ViT",
                Family::Swin => "Swin",
            };
            let whose = if bar.by_untrained { " (the untrained encoder's)" } else { "" };
            format!("{family}, {} {}{whose}", bar.kind, percent(bar.accuracy))
        })
        .collect();
    let _ = write!(body, "{}.</p>", bars.join("; "));
    let _ = write!(
        body,
        "<p>In the plots, the dashed line is the untrained encoder's accuracy.</p><h2>Rates</h2><p>Each arm's base learning rate is the best of those that were tried, for a \
         sixth of a run each, by k-NN on labelled pictures held out from those to train on. None \
         of the pictures above to be tested on took part where they are given apart.</p>"
    );
    let rates = RATES.map(|rate| format!("{rate:e}"));
    let headings: Vec<&str> =
        std::iter::once("arm").chain(rates.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = outcome
        .arms
        .iter()
        .map(|arm| {
            let tried = arm.tried.iter().map(|trial| percent(trial.accuracy));
            std::iter::once(arm.name.clone()).chain(tried).collect()
        })
        .collect();
    body += &table(&headings, &rows);
    for (family, title) in [(Family::Vit, "ViT"), (Family::Swin, "Swin")] {
        let arms: Vec<&ArmOutcome> =
            outcome.arms.iter().filter(|arm| arm.arm.family == family).collect();
        if arms.is_empty() {
            continue;
        }
        for (kind, name) in [("knn", "k-NN"), ("linear", "linear classifier")] {
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
            let _ =
                write!(body, "<h2>{title}, {name}</h2><figure>{}</figure>", plot(&series, &axes)?);
        }
    }
    Ok(document("The comparison at a small size", &body))
}
