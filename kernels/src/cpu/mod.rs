//! On the processor, by Burn's flex backend.

use burn::backend::Flex;
use burn::tensor::ops::FloatTensor;

use crate::{Gradients, Kernels, Op, Saved, composed};

impl Kernels for Flex {
    fn run(op: &Op<Self>, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        composed::forward(op, inputs)
    }
}

impl Gradients for Flex {
    fn forward(op: &Op<Self>, inputs: &[FloatTensor<Self>]) -> (FloatTensor<Self>, Saved<Self>) {
        (composed::forward(op, inputs.to_vec()), vec![])
    }

    fn backward(
        op: &Op<Self>,
        inputs: Vec<FloatTensor<Self>>,
        _saved: Saved<Self>,
        gradient: FloatTensor<Self>,
        needs: &[bool],
    ) -> Vec<Option<FloatTensor<Self>>> {
        composed::backward(op, inputs, gradient, needs)
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
