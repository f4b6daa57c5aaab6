//! Neighbours as HTML: a row a query, a strip of neighbours an encoder.

use maud::{Markup, html};
use voice::html::{data_url, document, facts};
use voice::terminal::counted;

use super::{Agreement, Found, Neighbour, Row, Shown};
use crate::encode::encoder::FEATURE;
use crate::eval::score::percent;

/// The whole page, with everything it shows inside it.
pub fn page(found: &Found) -> String {
    let title = format!("Nearest pictures · {}", found.title);
    let body = html! {
        h1 { (title) }
        (section(found))
        h2 { "How it was made" }
        (how(found))
    };
    document(&title, &body)
}

/// The part of a page that shows neighbours, for a body in the frame of
/// [`document`]: how often they are of one class, then a row a query.
pub fn section(found: &Found) -> Markup {
    html! {
        div.neighbours {
            @if let Some(agreement) = &found.agreement {
                (headline(agreement, found.k))
            }
            p {
                "Each picture at the left is followed by those that the encoder takes for most like "
                "it, and by those that the same encoder took for so before it was trained. Below "
                "each is the cosine of both features"
                @if found.agreement.is_some() {
                    "; a " span.mark { "✓" } " and a frame mark the picture’s own class"
                }
                "."
            }
            @for row in &found.rows {
                (query(row))
            }
        }
    }
}

fn headline(agreement: &Agreement, k: usize) -> Markup {
    let Agreement { judged, classes, trained, untrained, chance } = agreement;
    let bars = [("trained", trained), ("untrained", untrained), ("chance", chance)];
    html! {
        p.headline {
            "Of the " (k) " nearest, "
            strong { (percent(*trained)) }
            " are of the picture’s own class."
        }
        dl.bars {
            @for (name, share) in bars {
                dt { (name) }
                dd {
                    span.bar.(name) style=(format!("width:{:.1}%", 100.0 * share)) {}
                    span { (percent(*share)) }
                }
            }
        }
        @if trained <= chance {
            p.warning {
                "The encoder is no better than pictures drawn blindly: it tells nothing of these classes."
            }
        } @else if trained <= untrained {
            p.warning {
                "Training has not helped: the untrained encoder is as good on these classes."
            }
        }
        p.note {
            "Counted for " (counted(*judged as u64, "labelled picture")) " of "
            (counted(*classes as u64, "class")) "."
        }
    }
}

fn query(row: &Row) -> Markup {
    let Row { query, trained, untrained } = row;
    html! {
        article {
            figure.asked {
                (picture(query))
                figcaption {
                    @if let Some(label) = &query.label { strong { (label) } }
                    span { (query.key) }
                }
            }
            div.strips {
                (strip("trained", trained))
                (strip("untrained", untrained))
            }
        }
    }
}

fn strip(name: &str, neighbours: &[Neighbour]) -> Markup {
    // Where all are alike, it takes more digits to tell which is nearest.
    let least = neighbours.iter().map(|neighbour| neighbour.similarity).fold(1.0, f32::min);
    let digits = if least > 0.99 { 4 } else { 3 };
    let known = neighbours.iter().filter_map(|neighbour| neighbour.same_class);
    let (known, same) = known.fold((0, 0), |(all, same), is| (all + 1, same + usize::from(is)));
    html! {
        div.strip.(name) {
            h3 {
                (name)
                @if known > 0 { span { (same) " of " (known) " of its class" } }
            }
            ol style=(format!("--columns:{}", columns(neighbours.len()))) {
                @for Neighbour { shown, similarity, same_class } in neighbours {
                    li.same[*same_class == Some(true)] title=(shown.key) {
                        (picture(shown))
                        span.cosine {
                            (format!("{similarity:.digits$}"))
                            @if *same_class == Some(true) { " " span.mark { "✓" } }
                        }
                        @if let Some(label) = &shown.label { span.class { (label) } }
                    }
                }
            }
        }
    }
}

/// Columns of a strip: as many as are readable, and none left empty but in the last row.
fn columns(neighbours: usize) -> usize {
    neighbours.div_ceil(neighbours.div_ceil(10).max(1)).max(1)
}

fn picture(shown: &Shown) -> Markup {
    html! { img src=(data_url("image/jpeg", &shown.thumbnail)) alt=(shown.key); }
}

fn how(found: &Found) -> Markup {
    let (drawn, first) = found.seeds;
    let pictures = html! {
        (counted(found.sampled as u64, "different picture"))
        @if found.is_whole { ": all that the " } @else { ", drawn by seed " (drawn) " from the " }
        (counted(found.rows_of_set, "row")) " of " (found.given)
        @if found.is_whole { " hold" }
        ". A copy or another view of a picture is never its neighbour."
    };
    facts([
        ("Pictures", pictures),
        ("Feature", html! { (FEATURE) }),
        (
            "Untrained",
            html! { "the same network with the first parameters of the run’s seed, " (first) },
        ),
        ("Checkpoint", html! { (found.checkpoint.display()) }),
    ])
}
