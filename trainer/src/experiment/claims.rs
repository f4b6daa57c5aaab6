//! What is held against the paper: which arms, by what, and how a figure says it.

use maud::{Markup, html};

use super::plan::{Arm, Change, Family};
use crate::settings::Recipe;

/// A pair of arms of which the paper says that one is so many times faster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// The faster.
    pub fast: Arm,
    /// The slower.
    pub slow: Arm,
    /// The ratio of times; none where the paper gives none.
    pub paper: Option<f64>,
}

/// What is held against the paper's abstract and figure 1: who is how much sooner.
pub fn claims() -> Vec<Claim> {
    let arm = Arm::of;
    let claim = |family, fast, slow, paper| Claim {
        fast: arm(family, fast),
        slow: arm(family, slow),
        paper,
    };
    use Recipe::{Greenmim, LocalmimHog, LocalmimPixel, Mae, Maskfeat, Simmim};
    vec![
        claim(Family::Vit, LocalmimHog, Mae, Some(3.1)),
        claim(Family::Vit, LocalmimHog, Maskfeat, Some(5.6)),
        claim(Family::Vit, LocalmimPixel, Mae, None),
        claim(Family::Swin, LocalmimHog, Simmim, Some(3.6)),
        claim(Family::Swin, LocalmimHog, Greenmim, Some(6.4)),
    ]
}

/// Which arms are held against each other for what they have at the end.
pub fn changes() -> Vec<(Arm, Arm)> {
    let changed = Arm::changed;
    vec![
        (changed(Change::OneScale), changed(Change::TopOnly)),
        (Arm::BASE, changed(Change::OneScale)),
        (Arm::BASE, changed(Change::TopOnly)),
        (changed(Change::LocalGradients), Arm::BASE),
        (Arm::BASE, changed(Change::OneView)),
        (changed(Change::EightViews), Arm::BASE),
    ]
}

/// What the paper says, and what came out.
pub(super) fn caption(paper: &str, ours: &[String]) -> Markup {
    html! {
        p { strong { "The paper: " } (paper) }
        p { strong { "Here: " } @for sentence in ours { (sentence) " " } }
    }
}
