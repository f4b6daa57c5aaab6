//! Means over squares of tokens.

use burn_flex::FlexTensor;

use super::rows::{add_to, multiplied};
use super::tensor::{Floats, Scratch, dims, tensor};
use crate::Pool;

/// For each token of `views` grids the mean that it is in.
fn means(op: &Pool, views: usize) -> impl Iterator<Item = usize> {
    let (side, by) = (op.side, op.by);
    let coarse = side / by;
    (0..views * side).flat_map(move |row| {
        let (view, row) = (row / side, row % side);
        (0..side).map(move |column| (view * coarse + row / by) * coarse + column / by)
    })
}

/// What `op` gives.
pub fn forward(op: &Pool, inputs: &[FlexTensor]) -> FlexTensor {
    let [views, _, width] = dims(&inputs[0]);
    let x = Floats::of(&inputs[0]);
    let coarse = op.side / op.by;
    let mut sums = Scratch::of(views * coarse * coarse * width);
    sums.fill(0.0);
    for (x, mean) in x.chunks_exact(width).zip(means(op, views)) {
        add_to(&mut sums[mean * width..(mean + 1) * width], x);
    }
    let mut out = vec![0.0; sums.len()];
    multiplied(&sums, 1.0 / (op.by * op.by) as f32, &mut out);
    tensor(out, [views, coarse * coarse, width])
}

/// The input's gradient.
pub fn backward(op: &Pool, inputs: &[FlexTensor], gradient: &FlexTensor) -> FlexTensor {
    let [views, tokens, width] = dims(&inputs[0]);
    let gradient = Floats::of(gradient);
    let mut shares = Scratch::of(gradient.len());
    multiplied(&gradient, 1.0 / (op.by * op.by) as f32, &mut shares);
    let mut out = Vec::with_capacity(views * tokens * width);
    for mean in means(op, views) {
        out.extend_from_slice(&shares[mean * width..(mean + 1) * width]);
    }
    tensor(out, [views, tokens, width])
}
