//! 2×2 tokens side by side.

use burn_flex::FlexTensor;

use super::tensor::{Floats, dims, tensor};
use crate::Merge;

/// What `op` gives.
pub fn forward(op: Merge, inputs: &[FlexTensor]) -> FlexTensor {
    let [views, tokens, width] = dims(&inputs[0]);
    let x = Floats::of(&inputs[0]);
    let mut out = Vec::with_capacity(x.len());
    for token in op.order(views * tokens) {
        out.extend_from_slice(&x[token * width..(token + 1) * width]);
    }
    tensor(out, [views, tokens / 4, 4 * width])
}

/// The input's gradient.
pub fn backward(op: Merge, inputs: &[FlexTensor], gradient: &FlexTensor) -> FlexTensor {
    let [views, tokens, width] = dims(&inputs[0]);
    let gradient = Floats::of(gradient);
    let mut out = vec![0.0; gradient.len()];
    for (token, gradient) in op.order(views * tokens).zip(gradient.chunks_exact(width)) {
        out[token * width..(token + 1) * width].copy_from_slice(gradient);
    }
    tensor(out, [views, tokens, width])
}
