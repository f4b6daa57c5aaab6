//! The network: an encoder that sees the visible patches only, and a small decoder at each tap
//! (LocalMIM, sections 3.2 and 3.3).
//!
//! Read in the order in which data flows: [`positions`], [`vit`] (patches → latents at the taps),
//! [`decoder`] (latents → predictions at the tap's scale), [`loss`]. [`layers`] holds what both are
//! made of; [`config`] every size; [`state`] the parameters by name, on the host.

pub mod config;
pub mod decoder;
pub mod layers;
pub mod loss;
pub mod positions;
pub mod state;
pub mod vit;

use burn::module::Module;
use burn::tensor::backend::Backend;

pub use config::{ConfigError, ModelConfig, Precision, TapConfig, TargetKind, VitModel};
pub use decoder::Decoder;
pub use state::{State, StateError};
pub use vit::Vit;

/// Encoder and decoders of LocalMIM.
#[derive(Module, Debug)]
pub struct LocalMim<B: Backend> {
    /// Visible patches → latents at the taps.
    pub encoder: Vit<B>,
    /// One decoder a tap, in the taps' order.
    pub decoder: Vec<Decoder<B>>,
}

impl<B: Backend> LocalMim<B> {
    /// A network of zeros, to be filled by `state::load`; positions are in place.
    pub fn zeros(config: &ModelConfig, precision: Precision, device: &B::Device) -> Self {
        let decoder =
            config.taps.iter().map(|tap| Decoder::zeros(config, tap, precision, device)).collect();
        Self { encoder: Vit::zeros(config, precision, device), decoder }
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
