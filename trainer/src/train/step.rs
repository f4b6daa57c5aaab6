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
use kernels::{Trainable, asked, float};

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

/// The loss `[1]` of each tap, of each part of a batch, on the device.
#[derive(Debug, Clone)]
pub struct Losses<B: Backend>(Vec<Vec<Tensor<B, 1>>>);

impl<B: Backend> Losses<B> {
    /// Of a batch whole, one a tap.
    pub fn whole(losses: Vec<Tensor<B, 1>>) -> Self {
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
        let parts = batches.iter().flat_map(|losses| losses.0.iter().flatten());
        let all = parts.chain(numbers.iter().copied()).cloned();
        let all = all.fold(Transaction::default(), Transaction::register);
        asked::wait();
        let read = all.execute().into_iter();
        let mut read = read.flat_map(|data| data.iter::<f64>().collect::<Vec<_>>());
        let sum = |losses: &&Self| {
            let taps = losses.0.first().map_or(0, Vec::len);
            let add = |sums: Vec<f64>, part: &Vec<_>| {
                sums.into_iter().zip(read.by_ref().take(part.len())).map(|(a, b)| a + b).collect()
            };
            losses.0.iter().fold(vec![0.0; taps], add)
        };
        let sums = batches.iter().map(sum).collect();
        (sums, read.collect())
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
            asked::sync::<B>(&device);
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
    let mut grads = LocalMim::total(losses.clone()).backward();
    let decoders = Gradients::take(&model.decoder, &mut grads);
    let decoded = now();

    let reached = latents
        .into_iter()
        .zip(&leaves)
        .filter_map(|(latent, leaf)| Some((float(latent), float(leaf.grad_remove(&mut grads)?))));
    let mut grads = B::onward(reached.collect(), &device);
    let encoder = Gradients::take(&model.encoder, &mut grads);
    let finished = now();

    StepOutput {
        losses: Losses::whole(losses.into_iter().map(Tensor::inner).collect()),
        gradients: encoder.chain(decoders),
        times: PartTimes {
            upload: Duration::ZERO,
            encoder: (encoded - start) + (finished - decoded),
            decoders: decoded - encoded,
        },
    }
}
