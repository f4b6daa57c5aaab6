//! Visible patches → latents at the taps, by one of two families of encoders.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use kernels::Kernels;

use super::input::EncoderInput;
use super::shape::EncoderConfig;
use super::swin::Swin;
use super::vit::Vit;
use super::{ModelConfig, Precision};

/// An encoder with a norm at each tap.
#[derive(Module, Debug)]
pub enum Encoder<B: Backend> {
    /// Columnar.
    Vit(Vit<B>),
    /// Pyramidal.
    Swin(Swin<B>),
}

impl<B: Backend> Encoder<B> {
    /// Of zeros, but for what is fixed.
    pub fn zeros(config: &ModelConfig, precision: Precision, device: &B::Device) -> Self {
        match config.encoder {
            EncoderConfig::Vit { .. } => Self::Vit(Vit::zeros(config, precision, device)),
            EncoderConfig::Swin { .. } => Self::Swin(Swin::zeros(config, precision, device)),
        }
    }
}

impl<B: Kernels> Encoder<B> {
    /// Latents at the taps, each `[views, prefix + tokens, width]`; a Swin's tokens in the order of
    /// the units they lie in.
    pub fn forward(&self, input: EncoderInput<B>) -> Vec<Tensor<B, 3>> {
        match self {
            Self::Vit(vit) => vit.forward(input),
            Self::Swin(swin) => swin.forward(input),
        }
    }
}
