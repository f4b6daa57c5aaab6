//! On a GPU: kernels of our own in CubeCL, one source for CUDA and Vulkan.

use burn::tensor::ops::FloatTensor;
use burn_cubecl::element::{BoolElement, FloatElement, IntElement};
use burn_cubecl::{CubeBackend, CubeRuntime};

use crate::{Gradients, Kernels, Op, Saved, composed};

impl<R, F, I, T> Kernels for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    fn run(op: &Op<Self>, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        composed::forward(op, inputs)
    }
}

impl<R, F, I, T> Gradients for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    fn forward(
        op: &Op<Self>,
        inputs: &[FloatTensor<Self>],
    ) -> (FloatTensor<Self>, Saved<Self>) {
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
