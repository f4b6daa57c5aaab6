//! Layer norm.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorPrimitive};

use super::to_f32;

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

    /// `[…, width]` → `[…, width]`, in f32.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        Tensor::from_primitive(TensorPrimitive::Float(B::layer_norm(
            to_f32(x).into_primitive().tensor(),
            self.weight.val().into_primitive().tensor(),
            Some(self.bias.val().into_primitive().tensor()),
            self.epsilon,
        )))
    }
}
