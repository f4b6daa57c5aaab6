//! The network: an encoder with taps, and a head at each that predicts a target at the tap's scale
//! (LocalMIM, sections 3.2 and 3.3).
//!
//! Read in the order in which data flows: [`input`] (what an encoder is given), [`positions`],
//! [`vit`] or [`windows`] and [`swin`] (patches → latents at the taps), [`decoder`] (latents →
//! predictions), [`loss`]. [`layers`] holds what both are made of; [`kinds`] what there is to choose
//! from, [`shape`] the sizes of an encoder, [`config`] all sizes, [`named`] the encoders that have a
//! name; [`state`] the parameters by name, on the host, [`init`]
//! their first values; [`alone`] an encoder without its heads.

pub mod alone;
pub mod config;
pub mod decoder;
pub mod init;
pub mod input;
pub mod kinds;
pub mod layers;
pub mod loss;
pub mod named;
pub mod positions;
pub mod shape;
pub mod state;
pub mod swin;
pub mod vit;
pub mod windows;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

pub use alone::EncoderAlone;
pub use config::{CodebookSize, ConfigError, ModelConfig, TapConfig};
pub use decoder::Head;
pub use input::EncoderInput;
pub use kinds::{
    Coordinates, Decay, HeadKind, LossKind, MaskedInput, Positions, Precision, TargetKind,
};
pub use named::ModelName;
pub use shape::{EncoderConfig, Latent};
pub use state::{State, StateError};
pub use swin::Swin;
pub use vit::Vit;

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

    /// Latents at the taps, each `[views, prefix + tokens, width]`; a Swin's tokens in the order of
    /// the units they lie in.
    pub fn forward(&self, input: EncoderInput<B>) -> Vec<Tensor<B, 3>> {
        match self {
            Self::Vit(vit) => vit.forward(input),
            Self::Swin(swin) => swin.forward(input),
        }
    }
}

/// An encoder and a head at each tap.
#[derive(Module, Debug)]
pub struct LocalMim<B: Backend> {
    /// Patches → latents at the taps.
    pub encoder: Encoder<B>,
    /// One head a tap, in the taps' order.
    pub decoder: Vec<Head<B>>,
}

impl<B: Backend> LocalMim<B> {
    /// A network of zeros, to be filled by `state::load`; positions are in place.
    pub fn zeros(config: &ModelConfig, precision: Precision, device: &B::Device) -> Self {
        let decoder =
            config.taps.iter().map(|tap| Head::zeros(config, tap, precision, device)).collect();
        Self { encoder: Encoder::zeros(config, precision, device), decoder }
    }

    /// A network with the parameters of `state`.
    ///
    /// # Errors
    /// [`StateError`] if a parameter is missing, of another shape, or left over.
    pub fn from_state(
        config: &ModelConfig,
        precision: Precision,
        state: &State,
        device: &B::Device,
    ) -> Result<Self, StateError> {
        state::load(Self::zeros(config, precision, device), config, state, device)
    }
}
