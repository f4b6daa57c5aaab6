//! On a GPU: kernels of our own in CubeCL, one source for CUDA and Vulkan.

mod attention;
mod columns;
mod frame;
mod gelu;
pub mod gemm;
mod norm;
mod rows;

use burn::tensor::ops::FloatTensor;
use burn_cubecl::element::{BoolElement, FloatElement, IntElement};
use burn_cubecl::{CubeBackend, CubeRuntime};

use self::frame::contiguous;
use crate::{Gradients, Kernels, Op, Saved, composed};

impl<R, F, I, T> Kernels for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    fn run(op: &Op<Self>, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        Self::forward(op, &inputs).0
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
        let inputs: Vec<_> = inputs.iter().map(contiguous).collect();
        match op {
            Op::LayerNorm(op) => norm::run(op, &inputs),
            // Not outside of tests until these hold them on a device of Vulkan.
            Op::AttentionBranch(op) if cfg!(test) => attention::run(op, &inputs),
            _ => (composed::forward(op, inputs), vec![]),
        }
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
            Op::LayerNorm(op) => norm::gradients(op, &inputs, &saved, &upward),
            Op::AttentionBranch(op) if cfg!(test) => {
                attention::gradients(op, &inputs, &saved, &upward)
            }
            _ => composed::backward(op, inputs, upward, needs),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::panic::catch_unwind;

    use burn::tensor::Tensor;
    use burn_wgpu::{CubeBackend, WgpuDevice, WgpuRuntime};

    use crate::op::Precision;
    use crate::parity::check;

    pub type Vulkan = CubeBackend<WgpuRuntime, f32, i32, u32>;

    /// A Vulkan device, which a processor's Mesa may be; where `LOCALMIM_VULKAN` is set there must be
    /// one.
    pub fn device() -> Option<WgpuDevice> {
        let found = catch_unwind(|| {
            let device = WgpuDevice::default();
            let one = Tensor::<Vulkan, 1>::from_floats([1.0], &device);
            assert_eq!(one.into_data().to_vec::<f32>().unwrap(), [1.0]);
            device
        });
        let needed = std::env::var_os("LOCALMIM_VULKAN").is_some();
        assert!(found.is_ok() || !needed, "there is no Vulkan device");
        found.ok()
    }

    fn hold(which: &str) {
        let Some(device) = device() else {
            eprintln!("left out: there is no Vulkan device");
            return;
        };
        check::<Vulkan>(Precision::F32, which, 1e-4, &device);
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
