//! Where the graph of [`LocalMim::loss`] is cut: views on the device → losses and gradients.
//!
//! It is cut at the taps: decoders run backward first, then the encoder from the gradients ∂L/∂zₜ
//! that reached its latents. The chain rule, ∂L/∂θ = Σₜ ∂L/∂zₜ · ∂zₜ/∂θ, makes that exactly the
//! gradient of the summed loss; it frees the decoders' memory before the encoder's turn, and lets
//! each part be timed. Losses stay on the device until somebody reads them.

use std::ops::{AddAssign, DivAssign};
use std::time::{Duration, Instant};

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, Transaction};
use kernels::Trainable;

use super::optim::Gradients;
use crate::model::{DeviceBatch, LocalMim, LossKind};

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

/// The loss of each tap, `[taps]`, of each part of a batch, on the device.
#[derive(Debug, Clone)]
pub struct Losses<B: Backend>(Vec<Tensor<B, 1>>);

impl<B: Backend> Losses<B> {
    /// Of a batch whole, `[taps]`.
    pub fn whole(losses: Tensor<B, 1>) -> Self {
        Self(vec![losses])
    }

    /// Adds those of another part of the batch.
    pub fn plus(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The loss of each tap, on the host.
    pub fn read(&self) -> Vec<f64> {
        Self::read_all(&[self], &[]).0.pop().unwrap_or_default()
    }

    /// Those of several batches, and some numbers, at once: the host waits but once.
    pub fn read_all(batches: &[&Self], numbers: &[&Tensor<B, 1>]) -> (Vec<Vec<f64>>, Vec<f64>) {
        let parts = batches.iter().flat_map(|losses| &losses.0);
        let all = parts.chain(numbers.iter().copied()).cloned();
        let all = all.fold(Transaction::default(), Transaction::register);
        let read = all.execute().into_iter();
        let mut read = read.map(|data| data.iter::<f64>().collect::<Vec<_>>());
        let sum = |losses: &&Self| {
            let parts = read.by_ref().take(losses.0.len());
            let add = |a: Vec<f64>, b: Vec<f64>| {
                a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f64>>()
            };
            parts.reduce(add).unwrap_or_default()
        };
        let sums = batches.iter().map(sum).collect();
        (sums, read.flatten().collect())
    }
}

/// What a batch, or a part of it, gives.
pub struct StepOutput<B: Trainable> {
    /// The loss of each tap.
    pub losses: Losses<B::InnerBackend>,
    /// The gradients of their sum.
    pub gradients: Gradients<B>,
    /// Where the time went.
    pub times: PartTimes,
}

impl<B: Trainable> StepOutput<B> {
    /// Adds what another part of the batch gives.
    pub fn plus(mut self, other: Self) -> Self {
        self.times += other.times;
        Self {
            losses: self.losses.plus(other.losses),
            gradients: self.gradients.plus(other.gradients),
            ..self
        }
    }
}

/// How the parts of a step are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// By when the host is done with them, which may be long before the device is.
    Host,
    /// The host waits for the device before each.
    Device,
}

/// Losses and gradients of the views of `batch`.
pub fn forward_backward<B: Trainable>(
    model: &LocalMim<B>,
    loss: LossKind,
    batch: DeviceBatch<B>,
    timing: Timing,
) -> StepOutput<B> {
    let device = batch.input.patches.device();
    let now = || {
        if timing == Timing::Device {
            // A failed wait says no more than the read of the losses will say itself.
            let _ = B::sync(&device);
        }
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
        losses: Losses::whole(losses.inner()),
        gradients: encoder.chain(decoders),
        times: PartTimes {
            upload: Duration::ZERO,
            encoder: (encoded - start) + (finished - decoded),
            decoders: decoded - encoded,
        },
    }
}
