//! What each layer learned: how well its features tell classes, and where it looks.

use maud::{Markup, html};

use super::ExperimentError;
use super::figures::Figures;
use super::gather::{Group, Run};
use super::judged::Kind;
use super::plan::{self, Arm, Family};
use crate::analyze::NmiRecord;
use crate::compare::seeds::{At, mean};
use crate::plot::{Axes, Series, Shape};
use crate::settings::Recipe;

/// What is known of each layer of a run's encoder; none where it was not measured.
type OfLayers = fn(&Run) -> Option<Vec<f64>>;

/// The figures, LocalMIM's layers beside those of methods which guide their last layer alone.
pub(super) fn drawn(group: &Group, figures: &mut Figures) -> Result<Markup, ExperimentError> {
    use Recipe::{Greenmim, LocalmimHog, Mae, Simmim};
    let vit = (Family::Vit, &[LocalmimHog, Mae][..]);
    let swin = (Family::Swin, &[LocalmimHog, Simmim, Greenmim][..]);
    let mut drawn = vec![];
    for (family, recipes) in [vit, swin] {
        let arms: Vec<Arm> = recipes.iter().map(|&recipe| Arm::of(family, recipe)).collect();
        drawn.extend(accuracies(group, family, &arms, figures)?);
        drawn.extend(information(group, family, &arms, figures)?);
    }
    Ok(html! {
        @if !drawn.is_empty() { h2 { "Lower layers learn where they are guided" } }
        @for figure in drawn { (figure) }
    })
}

/// The linear accuracy of each layer's features, early and in the end.
fn accuracies(
    group: &Group,
    family: Family,
    arms: &[Arm],
    figures: &mut Figures,
) -> Result<Option<Markup>, ExperimentError> {
    let series = series(
        group,
        arms,
        |run| run.layers(Kind::Linear, 0),
        &[
            (" after 1/8", |run| run.layers(Kind::Linear, plan::early(run.record.steps))),
            ("", |run| run.layers(Kind::Linear, run.record.steps)),
        ],
    );
    let paper = "Lower layers that are guided learn sooner, and the upper ones on top of them.";
    let ours = format!(
        "On the {}, the linear accuracy of each {}'s features: untrained, after an eighth of a run \
         and in the end, as a mean over seeds.",
        family.name(),
        layer(family)
    );
    figure(figures, family, ("layers", "linear accuracy in per cent"), &series, paper, ours)
}

/// The mutual information of attention by layer, untrained and trained.
fn information(
    group: &Group,
    family: Family,
    arms: &[Arm],
    figures: &mut Figures,
) -> Result<Option<Markup>, ExperimentError> {
    fn means(record: &NmiRecord) -> Vec<f64> {
        record.layers.iter().map(|layer| layer.mean).collect()
    }
    let series = series(
        group,
        arms,
        |run| run.nmi.first().map(means),
        &[("", |run| run.nmi.get(1..)?.last().map(means))],
    );
    let paper = "Without guidance of their own, as in MAE, lower layers learn little: where a token \
                 looks depends less on where it is than with LocalMIM.";
    let within = match family {
        Family::Vit => "",
        Family::Swin => " within a window",
    };
    let ours = format!(
        "On the {}, the mutual information between the positions of queries and keys{within}, by \
         {}, as a mean over heads, views and seeds: 0 where attention does not depend on the query.",
        family.name(),
        layer(family)
    );
    figure(figures, family, ("information", "normalised mutual information"), &series, paper, ours)
}

/// A figure of something by layer, counted from 1, given its file's name and what the y axis says; none
/// without a line.
fn figure(
    figures: &mut Figures,
    family: Family,
    (name, y): (&str, &str),
    series: &[Series],
    paper: &str,
    ours: String,
) -> Result<Option<Markup>, ExperimentError> {
    if series.is_empty() {
        return Ok(None);
    }
    let name = format!("{}-{name}", family.slug());
    let axes = Axes { from: Some(1.0), ..Axes::new(layer(family), y) };
    figures.draw(&name, series, &axes, paper, &[ours]).map(Some)
}

/// What a layer of a family's encoders is called.
fn layer(family: Family) -> &'static str {
    match family {
        Family::Vit => "block",
        Family::Swin => "stage",
    }
}

/// The lines of arms: each after what was trained of it, and LocalMIM's before.
fn series(
    group: &Group,
    arms: &[Arm],
    untrained: OfLayers,
    trained: &[(&str, OfLayers)],
) -> Vec<Series> {
    let mut series = vec![];
    for &arm in arms {
        let name = arm.recipe.name();
        let lines = trained.iter().map(|(when, of)| line(group, arm, format!("{name}{when}"), *of));
        let lines: Vec<Series> = lines.flatten().collect();
        if arm.recipe == Recipe::LocalmimHog && !lines.is_empty() {
            series.extend(line(group, arm, "untrained".to_owned(), untrained));
        }
        series.extend(lines);
    }
    series
}

/// An arm's mean over seeds, layer by layer; none if a run lacks it.
fn line(group: &Group, arm: Arm, name: String, of: OfLayers) -> Option<Series> {
    let points = |values: Vec<f64>| -> Vec<At> {
        (1..).map(f64::from).zip(values).map(|(layer, value)| (layer, layer, value)).collect()
    };
    let lines = group.of(arm).map(|run| of(run).map(points)).collect::<Option<Vec<_>>>()?;
    let points: Vec<_> = mean(&lines).0.into_iter().map(|[x, y]| (x, y)).collect();
    (!points.is_empty()).then(|| Series::of(name, points, Shape::DottedLine))
}
