//! Views beside what the encoder saw, and their targets beside the predictions.

use std::path::Path;

use burn::backend::Flex;
use burn::tensor::Tensor;
use ingest::draw::Canvas;
use ingest::read::{ShardSet, StoredRow};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use targets::{IMAGENET_MEAN, IMAGENET_STD};

use super::ReportError;
use crate::checkpoint::Checkpoint;
use crate::data::mask::{Masking, visible_patches};
use crate::data::sample::{self, SampleMut, SampleSpec, StoredTarget, StoredView};
use crate::data::{Batch, Position, TapTarget};
use crate::model::{LocalMim, ModelConfig, Precision, TargetKind, state};
use crate::train::batch::to_device;

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
    let spec = SampleSpec {
        size: network.size,
        patch: network.patch,
        visible: visible_patches(network.patches(), checkpoint.header.settings.mask_ratio),
        target: network.target,
        cells: network.taps.iter().map(|tap| tap.cell).collect(),
        bins: network.bins,
    };
    let unfit = |reason: String| ReportError::Unfit { path: path.to_owned(), reason };
    if layout.size as usize != spec.size || layout.bins as usize != spec.bins {
        return Err(unfit(format!(
            "they hold views of {} pixels with {} bins, it takes {} and {}",
            layout.size, layout.bins, spec.size, spec.bins
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
        let noise: Vec<f32> = (0..spec.patches()).map(|_| rng.random()).collect();
        let masking = Masking::from_noise(&noise, spec.visible);
        let batch = batch_of(&spec, &row, &masking).map_err(|error| match error {
            BatchError::Cell(cell) => unfit(format!("they hold no cells of {cell} pixels")),
            BatchError::Target(error) => unfit(error.to_string()),
        })?;
        let on_device = to_device::<Flex>(&batch, 0..1, &device);
        let latents = model.encoder.forward(on_device.visible, on_device.keep);
        let predictions: Vec<Vec<f32>> = latents
            .into_iter()
            .zip(&model.decoder)
            .map(|(latent, decoder): (Tensor<Flex, 3>, _)| {
                state::to_host(decoder.forward(latent, on_device.restore.clone()))
            })
            .collect();
        let sheet = sheet(network, &row, &masking, &batch.targets, &predictions);
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
fn batch_of(spec: &SampleSpec, row: &StoredRow, masking: &Masking) -> Result<Batch, BatchError> {
    let taps = spec
        .cells
        .iter()
        .map(|&cell| {
            let stored = row.cells.iter().find(|stored| stored.cell as usize == cell);
            let stored = stored.ok_or(BatchError::Cell(cell))?;
            Ok(match spec.target {
                TargetKind::Hog => StoredTarget::Hog { codes: &stored.hog, ties: &stored.ties },
                TargetKind::Pixel => StoredTarget::Pixel {
                    mean: stored.mean.clone(),
                    inv_std: stored.inv_std.clone(),
                },
            })
        })
        .collect::<Result<_, _>>()?;
    let mut batch = Batch {
        position: Position { epoch: 0, batch: 0 },
        rows: vec![],
        views: 1,
        visible: vec![0.0; spec.visible * 3 * spec.patch * spec.patch],
        keep: vec![0; spec.visible],
        restore: vec![0; spec.patches()],
        mask: vec![0.0; spec.patches()],
        targets: (0..spec.cells.len())
            .map(|tap| TapTarget {
                cell: spec.cells[tap],
                channels: spec.channels(tap),
                values: vec![0.0; spec.cells(tap) * spec.channels(tap)],
                weights: vec![0.0; spec.cells(tap)],
            })
            .collect(),
    };
    let targets = batch.targets.iter_mut();
    let place = SampleMut {
        visible: &mut batch.visible,
        keep: &mut batch.keep,
        restore: &mut batch.restore,
        mask: &mut batch.mask,
        targets: targets.map(|t| (t.values.as_mut_slice(), t.weights.as_mut_slice())).collect(),
    };
    let stored = StoredView { picture: &row.picture, taps };
    sample::fill(spec, &stored, false, masking, place).map_err(BatchError::Target)?;
    Ok(batch)
}

/// Two rows of panels: picture and targets, then masked picture and predictions.
fn sheet(
    network: &ModelConfig,
    row: &StoredRow,
    masking: &Masking,
    targets: &[TapTarget],
    predictions: &[Vec<f32>],
) -> Canvas {
    let size = network.size;
    let mut seen = row.picture.clone();
    for (y, line) in seen.chunks_exact_mut(size * 3).enumerate() {
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            if masking.mask[y / network.patch * network.grid() + x / network.patch] > 0.0 {
                pixel.fill(128);
            }
        }
    }
    let mut upper = vec![Canvas::picture(&row.picture, size, PANEL)];
    let mut lower = vec![Canvas::picture(&seen, size, PANEL)];
    for (target, prediction) in targets.iter().zip(predictions) {
        let TapTarget { cell, channels, values: ref target, .. } = *target;
        let weights = masking.at_scale(network.patch, cell);
        // A visible cell shows its target, dimmed, so that the eye rests on what was predicted.
        let shown: Vec<f32> = match network.target {
            TargetKind::Hog => {
                let masked = |i: &usize| weights[i / channels] > 0.0;
                let strongest = (0..target.len()).filter(masked).map(|i| prediction[i]);
                let bright = strongest.fold(f32::EPSILON, f32::max).recip().max(1.0);
                let value = |i| if masked(&i) { bright * prediction[i] } else { 0.35 * target[i] };
                (0..target.len()).map(value).collect()
            }
            TargetKind::Pixel => (0..target.len())
                .map(|i| if weights[i / channels] > 0.0 { prediction[i] } else { target[i] })
                .collect(),
        };
        let stored = row.cells.iter().find(|stored| stored.cell as usize == cell);
        let panel = |values: &[f32]| match (network.target, stored) {
            (TargetKind::Pixel, Some(stored)) => {
                let picture = pixels(values, size, cell, &stored.mean, &stored.inv_std);
                Canvas::picture(&picture, size, PANEL)
            }
            _ => Canvas::hog(values, size / cell, network.bins, PANEL),
        };
        upper.push(panel(target));
        lower.push(panel(&shown));
    }
    Canvas::sheet(&[upper, lower], 6, [255; 3])
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
