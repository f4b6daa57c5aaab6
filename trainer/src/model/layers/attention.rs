//! Multi-head attention: softmax(q·kᵀ/√head)·v.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use kernels::{Kernels, Op, Windows, float};

use super::{LayerNorm, Linear};
use crate::model::Precision;

/// x + scale·projection(attention(norm(x))): `[views, tokens, width]` → the same, f32.
///
/// With windows tokens attend to those of their own alone, and scores are biased by the `table` of
/// relative positions. `scale` `[views]` multiplies each view's branch.
pub fn attention_branch<B: Kernels>(
    x: Tensor<B, 3>,
    norm: &LayerNorm<B>,
    (qkv, proj, heads): (&Linear<B>, &Linear<B>, usize),
    windows: Option<(&Windows<B>, Tensor<B, 2>)>,
    scale: Option<Tensor<B, 1>>,
) -> Tensor<B, 3> {
    let (windows, table) = windows.map(|(windows, table)| (windows.clone(), table)).unzip();
    let op = kernels::AttentionBranch {
        heads,
        epsilon: norm.epsilon(),
        precision: qkv.precision(),
        scale,
        windows,
    };
    let mut inputs = vec![float(x)];
    inputs.extend(norm.inputs());
    inputs.extend(qkv.inputs());
    inputs.extend(proj.inputs());
    inputs.extend(table.map(float));
    Op::AttentionBranch(op).of(inputs)
}

/// Multi-head self-attention over all tokens.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// width → 3·width: queries, keys, values.
    pub qkv: Linear<B>,
    /// width → width.
    pub proj: Linear<B>,
    heads: usize,
}

impl<B: Backend> Attention<B> {
    /// Of zeros.
    pub fn zeros(width: usize, heads: usize, precision: Precision, device: &B::Device) -> Self {
        Self {
            qkv: Linear::zeros(width, 3 * width, precision, device),
            proj: Linear::zeros(width, width, precision, device),
            heads,
        }
    }
}

impl<B: Kernels> Attention<B> {
    /// x + scale·attention(norm(x)), as [`attention_branch`].
    pub fn branch(
        &self,
        x: Tensor<B, 3>,
        norm: &LayerNorm<B>,
        scale: Option<Tensor<B, 1>>,
    ) -> Tensor<B, 3> {
        attention_branch(x, norm, (&self.qkv, &self.proj, self.heads), None, scale)
    }

    /// The softmax weights by which the tokens of `x` `[views, tokens, width]` are mixed:
    /// `[views, heads, queries, keys]`.
    pub fn weights(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        let [views, tokens, width] = x.dims();
        let head = width / self.heads;
        let qkv = self.qkv.forward(x).reshape([views, tokens, 3, self.heads, head]);
        // [3, views, heads, tokens, head]
        let qkv = qkv.permute([2, 0, 3, 1, 4]);
        let [queries, keys] = [0, 1].map(|i| qkv.clone().narrow(0, i, 1).squeeze_dim::<4>(0));
        let scores = (queries * (head as f64).powf(-0.5)).matmul(keys.swap_dims(2, 3));
        softmax(scores, 3)
    }
}
