//! The page of a set.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use maud::{Markup, html};
use schemas::{Manifest, Reason, code};
use shards::StoredRow;
use shards::pictures::Listed;
use voice::html::{data_url, document, facts};
use voice::terminal::{counted, name as plain, size};

use super::gather::{Cluster, Gathered, RADIUS, Rejected};
use crate::{IngestError, inspect};

/// Bars of a chart, at most; the rest is added up.
const BARS: usize = 24;
/// Views that stand beside their HOG.
const PREVIEWS: usize = 3;

/// The page, with everything it shows inside it.
pub fn page(manifest: &Manifest, gathered: &Gathered) -> Result<String, IngestError> {
    let title = format!("Shards of {}", counted(manifest.accepted, "picture"));
    let pictures = gathered.pictures.len();
    let body = html! {
        h1 { (title) }
        (facts(told(manifest, gathered)))
        @if !gathered.views.is_empty() {
            h2 { "Views, drawn at random" }
            div.grid {
                @for (row, jpeg) in &gathered.views { (thumbnail(jpeg, &row.source)) }
            }
            h2 { "What is reconstructed" }
            p { "Views beside their HOG, from the finest cells to the coarsest." }
            (preview(manifest, gathered)?)
            h2 { "HOG by scale and direction" }
            p {
                "The mean energy of HOG over the views above: strokes lie along the edges that they "
                "stand for. An even star is a set that looks the same from all sides; pictures of "
                "the made world have more upright and level edges."
            }
            div.roses { @for rose in roses(manifest, gathered) { (rose) } }
        }
        @if pictures > 0 {
            h2 { "Sizes" }
            div.charts {
                (chart("Shorter side in pixels", &sides(gathered)))
                (chart("Longer side over shorter", &aspects(gathered)))
            }
            h2 { "Where they come from" }
            div.charts {
                (chart("Format, by the name", &by(gathered, |picture| extension(&picture.source))))
                (chart("Source", &sources(manifest, gathered)))
            }
        }
        @if !manifest.classes.is_empty() {
            h2 { (counted(manifest.classes.len() as u64, "class")) }
            (classes(manifest))
        }
        (clusters(gathered))
        (rejects(manifest, gathered))
    };
    Ok(document(&title, &body))
}

/// What the set is, in names and values.
fn told(manifest: &Manifest, gathered: &Gathered) -> Vec<(String, String)> {
    let settings = &manifest.settings;
    let side = settings.layout.size;
    let cells: Vec<_> = settings.layout.cells.iter().map(u32::to_string).collect();
    let cut_short = match manifest.cut_short {
        0 => String::new(),
        pictures => format!(" ({pictures} of them cut short)"),
    };
    let shards = counted(manifest.shards.len() as u64, "shard");
    let mut told = vec![
        (
            "Pictures".to_owned(),
            format!("{} accepted{cut_short}, {} rejected", manifest.accepted, manifest.rejected),
        ),
        ("Views".to_owned(), format!("{side}×{side} pixels, {} a picture", settings.views)),
        (
            "HOG".to_owned(),
            format!(
                "cells of {} pixels, {} bins a channel",
                cells.join(", "),
                settings.layout.bins
            ),
        ),
        (
            "Shards".to_owned(),
            format!("{} in {shards}, {}", counted(manifest.rows, "row"), size(manifest.bytes)),
        ),
        ("Filters".to_owned(), inspect::filters(settings).join(", ")),
    ];
    told.extend((1..).zip(&manifest.parts).map(|(version, part)| {
        let sources = part.sources.join(", ");
        let pictures = counted(part.pictures, "picture");
        (format!("Version {version}"), format!("{pictures} of {}", plain(&sources)))
    }));
    let looked_at = gathered.pictures.len() as u64;
    if looked_at < manifest.accepted {
        let text = format!(
            "{} of {}, spread evenly, for sizes, formats, sources and likeness",
            counted(looked_at, "picture"),
            counted(gathered.shards as u64, "shard")
        );
        told.push(("Looked at".to_owned(), text));
    }
    told
}

fn thumbnail(jpeg: &[u8], name: &str) -> Markup {
    html! { img src=(data_url("image/jpeg", jpeg)) alt=(plain(name)) title=(plain(name)); }
}

fn preview(manifest: &Manifest, gathered: &Gathered) -> Result<Markup, IngestError> {
    let rows: Vec<StoredRow> =
        gathered.views.iter().take(PREVIEWS).map(|(row, _)| row.clone()).collect();
    let png = inspect::preview(manifest, &rows).png().map_err(|error| {
        IngestError::io("draw", std::path::Path::new("preview"))(std::io::Error::other(error))
    })?;
    Ok(html! {
        div.scroll { img.preview src=(data_url("image/png", &png)) alt="views and HOG"; }
    })
}

/// For each scale a star whose strokes are as long as the root of their energy.
fn roses(manifest: &Manifest, gathered: &Gathered) -> Vec<Markup> {
    let bins = manifest.settings.layout.bins as usize;
    let energies = manifest.settings.layout.cells.iter().enumerate().map(|(at, &cell)| {
        let mut energy = vec![0.0; bins];
        let mut values = 0;
        for (row, _) in &gathered.views {
            for (place, &byte) in row.cells[at].hog.iter().enumerate() {
                energy[place % bins] += f64::from(code::decode(byte)).powi(2);
            }
            values += row.cells[at].hog.len() / bins;
        }
        energy.iter_mut().for_each(|energy| *energy /= values.max(1) as f64);
        (cell, energy)
    });
    let energies: Vec<_> = energies.collect();
    let most = energies.iter().flat_map(|(_, energy)| energy).fold(f64::EPSILON, |a, &b| a.max(b));
    energies.into_iter().map(|(cell, energy)| rose(cell, &energy, most)).collect()
}

fn rose(cell: u32, energy: &[f64], most: f64) -> Markup {
    let turn = PI / energy.len() as f64;
    let strokes: Vec<_> = (0..)
        .zip(energy)
        .map(|(bin, &energy)| {
            // The bin's gradients have this sine and cosine; its edge lies across them.
            let (gx, gy) = ((f64::from(bin) + 0.5) * turn).sin_cos();
            let long = 70.0 * (energy / most).sqrt();
            (gy * long, -gx * long, energy)
        })
        .collect();
    let total: f64 = energy.iter().sum();
    html! {
        figure {
            svg viewBox="-80 -80 160 160" width="160" height="160" role="img"
                aria-label=(format!("energy by direction, cells of {cell} pixels")) {
                circle r="70" fill="none" stroke="#ddd" {}
                @for (x, y, energy) in &strokes {
                    line x1=(format!("{:.1}", -x)) y1=(format!("{:.1}", -y))
                        x2=(format!("{x:.1}")) y2=(format!("{y:.1}"))
                        stroke="#2458a6" stroke-width="6" stroke-linecap="round" opacity="0.75" {
                        title { (format!("{energy:.4}")) }
                    }
                }
            }
            figcaption { "cells of " (cell) " px: " (format!("{total:.2}")) }
        }
    }
}

/// Bars and their names, in the order in which they are shown.
type Bars = Vec<(String, u64)>;

fn chart(title: &str, bars: &Bars) -> Markup {
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let all: u64 = bars.iter().map(|(_, count)| count).sum();
    html! {
        section.chart {
            h3 { (title) }
            dl.bars {
                @for (name, count) in bars {
                    dt title=(plain(name)) { (plain(name)) }
                    dd {
                        span.bar style=(format!("width:{:.1}%", 70.0 * *count as f64 / most as f64)) {}
                        span { (count) " · " (format!("{:.1} %", 100.0 * *count as f64 / all.max(1) as f64)) }
                    }
                }
            }
        }
    }
}

fn by(gathered: &Gathered, name: impl Fn(&Listed) -> String) -> Bars {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for picture in &gathered.pictures {
        *counts.entry(name(picture)).or_default() += 1;
    }
    largest(counts.into_iter().collect())
}

/// The largest bars first; what is beyond [`BARS`] is one.
fn largest(mut bars: Bars) -> Bars {
    bars.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
    if bars.len() > BARS {
        let rest = bars.split_off(BARS - 1);
        let sum = rest.iter().map(|(_, count)| count).sum();
        bars.push((format!("{} others", rest.len()), sum));
    }
    bars
}

/// Shorter sides by powers of two.
fn sides(gathered: &Gathered) -> Bars {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for picture in &gathered.pictures {
        let side = picture.size.0.min(picture.size.1).max(1);
        *counts.entry(side.ilog2()).or_default() += 1;
    }
    let name = |power: u32| format!("{}–{}", 1u64 << power, (2u64 << power) - 1);
    counts.into_iter().map(|(power, count)| (name(power), count)).collect()
}

fn aspects(gathered: &Gathered) -> Bars {
    const EDGES: [(f64, &str); 6] = [
        (1.1, "below 1.1"),
        (1.3, "1.1 to 1.3"),
        (1.5, "1.3 to 1.5"),
        (1.8, "1.5 to 1.8"),
        (2.5, "1.8 to 2.5"),
        (f64::INFINITY, "2.5 and more"),
    ];
    let mut counts = [0u64; EDGES.len()];
    for picture in &gathered.pictures {
        let (width, height) = picture.size;
        let aspect = f64::from(width.max(height)) / f64::from(width.min(height).max(1));
        let bar = EDGES.iter().position(|(edge, _)| aspect < *edge).unwrap_or(EDGES.len() - 1);
        counts[bar] += 1;
    }
    EDGES.iter().zip(counts).map(|((_, name), count)| ((*name).to_owned(), count)).collect()
}

/// What a name ends with, if it is like the endings that formats have.
fn extension(source: &str) -> String {
    // An address may have a query behind its path.
    let path = source.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.') {
        Some((_, end)) if (2..=5).contains(&end.len()) && end.is_ascii() => end.to_lowercase(),
        _ => "none".to_owned(),
    }
}

/// The hosts of addresses, the archives, or the topmost folders.
fn sources(manifest: &Manifest, gathered: &Gathered) -> Bars {
    let roots: Vec<&String> = manifest.parts.iter().flat_map(|part| &part.sources).collect();
    by(gathered, |picture| {
        let source = picture.source.as_str();
        if let Some((scheme, rest)) = source.split_once("://") {
            let host = rest.split('/').next().unwrap_or_default();
            return format!("{scheme}://{host}");
        }
        let root = roots.iter().find(|root| source.starts_with(root.as_str()));
        let below = root.map_or(source, |root| source[root.len()..].trim_start_matches('/'));
        match (below.split_once('/'), root) {
            (Some((top, _)), Some(root)) => format!("{root}/{top}"),
            (Some((top, _)), None) => format!("{top}/"),
            (None, Some(root)) => (*root).clone(),
            (None, None) => "./".to_owned(),
        }
    })
}

fn classes(manifest: &Manifest) -> Markup {
    let counts = manifest.classes.iter().cloned().zip(manifest.class_pictures.iter().copied());
    let labelled: u64 = manifest.class_pictures.iter().sum();
    html! {
        @if labelled < manifest.accepted {
            p { (counted(manifest.accepted - labelled, "picture")) " have none." }
        }
        div.charts { (chart("Pictures", &largest(counts.collect()))) }
    }
}

fn clusters(gathered: &Gathered) -> Markup {
    let (count, pictures) = gathered.clustered;
    html! {
        h2 { "Pictures that look alike" }
        p {
            "Their perceptual hashes differ in at most " (RADIUS) " bits of 64"
            " (ingest --near-duplicates " (RADIUS) " keeps one of each): "
            @if count == 0 { "none." } @else {
                (counted(count as u64, "cluster")) " with " (counted(pictures as u64, "picture")) "."
            }
        }
        @for Cluster { pictures, shown } in &gathered.clusters {
            div.cluster {
                span.count { (pictures) }
                div.grid { @for (name, jpeg) in shown { (thumbnail(jpeg, name)) } }
            }
        }
    }
}

fn rejects(manifest: &Manifest, gathered: &Gathered) -> Markup {
    let mut reasons: Vec<(&Reason, &Rejected)> = gathered.rejects.iter().collect();
    reasons.sort_by_key(|(_, rejected)| std::cmp::Reverse(rejected.count));
    html! {
        h2 { (counted(manifest.rejected, "reject")) }
        @if !reasons.is_empty() {
            p { "Each is named in " code { "rejects.jsonl" } ". Those whose file is still there are shown." }
        }
        @for (reason, Rejected { count, first, shown }) in reasons {
            section.reason {
                h3 { code { (reason.code()) } " " span.count { (count) } }
                @if let Some(first) = first {
                    p.example { (plain(&first.source)) ": " (plain(&first.message)) }
                }
                @if !shown.is_empty() {
                    div.grid { @for (reject, jpeg) in shown { (thumbnail(jpeg, &reject.source)) } }
                }
            }
        }
    }
}
