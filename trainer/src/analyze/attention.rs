//! Pictures of where a token looks, a panel a head.

use std::path::PathBuf;
use std::str::FromStr;

use maud::html;
use shards::StoredRow;
use voice::draw::Canvas;
use voice::html::{document, sheet};

use super::error::AnalyzeError;
use super::views::{self, AnalyzeRequest, Views};
use crate::encode::encoder::Attention;
use crate::model::EncoderConfig;
use crate::progress::Console;
use crate::range::{self, OutOfRange};

/// The side of a panel in pixels.
const PANEL: usize = 160;
/// The colour of a patch that is looked at most.
const HOT: [f32; 3] = [255.0, 176.0, 32.0];

/// Whose attention is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// That of the class token.
    Class,
    /// That of the patch in this row and column, from 0.
    Patch(usize, usize),
}

impl FromStr for Query {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "class" {
            return Ok(Self::Class);
        }
        let patch = text.split_once(',').and_then(|(row, column)| {
            Some(Self::Patch(row.trim().parse().ok()?, column.trim().parse().ok()?))
        });
        patch.ok_or_else(|| "expected class, or a patch as ROW,COLUMN from 0".to_owned())
    }
}

/// Where the attention pictures lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pictures {
    /// All views as one PNG.
    pub png: PathBuf,
    /// The page.
    pub page: PathBuf,
}

/// Draws the attention of `query` (without one the class token; of a Swin the patch in the middle)
/// in block `layer`, from 1 (the topmost that was trained if none is given), into `attention-step-N.png` and `.html` in the run's `analysis` folder.
///
/// # Errors
/// [`AnalyzeError`] if there is no such block or patch, checkpoint or shards can't be read, or the
/// files can't be written.
pub fn draw(
    request: &AnalyzeRequest,
    layer: Option<usize>,
    query: Option<Query>,
    console: &Console,
) -> Result<Pictures, AnalyzeError> {
    let views = Views::open(request, console)?;
    let network = &views.checkpoint.header.network;
    let top = network.taps.last().map_or(network.encoder.layers(), |tap| tap.layer);
    let blocks = network.encoder.blocks(top);
    let layer = layer.unwrap_or(blocks.len());
    range::check("--layer", layer, 1..=blocks.len())?;
    let swin = matches!(network.encoder, EncoderConfig::Swin { .. });
    let grid = network.size / blocks[layer - 1];
    let query = query.unwrap_or(match swin {
        true => Query::Patch(grid / 2, grid / 2),
        false => Query::Class,
    });
    let refused = |problem: String| Err(OutOfRange { flag: "--query", problem }.into());
    match query {
        Query::Class if swin => {
            return refused("is a patch as ROW,COLUMN: a Swin has no class token".into());
        }
        Query::Patch(row, column) if row >= grid || column >= grid => {
            let last = grid.saturating_sub(1);
            return refused(format!(
                "must be a row and a column of 0 to {last} in block {layer}, not {row},{column}"
            ));
        }
        _ => {}
    }

    let rows = views.each(console, |row, blocks| {
        let label = row.label.as_ref().map_or(String::new(), |label| format!(", class {label}"));
        let caption = format!("{}, view {}{label}", row.source, row.view);
        (caption, panels(network.size, row, &blocks[layer - 1], query))
    })?;
    let (captions, panels): (Vec<String>, Vec<Vec<Canvas>>) = rows.into_iter().unzip();

    let title = format!("Attention · {}", views.title());
    let whose = match query {
        Query::Class => "the class token".to_owned(),
        Query::Patch(row, column) => {
            format!("the patch in row {row}, column {column} (framed; both count from 0)")
        }
    };
    let sheets = panels.iter().map(|panels| png(std::slice::from_ref(panels)));
    let sheets = sheets.collect::<Result<Vec<_>, _>>()?;
    let body = html! {
        h1 { (title) }
        p {
            "Where " (whose) " looks in block " (layer) ": the view, then a panel a head. A patch is "
            "as orange as its weight over the head's largest on a patch; the rest is grey."
            @if swin { " A patch looks at those of its window alone." }
        }
        @for (caption, png) in captions.iter().zip(&sheets) { (sheet(caption, png)) }
    };
    let pictures =
        Pictures { png: views.file("attention", "png"), page: views.file("attention", "html") };
    views::write(&pictures.png, &png(&panels)?)?;
    views::write(&pictures.page, document(&title, &body).as_bytes())?;
    Ok(pictures)
}

fn png(rows: &[Vec<Canvas>]) -> Result<Vec<u8>, AnalyzeError> {
    Canvas::sheet(rows, 4, [255; 3]).png().map_err(|error| AnalyzeError::Draw(error.to_string()))
}

/// The view, its query framed, and one panel a head.
fn panels(size: usize, row: &StoredRow, attention: &Attention, query: Query) -> Vec<Canvas> {
    let grid = attention.grid;
    let patch = size / grid;
    let patch_of = |pixel: usize| pixel / size / patch * grid + pixel % size / patch;
    let mut view = row.picture.clone();
    if let Query::Patch(at, column) = query {
        let framed = at * grid + column;
        for (pixel, rgb) in view.chunks_exact_mut(3).enumerate() {
            let (y, x) = (pixel / size % patch, pixel % size % patch);
            let edge = |at: usize| at == 0 || at == patch - 1;
            if patch_of(pixel) == framed && (edge(y) || edge(x)) {
                rgb.copy_from_slice(&[230, 40, 40]);
            }
        }
    }
    let mut panels = vec![Canvas::picture(&view, size, PANEL)];
    for head in 0..attention.heads {
        let weights = weights(attention, head, query);
        let largest = weights.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        let mut lit = row.picture.clone();
        for (pixel, rgb) in lit.chunks_exact_mut(3).enumerate() {
            let share = weights[patch_of(pixel)] / largest;
            let grey = rgb.iter().map(|&value| f32::from(value)).sum::<f32>() / (3.0 * 255.0);
            for (value, hot) in rgb.iter_mut().zip(HOT) {
                let lit = hot * (0.45 + 0.55 * grey);
                *value = (120.0 * grey * (1.0 - share) + lit * share) as u8;
            }
        }
        panels.push(Canvas::picture(&lit, size, PANEL));
    }
    panels
}

/// The weights of a head's query over all patches of a view, in rows: 0 outside of its window.
fn weights(attention: &Attention, head: usize, query: Query) -> Vec<f32> {
    let mut weights = vec![0.0; attention.grid.pow(2)];
    let before = usize::from(attention.class);
    for window in &attention.windows {
        let token = match query {
            Query::Class => Some(0),
            Query::Patch(row, column) => {
                let number = row * attention.grid + column;
                let place = window.patches.iter().position(|&patch| patch == number);
                place.map(|place| before + place)
            }
        };
        let Some(token) = token else { continue };
        let map = &window.head(head)[token * window.tokens..][before..window.tokens];
        window.patches.iter().zip(map).for_each(|(&patch, &weight)| weights[patch] = weight);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::encoder::Window;

    #[test]
    fn a_window_puts_its_weights_where_its_patches_lie() {
        let window = |patches: [usize; 2], weights: [f32; 4]| Window {
            patches: patches.to_vec(),
            tokens: 2,
            weights: weights.to_vec(),
        };
        let windows =
            vec![window([0, 2], [0.1, 0.9, 0.3, 0.7]), window([1, 3], [0.5, 0.5, 0.2, 0.8])];
        let attention = Attention { heads: 1, grid: 2, class: false, windows };
        assert_eq!(weights(&attention, 0, Query::Patch(1, 0)), [0.3, 0.0, 0.7, 0.0]);
        assert_eq!(weights(&attention, 0, Query::Patch(1, 1)), [0.0, 0.2, 0.0, 0.8]);
        let whole = Window { patches: vec![0], tokens: 2, weights: vec![0.4, 0.6, 0.25, 0.75] };
        let vit = Attention { heads: 1, grid: 1, class: true, windows: vec![whole] };
        assert_eq!(weights(&vit, 0, Query::Class), [0.6]);
        assert_eq!(weights(&vit, 0, Query::Patch(0, 0)), [0.75]);
    }

    #[test]
    fn a_query_is_the_class_token_or_a_patch() {
        assert_eq!("class".parse(), Ok(Query::Class));
        assert_eq!("3,12".parse(), Ok(Query::Patch(3, 12)));
        for wrong in ["", "3", "3,x", "-1,2"] {
            assert!(wrong.parse::<Query>().is_err(), "{wrong}");
        }
    }
}
