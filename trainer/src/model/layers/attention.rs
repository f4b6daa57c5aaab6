//! Multi-head attention: softmax(q·kᵀ/√head)·v.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;

use super::{Linear, to_f32};
use crate::model::Precision;

/// Queries, keys and values, each `[batch, heads, tokens, head]`, of what `qkv` gives:
/// `[batch, tokens, 3·heads·head]`.
pub fn split_heads<B: Backend>(qkv: Tensor<B, 3>, heads: usize) -> [Tensor<B, 4>; 3] {
    let [batch, tokens, channels] = qkv.dims();
    // [3, batch, heads, tokens, head]
    let qkv = qkv.reshape([batch, tokens, 3, heads, channels / 3 / heads]).permute([2, 0, 3, 1, 4]);
    [0, 1, 2].map(|i| qkv.clone().narrow(0, i, 1).squeeze_dim::<4>(0))
}

/// How alike each query and each key are, q·kᵀ/√head, in f32: `[batch, heads, tokens, tokens]`.
pub fn scores<B: Backend>(queries: Tensor<B, 4>, keys: Tensor<B, 4>) -> Tensor<B, 4> {
    let head = queries.dims()[3];
    to_f32((queries * (head as f64).powf(-0.5)).matmul(keys.swap_dims(2, 3)))
}

/// The values `[batch, heads, tokens, head]`, mixed by the softmax of `scores`
/// `[batch, heads, tokens, tokens]`, the heads side by side: `[batch, tokens, heads·head]`.
pub fn mix<B: Backend>(scores: Tensor<B, 4>, values: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, heads, tokens, head] = values.dims();
    let weights = softmax(scores, 3).cast(values.dtype());
    weights.matmul(values).swap_dims(1, 2).reshape([batch, tokens, heads * head])
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

    /// `[batch, tokens, width]` → the same; bfloat16 under that precision.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [queries, keys, values] = split_heads(self.qkv.forward(x), self.heads);
        self.proj.forward(mix(scores(queries, keys), values))
    }

    /// The softmax weights by which [`forward`](Self::forward) mixes the tokens of `x`, f32:
    /// `[batch, heads, queries, keys]`.
    pub fn weights(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        let [queries, keys, _] = split_heads(self.qkv.forward(x), self.heads);
        softmax(scores(queries, keys), 3)
    }
}
