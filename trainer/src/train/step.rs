//! One batch → losses and gradients.
//!
//! The graph is cut at the taps: decoders run backward first, then the encoder from the gradients
//! that reached its latents. The chain rule makes that exactly the gradient of the summed loss; it
//! frees the decoders' memory before the encoder's turn, and lets each part be timed.

use std::time::{Duration, Instant};

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};

use super::optim::Gradients;
use crate::model::loss::tap_loss;
use crate::model::{LocalMim, state};

/// A batch on the device.
#[derive(Debug, Clone)]
pub struct DeviceBatch<B: Backend> {
    /// `[batch, visible, 3·patch²]`: the visible patches, normalised, each (channel, row, column).
    pub visible: Tensor<B, 3>,
    /// `[batch, visible]`: which patches these are.
    pub keep: Tensor<B, 2, Int>,
    /// `[batch, patches]`: each patch's place among the visible ones followed by the masked ones.
    pub restore: Tensor<B, 2, Int>,
    /// One a tap: `[batch, cells, channels]`, and the mask at that scale, `[batch, cells]`.
    pub targets: Vec<(Tensor<B, 3>, Tensor<B, 2>)>,
}

/// A tensor on the device from values on the host.
pub fn upload<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The time a step spent in each part, forward and backward.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PartTimes {
    /// In the encoder.
    pub encoder: Duration,
    /// In the decoders and the loss.
    pub decoders: Duration,
}

/// What a batch gives.
pub struct StepOutput<B: AutodiffBackend> {
    /// The loss of each tap.
    pub tap_losses: Vec<f64>,
    /// The gradients of their sum.
    pub gradients: Gradients<B>,
    /// Where the time went.
    pub times: PartTimes,
}

/// Losses and gradients of one batch.
pub fn forward_backward<B: AutodiffBackend>(
    model: &LocalMim<B>,
    batch: DeviceBatch<B>,
) -> StepOutput<B> {
    let device = batch.visible.device();
    // A failed wait says no more than the read of the losses below will say itself.
    let now = || {
        let _ = B::sync(&device);
        Instant::now()
    };
    let start = now();
    let latents = model.encoder.forward(batch.visible, batch.keep);
    let encoded = now();

    let leaves: Vec<_> =
        latents.iter().map(|latent| latent.clone().detach().require_grad()).collect();
    let mut losses = Vec::with_capacity(leaves.len());
    for ((decoder, leaf), (target, weight)) in model.decoder.iter().zip(&leaves).zip(batch.targets)
    {
        let prediction = decoder.forward(leaf.clone(), batch.restore.clone());
        losses.push(tap_loss(prediction, target, weight));
    }
    let losses = Tensor::cat(losses, 0);
    let mut grads = losses.clone().sum().backward();
    let decoders = Gradients::take(&model.decoder, &mut grads);
    let decoded = now();

    let surrogate = latents
        .into_iter()
        .zip(&leaves)
        .filter_map(|(latent, leaf)| {
            Some((latent * Tensor::from_inner(leaf.grad_remove(&mut grads)?)).sum())
        })
        .reduce(|a, b| a + b);
    let mut grads = surrogate.expect("a network has taps").backward();
    let encoder = Gradients::take(&model.encoder, &mut grads);
    let finished = now();

    StepOutput {
        tap_losses: state::to_host(losses.inner()).into_iter().map(f64::from).collect(),
        gradients: encoder.chain(decoders),
        times: PartTimes {
            encoder: (encoded - start) + (finished - decoded),
            decoders: decoded - encoded,
        },
    }
}
