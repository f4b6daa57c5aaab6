//! The columnar encoder: visible patches → latents at the taps.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::layers::{Block, LayerNorm, Linear, to_f32};
use super::{ModelConfig, Precision, positions};

/// A ViT whose taps have a norm each. The last tap's norm is the one that is exported.
#[derive(Module, Debug)]
pub struct Vit<B: Backend> {
    /// 3·patch² → width, the patch ordered (channel, row, column).
    pub patch_embed: Linear<B>,
    /// `[1, 1, width]`.
    pub cls_token: Param<Tensor<B, 3>>,
    /// The transformer blocks.
    pub blocks: Vec<Block<B>>,
    /// One norm a tap.
    pub norm: Vec<LayerNorm<B>>,
    /// `[1 + patches, width]`, fixed.
    positions: Tensor<B, 2>,
    /// After how many blocks each tap sits.
    taps: Vec<usize>,
}

impl<B: Backend> Vit<B> {
    /// Of zeros, but for the positions.
    pub fn zeros(config: &ModelConfig, precision: Precision, device: &B::Device) -> Self {
        let ModelConfig { dim, heads, depth, patch, .. } = *config;
        Self {
            patch_embed: Linear::zeros(3 * patch * patch, dim, precision, device),
            cls_token: Param::from_tensor(Tensor::zeros([1, 1, dim], device)),
            blocks: (0..depth).map(|_| Block::zeros(dim, heads, precision, device)).collect(),
            norm: config.taps.iter().map(|_| LayerNorm::zeros(dim, device)).collect(),
            positions: Tensor::from_data(
                TensorData::new(
                    positions::sin_cos(dim, config.grid()),
                    [1 + config.patches(), dim],
                ),
                device,
            ),
            taps: config.taps.iter().map(|tap| tap.block).collect(),
        }
    }

    /// Latents at the taps, each `[batch, 1 + visible, width]`, class token first.
    ///
    /// `visible` is `[batch, visible, 3·patch²]`, `keep` `[batch, visible]` the index of each
    /// visible patch in its picture.
    pub fn forward(&self, visible: Tensor<B, 3>, keep: Tensor<B, 2, Int>) -> Vec<Tensor<B, 3>> {
        let mut x = self.embed(visible, keep);
        let mut latents = Vec::with_capacity(self.taps.len());
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x);
            if let Some(tap) = self.taps.iter().position(|&after| after == i + 1) {
                latents.push(self.norm[tap].forward(x.clone()));
            }
            if latents.len() == self.taps.len() {
                // Blocks above the last tap would have no gradient.
                break;
            }
        }
        latents
    }

    /// The attention of each block up to the topmost tap, each `[batch, heads, queries, keys]`
    /// over the tokens of [`forward`](Self::forward), class token first.
    pub fn attention(&self, visible: Tensor<B, 3>, keep: Tensor<B, 2, Int>) -> Vec<Tensor<B, 4>> {
        let mut x = self.embed(visible, keep);
        let (blocks, _) = self.to_top();
        blocks
            .iter()
            .map(|block| {
                let weights = block.attention(x.clone());
                x = block.forward(x.clone());
                weights
            })
            .collect()
    }

    /// The blocks up to the topmost tap, and that tap's norm.
    pub fn to_top(&self) -> (&[Block<B>], &LayerNorm<B>) {
        let top = self.taps.len() - 1;
        (&self.blocks[..self.taps[top]], &self.norm[top])
    }

    /// Visible patches → tokens with their positions, class token first.
    pub fn embed(&self, visible: Tensor<B, 3>, keep: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [batch, count, _] = visible.dims();
        let patches = to_f32(self.patch_embed.forward(visible));
        let [_, _, width] = patches.dims();
        // Row 0 of the positions is the class token's.
        let positions = self.positions.clone().select(0, keep.reshape([batch * count]) + 1);
        let patches = patches + positions.reshape([batch, count, width]);
        let class =
            self.cls_token.val() + self.positions.clone().narrow(0, 0, 1).reshape([1, 1, width]);
        Tensor::cat(vec![class.expand([batch, 1, width]), patches], 1)
    }
}
