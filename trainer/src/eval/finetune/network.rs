//! The classifier: an encoder with a linear head on the mean of its normed tokens; its loss, and
//! what fine-tuning needs to know of its depth.

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};
use kernels::Kernels;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::model::layers::Linear;
use crate::model::state::{HostTensor, State, StateError};
use crate::model::{Encoder, EncoderConfig, EncoderInput, ModelConfig, Precision, alone, state};

/// The network that is fine-tuned.
#[derive(Module, Debug)]
pub struct Classifier<B: Kernels> {
    /// The pre-trained encoder.
    pub encoder: Encoder<B>,
    /// Width → classes.
    pub head: Linear<B>,
    prefix: usize,
}

impl<B: Kernels> Classifier<B> {
    /// With the encoder of a network with these parameters, and a head of small random weights.
    ///
    /// # Errors
    /// [`StateError`] if the parameters do not fit.
    pub fn new(
        network: &ModelConfig,
        parameters: &State,
        (classes, seed): (usize, u64),
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self, StateError> {
        let config = alone::config(network);
        let dim = alone::width(network);
        let mut given = alone::parameters(network, parameters);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Small, so that the encoder's first gradients are too (MAE, A.1).
        let normal = Normal::new(0.0, 2e-5f32).expect("a positive deviation");
        let weight = (0..classes * dim).map(|_| normal.sample(&mut rng)).collect();
        let bias = vec![0.0; classes];
        for (name, shape, data) in
            [("head.weight", vec![classes, dim], weight), ("head.bias", vec![classes], bias)]
        {
            given.insert(name.into(), HostTensor { shape, data });
        }
        let zeros = Self {
            encoder: Encoder::zeros(&config, precision, device),
            head: Linear::zeros(dim, classes, precision, device),
            prefix: config.encoder.prefix(),
        };
        state::load(zeros, &config, &given, device)
    }
}

impl<B: Kernels> Classifier<B> {
    /// Logits `[views, classes]`.
    pub fn forward(&self, input: EncoderInput<B>) -> Tensor<B, 2> {
        let features = alone::pooled(&self.encoder, input, self.prefix).pop();
        let logits = self.head.forward(features.expect("an encoder alone has a tap"));
        let [views, _, classes] = logits.dims();
        logits.reshape([views, classes])
    }
}

/// The cross-entropy of logits with soft classes, both `[views, classes]`, over `of` views.
pub fn cross_entropy<B: Kernels>(
    logits: Tensor<B, 2>,
    classes: Tensor<B, 2>,
    of: usize,
) -> Tensor<B, 1> {
    (log_softmax(logits, 1) * classes).sum().neg() / of as f64
}

/// How deep a parameter lies: 0 for what embeds patches, then its block, then norm and head.
///
/// A Swin's merging counts to the block before it.
pub fn depth_of(encoder: &EncoderConfig, name: &str) -> usize {
    let number = |text: &str| text.split('.').next().and_then(|n| n.parse::<usize>().ok());
    let name = name.strip_prefix("encoder.").unwrap_or(name);
    match encoder {
        EncoderConfig::Vit { depth, .. } => match name.strip_prefix("blocks.").and_then(number) {
            Some(block) => block + 1,
            None if name.starts_with("norm.") || name.starts_with("head.") => depth + 1,
            None => 0,
        },
        EncoderConfig::Swin { depths, .. } => {
            let Some(rest) = name.strip_prefix("layers.") else {
                let last = name.starts_with("norm.") || name.starts_with("head.");
                return if last { depths.iter().sum::<usize>() + 1 } else { 0 };
            };
            let stage = number(rest).unwrap_or(0);
            let below: usize = depths.iter().take(stage).sum();
            match rest.split_once("blocks.").and_then(|(_, rest)| number(rest)) {
                Some(block) => below + block + 1,
                None => below + depths.get(stage).copied().unwrap_or(0),
            }
        }
    }
}

/// Blocks of an encoder in all.
pub fn blocks(encoder: &EncoderConfig) -> usize {
    match encoder {
        EncoderConfig::Vit { depth, .. } => *depth,
        EncoderConfig::Swin { depths, .. } => depths.iter().sum(),
    }
}

/// Factors of stochastic depth `[2·blocks, views, 1]`: a branch is skipped with a probability that
/// rises from 0 in the first block to `rate` in the last, and else made stronger by as much.
pub fn draw_branches(blocks: usize, views: usize, rate: f64, rng: &mut impl Rng) -> Vec<f32> {
    (0..2 * blocks)
        .flat_map(|row| {
            let rate = rate * (row / 2) as f64 / (blocks.max(2) - 1) as f64;
            std::iter::repeat_n(rate, views)
        })
        .map(|rate| if rng.random_bool(rate) { 0.0 } else { (1.0 / (1.0 - rate)) as f32 })
        .collect()
}

/// [`draw_branches`] of some views of a batch, on the device.
pub fn branches_on<B: Kernels>(
    all: &[f32],
    blocks: usize,
    views: std::ops::Range<usize>,
    device: &B::Device,
) -> Tensor<B, 3> {
    let each = all.len() / (2 * blocks);
    let count = views.len();
    let values: Vec<f32> =
        all.chunks_exact(each).flat_map(|row| row[views.clone()].iter().copied()).collect();
    Tensor::from_data(TensorData::new(values, [2 * blocks, count, 1]), device)
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::model::ModelName;

    #[test]
    fn parameters_lie_as_deep_as_their_blocks() {
        let vit = ModelName::VitTiny16.encoder();
        let depth = |name: &str| depth_of(&vit, name);
        assert_eq!(depth("patch_embed.proj.weight"), 0);
        assert_eq!(depth("cls_token"), 0);
        assert_eq!(depth("blocks.0.norm1.bias"), 1);
        assert_eq!(depth("blocks.11.mlp.fc2.weight"), 12);
        assert_eq!((depth("norm.0.weight"), depth("head.weight")), (13, 13));
        let swin = ModelName::SwinTiny7.encoder();
        let depth = |name: &str| depth_of(&swin, name);
        assert_eq!(depth("encoder.patch_embed.norm.weight"), 0);
        assert_eq!(depth("encoder.layers.1.blocks.1.attn.proj.bias"), 4);
        assert_eq!(depth("encoder.layers.1.downsample.norm.bias"), 4);
        assert_eq!(depth("encoder.layers.3.blocks.1.attn.proj.bias"), 12);
        assert_eq!((depth("encoder.norm.0.weight"), depth("head.bias")), (13, 13));
        assert_eq!(blocks(&swin), 12);
    }

    #[test]
    fn the_loss_of_equal_logits_is_that_of_guessing() {
        let device = Default::default();
        let logits = Tensor::<Flex, 2>::zeros([3, 7], &device);
        let classes = Tensor::<Flex, 2>::ones([3, 7], &device) / 7.0;
        let loss = state::to_host(cross_entropy(logits, classes, 3))[0];
        assert!((loss - 7f32.ln()).abs() < 1e-5, "{loss}");
    }

    #[test]
    fn skipped_branches_leave_the_mean_as_it_was() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let drawn = draw_branches(4, 4000, 0.3, &mut rng);
        assert!(drawn[..8000].iter().all(|&factor| factor == 1.0), "the first block is kept");
        for row in drawn.chunks(4000) {
            let mean = row.iter().sum::<f32>() / 4000.0;
            assert!((mean - 1.0).abs() < 0.05, "{mean}");
        }
        let skipped = drawn[6 * 4000..].iter().filter(|&&factor| factor == 0.0).count();
        assert!((0.25..0.35).contains(&(skipped as f64 / 8000.0)));
    }
}
