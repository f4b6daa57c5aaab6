//! Where the graph of [`LocalMim::loss`] is cut: views on the device → losses and gradients.
//!
//! It is cut at the taps: decoders run backward first, then the encoder from the gradients ∂L/∂zₜ
//! that reached its latents. The chain rule, ∂L/∂θ = Σₜ ∂L/∂zₜ · ∂zₜ/∂θ, makes that exactly the
//! gradient of the summed loss; it frees the decoders' memory before the encoder's turn, and lets
//! each part be timed.

use std::ops::{AddAssign, DivAssign};
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use kernels::Trainable;

use super::optim::Gradients;
use crate::model::{DeviceBatch, LocalMim, LossKind, state};

/// The time a step spent in each part, forward and backward.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PartTimes {
    /// On the way to the device.
    pub upload: Duration,
    /// In the encoder.
    pub encoder: Duration,
    /// In the decoders and the loss.
    pub decoders: Duration,
}

impl AddAssign for PartTimes {
    fn add_assign(&mut self, other: Self) {
        self.upload += other.upload;
        self.encoder += other.encoder;
        self.decoders += other.decoders;
    }
}

impl DivAssign<u32> for PartTimes {
    fn div_assign(&mut self, by: u32) {
        self.upload /= by;
        self.encoder /= by;
        self.decoders /= by;
    }
}

/// What a batch, or a part of it, gives.
pub struct StepOutput<B: Trainable> {
    /// The loss of each tap.
    pub tap_losses: Vec<f64>,
    /// The gradients of their sum.
    pub gradients: Gradients<B>,
    /// Where the time went.
    pub times: PartTimes,
}

impl<B: Trainable> StepOutput<B> {
    /// Adds what another part of the batch gives.
    pub fn plus(mut self, other: Self) -> Self {
        for (loss, more) in self.tap_losses.iter_mut().zip(other.tap_losses) {
            *loss += more;
        }
        self.times += other.times;
        Self { gradients: self.gradients.plus(other.gradients), ..self }
    }
}

/// Losses and gradients of the views of `batch`.
pub fn forward_backward<B: Trainable>(
    model: &LocalMim<B>,
    loss: LossKind,
    batch: DeviceBatch<B>,
) -> StepOutput<B> {
    let device = batch.input.patches.device();
    // A failed wait says no more than the read of the losses below will say itself.
    let now = || {
        let _ = B::sync(&device);
        Instant::now()
    };
    let start = now();
    let latents = model.encode(batch.input);
    let encoded = now();

    // The cut.
    let leaves: Vec<_> =
        latents.iter().map(|latent| latent.clone().detach().require_grad()).collect();
    let predictions = model.decode(leaves.clone(), batch.restore);
    let losses = LocalMim::losses(loss, predictions, batch.targets);
    let mut grads = losses.clone().sum().backward();
    let decoders = Gradients::take(&model.decoder, &mut grads);
    let decoded = now();

    // Σₜ zₜ · ∂L/∂zₜ, the latter a constant: its gradient is that of L.
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
            upload: Duration::ZERO,
            encoder: (encoded - start) + (finished - decoded),
            decoders: decoded - encoded,
        },
    }
}
