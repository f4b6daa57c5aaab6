//! Views beside what the encoder saw, and their targets beside the predictions.

use std::path::Path;
use std::sync::Arc;

use burn::backend::Flex;
use kernels::input::Target;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use shards::{ShardSet, StoredRow};
use targets::{IMAGENET_MEAN, IMAGENET_STD};
use voice::draw::Canvas;

use super::ReportError;
use crate::checkpoint::Checkpoint;
use crate::data::Batch;
use crate::data::sample::{self, Draw, StoredTarget, StoredView};
use crate::data::spec::SampleSpec;
use crate::model::mask::MaskSpec;
use crate::model::windows::Windows;
use crate::model::{LocalMim, ModelConfig, Precision, TargetKind, state};
use crate::train::batch::Loaded;

/// The side of a panel in pixels.
const PANEL: usize = 224;

/// What was drawn.
pub struct Drawn {
    /// One sheet a view.
    pub views: Vec<DrawnView>,
}

/// One view's panels.
pub struct DrawnView {
    /// Where it comes from.
    pub caption: String,
    /// The sheet.
    pub png: Vec<u8>,
}

/// Draws `count` views of the set, spread evenly over its rows.
pub fn draw(
    checkpoint: &Checkpoint,
    path: &Path,
    set: &ShardSet,
    count: usize,
) -> Result<Drawn, ReportError> {
    let network = &checkpoint.header.network;
    let layout = &set.manifest().settings.layout;
    let settings = &checkpoint.header.settings;
    let masks = MaskSpec::new(network, settings.mask_ratio, settings.mask);
    let spec = Arc::new(SampleSpec::new(network, &masks, layout.size as usize));
    let windows = Windows::of(&network.encoder, network.size);
    let unfit = |reason: String| ReportError::Unfit { path: path.to_owned(), reason };
    if settings.network(layout).ok().as_ref() != Some(network) {
        return Err(unfit(format!(
            "they hold views of {} pixels with {} bins, which make another network than the run's",
            layout.size, layout.bins
        )));
    }
    let device = Default::default();
    let model = LocalMim::<Flex>::from_state(network, Precision::F32, &checkpoint.model, &device)
        .map_err(|source| ReportError::State { path: path.to_owned(), source })?;

    let rows = set.manifest().rows;
    let count = (count as u64).min(rows);
    let mut views = Vec::new();
    for i in 0..count {
        let row = set.row(i * rows / count)?;
        let mut rng = ChaCha8Rng::seed_from_u64(row.id);
        let masking = masks.draw(&mut rng);
        // Of a view that is larger than what the encoder is given, the middle.
        let edge = (spec.stored - spec.one.size) / 2;
        let draw = Draw { flipped: false, corner: (edge, edge), masking };
        let mut batch = batch_of(&spec, &row, &draw).map_err(|error| match error {
            BatchError::Cell(cell) => unfit(format!("they hold no cells of {cell} pixels")),
            BatchError::Target(error) => unfit(error.to_string()),
        })?;
        batch.windows = windows.as_ref().map(|windows| Arc::new(windows.plan(&draw.masking.keep)));
        let targets = batch.values().targets;
        let on_device = Loaded::<Flex>::now(batch, &device).whole(&device);
        let predictions = model.forward(on_device.input, on_device.restore);
        let predictions: Vec<_> = predictions.into_iter().map(state::to_host).collect();
        let sheet = sheet(network, &spec, &row, &draw, &targets, &predictions);
        let png = sheet.png().map_err(|error| ReportError::Draw(error.to_string()))?;
        let label = row.label.as_ref().map_or(String::new(), |label| format!(", class {label}"));
        views.push(DrawnView { caption: format!("{}, view {}{label}", row.source, row.view), png });
    }
    Ok(Drawn { views })
}

enum BatchError {
    Cell(usize),
    Target(targets::TargetError),
}

/// A batch of one stored row.
fn batch_of(spec: &Arc<SampleSpec>, row: &StoredRow, draw: &Draw) -> Result<Batch, BatchError> {
    let cells = spec.one.distinct_cells().into_iter();
    let taps = cells
        .map(|cell| {
            let cells = || row.cells.iter().find(|stored| stored.cell as usize == cell);
            let codes = || row.codes.iter().find(|stored| stored.cell as usize == cell);
            match spec.one.target {
                Target::Hog(_) => cells()
                    .map(|stored| StoredTarget::Hog { codes: &stored.hog, ties: &stored.ties }),
                Target::Pixel => cells().map(|stored| StoredTarget::Pixel {
                    mean: stored.mean.clone(),
                    inv_std: stored.inv_std.clone(),
                }),
                Target::RawPixel => Some(StoredTarget::RawPixel),
                Target::Code => codes().map(|stored| StoredTarget::Code {
                    codes: stored.codes.clone(),
                    mirrored: stored.mirrored.clone(),
                }),
            }
            .ok_or(BatchError::Cell(cell))
        })
        .collect::<Result<_, _>>()?;
    let stored = StoredView { picture: &row.picture, taps };
    Batch::of_one(spec, &stored, draw).map_err(BatchError::Target)
}

/// Two rows of panels: picture and targets, then masked picture and predictions.
fn sheet(
    network: &ModelConfig,
    spec: &SampleSpec,
    row: &StoredRow,
    draw: &Draw,
    targets: &[Vec<f32>],
    predictions: &[Vec<f32>],
) -> Canvas {
    let (size, unit) = (spec.one.size, spec.one.unit);
    let whole = sample::crop(&row.picture, spec.stored, draw.corner, size);
    let mut seen = whole.clone();
    for (y, line) in seen.chunks_exact_mut(size * 3).enumerate() {
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            if draw.masking.mask[y / unit * network.grid() + x / unit] > 0.0 {
                pixel.fill(128);
            }
        }
    }
    let mut upper = vec![Canvas::picture(&whole, size, PANEL)];
    let mut lower = vec![Canvas::picture(&seen, size, PANEL)];
    for ((target, prediction), tap) in targets.iter().zip(predictions).zip(&spec.one.taps) {
        let (cell, grid) = (tap.cell, size / tap.cell);
        let fine = |values: &[f32]| sample::scatter(values, grid, tap.group);
        let (target, prediction) = match network.target {
            TargetKind::Code => {
                let codes = prediction.len() / target.len();
                (fine(target), fine(&likeliest(prediction, codes)))
            }
            _ => (fine(target), fine(prediction)),
        };
        let channels = target.len() / (grid * grid);
        let weights = draw.masking.at_scale(unit, cell);
        let masked = |i: usize| weights[i / channels] > 0.0;
        // A visible cell shows its target, dimmed, so that the eye rests on what was predicted.
        let shown: Vec<f32> = match network.target {
            TargetKind::Hog => {
                let strongest = (0..target.len()).filter(|&i| masked(i)).map(|i| prediction[i]);
                let bright = strongest.fold(f32::EPSILON, f32::max).recip().max(1.0);
                let value = |i| if masked(i) { bright * prediction[i] } else { 0.35 * target[i] };
                (0..target.len()).map(value).collect()
            }
            TargetKind::Pixel | TargetKind::RawPixel | TargetKind::Code => (0..target.len())
                .map(|i| if masked(i) { prediction[i] } else { target[i] })
                .collect(),
        };
        let stored = row.cells.iter().find(|stored| stored.cell as usize == cell);
        let panel = |values: &[f32]| match (network.target, stored) {
            (TargetKind::Pixel, Some(stored)) => {
                let picture = pixels(values, size, cell, &stored.mean, &stored.inv_std);
                Canvas::picture(&picture, size, PANEL)
            }
            (TargetKind::RawPixel, _) => {
                let count = grid * grid;
                let picture = pixels(values, size, cell, &vec![0.0; count], &vec![1.0; count]);
                Canvas::picture(&picture, size, PANEL)
            }
            (TargetKind::Code, _) => Canvas::picture(&colours(values, size, cell), size, PANEL),
            _ => Canvas::hog(values, grid, network.bins, PANEL),
        };
        upper.push(panel(&target));
        lower.push(panel(&shown));
    }
    Canvas::sheet(&[upper, lower], 6, [255; 3])
}

/// Logits → the number of the likeliest code of each cell.
fn likeliest(logits: &[f32], codes: usize) -> Vec<f32> {
    let of_cell = |logits: &[f32]| {
        let best = (0..codes).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        best.map_or(0.0, |code| code as f32)
    };
    logits.chunks_exact(codes).map(of_cell).collect()
}

/// Codes → a picture: each code has a colour of its own.
fn colours(codes: &[f32], size: usize, cell: usize) -> Vec<u8> {
    let grid = size / cell;
    let colour = |code: f32| {
        // Multiples of odd numbers near the golden section of 2^32 stay apart.
        let bits = (code as u32).wrapping_add(1).wrapping_mul(2_654_435_769);
        [24, 16, 8].map(|shift| (bits >> shift) as u8)
    };
    let pixel = |at: usize| colour(codes[at / size / cell * grid + at % size / cell]);
    (0..size * size).flat_map(pixel).collect()
}

/// Normalised pixels → a picture, by the patches' own statistics.
fn pixels(values: &[f32], size: usize, cell: usize, mean: &[f32], inv_std: &[f32]) -> Vec<u8> {
    let grid = size / cell;
    let mut picture = vec![0; size * size * 3];
    for (at, byte) in picture.iter_mut().enumerate() {
        let (y, x, c) = (at / 3 / size, at / 3 % size, at % 3);
        let patch = y / cell * grid + x / cell;
        let value = values[((patch * cell + y % cell) * cell + x % cell) * 3 + c];
        let normalised = value / inv_std[patch] + mean[patch];
        let level = (normalised * IMAGENET_STD[c] + IMAGENET_MEAN[c]) * 255.0;
        *byte = level.round().clamp(0.0, 255.0) as u8;
    }
    picture
}
