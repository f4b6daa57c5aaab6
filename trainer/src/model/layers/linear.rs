//! Matrix products over channels, and the deconvolution that is one.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use kernels::{Kernels, Op, float};

use crate::model::Precision;

/// y = x·W + b on the last dimension; W is `[in, out]`, and b may be missing.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[in, out]`, the transpose of PyTorch's.
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    bf16: bool,
}

impl<B: Backend> Linear<B> {
    /// Of zeros.
    pub fn zeros(input: usize, output: usize, precision: Precision, device: &B::Device) -> Self {
        let bias = Param::from_tensor(Tensor::zeros([output], device));
        Self { bias: Some(bias), ..Self::without_bias(input, output, precision, device) }
    }

    /// Of zeros, without a bias.
    pub fn without_bias(
        input: usize,
        output: usize,
        precision: Precision,
        device: &B::Device,
    ) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::zeros([input, output], device)),
            bias: None,
            bf16: precision == Precision::Bf16,
        }
    }

    /// Its parameters as operations take them.
    pub fn inputs(&self) -> Vec<FloatTensor<B>> {
        let bias = self.bias.as_ref().map(|bias| float(bias.val()));
        [float(self.weight.val())].into_iter().chain(bias).collect()
    }

    /// What its products are made in.
    pub fn precision(&self) -> kernels::Precision {
        precision(self.bf16)
    }
}

impl<B: Kernels> Linear<B> {
    /// `[views, tokens, in]` → `[views, tokens, out]`, f32.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let mut inputs = vec![float(x)];
        inputs.extend(self.inputs());
        Op::Linear(kernels::Linear { precision: self.precision() }).of(inputs)
    }
}

fn precision(bf16: bool) -> kernels::Precision {
    if bf16 { kernels::Precision::Bf16 } else { kernels::Precision::F32 }
}

/// Deconvolution of kernel 2 and stride 2, which is a linear layer to 2×2 pixels.
#[derive(Module, Debug)]
pub struct Deconv<B: Backend> {
    /// `[in, 2·2·out]`, ordered (row, column, channel) in its second dimension.
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`.
    pub bias: Param<Tensor<B, 1>>,
    bf16: bool,
}

impl<B: Backend> Deconv<B> {
    /// Of zeros.
    pub fn zeros(input: usize, output: usize, precision: Precision, device: &B::Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::zeros([input, 4 * output], device)),
            bias: Param::from_tensor(Tensor::zeros([output], device)),
            bf16: precision == Precision::Bf16,
        }
    }
}

impl<B: Kernels> Deconv<B> {
    /// `[views, side², in]` → `[views, (2·side)², out]`, f32.
    pub fn forward(&self, x: Tensor<B, 3>, side: usize) -> Tensor<B, 3> {
        let op = kernels::Deconv { precision: precision(self.bf16), side };
        Op::Deconv(op).of(vec![float(x), float(self.weight.val()), float(self.bias.val())])
    }
}
