//! What each layer learned: how well its features tell classes, and where it looks.

use maud::{Markup, html};

use super::ExperimentError;
use super::claims::caption;
use super::gather::{Group, Run};
use super::judged::Kind;
use super::plan::{Arm, Family, POINTS};
use crate::plot::{Axes, Series, Shape, captioned};
use crate::settings::Recipe;

/// The part of a run after which layers are shown, besides its end.
const EARLY: f64 = POINTS[3];

/// The figures, LocalMIM's layers beside those of methods which guide their last layer alone.
pub(super) fn figures(group: &Group) -> Result<Markup, ExperimentError> {
    use Recipe::{Greenmim, LocalmimHog, Mae, Simmim};
    let vit = (Family::Vit, &[LocalmimHog, Mae][..]);
    let swin = (Family::Swin, &[LocalmimHog, Simmim, Greenmim][..]);
    let mut figures = vec![];
    for (family, recipes) in [vit, swin] {
        let arms: Vec<Arm> = recipes.iter().map(|&recipe| Arm::of(family, recipe)).collect();
        figures.extend(accuracies(group, &arms)?);
        figures.extend(information(group, &arms)?);
    }
    Ok(html! {
        @if !figures.is_empty() { h2 { "Lower layers learn where they are guided" } }
        @for figure in figures { (figure) }
    })
}

/// The linear accuracy of each layer's features, early and in the end.
fn accuracies(group: &Group, arms: &[Arm]) -> Result<Option<Markup>, ExperimentError> {
    let at =
        |step: fn(u64) -> u64| move |run: &Run| run.layers(Kind::Linear, step(run.record.steps));
    let early = |steps: u64| (steps as f64 * EARLY) as u64;
    let mut series = vec![];
    for &arm in arms {
        let name = arm.recipe.name();
        let end = line(group, arm, name, at(|steps| steps));
        if end.is_some() && arm.recipe == Recipe::LocalmimHog {
            series.extend(line(group, arm, "untrained", at(|_| 0)));
        }
        series.extend(line(group, arm, &format!("{name} after 1/8"), at(early)));
        series.extend(end);
    }
    let paper = "Lower layers that are guided learn sooner, and the upper ones on top of them.";
    let of = |arm: &Arm| {
        format!(
            "On the {}, the linear accuracy of each {}'s features",
            arm.family.name(),
            layer(arm)
        )
    };
    let ours = arms.first().map(of).map(|of| {
        format!("{of}: untrained, after an eighth of a run and in the end, as a mean over seeds.")
    });
    figure(&series, arms, "linear accuracy in per cent", paper, ours)
}

/// The mutual information of attention by layer, untrained and trained.
fn information(group: &Group, arms: &[Arm]) -> Result<Option<Markup>, ExperimentError> {
    let of =
        |record: &crate::analyze::NmiRecord| record.layers.iter().map(|layer| layer.mean).collect();
    let mut series = vec![];
    for &arm in arms {
        let end = line(group, arm, arm.recipe.name(), |run| run.nmi.get(1..)?.last().map(of));
        if end.is_some() && arm.recipe == Recipe::LocalmimHog {
            series.extend(line(group, arm, "untrained", |run| run.nmi.first().map(of)));
        }
        series.extend(end);
    }
    let paper = "Without guidance of their own, as in MAE, lower layers learn little: where a token \
                 looks depends less on where it is than with LocalMIM.";
    let ours = arms.first().map(|arm| {
        let within = match arm.family {
            Family::Vit => "",
            Family::Swin => " within a window",
        };
        format!(
            "On the {}, the mutual information between the positions of queries and keys{within}, by \
             {}, as a mean over heads, views and seeds: 0 where attention does not depend on the query.",
            arm.family.name(),
            layer(arm)
        )
    });
    figure(&series, arms, "normalised mutual information", paper, ours)
}

fn figure(
    series: &[Series],
    arms: &[Arm],
    label: &str,
    paper: &str,
    ours: Option<String>,
) -> Result<Option<Markup>, ExperimentError> {
    if series.is_empty() {
        return Ok(None);
    }
    let axes = Axes { from: Some(1.0), ..Axes::new(arms.first().map_or("layer", layer), label) };
    let caption = caption(paper, ours.as_slice());
    Ok(Some(captioned(series, &axes, Some(&caption))?))
}

/// What a layer of an arm's encoder is called.
fn layer(arm: &Arm) -> &'static str {
    match arm.family {
        Family::Vit => "block",
        Family::Swin => "stage",
    }
}

/// An arm's mean over seeds, layer by layer; none if a run lacks it.
fn line(
    group: &Group,
    arm: Arm,
    name: &str,
    of: impl Fn(&Run) -> Option<Vec<f64>>,
) -> Option<Series> {
    let values: Vec<Vec<f64>> = group.of(arm).map(of).collect::<Option<_>>()?;
    let depth = values.iter().map(Vec::len).min()?;
    let mean = |layer: usize| values.iter().map(|of| of[layer]).sum::<f64>() / values.len() as f64;
    let points = (0..depth).map(|layer| ((layer + 1) as f64, mean(layer))).collect();
    Some(Series::of(name.to_owned(), points, Shape::DottedLine))
}
