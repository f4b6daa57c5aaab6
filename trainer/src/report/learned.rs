//! What the encoder has learned: how well it tells classes, and what it takes for alike.

use maud::{Markup, PreEscaped, html};

use crate::eval::record::EvalRecord;
use crate::eval::score::percent;
use crate::neighbours::{self, Found};

/// The part of the page with the run's evaluations and the neighbours of some of its pictures; empty
/// where there is neither.
pub fn section(evaluations: &[EvalRecord], neighbours: Option<&Found>) -> String {
    if evaluations.is_empty() && neighbours.is_none() {
        return String::new();
    }
    let markup = html! {
        h2 { "What the encoder has learned" }
        @if !evaluations.is_empty() { (accuracies(evaluations)) }
        @if let Some(found) = neighbours { (PreEscaped(neighbours::section(found))) }
    };
    markup.into_string()
}

fn accuracies(evaluations: &[EvalRecord]) -> Markup {
    html! {
        p {
            "How well features of the frozen encoder (or, by finetune, the encoder trained on) tell "
            "the classes of labelled test pictures. Chance is always naming the largest class."
        }
        div.scroll {
            table {
                tr {
                    th { "Judged by" } th { "Encoder" } th { "Top-1" } th { "Chance" } th { "Test" }
                }
                @for EvalRecord { method, step, score, test, .. } in evaluations {
                    tr {
                        td { (method.name()) }
                        td { @if *step == 0 { "untrained" } @else { "after step " (step) } }
                        td { strong { (percent(score.top1)) } }
                        td { (score.chance.as_ref().map_or("–".into(), |chance| percent(chance.top1))) }
                        td { (test.pictures) " pictures of " (score.classes.len()) " classes" }
                    }
                }
            }
        }
        @for warning in evaluations.last().into_iter().flat_map(|last| last.score.warnings()) {
            p.warning { (warning) }
        }
    }
}
