//! The one place where evaluation touches the network: a frozen encoder of whole views.

use std::path::Path;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use targets::{TargetError, View};

use super::EvalError;
use crate::checkpoint::Checkpoint;
use crate::data::sample::cut_patches;
use crate::model::{LocalMim, Precision, Vit, state};

/// What a feature is, for reports.
pub const FEATURE: &str =
    "mean over all patches of the latents after the topmost tap's norm, without the class token";

/// How the tokens of one view look at each other in one block. Token 0 is the class token, the
/// others are the patches in rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Heads of the block.
    pub heads: usize,
    /// Tokens of the view.
    pub tokens: usize,
    /// `[heads, queries, keys]`; a query's weights add up to 1.
    pub weights: Vec<f32>,
}

impl Attention {
    /// One head's map `[queries, keys]`.
    pub fn head(&self, head: usize) -> &[f32] {
        let each = self.tokens * self.tokens;
        &self.weights[head * each..][..each]
    }
}

/// An encoder that sees every patch of a view, in f32.
#[derive(Debug, Clone)]
pub struct Frozen<B: Backend> {
    encoder: Vit<B>,
    device: B::Device,
    size: usize,
    patch: usize,
    dim: usize,
}

impl<B: Backend> Frozen<B> {
    /// The encoder of a checkpoint; `path` names it in errors.
    ///
    /// # Errors
    /// [`EvalError::State`] if the parameters do not fit the checkpoint's own sizes.
    pub fn new(
        checkpoint: &Checkpoint,
        path: &Path,
        device: &B::Device,
    ) -> Result<Self, EvalError> {
        let network = &checkpoint.header.network;
        let model = LocalMim::<B>::from_state(network, Precision::F32, &checkpoint.model, device)
            .map_err(|source| EvalError::State { path: path.to_owned(), source })?;
        Ok(Self {
            encoder: model.encoder,
            device: device.clone(),
            size: network.size,
            patch: network.patch,
            dim: network.dim,
        })
    }

    /// Numbers a feature.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Patches along a side of a view.
    pub fn grid(&self) -> usize {
        self.size / self.patch
    }

    /// Appends a view, size·size·3 bytes, to `input` as the network takes it.
    ///
    /// # Errors
    /// [`TargetError`] if the picture has another size.
    pub fn cut(&self, picture: &[u8], input: &mut Vec<f32>) -> Result<(), TargetError> {
        let view = View::new(picture, self.size)?;
        let patches = self.grid() * self.grid();
        let start = input.len();
        input.resize(start + patches * self.channels(), 0.0);
        let all: Vec<i32> = (0..patches as i32).collect();
        cut_patches(view, self.patch, &all, &mut input[start..]);
        Ok(())
    }

    /// The features `[views, dim]` of views that [`cut`](Self::cut) prepared.
    pub fn features(&self, input: Vec<f32>) -> Vec<f32> {
        let (patches, keep) = self.input(input);
        let [views, count, _] = patches.dims();
        let Some(top) = self.encoder.forward(patches, keep).pop() else { return vec![] };
        let feature: Tensor<B, 2> = top.narrow(1, 1, count).mean_dim(1).reshape([views, self.dim]);
        state::to_host(feature)
    }

    /// The attention of one view that [`cut`](Self::cut) prepared, in each block.
    pub fn attention(&self, input: Vec<f32>) -> Vec<Attention> {
        let (patches, keep) = self.input(input);
        let blocks = self.encoder.attention(patches, keep).into_iter();
        blocks
            .map(|weights| {
                let [_, heads, tokens, _] = weights.dims();
                Attention { heads, tokens, weights: state::to_host(weights) }
            })
            .collect()
    }

    /// Values a patch.
    fn channels(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// On the device: all patches `[views, patches, 3·patch²]`, and their places.
    fn input(&self, input: Vec<f32>) -> (Tensor<B, 3>, Tensor<B, 2, Int>) {
        let patches = self.grid() * self.grid();
        let views = input.len() / (patches * self.channels());
        let shape = [views, patches, self.channels()];
        let all: Vec<i32> = (0..views).flat_map(|_| 0..patches as i32).collect();
        (
            Tensor::from_data(TensorData::new(input, shape), &self.device),
            Tensor::from_data(TensorData::new(all, [views, patches]), &self.device),
        )
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::checkpoint::{CHECKPOINT_VERSION, Header};
    use crate::data::Position;
    use crate::device::DeviceKind;
    use crate::settings::{Options, Recipe, Settings};

    const SIZE: usize = 32;

    fn encoder() -> Frozen<Flex> {
        let settings =
            Settings::resolve(Recipe::LocalmimHog, Options::default(), DeviceKind::Cpu).unwrap();
        let network = settings.network(SIZE, 9).unwrap();
        let model = state::init(&network, 3);
        let header = Header {
            version: CHECKPOINT_VERSION,
            step: 0,
            optimizer_steps: 0,
            position: Position { epoch: 0, batch: 0 },
            settings,
            network,
            dataset: String::new(),
        };
        let checkpoint = Checkpoint { header, model, moments: Default::default() };
        Frozen::new(&checkpoint, Path::new("x"), &Default::default()).unwrap()
    }

    fn picture(seed: usize) -> Vec<u8> {
        (0..SIZE * SIZE * 3).map(|i| (i * (seed + 7) % 251) as u8).collect()
    }

    #[test]
    fn a_views_feature_does_not_depend_on_the_views_beside_it() {
        let encoder = encoder();
        let of = |seeds: &[usize]| {
            let mut input = Vec::new();
            seeds.iter().for_each(|&seed| encoder.cut(&picture(seed), &mut input).unwrap());
            encoder.features(input)
        };
        let both = of(&[1, 2]);
        assert_eq!(both.len(), 2 * encoder.dim());
        let alone = [of(&[1]), of(&[2])].concat();
        for (a, b) in both.iter().zip(&alone) {
            assert!((a - b).abs() < 1e-4, "{a} and {b}");
        }
        assert!(alone[..encoder.dim()] != alone[encoder.dim()..], "two views differ");
        assert!(encoder.cut(&[0; 12], &mut vec![]).is_err());
    }

    #[test]
    fn a_querys_attention_adds_up_to_one() {
        let encoder = encoder();
        let mut input = Vec::new();
        encoder.cut(&picture(1), &mut input).unwrap();
        let blocks = encoder.attention(input);
        assert_eq!(blocks.len(), 12);
        for block in blocks {
            assert_eq!((block.heads, block.tokens), (3, 5));
            for row in (0..3).flat_map(|head| block.head(head).chunks(5)) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
            }
        }
    }
}
