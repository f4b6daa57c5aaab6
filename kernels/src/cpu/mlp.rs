//! x + scale · second(gelu(first(norm(x)))), in blocks of rows whose hidden activations stay in the
//! cache from the first product to the second.

use burn::backend::Flex;
use burn_flex::FlexTensor;

use super::matrix::{Matrix, Target, add_product, append_product, product, turned};
use super::norm::{self, normalise, normalise_again};
use super::rows::{
    BLOCK, active, add_branch, add_columns, bias_gelu, bias_gelu_in_place, by_view, gathered,
    gelu_gradient,
};
use super::tensor::{Floats, Scratch, dims, scales, tensor};
use crate::{MlpBranch, Saved};

/// The inputs, and their sizes.
struct Inputs {
    x: Floats,
    norm: [Floats; 2],
    first: [Floats; 2],
    second: [Floats; 2],
    shape: [usize; 3],
    hidden: usize,
    scale: Option<Floats>,
}

impl Inputs {
    fn of(op: &MlpBranch<Flex>, inputs: &[FlexTensor]) -> Self {
        let pair = |at: usize| [at, at + 1].map(|at| Floats::of(&inputs[at]));
        let [_, hidden] = dims(&inputs[3]);
        Self {
            x: Floats::of(&inputs[0]),
            norm: pair(1),
            first: pair(3),
            second: pair(5),
            shape: dims(&inputs[0]),
            hidden,
            scale: scales(op.scale.as_ref()),
        }
    }

    fn scale(&self, view: usize) -> f32 {
        self.scale.as_ref().map_or(1.0, |scale| scale[view])
    }
}

/// What `op` gives; and with `keep` the rows' moments, and the hidden activations before the GELU.
pub fn forward(
    op: &MlpBranch<Flex>,
    inputs: &[FlexTensor],
    keep: bool,
) -> (FlexTensor, Saved<Flex>) {
    let inputs = Inputs::of(op, inputs);
    let ([views, tokens, width], hidden) = (inputs.shape, inputs.hidden);
    let rows = views * tokens;
    let [weight, bias] = &inputs.norm;
    let mut out = Vec::with_capacity(rows * width);
    let mut moments = Vec::with_capacity(2 * rows);
    let mut before = Vec::with_capacity(if keep { rows * hidden } else { 0 });
    let most = BLOCK.min(rows);
    let (mut normed, mut after) = (Scratch::of(most * width), Scratch::of(most * hidden));
    for x in inputs.x.chunks(BLOCK * width) {
        let (from, count) = (out.len() / width, x.len() / width);
        let normed = &mut normed[..count * width];
        let after = &mut after[..count * hidden];
        normalise(x, weight, bias, op.epsilon as f32, &mut moments, normed);
        let [weight, bias] = &inputs.first;
        let (lhs, rhs) = (Matrix::new(normed, width), Matrix::new(weight, hidden));
        if keep {
            append_product(op.precision, lhs, rhs, &mut before);
            bias_gelu(&mut before[from * hidden..], bias, after);
        } else {
            let target = Target { values: &mut *after, row: hidden };
            product(op.precision, lhs, rhs, target, false);
            bias_gelu_in_place(after, bias);
        }
        let [weight, bias] = &inputs.second;
        let (lhs, rhs) = (Matrix::new(after, hidden), Matrix::new(weight, width));
        product(op.precision, lhs, rhs, Target { values: &mut *normed, row: width }, false);
        out.extend_from_slice(x);
        for (view, part) in by_view(from, count, tokens) {
            let part = part.start * width..part.end * width;
            let out = &mut out[from * width..][part.clone()];
            add_branch(out, &normed[part], bias, inputs.scale(view));
        }
    }
    let saved = match keep {
        true => vec![tensor(moments, [rows, 2]), tensor(before, [rows, hidden])],
        false => vec![],
    };
    (tensor(out, inputs.shape), saved)
}

/// The inputs' gradients.
pub fn backward(
    op: &MlpBranch<Flex>,
    inputs: &[FlexTensor],
    saved: &[FlexTensor],
    gradient: &FlexTensor,
) -> Vec<Option<FlexTensor>> {
    let inputs = Inputs::of(op, inputs);
    let ([_, tokens, width], hidden) = (inputs.shape, inputs.hidden);
    let (moments, before) = (Floats::of(&saved[0]), Floats::of(&saved[1]));
    let gradient = Floats::of(gradient);
    let [weight, bias] = &inputs.norm;
    // [hidden, width] and [width, hidden]
    let first_turned = turned(&inputs.first[0], hidden);
    let second_turned = turned(&inputs.second[0], width);
    let mut norm_sums = norm::Sums::of(width);
    let mut first = (Vec::with_capacity(width * hidden), vec![0.0; hidden]);
    let mut second = (Vec::with_capacity(width * hidden), vec![0.0; width]);
    let mut out = gradient.to_vec();
    let factors = inputs.scale.as_ref().map(|scale| (&**scale, tokens));
    let active = active(&gradient, width, factors);
    let most = BLOCK.min(active.len());
    let (mut narrow, mut branch) = (Scratch::of(most * width), Scratch::of(most * width));
    let (mut after, mut wide) = (Scratch::of(most * hidden), Scratch::of(most * hidden));
    for rows in active.chunks(BLOCK) {
        let count = rows.len();
        let (narrow, branch) = (&mut narrow[..count * width], &mut branch[..count * width]);
        let (after, wide) = (&mut after[..count * hidden], &mut wide[..count * hidden]);
        gathered(&gradient, width, rows, factors, branch);
        let upward = Matrix::new(branch, width);
        let target = Target { values: &mut *wide, row: hidden };
        product(op.precision, upward, Matrix::new(&second_turned, hidden), target, false);
        gelu_gradient(&before, rows, after, wide, &mut first.1);
        let lhs = Matrix::new(after, hidden).transposed();
        add_product(op.precision, lhs, upward, &mut second.0);
        add_columns(branch, &mut second.1);
        normalise_again(&inputs.x, rows, weight, bias, &moments, narrow);
        let lhs = Matrix::new(narrow, width).transposed();
        add_product(op.precision, lhs, Matrix::new(wide, hidden), &mut first.0);
        let target = Target { values: &mut *narrow, row: width };
        let rhs = Matrix::new(&first_turned, width);
        product(op.precision, Matrix::new(wide, hidden), rhs, target, false);
        norm::add_gradient(&inputs.x, rows, weight, &moments, narrow, &mut norm_sums, &mut out);
    }
    // Where no row has a gradient, nothing was added.
    first.0.resize(width * hidden, 0.0);
    second.0.resize(width * hidden, 0.0);
    let [weight, bias] = norm_sums.tensors();
    let gradients = [
        tensor(out, inputs.shape),
        weight,
        bias,
        tensor(first.0, [width, hidden]),
        tensor(first.1, [hidden]),
        tensor(second.0, [hidden, width]),
        tensor(second.1, [width]),
    ];
    gradients.into_iter().map(Some).collect()
}
