//! Matrix products over channels, and the deconvolution that is one.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{FloatDType, Tensor};

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

    /// `[batch, tokens, in]` → `[batch, tokens, out]`; bfloat16 under that precision.
    ///
    /// The tokens of all pictures are flattened to one matrix first: with a leading batch
    /// dimension the gradient of the weight would be a product for each picture.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, tokens, input] = x.dims();
        let (mut weight, mut bias) = (self.weight.val(), self.bias.as_ref().map(Param::val));
        let mut x = x.reshape([batch * tokens, input]);
        if self.bf16 {
            (x, weight) = (x.cast(FloatDType::BF16), weight.cast(FloatDType::BF16));
            bias = bias.map(|bias| bias.cast(FloatDType::BF16));
        }
        let output = weight.dims()[1];
        let product = x.matmul(weight);
        let sum = match bias {
            Some(bias) => product + bias.unsqueeze(),
            None => product,
        };
        sum.reshape([batch, tokens, output])
    }
}

/// Back to the residual stream's f32; nothing where it is f32 already.
pub fn to_f32<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.cast(FloatDType::F32)
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

    /// `[batch, side², in]` → `[batch, (2·side)², out]`, f32.
    pub fn forward(&self, x: Tensor<B, 3>, side: usize) -> Tensor<B, 3> {
        let [batch, tokens, input] = x.dims();
        let mut weight = self.weight.val();
        let output = weight.dims()[1] / 4;
        let mut x = x.reshape([batch * tokens, input]);
        if self.bf16 {
            (x, weight) = (x.cast(FloatDType::BF16), weight.cast(FloatDType::BF16));
        }
        let pixels: Tensor<B, 6> =
            to_f32(x.matmul(weight)).reshape([batch, side, side, 2, 2, output]);
        let pixels = pixels.permute([0, 1, 3, 2, 4, 5]).reshape([batch, 4 * side * side, output]);
        pixels + self.bias.val().unsqueeze()
    }
}
