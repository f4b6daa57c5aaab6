//! On the processor, by Burn's flex backend: each operation in few passes over its tensors, by one
//! thread.

mod attention;
mod deconv;
mod heads;
mod linear;
mod loss;
mod math;
mod merge;
mod mlp;
mod norm;
mod place;
mod pool;
mod rows;
mod strided;
mod tensor;
mod windows;

pub mod bf16;
pub mod matrix;

use burn::backend::Flex;
use burn::tensor::ops::FloatTensor;

use crate::{Gradients, Kernels, Op, Saved};

impl Kernels for Flex {
    fn run(op: &Op<Self>, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        match op {
            Op::AttentionBranch(op) => attention::forward(op, &inputs, false).0,
            Op::MlpBranch(op) => mlp::forward(op, &inputs, false).0,
            Op::LayerNorm(op) => norm::forward(op, &inputs).0,
            Op::Linear(op) => linear::forward(op, &inputs),
            Op::Place(op) => place::forward(op, &inputs),
            Op::Deconv(op) => deconv::forward(op, &inputs),
            Op::Pool(op) => pool::forward(op, &inputs),
            Op::Merge(op) => merge::forward(*op, &inputs),
            Op::TapLoss(op) => loss::forward(op, &inputs),
        }
    }
}

impl Gradients for Flex {
    fn forward(op: &Op<Self>, inputs: &[FloatTensor<Self>]) -> (FloatTensor<Self>, Saved<Self>) {
        match op {
            Op::AttentionBranch(op) => attention::forward(op, inputs, true),
            Op::MlpBranch(op) => mlp::forward(op, inputs, true),
            Op::LayerNorm(op) => {
                let (output, moments) = norm::forward(op, inputs);
                (output, vec![moments])
            }
            _ => (Self::run(op, inputs.to_vec()), vec![]),
        }
    }

    fn backward(
        op: &Op<Self>,
        inputs: Vec<FloatTensor<Self>>,
        saved: Saved<Self>,
        gradient: FloatTensor<Self>,
        needs: &[bool],
    ) -> Vec<Option<FloatTensor<Self>>> {
        match op {
            Op::AttentionBranch(op) => attention::backward(op, &inputs, &saved, &gradient),
            Op::MlpBranch(op) => mlp::backward(op, &inputs, &saved, &gradient),
            Op::LayerNorm(op) => norm::backward(op, &inputs, &saved[0], &gradient),
            Op::Linear(op) => linear::backward(op, &inputs, &gradient, needs),
            Op::Place(op) => place::backward(op, &inputs, &gradient, needs),
            Op::Deconv(op) => deconv::backward(op, &inputs, &gradient, needs),
            Op::Pool(op) => vec![Some(pool::backward(op, &inputs, &gradient))],
            Op::Merge(op) => vec![Some(merge::backward(*op, &inputs, &gradient))],
            Op::TapLoss(op) => vec![Some(loss::backward(op, &inputs, &gradient))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Precision;
    use crate::parity::check;

    #[test]
    fn operations_are_what_they_are_composed_of() {
        check::<Flex>(Precision::F32, "", 2e-5, &Default::default());
        check::<Flex>(Precision::Bf16, "", 3e-2, &Default::default());
    }
}
