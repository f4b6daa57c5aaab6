//! What the encoder has learned: how well it tells classes, and what it takes for alike.

use maud::{Markup, html};
use voice::html::table;

use crate::eval::record::EvalRecord;
use crate::eval::score::percent;
use crate::neighbours::{self, Found};

/// The part of the page with the run's evaluations and the neighbours of some of its pictures; empty
/// where there is neither.
pub fn section(evaluations: &[EvalRecord], neighbours: Option<&Found>) -> Markup {
    if evaluations.is_empty() && neighbours.is_none() {
        return html! {};
    }
    html! {
        h2 { "What the encoder has learned" }
        @if !evaluations.is_empty() { (accuracies(evaluations)) }
        @if let Some(found) = neighbours { (neighbours::section(found)) }
    }
}

fn accuracies(evaluations: &[EvalRecord]) -> Markup {
    html! {
        p {
            "How well features of the frozen encoder (or, by finetune, the encoder trained on) tell "
            "the classes of labelled test pictures. Chance is always naming the largest class."
        }
        (table(&["Judged by", "Encoder", "Top-1", "Chance", "Test"], evaluations.iter().map(row)))
        @for warning in evaluations.last().into_iter().flat_map(|last| last.warnings()) {
            p.warning { (warning) }
        }
    }
}

fn row(EvalRecord { method, step, score, test, .. }: &EvalRecord) -> [Markup; 5] {
    let chance = score.chance.as_ref().map_or("–".into(), |chance| percent(chance.top1));
    [
        html! { (method.name()) },
        html! { @if *step == 0 { "untrained" } @else { "after step " (step) } },
        html! { strong { (percent(score.top1)) } },
        html! { (chance) },
        html! { (test.pictures) " pictures of " (score.classes.len()) " classes" },
    ]
}
