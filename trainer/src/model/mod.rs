//! Masked Image Modeling with Local Multi-Scale Reconstruction (LocalMIM, arXiv 2303.05251) on one
//! page.
//!
//! ```text
//!  a view x ──mask──► visible patches ──encoder──► z₁ … z_T ──a decoder at each tap──► ŷ₁ … ŷ_T
//!     └──── targets at each tap's scale ────► y₁ … y_T                                    │
//!                                                └────────► L = Σₜ L(ŷₜ, yₜ) over masked cells
//! ```
//!
//! | step | in the paper | here | gives |
//! | --- | --- | --- | --- |
//! | a view is masked | figure 2a; MAE's random masking | [`mask`] | which of N units are kept, K of them |
//! | patches become tokens | ViT; Swin | [`vit::Vit::embed`], [`swin::PatchEmbed`] | `[views, tokens, width]` |
//! | tokens mix, visible ones only | figure 2a; GreenMIM for Swin | [`encoder`]: [`vit`], or [`swin`] over [`windows`] | x of each layer, `[views, tokens, width]` |
//! | a layer is tapped | section 3.2; 4.1 says which | [`taps`] | zₜ: `[views, tokens, width]` |
//! | masked places are filled in, the grid becomes the target's | section 3.3, figure 2b | [`decoder`] | ŷₜ: `[views, cells, channels]` |
//! | what is to be predicted at a tap's scale | figure 2a | [`targets`]; [`data::sample::fill`](crate::data::sample::fill) | yₜ: `[views, cells, channels]` |
//! | the mask at a tap's scale | the published code | [`mask::Masking::at_scale`] | `[views, cells]` |
//! | the loss of a tap | equation 4 | [`loss::tap_loss`] | L(ŷₜ, yₜ) |
//! | their sum, each of weight 1 | equation 4 | [`LocalMim::loss`] | L |
//!
//! The loader masks and makes the targets on the host; [`LocalMim`] is what is on the device.
//! [`train::step`](crate::train::step) says where its graph is cut for the gradient.
//!
//! The other methods that can be trained are the same page with other parts: one tap, mask tokens
//! in place of dropped patches, a linear head, another target or error. [`kinds`] holds what there
//! is to choose from; [`limits`], [`shape`] and [`config`] the sizes, [`named`] the encoders that
//! have a name; [`layers`] and [`positions`] what networks are made of, [`input`] what they are
//! given; [`state`] the parameters by name, on the host, [`init`] their first values; [`alone`] an
//! encoder without its heads.

pub mod alone;
pub mod config;
pub mod decoder;
pub mod encoder;
pub mod init;
pub mod input;
pub mod kinds;
pub mod layers;
pub mod limits;
pub mod loss;
pub mod mask;
pub mod named;
pub mod positions;
pub mod shape;
pub mod state;
pub mod swin;
pub mod taps;
pub mod vit;
pub mod windows;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use kernels::Kernels;

pub use alone::EncoderAlone;
pub use config::{CodebookSize, ModelConfig};
pub use decoder::Head;
pub use encoder::Encoder;
pub use input::{DeviceBatch, DeviceTarget, EncoderInput};
pub use kinds::{
    Coordinates, Decay, HeadKind, LossKind, MaskedInput, Positions, Precision, Start, TargetKind,
};
pub use limits::ConfigError;
pub use named::ModelName;
pub use shape::{EncoderConfig, Latent, TapConfig};
pub use state::{State, StateError};
pub use swin::Swin;
pub use vit::Vit;

/// An encoder, and a decoder at each of its taps.
#[derive(Module, Debug)]
pub struct LocalMim<B: Backend> {
    /// Patches → latents at the taps.
    pub encoder: Encoder<B>,
    /// One head a tap, in the taps' order.
    pub decoder: Vec<Head<B>>,
}

impl<B: Kernels> LocalMim<B> {
    /// What is minimised, `[1]`: L = Σₜ L(ŷₜ, yₜ) (LocalMIM, equation 4), each tap of weight 1 as
    /// in the published code.
    ///
    /// Training takes the same steps, but cuts the graph between the first and the second.
    pub fn loss(&self, kind: LossKind, batch: DeviceBatch<B>) -> Tensor<B, 1> {
        let latents = self.encode(batch.input);
        let predictions = self.decode(latents, batch.restore);
        Self::total(Self::losses(kind, predictions, batch.targets))
    }

    /// What is predicted at each tap, ŷₜ: `[views, cells, channels]`, visible cells among them.
    pub fn forward(
        &self,
        input: EncoderInput<B>,
        restore: Vec<Tensor<B, 2, Int>>,
    ) -> Vec<Tensor<B, 3>> {
        self.decode(self.encode(input), restore)
    }

    /// Visible patches `[views, tokens, 3·patch²]` → the latent at each tap, zₜ:
    /// `[views, prefix + tokens, width]`.
    pub fn encode(&self, input: EncoderInput<B>) -> Vec<Tensor<B, 3>> {
        self.encoder.forward(input)
    }

    /// Latents → predictions at each tap's scale, ŷₜ: `[views, cells, channels]`.
    ///
    /// `restore`, `[views, prefix + tokens of the whole picture]` a tap, says which of the latent's
    /// tokens each one is; −1 where it was masked.
    pub fn decode(
        &self,
        latents: Vec<Tensor<B, 3>>,
        restore: Vec<Tensor<B, 2, Int>>,
    ) -> Vec<Tensor<B, 3>> {
        let taps = self.decoder.iter().zip(latents).zip(restore);
        taps.map(|((decoder, latent), restore)| decoder.forward(latent, restore)).collect()
    }

    /// The sum of the losses of all taps, `[1]`.
    pub fn total(losses: Vec<Tensor<B, 1>>) -> Tensor<B, 1> {
        // One by one: to put them side by side would send shapes to a GPU.
        losses.into_iter().reduce(|sum, loss| sum + loss).expect("a network has taps")
    }

    /// The loss of each tap, L(ŷₜ, yₜ), `[1]` each: the mean error over masked cells.
    pub fn losses(
        kind: LossKind,
        predictions: Vec<Tensor<B, 3>>,
        targets: Vec<DeviceTarget<B>>,
    ) -> Vec<Tensor<B, 1>> {
        let taps = predictions.into_iter().zip(targets);
        taps.map(|(prediction, target)| loss::tap_loss(kind, prediction, target)).collect()
    }
}

impl<B: Backend> LocalMim<B> {
    /// A network of zeros, to be filled by [`state::load`]; positions are in place.
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
