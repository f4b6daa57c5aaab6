//! The columnar encoder: patches → latents at the taps.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use kernels::{Kernels, Op, Place, float};

use super::input::{EncoderInput, replace_masked};
use super::layers::{Block, Branches, LayerNorm, Linear};
use super::shape::EncoderConfig;
use super::taps::Taps;
use super::{MaskedInput, ModelConfig, Positions, Precision, positions};

/// A ViT whose taps have a norm each. The last tap's norm is the one that is exported.
#[derive(Module, Debug)]
pub struct Vit<B: Backend> {
    /// 3·patch² → width, the patch ordered (channel, row, column).
    pub patch_embed: Linear<B>,
    /// `[1, 1, width]`, stands for a masked patch where these are not dropped.
    pub mask_token: Option<Param<Tensor<B, 3>>>,
    /// `[1, 1, width]`.
    pub cls_token: Param<Tensor<B, 3>>,
    /// `[1, 1 + patches, width]`, where positions are learned.
    pub pos_embed: Option<Param<Tensor<B, 3>>>,
    /// The transformer blocks.
    pub blocks: Vec<Block<B>>,
    /// One norm a tap.
    pub norm: Vec<LayerNorm<B>>,
    /// `[1 + patches, width]`, where they are fixed.
    positions: Option<Tensor<B, 2>>,
    /// After how many blocks each tap sits.
    taps: Vec<usize>,
    local_gradients: bool,
}

impl<B: Backend> Vit<B> {
    /// Of zeros, but for the positions. `config` is a ViT's and has been checked.
    pub fn zeros(config: &ModelConfig, precision: Precision, device: &B::Device) -> Self {
        let EncoderConfig::Vit { patch, dim, depth, heads } = config.encoder else {
            panic!("the configuration of another encoder");
        };
        let (epsilon, places) = (config.norm_epsilon, 1 + config.units());
        let tokens = |count| Param::from_tensor(Tensor::zeros([1, count, dim], device));
        let learned = config.positions == Positions::Learned;
        Self {
            patch_embed: Linear::zeros(3 * patch * patch, dim, precision, device),
            mask_token: (config.masked == MaskedInput::Token).then(|| tokens(1)),
            cls_token: tokens(1),
            pos_embed: learned.then(|| tokens(places)),
            blocks: (0..depth)
                .map(|_| Block::zeros(dim, heads, epsilon, precision, device))
                .collect(),
            norm: config.taps.iter().map(|_| LayerNorm::zeros(dim, epsilon, device)).collect(),
            positions: (!learned).then(|| positions::on_device(dim, config.grid(), device)),
            taps: config.taps.iter().map(|tap| tap.layer).collect(),
            local_gradients: config.local_gradients,
        }
    }
}

impl<B: Kernels> Vit<B> {
    /// What is added to class token and patches: `[1 + patches, width]`.
    fn positions(&self) -> Tensor<B, 2> {
        match (&self.pos_embed, &self.positions) {
            (Some(learned), _) => learned.val().squeeze_dim(0),
            (None, fixed) => fixed.clone().expect("positions are learned or fixed"),
        }
    }

    /// Class token and patches with their positions: `[views, 1 + tokens, width]`.
    pub fn embed(&self, input: EncoderInput<B>) -> Tensor<B, 3> {
        let patches = self.patch_embed.forward(input.patches);
        let patches = replace_masked(patches, self.mask_token.as_ref(), input.seen);
        let op = Op::Place(Place { rows: None, at: Some(input.places) });
        op.of(vec![float(patches), float(self.cls_token.val()), float(self.positions())])
    }

    /// Latents at the taps, each `[views, 1 + tokens, width]`, class token first.
    pub fn forward(&self, input: EncoderInput<B>) -> Vec<Tensor<B, 3>> {
        let branches = input.branches.clone();
        let mut x = self.embed(input);
        let mut taps = Taps::new(&self.taps, &self.norm, self.local_gradients);
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, Branches::of_block(branches.as_ref(), i));
            match taps.pass(i + 1, x) {
                Some(next) => x = next,
                None => break,
            }
        }
        taps.latents()
    }

    /// The attention of each block up to the topmost tap, each `[views, heads, queries, keys]`
    /// over the tokens of [`forward`](Self::forward), class token first.
    pub fn attention(&self, input: EncoderInput<B>) -> Vec<Tensor<B, 4>> {
        let mut x = self.embed(input);
        let top = self.taps.last().copied().unwrap_or(0);
        self.blocks[..top]
            .iter()
            .map(|block| {
                let weights = block.attention(x.clone());
                x = block.forward(x.clone(), None);
                weights
            })
            .collect()
    }
}
