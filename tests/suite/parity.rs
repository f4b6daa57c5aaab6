//! What the parity tests hold against a reference file: losses, gradients, steps.

use std::collections::BTreeMap;

use burn::backend::{Autodiff, Flex};
use kernels::Trainable;
use targets::{HogExtractor, PatchStats, View, normalised_pixels, patch_stats};
use trainer::data::Batch;
use trainer::model::{LocalMim, ModelConfig, TargetKind};
use trainer::train::batch::Loaded;
use trainer::train::optim::{AdamWSettings, Optimizer};
use trainer::train::slices::Slices;
use trainer::train::step::Timing;

use crate::golden::Golden;

/// The backend of the processor.
pub type Processor = Autodiff<Flex>;

/// The relative difference that is let pass.
pub const TOLERANCE: f32 = 1e-4;

/// The pictures as `[size, size, 3]` bytes each.
pub fn pictures(golden: &Golden, size: usize) -> Vec<Vec<u8>> {
    let images = golden.tensor("images_u8");
    let plane = size * size;
    let one = |image: &[f32]| {
        (0..3 * plane).map(|i| image[i % 3 * plane + i / 3] as u8).collect::<Vec<u8>>()
    };
    images.data.chunks(3 * plane).map(one).collect()
}

/// The targets of each tap for a picture.
pub fn targets(model: &ModelConfig, picture: &[u8]) -> Vec<Vec<f32>> {
    let view = View::new(picture, model.size).unwrap();
    let mut cells: Vec<usize> = model.taps.iter().map(|tap| tap.cell).collect();
    let all = cells.clone();
    cells.dedup();
    match model.target {
        TargetKind::Hog => {
            let mut extractor = HogExtractor::new(model.size, model.bins, &cells).unwrap();
            let hog = extractor.compute(view).unwrap();
            let of = |cell: &usize| cells.iter().position(|other| other == cell).unwrap();
            all.iter().map(|cell| hog[of(cell)].values.clone()).collect()
        }
        TargetKind::Pixel => {
            let stats = all.iter().map(|&cell| patch_stats(view, cell).unwrap());
            stats.map(|stats| normalised_pixels(view, &stats).unwrap()).collect()
        }
        TargetKind::RawPixel => {
            let plain = |&cell: &usize| {
                let grid = model.size / cell;
                let (mean, inv_std) = (vec![0.0; grid * grid], vec![1.0; grid * grid]);
                PatchStats { patch: cell, grid, mean, inv_std }
            };
            all.iter().map(plain).map(|stats| normalised_pixels(view, &stats).unwrap()).collect()
        }
        TargetKind::Code => panic!("no file has codes"),
    }
}

/// What a file holds of the gradients.
#[derive(Clone, Copy)]
pub enum Kept {
    /// All of them, as `grad.*`.
    Gradients,
    /// Their norms, as `grad_norm.*`.
    Norms,
}

/// What a parameter of the authors' is called here.
type Here<'a> = &'a dyn Fn(&str) -> String;

/// Trains on the batches of the file's steps and compares every step's loss, and the first one's
/// loss of each tap, where the file has them, and gradients. `here` gives the names here of the
/// file's parameters.
pub fn check_steps<B: Trainable>(
    (golden, kept, here): (&Golden, Kept, Here<'_>),
    (mut model, config, device): (LocalMim<B>, &ModelConfig, &B::Device),
    settings: AdamWSettings,
    lr: f64,
    batch: impl Fn(usize) -> Batch,
) {
    let mut optimizer = Optimizer::new(&model, config, settings, device);
    let slices = Slices::whole();
    let losses = golden.tensor("losses").data;
    assert!(losses.len() > 1, "the file should hold several steps");
    for (step, expected) in losses.iter().enumerate() {
        let output = slices.run(
            &model,
            config.loss,
            &Loaded::now(batch(step), device),
            device,
            Timing::Host,
        );
        let losses = output.losses.read();
        let loss: f64 = losses.iter().sum();
        let off = (loss - f64::from(*expected)).abs() / f64::from(*expected);
        assert!(off < f64::from(TOLERANCE), "step {step}: loss {loss}, should be {expected}");
        if step == 0 {
            let of_taps = golden.names("tap_loss.").len();
            for (i, loss) in losses.iter().enumerate().take(of_taps) {
                golden.assert_close(&format!("tap_loss.{i}"), &[*loss as f32], TOLERANCE);
            }
            let grads = output.gradients.to_state(optimizer.params());
            let prefix = match kept {
                Kept::Gradients => "grad.",
                Kept::Norms => "grad_norm.",
            };
            let of_file: BTreeMap<String, String> =
                golden.names(prefix).into_iter().map(|name| (here(&name), name)).collect();
            assert!(grads.keys().eq(of_file.keys()), "{:?}, {of_file:?}", grads.keys());
            for ((_, name), grad) in of_file.into_iter().zip(grads.into_values()) {
                let square = |x: &f32| f64::from(*x) * f64::from(*x);
                let values = match kept {
                    Kept::Gradients => grad.data,
                    Kept::Norms => vec![grad.data.iter().map(square).sum::<f64>().sqrt() as f32],
                };
                golden.assert_close(&format!("{prefix}{name}"), &values, TOLERANCE);
            }
        }
        let gradient = optimizer.collect(None, output.gradients, 1.0);
        optimizer.step(&mut model, &gradient, lr, None);
    }
}

/// Weights of all views over their sum.
pub fn over_sum(weights: impl Iterator<Item = f32>) -> Vec<f32> {
    let weights: Vec<f32> = weights.collect();
    let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let scale = (1.0 / sum) as f32;
    weights.into_iter().map(|weight| weight * scale).collect()
}
