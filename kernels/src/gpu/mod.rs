//! On a GPU: kernels of our own in CubeCL, one source for CUDA and Vulkan.

mod attention;
mod columns;
pub(crate) mod frame;
mod gelu;
pub mod gemm;
mod linear;
mod loss;
mod merge;
mod mlp;
mod norm;
mod place;
mod pool;
mod rows;

use burn::tensor::ops::FloatTensor;
use burn_cubecl::element::{BoolElement, FloatElement, IntElement};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeRuntime};

use self::frame::contiguous;
use crate::{Gradients, Kernels, Op, Saved};

impl<R, F, I, T> Kernels for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    fn run(op: &Op<Self>, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        pass(op, &inputs, false).0
    }
}

impl<R, F, I, T> Gradients for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    fn forward(op: &Op<Self>, inputs: &[FloatTensor<Self>]) -> (FloatTensor<Self>, Saved<Self>) {
        pass(op, inputs, true)
    }

    fn backward(
        op: &Op<Self>,
        inputs: Vec<FloatTensor<Self>>,
        saved: Saved<Self>,
        gradient: FloatTensor<Self>,
        needs: &[bool],
    ) -> Vec<Option<FloatTensor<Self>>> {
        let inputs: Vec<_> = inputs.iter().map(contiguous).collect();
        let upward = contiguous(&gradient);
        match op {
            Op::MlpBranch(op) => mlp::gradients(op, &inputs, &saved, &upward),
            Op::LayerNorm(op) => norm::gradients(op, &inputs, &saved, &upward),
            Op::Linear(op) => linear::gradients(op, &inputs, &upward, needs),
            Op::Place(op) => place::gradients(op, &inputs, &upward, needs),
            Op::Deconv(op) => linear::deconv_gradients(op, &inputs, &upward, needs),
            Op::Pool(op) => pool::gradients(op, &upward),
            Op::Merge(op) => merge::gradients(*op, &upward),
            Op::TapLoss(op) => loss::gradients(op, &inputs, &saved, &upward),
            Op::AttentionBranch(op) => attention::gradients(op, &inputs, &saved, &upward),
        }
    }
}

/// The output and, where they are to be kept, what its gradients need of it.
fn pass<R, F, I, T>(
    op: &Op<CubeBackend<R, F, I, T>>,
    inputs: &[CubeTensor<R>],
    keep: bool,
) -> (CubeTensor<R>, Vec<CubeTensor<R>>)
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    let inputs: Vec<_> = inputs.iter().map(contiguous).collect();
    match op {
        Op::MlpBranch(op) => mlp::run(op, &inputs, keep),
        Op::LayerNorm(op) => norm::run(op, &inputs),
        Op::Linear(op) => linear::run(op, &inputs),
        Op::Place(op) => place::run(op, &inputs),
        Op::Deconv(op) => linear::deconv(op, &inputs),
        Op::Pool(op) => pool::run(op, &inputs),
        Op::Merge(op) => merge::run(*op, &inputs),
        Op::TapLoss(op) => loss::run(op, &inputs),
        Op::AttentionBranch(op) => attention::run(op, &inputs),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::panic::catch_unwind;

    use burn::tensor::backend::Backend;
    use burn::tensor::{DType, Tensor};
    use burn_wgpu::{CubeBackend, WgpuDevice, WgpuRuntime};

    use crate::op::Precision;
    use crate::parity::check;

    pub type Vulkan = CubeBackend<WgpuRuntime, f32, i32, u32>;

    /// A Vulkan device, which a processor's Mesa may be, where `LOCALMIM_VULKAN` is set; there must be
    /// one then. Mesa's compiles and runs these tests in many minutes.
    pub fn device() -> Option<WgpuDevice> {
        std::env::var_os("LOCALMIM_VULKAN")?;
        let found = catch_unwind(|| {
            let device = WgpuDevice::default();
            let one = Tensor::<Vulkan, 1>::from_floats([1.0], &device);
            assert_eq!(one.into_data().to_vec::<f32>().unwrap(), [1.0]);
            device
        });
        Some(found.expect("there is a Vulkan device"))
    }

    fn hold(which: &str) {
        let Some(device) = device() else {
            eprintln!("left out: LOCALMIM_VULKAN is not set");
            return;
        };
        check::<Vulkan>(Precision::F32, which, 1e-4, &device);
        if Vulkan::supports_dtype(&device, DType::BF16) {
            check::<Vulkan>(Precision::Bf16, which, 3e-2, &device);
        }
    }

    #[test]
    fn attention_is_what_it_is_composed_of() {
        hold("attention");
    }

    #[test]
    fn mlp_is_what_it_is_composed_of() {
        hold("mlp");
    }

    #[test]
    fn what_is_around_blocks_is_what_it_is_composed_of() {
        for which in ["norm", "linear", "place", "deconvolution", "pool", "loss"] {
            hold(which);
        }
    }
}
