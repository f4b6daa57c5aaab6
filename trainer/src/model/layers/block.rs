//! The pre-norm transformer block.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use kernels::Kernels;

use super::{Attention, LayerNorm, Mlp};
use crate::model::Precision;

/// What a block's two branches are multiplied by (stochastic depth, arXiv 1603.09382): `[views]`
/// each, 0 for a view that skips the branch.
#[derive(Debug, Clone)]
pub struct Branches<B: Backend> {
    /// Of attention.
    pub attention: Tensor<B, 1>,
    /// Of the MLP.
    pub mlp: Tensor<B, 1>,
}

impl<B: Backend> Branches<B> {
    /// Those of the two branches, where there are any.
    pub fn of_both(branches: Option<Self>) -> (Option<Tensor<B, 1>>, Option<Tensor<B, 1>>) {
        branches.map(|Self { attention, mlp }| (attention, mlp)).unzip()
    }

    /// Those of block `block`, of `[2·blocks, views, 1]`.
    pub fn of_block(all: Option<&Tensor<B, 3>>, block: usize) -> Option<Self> {
        let row = |all: &Tensor<B, 3>, row: usize| {
            let [_, views, _] = all.dims();
            all.clone().narrow(0, row, 1).reshape([views])
        };
        all.map(|all| Self { attention: row(all, 2 * block), mlp: row(all, 2 * block + 1) })
    }
}

/// Pre-norm transformer block over all tokens.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// Before attention.
    pub norm1: LayerNorm<B>,
    /// Tokens mix.
    pub attn: Attention<B>,
    /// Before the MLP.
    pub norm2: LayerNorm<B>,
    /// Channels mix.
    pub mlp: Mlp<B>,
}

impl<B: Backend> Block<B> {
    /// Of zeros; `epsilon` is the norms'.
    pub fn zeros(
        width: usize,
        heads: usize,
        epsilon: f64,
        precision: Precision,
        device: &B::Device,
    ) -> Self {
        Self {
            norm1: LayerNorm::zeros(width, epsilon, device),
            attn: Attention::zeros(width, heads, precision, device),
            norm2: LayerNorm::zeros(width, epsilon, device),
            mlp: Mlp::zeros(width, precision, device),
        }
    }
}

impl<B: Kernels> Block<B> {
    /// x + attention(norm(x)), and then x + mlp(norm(x)): `[views, tokens, width]` → the same, f32.
    /// `branches`, if given, is what each view's two branches are multiplied by.
    pub fn forward(&self, x: Tensor<B, 3>, branches: Option<Branches<B>>) -> Tensor<B, 3> {
        let (of_attention, of_mlp) = Branches::of_both(branches);
        let x = self.attn.branch(x, &self.norm1, of_attention);
        self.mlp.branch(x, &self.norm2, of_mlp)
    }

    /// The attention of the block that [`forward`](Self::forward) makes of `x`: the softmax
    /// weights `[views, heads, queries, keys]`, f32.
    pub fn attention(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        self.attn.weights(self.norm1.forward(x))
    }
}
