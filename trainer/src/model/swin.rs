//! The pyramidal encoder: patches → latents at the taps, over visible tokens only.
//!
//! GreenMIM's sparse path through Swin (arXiv 2205.13515), which LocalMIM follows: tokens stand in
//! the order of their units, windows are those of a [`WindowPlan`], and
//! merging happens within a unit. With all units visible it is Swin as it is known.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use kernels::{Kernels, Merge, Op, Windows, float};

use super::input::{EncoderInput, replace_masked};
use super::layers::{Branches, LayerNorm, Linear, Mlp, attention_branch};
use super::shape::EncoderConfig;
use super::taps::Taps;
use super::windows::{Tiling, WindowPlan, window_of};
use super::{MaskedInput, ModelConfig, Precision};

/// A Swin whose taps have a norm each. The last tap's norm is the one that is exported.
#[derive(Module, Debug)]
pub struct Swin<B: Backend> {
    /// Patches → tokens.
    pub patch_embed: PatchEmbed<B>,
    /// `[1, 1, width]`, stands for a masked patch where these are not dropped.
    pub mask_token: Option<Param<Tensor<B, 3>>>,
    /// The stages.
    pub layers: Vec<Stage<B>>,
    /// One norm a tap.
    pub norm: Vec<LayerNorm<B>>,
    /// After how many stages each tap sits.
    taps: Vec<usize>,
    local_gradients: bool,
}

/// Projection and norm.
#[derive(Module, Debug)]
pub struct PatchEmbed<B: Backend> {
    /// 3·patch² → width, the patch ordered (channel, row, column).
    pub proj: Linear<B>,
    /// After it.
    pub norm: LayerNorm<B>,
}

impl<B: Kernels> PatchEmbed<B> {
    /// `[views, tokens, 3·patch²]` → `[views, tokens, width]`, f32.
    fn forward(&self, patches: Tensor<B, 3>) -> Tensor<B, 3> {
        self.norm.forward(self.proj.forward(patches))
    }
}

/// Blocks on one grid, and the way to the next.
#[derive(Module, Debug)]
pub struct Stage<B: Backend> {
    /// Every other one on shifted windows.
    pub blocks: Vec<SwinBlock<B>>,
    /// None after the last stage.
    pub downsample: Option<Merging<B>>,
}

/// 2×2 tokens → one of twice the width.
#[derive(Module, Debug)]
pub struct Merging<B: Backend> {
    /// Over the four tokens' channels.
    pub norm: LayerNorm<B>,
    /// 4·width → 2·width, without a bias; the four in rows.
    pub reduction: Linear<B>,
    /// Tokens along a unit's side before the merging.
    inner: usize,
}

impl<B: Kernels> Merging<B> {
    /// `[views, tokens, width]` → `[views, tokens/4, 2·width]`.
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let x = Op::Merge(Merge { side: self.inner }).of(vec![float(x)]);
        self.reduction.forward(self.norm.forward(x))
    }
}

/// Pre-norm transformer block over windows.
#[derive(Module, Debug)]
pub struct SwinBlock<B: Backend> {
    /// Before attention.
    pub norm1: LayerNorm<B>,
    /// The tokens of a window mix.
    pub attn: WindowAttention<B>,
    /// Before the MLP.
    pub norm2: LayerNorm<B>,
    /// Channels mix.
    pub mlp: Mlp<B>,
}

impl<B: Kernels> SwinBlock<B> {
    /// `[views, tokens, width]` → the same, f32.
    fn forward(
        &self,
        x: Tensor<B, 3>,
        windows: &Windows<B>,
        branches: Option<Branches<B>>,
    ) -> Tensor<B, 3> {
        let (of_attention, of_mlp) = Branches::of_both(branches);
        let x = self.attn.branch(x, &self.norm1, windows, of_attention);
        self.mlp.branch(x, &self.norm2, of_mlp)
    }
}

/// Multi-head self-attention within windows, with a bias for each relative position.
#[derive(Module, Debug)]
pub struct WindowAttention<B: Backend> {
    /// width → 3·width: queries, keys, values.
    pub qkv: Linear<B>,
    /// `[(2·window − 1)², heads]`.
    pub relative_position_bias_table: Param<Tensor<B, 2>>,
    /// width → width.
    pub proj: Linear<B>,
    heads: usize,
}

/// How tokens look at each other in one block.
#[derive(Debug)]
pub struct BlockAttention<B: Backend> {
    /// The block's stage, from 0.
    pub stage: usize,
    /// For each window its tokens, and the softmax weights `[heads, queries, keys]` among them.
    pub windows: Vec<(Vec<i32>, Tensor<B, 3>)>,
}

impl<B: Kernels> WindowAttention<B> {
    /// The softmax weights by which the tokens of `x` `[1, tokens, width]`, normed, are mixed: for
    /// each window its tokens and `[heads, queries, keys]`.
    fn weights(&self, x: Tensor<B, 3>, tiling: &Tiling) -> Vec<(Vec<i32>, Tensor<B, 3>)> {
        let ([_, tokens, width], device) = (x.dims(), x.device());
        let head = width / self.heads;
        let qkv = self.qkv.forward(x).reshape([tokens, 3, self.heads, head]);
        // [heads, tokens, head]
        let qkv = qkv.permute([1, 2, 0, 3]);
        let [queries, keys] = [0, 1].map(|i| qkv.clone().narrow(0, i, 1).squeeze_dim::<3>(0));
        let queries = queries * (head as f64).powf(-0.5);
        let of_window = |members: &[i32]| {
            let count = members.len();
            let index = |numbers: Vec<i32>| {
                let count = numbers.len();
                Tensor::<B, 1, Int>::from_data(TensorData::new(numbers, [count]), &device)
            };
            let own = |of: &Tensor<B, 3>| of.clone().select(1, index(members.to_vec()));
            let scores = own(&queries).matmul(own(&keys).swap_dims(1, 2));
            let table = self.relative_position_bias_table.val();
            let bias = table.select(0, index(tiling.relative(members)));
            let bias = bias.reshape([count, count, self.heads]).permute([2, 0, 1]);
            (members.to_vec(), softmax(scores + bias, 2))
        };
        tiling.windows().map(of_window).collect()
    }

    /// x + scale·attention(norm(x)), as [`attention_branch`].
    fn branch(
        &self,
        x: Tensor<B, 3>,
        norm: &LayerNorm<B>,
        windows: &Windows<B>,
        scale: Option<Tensor<B, 1>>,
    ) -> Tensor<B, 3> {
        let table = self.relative_position_bias_table.val();
        let parts = (&self.qkv, &self.proj, self.heads);
        attention_branch(x, norm, parts, Some((windows, table)), scale)
    }
}

impl<B: Backend> Swin<B> {
    /// Of zeros. `config` is a Swin's and has been checked.
    pub fn zeros(config: &ModelConfig, precision: Precision, device: &B::Device) -> Self {
        let EncoderConfig::Swin { patch, dim, ref depths, ref heads, window, .. } = config.encoder
        else {
            panic!("the configuration of another encoder");
        };
        let last = depths.len() - 1;
        let norm = |width| LayerNorm::zeros(width, config.norm_epsilon, device);
        let linear = |input, output| Linear::zeros(input, output, precision, device);
        let stage = |(stage, (&depth, &heads)): (usize, (&usize, &usize))| {
            let (width, inner) = (dim << stage, 1 << (last - stage));
            let span = 2 * window_of(window, config.grid() * inner) - 1;
            let block = |_| SwinBlock {
                norm1: norm(width),
                attn: WindowAttention {
                    qkv: linear(width, 3 * width),
                    relative_position_bias_table: Param::from_tensor(Tensor::zeros(
                        [span * span, heads],
                        device,
                    )),
                    proj: linear(width, width),
                    heads,
                },
                norm2: norm(width),
                mlp: Mlp::zeros(width, precision, device),
            };
            Stage {
                blocks: (0..depth).map(block).collect(),
                downsample: (stage < last).then(|| Merging {
                    norm: norm(4 * width),
                    reduction: Linear::without_bias(4 * width, 2 * width, precision, device),
                    inner,
                }),
            }
        };
        Self {
            patch_embed: PatchEmbed { proj: linear(3 * patch * patch, dim), norm: norm(dim) },
            mask_token: (config.masked == MaskedInput::Token)
                .then(|| Param::from_tensor(Tensor::zeros([1, 1, dim], device))),
            layers: depths.iter().zip(heads).enumerate().map(stage).collect(),
            norm: config
                .taps
                .iter()
                .map(|tap| norm(config.encoder.latent(tap.layer).dim))
                .collect(),
            taps: config.taps.iter().map(|tap| tap.layer).collect(),
            local_gradients: config.local_gradients,
        }
    }
}

impl<B: Kernels> Swin<B> {
    /// Latents at the taps, each `[views, tokens, width]`, in the order of the units.
    pub fn forward(&self, input: EncoderInput<B>) -> Vec<Tensor<B, 3>> {
        self.walk(input, |_, _, _| {})
    }

    /// The attention of each block up to the topmost tap, of one view whose windows are `plan`'s.
    pub fn attention(&self, input: EncoderInput<B>, plan: &WindowPlan) -> Vec<BlockAttention<B>> {
        let mut all = vec![];
        self.walk(input, |stage, block, x| {
            let SwinBlock { norm1, attn, .. } = &self.layers[stage].blocks[block];
            let tiling = plan.stages[stage].of_block(block);
            let windows = attn.weights(norm1.forward(x.clone()), tiling);
            all.push(BlockAttention { stage, windows });
        });
        all
    }

    /// The way up to the topmost tap, with a look at what each stage's block is given.
    fn walk(
        &self,
        input: EncoderInput<B>,
        mut look: impl FnMut(usize, usize, &Tensor<B, 3>),
    ) -> Vec<Tensor<B, 3>> {
        let windows = input.windows.expect("a Swin's input has windows");
        let x = self.patch_embed.forward(input.patches);
        let mut x = replace_masked(x, self.mask_token.as_ref(), input.seen);
        let mut taps = Taps::new(&self.taps, &self.norm, self.local_gradients);
        let mut number = 0;
        for (stage, layer) in self.layers.iter().enumerate() {
            for (i, block) in layer.blocks.iter().enumerate() {
                look(stage, i, &x);
                let branches = Branches::of_block(input.branches.as_ref(), number);
                x = block.forward(x, windows.of_block(stage, i), branches);
                number += 1;
            }
            if let Some(merging) = &layer.downsample {
                x = merging.forward(x);
            }
            match taps.pass(stage + 1, x) {
                Some(next) => x = next,
                None => break,
            }
        }
        taps.latents()
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::model::init::init;
    use crate::model::input::DevicePlan;
    use crate::model::windows::Windows;
    use crate::model::{Coordinates, Encoder, EncoderAlone, Start, TargetKind, state};

    const SIZE: usize = 32;

    fn config(coordinates: Coordinates) -> ModelConfig {
        let encoder = EncoderConfig::Swin {
            patch: 2,
            dim: 8,
            depths: vec![2, 2],
            heads: vec![2, 4],
            window: 5,
            coordinates,
        };
        ModelConfig::local_mim(encoder, SIZE, TargetKind::Hog, 9)
    }

    /// The weights by which tokens are mixed are found by what they mix: where values are the
    /// normed tokens themselves, and the projection gives them as they are, what attention adds to
    /// a token is the mean of its window by its weights.
    #[test]
    fn attention_is_what_the_block_mixes_by() {
        for coordinates in [Coordinates::Spatial, Coordinates::Published] {
            let config = config(coordinates);
            let mut parameters = init(&config, Start::default(), 3);
            for (name, tensor) in &mut parameters {
                let (rows, columns) = (tensor.shape[0], tensor.shape.last().copied().unwrap_or(1));
                let first = match name {
                    _ if name.ends_with("attn.qkv.weight") => 2 * columns,
                    _ if name.ends_with("attn.proj.weight") => 0,
                    // Large enough to matter.
                    _ if name.ends_with("bias_table") => {
                        tensor.data.iter_mut().for_each(|bias| *bias *= 50.0);
                        continue;
                    }
                    _ => continue,
                };
                for at in first * columns..rows * columns {
                    tensor.data[at] = f32::from(u8::from(at / columns - first == at % columns));
                }
            }
            let device = Default::default();
            let top = crate::model::alone::top(&config);
            let alone =
                EncoderAlone::<Flex>::new(&config, &top, &parameters, Precision::F32, &device)
                    .unwrap();
            let Encoder::Swin(swin) = &alone.encoder else { panic!("another encoder") };
            let plan = Windows::of(&config.encoder, SIZE).unwrap().whole();
            let on_device = DevicePlan::send(&plan, &device).arrived();
            let picture: Vec<f32> = (0..3 * SIZE * SIZE).map(|i| (i % 61) as f32 / 30.0).collect();
            let input = EncoderInput::whole(&config, picture, Some(on_device.clone()), &device);
            let mut x = swin.patch_embed.forward(input.patches);
            let block = &swin.layers[0].blocks;
            for (i, block) in block.iter().enumerate() {
                let windows = on_device.of_block(0, i);
                let normed = block.norm1.forward(x.clone());
                let mixed = block.attn.branch(x.clone(), &block.norm1, windows, None) - x.clone();
                let (mixed, values) = (state::to_host(mixed), state::to_host(normed.clone()));
                let (heads, head) = (2, 4);
                let mut seen = 0;
                for (members, weights) in block.attn.weights(normed, plan.stages[0].of_block(i)) {
                    let (count, weights) = (members.len(), state::to_host(weights));
                    for (at, &query) in members.iter().enumerate() {
                        for channel in 0..heads * head {
                            let row = &weights[(channel / head * count + at) * count..][..count];
                            let mean: f32 = row
                                .iter()
                                .zip(&members)
                                .map(|(weight, &key)| weight * values[key as usize * 8 + channel])
                                .sum();
                            let found = mixed[query as usize * 8 + channel];
                            assert!((mean - found).abs() < 1e-4, "{mean} and {found}");
                            seen += 1;
                        }
                    }
                }
                assert_eq!(seen, mixed.len());
                x = block.forward(x, windows, None);
            }
        }
    }
}
