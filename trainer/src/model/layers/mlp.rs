//! The MLP of a block.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use kernels::{Kernels, Op, float};

use super::{LayerNorm, Linear};
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
}

impl<B: Kernels> Mlp<B> {
    /// x + scale·mlp(norm(x)): `[views, tokens, width]` → the same, f32. `scale` `[views]`
    /// multiplies each view's branch.
    pub fn branch(
        &self,
        x: Tensor<B, 3>,
        norm: &LayerNorm<B>,
        scale: Option<Tensor<B, 1>>,
    ) -> Tensor<B, 3> {
        let (epsilon, precision) = (norm.epsilon(), self.fc1.precision());
        let mut inputs = vec![float(x)];
        inputs.extend(norm.inputs());
        inputs.extend(self.fc1.inputs());
        inputs.extend(self.fc2.inputs());
        Op::MlpBranch(kernels::MlpBranch { epsilon, precision, scale }).of(inputs)
    }
}
