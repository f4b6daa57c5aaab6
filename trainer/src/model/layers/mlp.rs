//! The MLP of a block.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::gelu;
use burn::tensor::backend::Backend;

use super::Linear;
use crate::model::Precision;

/// width → 4·width → GELU → width.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    /// width → 4·width.
    pub fc1: Linear<B>,
    /// 4·width → width.
    pub fc2: Linear<B>,
}

impl<B: Backend> Mlp<B> {
    /// Of zeros.
    pub fn zeros(width: usize, precision: Precision, device: &B::Device) -> Self {
        Self {
            fc1: Linear::zeros(width, 4 * width, precision, device),
            fc2: Linear::zeros(4 * width, width, precision, device),
        }
    }

    /// `[batch, tokens, width]` → the same; bfloat16 under that precision.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.fc2.forward(gelu(self.fc1.forward(x)))
    }
}
