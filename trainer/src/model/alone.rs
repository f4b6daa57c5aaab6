//! An encoder without its heads: what evaluation, analysis and fine-tuning take of a network.

use burn::backend::Flex;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use kernels::Kernels;

use super::input::{DevicePlan, EncoderInput};
use super::shape::{EncoderConfig, TapConfig};
use super::state::{self, HostTensor, State, StateError};
use super::windows::Windows;
use super::{Encoder, HeadKind, MaskedInput, ModelConfig, Precision};

/// The network of an encoder alone: nothing is masked, and the one tap is the topmost.
pub fn config(network: &ModelConfig) -> ModelConfig {
    tapped(network, &top(network))
}

/// The layer of the topmost tap.
pub fn top(network: &ModelConfig) -> Vec<usize> {
    network.taps.last().map(|tap| tap.layer).into_iter().collect()
}

/// The network of an encoder alone that is tapped after these layers, counted from 1, and not after
/// those that it was trained to be.
pub fn tapped(network: &ModelConfig, layers: &[usize]) -> ModelConfig {
    // What is predicted there is nothing to an encoder.
    let cell = network.taps.last().map_or(0, |tap| tap.cell);
    ModelConfig {
        masked: MaskedInput::Dropped,
        taps: layers.iter().map(|&layer| TapConfig { layer, cell }).collect(),
        local_gradients: false,
        head: HeadKind::Decoder,
        ..network.clone()
    }
}

/// Those of a network's parameters that its encoder has alone, by the names they have then.
pub fn parameters(network: &ModelConfig, parameters: &State) -> State {
    tapped_parameters(network, &top(network), parameters)
}

/// Those of a network's parameters that its encoder has alone where it is [`tapped`] after these
/// layers. Where it was tapped in training the norm is the one it was trained with; elsewhere it is
/// one that changes nothing after it has scaled.
pub fn tapped_parameters(network: &ModelConfig, layers: &[usize], parameters: &State) -> State {
    let place = |layer| network.taps.iter().position(|tap| tap.layer == layer);
    let kept: Vec<(usize, String)> = (0..)
        .zip(layers)
        .filter_map(|(at, &layer)| Some((at, format!("norm.{}.", place(layer)?))))
        .collect();
    let named = parameters.iter().filter_map(|(name, tensor)| {
        if name.starts_with("decoder.") || name.ends_with("mask_token") {
            return None;
        }
        let (prefix, rest) = match name.strip_prefix("encoder.") {
            Some(rest) => ("encoder.", rest),
            None => ("", name.as_str()),
        };
        if !rest.starts_with("norm.") {
            return Some((name.clone(), tensor.clone()));
        }
        let of_tap = |(at, tap): &(usize, String)| Some((*at, rest.strip_prefix(tap.as_str())?));
        let (at, rest) = kept.iter().find_map(of_tap)?;
        Some((format!("{prefix}norm.{at}.{rest}"), tensor.clone()))
    });
    let mut named: State = named.collect();
    let prefix =
        if matches!(network.encoder, EncoderConfig::Swin { .. }) { "encoder." } else { "" };
    for (at, &layer) in layers.iter().enumerate().filter(|(_, layer)| place(**layer).is_none()) {
        let dim = network.encoder.latent(layer).dim;
        for (leaf, value) in [("weight", 1.0), ("bias", 0.0)] {
            let plain = HostTensor { shape: vec![dim], data: vec![value; dim] };
            named.insert(format!("{prefix}norm.{at}.{leaf}"), plain);
        }
    }
    named
}

/// The names of an encoder's parameters, of a network that [`config`] made.
pub fn names(network: &ModelConfig) -> Vec<String> {
    let encoder = EncoderAlone::<Flex>::zeros(network, Precision::F32, &Default::default());
    state::table(&encoder, network).into_iter().map(|parameter| parameter.name).collect()
}

/// The width of what an encoder's topmost tap gives.
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

    /// The encoder of a network with these parameters, tapped after these layers.
    ///
    /// # Errors
    /// [`StateError`] if they do not fit.
    pub fn new(
        network: &ModelConfig,
        layers: &[usize],
        state: &State,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self, StateError> {
        let given = tapped_parameters(network, layers, state);
        let alone = tapped(network, layers);
        let encoder = Encoder::zeros(&alone, precision, device);
        let zeros = Self { encoder, prefix: alone.encoder.prefix() };
        state::load(zeros, &alone, &given, device)
    }
}

impl<B: Kernels> EncoderAlone<B> {
    /// The plan of a Swin's windows on whole views.
    pub fn windows(network: &ModelConfig, device: &B::Device) -> Option<DevicePlan<B>> {
        Windows::of(&network.encoder, network.size)
            .map(|windows| DevicePlan::send(&windows.whole(), device).arrived())
    }

    /// For each tap the mean over all tokens of its normed latents, without a class token:
    /// `[views, 1, width]`.
    pub fn features(&self, input: EncoderInput<B>) -> Vec<Tensor<B, 3>> {
        pooled(&self.encoder, input, self.prefix)
    }
}

/// What [`EncoderAlone::features`] gives, of an encoder with `prefix` tokens that are none of a
/// patch.
pub fn pooled<B: Kernels>(
    encoder: &Encoder<B>,
    input: EncoderInput<B>,
    prefix: usize,
) -> Vec<Tensor<B, 3>> {
    let mean = |latents: Tensor<B, 3>| {
        let [_, tokens, _] = latents.dims();
        latents.narrow(1, prefix, tokens - prefix).mean_dim(1)
    };
    encoder.forward(input).into_iter().map(mean).collect()
}
