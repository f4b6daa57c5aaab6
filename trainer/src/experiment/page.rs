//! What the runs show, as one page: a plot a claim, with what the paper says of it.

use maud::{Markup, html};
use voice::html::{document, table};

use super::figures::Figures;
use super::gather::{Axis, Gathered, Group};
use super::judged::Kind;
use super::outcome::{ExperimentOutcome, GroupOutcome, SoonerOutcome};
use super::plan::{Arm, Change, Family, RATES};
use super::ratio::{Curve, Sooner};
use super::{ExperimentError, command, layers};
use crate::compare::seeds::{At, mean};
use crate::eval::score::percent;
use crate::plot::{Axes, Series, Shape};
use crate::settings::Recipe;

/// A claim of the paper, and the arms that show it.
struct Section {
    /// What its plot's file is called.
    name: &'static str,
    title: &'static str,
    /// What the paper says.
    paper: &'static str,
    arms: Vec<Arm>,
}

/// The claims of methods, in their order.
fn methods() -> Vec<Section> {
    let vit = |recipe| Arm::of(Family::Vit, recipe);
    let swin = |recipe| Arm::of(Family::Swin, recipe);
    use Recipe::{Greenmim, LocalmimHog, LocalmimPixel, Mae, Maskfeat, Simmim};
    vec![
        Section {
            name: "vit",
            title: "On the ViT, LocalMIM gets there sooner",
            paper: "LocalMIM reaches MAE's best 3.1 times sooner, and MaskFeat's 5.6 times.",
            arms: [LocalmimHog, LocalmimPixel, Mae, Maskfeat].map(vit).to_vec(),
        },
        Section {
            name: "swin",
            title: "On the Swin, LocalMIM gets there sooner",
            paper: "LocalMIM reaches SimMIM's best 3.6 times sooner, and GreenMIM's 6.4 times.",
            arms: [LocalmimHog, Simmim, Greenmim].map(swin).to_vec(),
        },
    ]
}

/// Those of LocalMIM with one thing changed.
fn changes() -> Vec<Section> {
    let changed = |changes: &[Change]| {
        let changes = changes.iter().map(|&change| Arm::changed(change));
        std::iter::once(Arm::BASE).chain(changes).collect::<Vec<_>>()
    };
    vec![
        Section {
            name: "scales",
            title: "Targets of several scales matter",
            paper: "Taps at several layers gain little where all predict one scale; with a scale \
                    each, fine ones below and coarse ones above, they gain more.",
            arms: changed(&[Change::OneScale, Change::TopOnly]),
        },
        Section {
            name: "gradients",
            title: "With gradients cut after each tap, it still learns",
            paper: "Each layer can learn from the next tap alone.",
            arms: changed(&[Change::LocalGradients]),
        },
        Section {
            name: "views",
            title: "How many views of a picture to store",
            paper: "The paper cuts a new view each time a picture is seen; here views are stored.",
            arms: changed(&[Change::OneView, Change::EightViews]),
        },
    ]
}

/// The page, with everything it shows inside it, and its plots, given the command that makes it of its
/// folders.
pub(super) fn page(
    gathered: &Gathered,
    outcome: &ExperimentOutcome,
    again: &str,
) -> Result<(String, Figures), ExperimentError> {
    let title = "LocalMIM's claims at a small size";
    let mut figures = Figures::default();
    let groups: Vec<Markup> = gathered
        .groups
        .iter()
        .zip(&outcome.groups)
        .map(|(group, outcome)| of_group(group, outcome, &mut figures))
        .collect::<Result<_, _>>()?;
    let body = html! {
        h1 { (title) }
        div.claims { @for group in groups { (group) } }
        @if !outcome.unfinished.is_empty() || !outcome.diverged.is_empty() { h2 { "Left out" } }
        @if !outcome.unfinished.is_empty() {
            p { "These runs are not finished: " (outcome.unfinished.join(", ")) "." }
        }
        @if !outcome.diverged.is_empty() {
            p {
                "The numbers of these runs were none by the step that is named, which ended them: "
                (outcome.diverged.join(", ")) "."
            }
        }
        h2 { "How it was measured" }
        (method())
        p { "This page is made of the runs' folders by " code { (again) } "." }
    };
    Ok((document(title, &body), figures))
}

fn method() -> Markup {
    html! {
        p {
            "Each arm trains for the same time on the same pictures, its schedule as long as its run. "
            "At points of the run the encoder is judged by labelled pictures: by a linear classifier "
            "and by nearest neighbours, on the features of each layer, of which the best counts. This "
            "is no part of its time."
        }
        p {
            "A bar is the best mean accuracy that the slower arm reaches in its whole run, if it is "
            "above the untrained encoder's. The ratio is that of the times, or views, at which the "
            "lines of means first reach the bar, between two points on the line that joins them. Its "
            "interval holds 95 % of what comes out when seeds are drawn anew with replacement; of "
            "three seeds such an interval is too narrow rather than too wide. Where it holds 1, "
            "nothing is shown; of one seed there is none."
        }
        p {
            "Core time is what the processor computed for a run, divided by its cores: the clock of a "
            "machine that does nothing else. The clock itself counts what other programs took, too."
        }
    }
}

/// What the runs of one setup show.
fn of_group(
    group: &Group,
    outcome: &GroupOutcome,
    figures: &mut Figures,
) -> Result<Markup, ExperimentError> {
    figures.next_group();
    let arms = group.arms();
    let shown =
        |section: &Section| section.arms.iter().filter(|arm| arms.contains(arm)).count() > 1;
    let claims = |sections: Vec<Section>, figures: &mut Figures| {
        let shown = sections.into_iter().filter(shown);
        shown.map(|section| claim(group, outcome, &section, figures)).collect::<Result<Vec<_>, _>>()
    };
    Ok(html! {
        p {
            (outcome.setup.text(outcome.judged)) " Made on " (outcome.machines.join(" and on ")) "."
        }
        @for note in &outcome.notes { p.warning { (note) } }
        @for claim in claims(methods(), figures)? { (claim) }
        (layers::drawn(group, figures)?)
        @for claim in claims(changes(), figures)? { (claim) }
        h2 { "All arms" }
        (table(&GroupOutcome::ARMS, outcome.arm_rows()))
        p { "Means over the seeds, ± their standard deviation." }
        (rates(group))
        h2 { "Commands" }
        @for command in command::of_group(group) { p { code { (command) } } }
    })
}

/// A claim: the plot, what the paper says and what came out, and the figures.
fn claim(
    group: &Group,
    outcome: &GroupOutcome,
    section: &Section,
    figures: &mut Figures,
) -> Result<Markup, ExperimentError> {
    let arms: Vec<Arm> =
        section.arms.iter().copied().filter(|arm| group.of(*arm).next().is_some()).collect();
    let missing: Vec<Arm> =
        section.arms.iter().copied().filter(|arm| !arms.contains(arm)).collect();
    let named = |arms: &[Arm]| arms.iter().map(|arm| arm.name()).collect::<Vec<_>>();
    let names = named(&arms);
    let sooner = |of: &SoonerOutcome| names.contains(&of.fast) && names.contains(&of.slow);
    let about = GroupOutcome {
        sooner: outcome.sooner.iter().filter(|of| sooner(of)).cloned().collect(),
        gains: outcome
            .gains
            .iter()
            .filter(|of| names.contains(&of.arm) && names.contains(&of.against))
            .cloned()
            .collect(),
        time: group.measure(&arms),
        ..outcome.clone()
    };
    let (series, untrained) = accuracies(group, &arms, about.time);
    let axes = Axes {
        from: Some(0.0),
        level: untrained,
        ..Axes::new(about.time.label(), "linear accuracy in per cent")
    };
    let figure = figures.draw(section.name, &series, &axes, section.paper, &ours(&about))?;
    Ok(html! {
        h2 { (section.title) }
        (figure)
        @if !about.sooner.is_empty() { (table(&GroupOutcome::SOONER, about.sooner_rows())) }
        @let levels = about.level_rows();
        @if !levels.is_empty() {
            p { "When both reach what both reach, in " (about.time.label()) ":" }
            (table(&GroupOutcome::LEVELS, levels))
        }
        @if !about.gains.is_empty() { (table(&GroupOutcome::GAINS, about.gain_rows())) }
        @if !missing.is_empty() {
            p {
                "Not made: " (named(&missing).join(", ")) ". "
                code { (command::of_missing(group, &missing, &arms)) }
                " makes them."
            }
        }
    })
}

/// What came out, in sentences: by the linear classifier, over time.
fn ours(outcome: &GroupOutcome) -> Vec<String> {
    let by_time =
        outcome.sooner.iter().filter(|of| of.kind == Kind::Linear && of.axis == outcome.time);
    let sooner = by_time.map(|of| {
        let bar = of.found.map_or(String::new(), |found| format!(" ({})", percent(found.bar)));
        let SoonerOutcome { fast, slow, .. } = of;
        let by = of.axis.name();
        match of.found {
            None => format!("{slow} was at no point above the untrained encoders, so there is no bar for {fast} to reach."),
            Some(Sooner { fast: None, .. }) => {
                format!("{fast} does not reach {slow}'s best{bar} within its run.")
            }
            Some(_) => format!("{fast} against {slow}'s best{bar}, by {by}: {} times sooner.", of.text()),
        }
    });
    let gains = outcome.gain_rows().into_iter().zip(&outcome.gains);
    let gains = gains.filter(|(_, gain)| gain.kind == Kind::Linear).map(|(row, gain)| {
        format!("{} ends {} points against {}.", gain.arm, row[3], gain.against)
    });
    let ours: Vec<String> = sooner.chain(gains).collect();
    match ours.is_empty() {
        true => vec!["Nothing yet: these arms have no seed in common.".to_owned()],
        false => ours,
    }
}

/// Accuracies by the linear classifier over time: means, and bands from the lowest seed to the
/// highest. And the untrained encoders' of the arm whose are best.
fn accuracies(group: &Group, arms: &[Arm], time: Axis) -> (Vec<Series>, Option<f64>) {
    let mut untrained: Option<f64> = None;
    let mut series = vec![];
    for &arm in arms {
        let curves = group.of(arm).filter_map(|run| run.curve(Kind::Linear, time));
        // Runs of an arm are judged at the same points.
        let line = |curve: Curve| -> Vec<At> {
            let points = (0..).zip(curve);
            points.map(|(at, (x, y))| (f64::from(at), x, 100.0 * y)).collect()
        };
        let (points, band) = mean(&curves.map(line).collect::<Vec<_>>());
        untrained = points.first().map(|[_, y]| *y).into_iter().chain(untrained).reduce(f64::max);
        let points = points.into_iter().map(|[x, y]| (x, y)).collect();
        let band = band.into_iter().map(|[x, low, high]| (x, low, high)).collect();
        let name = match arm.change {
            None => arm.recipe.name().to_owned(),
            Some(_) => arm.name(),
        };
        series.push(Series::of(name, points, Shape::DottedLine).with_band(band));
    }
    (series, untrained)
}

/// What each arm reached at each rate that was tried.
fn rates(group: &Group) -> Markup {
    let tried = |arm: &Arm| {
        let run = group.of(*arm).find(|run| !run.record.tried.is_empty())?;
        let accuracies = RATES.map(|rate| {
            let trial = run.record.tried.iter().find(|trial| trial.rate == rate);
            trial.map_or("–".to_owned(), |trial| percent(trial.accuracy))
        });
        Some(std::iter::once(arm.name()).chain(accuracies).collect::<Vec<_>>())
    };
    let arms = group.arms().into_iter().filter(|arm| arm.change.is_none());
    let rows: Vec<_> = arms.filter_map(|arm| tried(&arm)).collect();
    let mut headings = vec!["arm".to_owned()];
    headings.extend(RATES.map(|rate| format!("{rate:e}")));
    html! {
        @if !rows.is_empty() {
            h2 { "Rates" }
            p {
                "Each method's base learning rate is the best of those that were tried, by a linear "
                "classifier on labelled pictures held out from those to train on."
            }
            (table(&headings, rows))
        }
    }
}
