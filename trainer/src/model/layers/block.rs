//! The pre-norm transformer block.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Attention, LayerNorm, Mlp, to_f32};
use crate::model::Precision;

/// The two residual branches of a pre-norm block, whatever its attention is:
/// x + attention(norm(x)), and then x + mlp(norm(x)).
///
/// `x` is `[batch, tokens, width]`, f32, as is what is given back. `norms` are those before
/// attention and before the MLP.
pub fn pre_norm<B: Backend>(
    x: Tensor<B, 3>,
    norms: [&LayerNorm<B>; 2],
    attention: impl FnOnce(Tensor<B, 3>) -> Tensor<B, 3>,
    mlp: &Mlp<B>,
    branches: Option<Branches<B>>,
) -> Tensor<B, 3> {
    let (of_attention, of_mlp) =
        branches.map(|branches| (branches.attention, branches.mlp)).unzip();
    let x = x.clone() + scaled(attention(norms[0].forward(x)), of_attention);
    x.clone() + scaled(mlp.forward(norms[1].forward(x)), of_mlp)
}

/// A branch in f32, times what it is multiplied by.
fn scaled<B: Backend>(branch: Tensor<B, 3>, by: Option<Tensor<B, 3>>) -> Tensor<B, 3> {
    match by {
        Some(by) => to_f32(branch) * by,
        None => to_f32(branch),
    }
}

/// What a block's two branches are multiplied by (stochastic depth, arXiv 1603.09382): `[views, 1, 1]`
/// each, 0 for a view that skips the branch.
#[derive(Debug, Clone)]
pub struct Branches<B: Backend> {
    /// Of attention.
    pub attention: Tensor<B, 3>,
    /// Of the MLP.
    pub mlp: Tensor<B, 3>,
}

impl<B: Backend> Branches<B> {
    /// Those of block `block`, of `[2·blocks, views, 1]`.
    pub fn of_block(all: Option<&Tensor<B, 3>>, block: usize) -> Option<Self> {
        let row = |all: &Tensor<B, 3>, row: usize| {
            let [_, views, _] = all.dims();
            all.clone().narrow(0, row, 1).reshape([views, 1, 1])
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

    /// `[batch, tokens, width]` → the same, f32. `branches`, if given, is what each view's two
    /// branches are multiplied by.
    pub fn forward(&self, x: Tensor<B, 3>, branches: Option<Branches<B>>) -> Tensor<B, 3> {
        let norms = [&self.norm1, &self.norm2];
        pre_norm(x, norms, |x| self.attn.forward(x), &self.mlp, branches)
    }

    /// The attention of the block that [`forward`](Self::forward) makes of `x`: the softmax
    /// weights `[batch, heads, queries, keys]`, f32.
    pub fn attention(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        self.attn.weights(self.norm1.forward(x))
    }
}
