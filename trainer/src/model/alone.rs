//! An encoder without its heads: what evaluation, analysis and fine-tuning take of a network.

use burn::backend::Flex;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use kernels::Kernels;

use super::input::{DevicePlan, EncoderInput};
use super::state::{self, State, StateError};
use super::windows::Windows;
use super::{Encoder, HeadKind, MaskedInput, ModelConfig, Precision};

/// The network of an encoder alone: nothing is masked, and the one tap is the topmost.
pub fn config(network: &ModelConfig) -> ModelConfig {
    ModelConfig {
        masked: MaskedInput::Dropped,
        taps: network.taps.last().cloned().into_iter().collect(),
        local_gradients: false,
        head: HeadKind::Decoder,
        ..network.clone()
    }
}

/// Those of a network's parameters that its encoder has alone, by the names they have then.
pub fn parameters(network: &ModelConfig, parameters: &State) -> State {
    let top = format!("norm.{}.", network.taps.len().saturating_sub(1));
    let named = parameters.iter().filter_map(|(name, tensor)| {
        if name.starts_with("decoder.") || name.ends_with("mask_token") {
            return None;
        }
        let (prefix, rest) = match name.strip_prefix("encoder.") {
            Some(rest) => ("encoder.", rest),
            None => ("", name.as_str()),
        };
        let name = match rest.strip_prefix("norm.") {
            Some(_) => format!("{prefix}norm.0.{}", rest.strip_prefix(&top)?),
            None => name.clone(),
        };
        Some((name, tensor.clone()))
    });
    named.collect()
}

/// The names of an encoder's parameters, of a network that [`config`] made.
pub fn names(network: &ModelConfig) -> Vec<String> {
    let encoder = EncoderAlone::<Flex>::zeros(network, Precision::F32, &Default::default());
    state::table(&encoder, network).into_iter().map(|parameter| parameter.name).collect()
}

/// The width of what [`EncoderAlone::features`] gives.
pub fn width(network: &ModelConfig) -> usize {
    network.taps.last().map_or(0, |tap| network.encoder.latent(tap.layer).dim)
}

/// An encoder that sees whole views.
#[derive(Module, Debug)]
pub struct EncoderAlone<B: Backend> {
    /// With one tap.
    pub encoder: Encoder<B>,
    prefix: usize,
}

impl<B: Backend> EncoderAlone<B> {
    /// Of zeros, but for what is fixed.
    pub fn zeros(network: &ModelConfig, precision: Precision, device: &B::Device) -> Self {
        let alone = config(network);
        Self { encoder: Encoder::zeros(&alone, precision, device), prefix: alone.encoder.prefix() }
    }

    /// The encoder of a network with these parameters.
    ///
    /// # Errors
    /// [`StateError`] if they do not fit.
    pub fn new(
        network: &ModelConfig,
        state: &State,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self, StateError> {
        let given = parameters(network, state);
        state::load(Self::zeros(network, precision, device), &config(network), &given, device)
    }
}

impl<B: Kernels> EncoderAlone<B> {
    /// The plan of a Swin's windows on whole views.
    pub fn windows(network: &ModelConfig, device: &B::Device) -> Option<DevicePlan<B>> {
        Windows::of(&network.encoder, network.size)
            .map(|windows| DevicePlan::send(&windows.whole(), device).arrived())
    }

    /// The mean over all tokens of the topmost tap's normed latents, without a class token:
    /// `[views, 1, width]`.
    pub fn features(&self, input: EncoderInput<B>) -> Tensor<B, 3> {
        pooled(&self.encoder, input, self.prefix)
    }
}

/// What [`EncoderAlone::features`] gives, of an encoder with one tap and `prefix` tokens that are
/// none of a patch.
pub fn pooled<B: Kernels>(
    encoder: &Encoder<B>,
    input: EncoderInput<B>,
    prefix: usize,
) -> Tensor<B, 3> {
    let top = encoder.forward(input).pop().expect("an encoder alone has a tap");
    let [_, tokens, _] = top.dims();
    top.narrow(1, prefix, tokens - prefix).mean_dim(1)
}
