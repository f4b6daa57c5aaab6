//! Layer norm.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use kernels::{Kernels, Op, float};

/// The epsilon of layer norms where nothing else is said.
pub const NORM_EPSILON: f64 = 1e-6;

/// Layer norm over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// `[width]`.
    pub weight: Param<Tensor<B, 1>>,
    /// `[width]`.
    pub bias: Param<Tensor<B, 1>>,
    epsilon: f64,
}

impl<B: Backend> LayerNorm<B> {
    /// Of zeros; `epsilon` is added to the variance.
    pub fn zeros(width: usize, epsilon: f64, device: &B::Device) -> Self {
        let zeros = || Param::from_tensor(Tensor::zeros([width], device));
        Self { weight: zeros(), bias: zeros(), epsilon }
    }

    /// Added to the variance.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Its parameters as operations take them.
    pub fn inputs(&self) -> [FloatTensor<B>; 2] {
        [float(self.weight.val()), float(self.bias.val())]
    }
}

impl<B: Kernels> LayerNorm<B> {
    /// `[views, tokens, width]` → the same.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.run(x, 0, false)
    }

    /// `[views, tokens, width]` → `[views, tokens − skip, width]`: the first tokens are left out.
    pub fn forward_without(&self, x: Tensor<B, 3>, skip: usize) -> Tensor<B, 3> {
        self.run(x, skip, false)
    }

    /// `[views, tokens, width]` → the same, through a GELU.
    pub fn forward_gelu(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.run(x, 0, true)
    }

    fn run(&self, x: Tensor<B, 3>, skip: usize, gelu: bool) -> Tensor<B, 3> {
        let [weight, bias] = self.inputs();
        let op = kernels::LayerNorm { epsilon: self.epsilon, skip, gelu };
        Op::LayerNorm(op).of(vec![float(x), weight, bias])
    }
}
