//! What encoder and decoders are made of: linear, norm, attention, MLP, pre-norm block.
//!
//! The residual stream `[batch, tokens, width]` is f32. Under [`Precision::Bf16`] matrix products
//! take and give bfloat16; norms and softmax go back to f32.

use burn::module::{Module, Param};
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{FloatDType, Tensor, TensorPrimitive};

use super::Precision;

/// The epsilon of layer norms where nothing else is said.
pub const NORM_EPSILON: f64 = 1e-6;

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

/// `x` `[views, tokens, width]` with the mask token in the place of each masked patch.
pub fn replace_masked<B: Backend>(
    x: Tensor<B, 3>,
    token: Option<&Param<Tensor<B, 3>>>,
    masked: Option<Tensor<B, 3>>,
) -> Tensor<B, 3> {
    match (token, masked) {
        (Some(token), Some(masked)) => {
            let seen = masked.clone().neg().add_scalar(1.0);
            x * seen + token.val() * masked
        }
        _ => x,
    }
}

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

/// What comes after layer `layer`, counted from 1, of an encoder whose taps sit after the layers
/// `taps`: at a tap, `x` normed is one of the latents. Gives what the next layer is given, cut off
/// from the gradient at a tap where each layer learns from its own; none after the last tap, for
/// layers above it would have no gradient.
pub fn after_layer<B: Backend>(
    x: Tensor<B, 3>,
    layer: usize,
    (taps, norms): (&[usize], &[LayerNorm<B>]),
    local_gradients: bool,
    latents: &mut Vec<Tensor<B, 3>>,
) -> Option<Tensor<B, 3>> {
    let Some(tap) = taps.iter().position(|&after| after == layer) else { return Some(x) };
    latents.push(norms[tap].forward(x.clone()));
    match latents.len() == taps.len() {
        true => None,
        false if local_gradients => Some(x.detach()),
        false => Some(x),
    }
}

/// Multi-head self-attention.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// width → 3·width: queries, keys, values.
    pub qkv: Linear<B>,
    /// width → width.
    pub proj: Linear<B>,
    heads: usize,
}

impl<B: Backend> Attention<B> {
    fn zeros(width: usize, heads: usize, precision: Precision, device: &B::Device) -> Self {
        Self {
            qkv: Linear::zeros(width, 3 * width, precision, device),
            proj: Linear::zeros(width, width, precision, device),
            heads,
        }
    }

    /// Queries, keys and values of `[batch, tokens, width]`, each `[batch, heads, tokens, head]`.
    fn heads(&self, x: Tensor<B, 3>) -> [Tensor<B, 4>; 3] {
        let [batch, tokens, width] = x.dims();
        let head = width / self.heads;
        let qkv = self.qkv.forward(x).reshape([batch, tokens, 3, self.heads, head]);
        // [3, batch, heads, tokens, head]
        let qkv = qkv.permute([2, 0, 3, 1, 4]);
        [0, 1, 2].map(|i| qkv.clone().narrow(0, i, 1).squeeze_dim::<4>(0))
    }

    /// How much each query looks at each key, in f32: `[batch, heads, tokens, tokens]`.
    fn scores(q: Tensor<B, 4>, k: Tensor<B, 4>) -> Tensor<B, 4> {
        let head = q.dims()[3];
        let scores = (q * (head as f64).powf(-0.5)).matmul(k.swap_dims(2, 3));
        softmax(to_f32(scores), 3)
    }

    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let [q, k, v] = self.heads(x);
        let dtype = q.dtype();
        let weights = Self::scores(q, k).cast(dtype);
        let mixed = weights.matmul(v).swap_dims(1, 2).reshape([batch, tokens, width]);
        self.proj.forward(mixed)
    }
}

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

/// Pre-norm transformer block.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// Before attention.
    pub norm1: LayerNorm<B>,
    /// Tokens mix.
    pub attn: Attention<B>,
    /// Before the MLP.
    pub norm2: LayerNorm<B>,
    /// Channels mix.
    pub mlp: Mlp<B>,
}

impl<B: Backend> Block<B> {
    /// Of zeros; `epsilon` is the norms'.
    pub fn zeros(
        width: usize,
        heads: usize,
        epsilon: f64,
        precision: Precision,
        device: &B::Device,
    ) -> Self {
        Self {
            norm1: LayerNorm::zeros(width, epsilon, device),
            attn: Attention::zeros(width, heads, precision, device),
            norm2: LayerNorm::zeros(width, epsilon, device),
            mlp: Mlp::zeros(width, precision, device),
        }
    }

    /// `[batch, tokens, width]` → the same, f32. `kept`, if given, is what each view's two branches
    /// are multiplied by.
    pub fn forward(&self, x: Tensor<B, 3>, kept: Option<Branches<B>>) -> Tensor<B, 3> {
        let (first, second) = Branches::pair(kept);
        let x = x.clone() + scaled(self.attn.forward(self.norm1.forward(x)), first);
        let hidden = gelu(self.mlp.fc1.forward(self.norm2.forward(x.clone())));
        x + scaled(self.mlp.fc2.forward(hidden), second)
    }

    /// The attention of the block that [`forward`](Self::forward) makes of `x`: the softmax
    /// weights `[batch, heads, queries, keys]`, f32.
    pub fn attention(&self, x: Tensor<B, 3>) -> Tensor<B, 4> {
        let [q, k, _] = self.attn.heads(self.norm1.forward(x));
        Attention::scores(q, k)
    }
}

/// What a block's two branches are multiplied by (stochastic depth, arXiv 1603.09382): `[views, 1, 1]`
/// each, 0 for a view that skips the branch.
#[derive(Debug, Clone)]
pub struct Branches<B: Backend> {
    /// Of attention.
    pub attention: Tensor<B, 3>,
    /// Of the MLP.
    pub mlp: Tensor<B, 3>,
}

impl<B: Backend> Branches<B> {
    /// Both, or neither.
    pub fn pair(kept: Option<Self>) -> (Option<Tensor<B, 3>>, Option<Tensor<B, 3>>) {
        kept.map(|kept| (kept.attention, kept.mlp)).unzip()
    }

    /// Those of block `block`, of `[2·blocks, views, 1]`.
    pub fn of_block(all: Option<&Tensor<B, 3>>, block: usize) -> Option<Self> {
        let row = |all: &Tensor<B, 3>, row: usize| {
            let [_, views, _] = all.dims();
            all.clone().narrow(0, row, 1).reshape([views, 1, 1])
        };
        all.map(|all| Self { attention: row(all, 2 * block), mlp: row(all, 2 * block + 1) })
    }
}

/// A branch in f32, times what is kept of it.
pub fn scaled<B: Backend>(branch: Tensor<B, 3>, kept: Option<Tensor<B, 3>>) -> Tensor<B, 3> {
    match kept {
        Some(kept) => to_f32(branch) * kept,
        None => to_f32(branch),
    }
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
