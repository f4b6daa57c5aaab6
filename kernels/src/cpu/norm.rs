//! Layer norm.

use burn_flex::FlexTensor;
use multiversion::multiversion;

use super::math::{gelu, gelu_and_slope, sum, sum_of_two};
use super::tensor::{Floats, Scratch, dims, tensor};
use crate::LayerNorm;

/// What `op` gives; and the moments of the rows that were normed.
pub fn forward(op: &LayerNorm, inputs: &[FlexTensor]) -> (FlexTensor, FlexTensor) {
    let [x, weight, bias] = [0, 1, 2].map(|at| Floats::of(&inputs[at]));
    let [views, tokens, width] = dims(&inputs[0]);
    let left = tokens - op.skip;
    let mut moments = Vec::with_capacity(2 * views * left);
    let mut out = vec![0.0; views * left * width];
    let views_out = out.chunks_exact_mut((left * width).max(1));
    for (x, out) in x.chunks_exact(tokens * width).zip(views_out) {
        let x = &x[op.skip * width..];
        normalise(x, &weight, &bias, op.epsilon as f32, &mut moments, out);
        if op.gelu {
            gelu_in_place(out);
        }
    }
    let rows = views * left;
    (tensor(out, [views, left, width]), tensor(moments, [rows, 2]))
}

/// The inputs' gradients.
pub fn backward(
    op: &LayerNorm,
    inputs: &[FlexTensor],
    moments: &FlexTensor,
    gradient: &FlexTensor,
) -> Vec<Option<FlexTensor>> {
    let [x, weight, bias] = [0, 1, 2].map(|at| Floats::of(&inputs[at]));
    let [views, tokens, width] = dims(&inputs[0]);
    let (moments, gradient) = (Floats::of(moments), Floats::of(gradient));
    let left = tokens - op.skip;
    let mut sums = Sums::of(width);
    let mut out = vec![0.0; views * tokens * width];
    let mut slopes = Scratch::of(if op.gelu { left * width } else { 0 });
    let all: Vec<usize> = (0..left).collect();
    for view in 0..views {
        let begin = (view * tokens + op.skip) * width;
        let rows = begin..(view + 1) * tokens * width;
        let moments = &moments[2 * view * left..2 * (view + 1) * left];
        let mut gradient = &gradient[view * left * width..(view + 1) * left * width];
        if op.gelu {
            gelu_slopes(&x[rows.clone()], &weight, &bias, moments, gradient, &mut slopes);
            gradient = &slopes;
        }
        let (x, out) = (&x[rows.clone()], &mut out[rows]);
        add_gradient(x, &all, &weight, moments, gradient, &mut sums, out);
    }
    let [weight, bias] = sums.tensors();
    vec![Some(tensor(out, [views, tokens, width])), Some(weight), Some(bias)]
}

/// The gradients of a norm's weight and bias so far.
pub struct Sums {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Sums {
    /// None yet.
    pub fn of(width: usize) -> Self {
        Self { weight: vec![0.0; width], bias: vec![0.0; width] }
    }

    /// Of weight and bias.
    pub fn tensors(self) -> [FlexTensor; 2] {
        [self.weight, self.bias].map(|values| {
            let width = values.len();
            tensor(values, [width])
        })
    }
}

/// Norms the rows of x, and appends the mean of each and 1/σ to `moments`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn normalise(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
    moments: &mut Vec<f32>,
    out: &mut [f32],
) {
    let width = weight.len();
    let share = 1.0 / width as f32;
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = sum(x, |x| x) * share;
        let variance = sum(x, |x| (x - mean) * (x - mean)) * share;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        moments.extend([mean, inverse]);
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = ((x - mean) * inverse).mul_add(*weight, *bias);
        }
    }
}

/// As [`normalise`], of some `rows` of x, by moments that are known.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn normalise_again(
    x: &[f32],
    rows: &[usize],
    weight: &[f32],
    bias: &[f32],
    moments: &[f32],
    out: &mut [f32],
) {
    let width = weight.len();
    for (row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
        let (mean, inverse) = (moments[2 * row], moments[2 * row + 1]);
        let x = &x[row * width..(row + 1) * width];
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = ((x - mean) * inverse).mul_add(*weight, *bias);
        }
    }
}

/// Adds the gradient of some `rows` of x to `out`, from that of what was normed, which has these rows
/// alone, and to `sums` those of weight and bias.
pub fn add_gradient(
    x: &[f32],
    rows: &[usize],
    weight: &[f32],
    moments: &[f32],
    gradient: &[f32],
    sums: &mut Sums,
    out: &mut [f32],
) {
    let mut row = Scratch::of(2 * weight.len());
    let sums = (&mut sums.weight[..], &mut sums.bias[..]);
    add_rows((x, rows), weight, moments, gradient, sums, &mut row, out);
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn add_rows(
    (x, rows): (&[f32], &[usize]),
    weight: &[f32],
    moments: &[f32],
    gradient: &[f32],
    (weight_sum, bias_sum): (&mut [f32], &mut [f32]),
    row: &mut [f32],
    out: &mut [f32],
) {
    let width = weight.len();
    let share = 1.0 / width as f32;
    let (normed, upward) = row.split_at_mut(width);
    let (weight_sum, bias_sum) = (&mut weight_sum[..width], &mut bias_sum[..width]);
    for (row, gradient) in rows.iter().zip(gradient.chunks_exact(width)) {
        let (mean, inverse) = (moments[2 * row], moments[2 * row + 1]);
        let x = &x[row * width..(row + 1) * width];
        let out = &mut out[row * width..(row + 1) * width];
        for j in 0..width {
            normed[j] = (x[j] - mean) * inverse;
            upward[j] = gradient[j] * weight[j];
            weight_sum[j] = gradient[j].mul_add(normed[j], weight_sum[j]);
            bias_sum[j] += gradient[j];
        }
        let level = sum(upward, |upward| upward) * share;
        let tilt = sum_of_two(upward, normed, |upward, normed| upward * normed) * share;
        for ((out, upward), normed) in out.iter_mut().zip(&*upward).zip(&*normed) {
            *out = inverse.mul_add(upward - level - normed * tilt, *out);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn gelu_in_place(values: &mut [f32]) {
    for value in values {
        *value = gelu(*value);
    }
}

/// The gradient of what was normed, from that of its GELU.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn gelu_slopes(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    moments: &[f32],
    gradient: &[f32],
    out: &mut [f32],
) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
    let rows = rows.zip(out.chunks_exact_mut(width)).zip(moments.chunks_exact(2));
    for (((x, gradient), out), moments) in rows {
        let (mean, inverse) = (moments[0], moments[1]);
        let affine = x.iter().zip(weight).zip(bias);
        for ((((x, weight), bias), gradient), out) in affine.zip(gradient).zip(out) {
            let normed = ((x - mean) * inverse).mul_add(*weight, *bias);
            *out = gradient * gelu_and_slope(normed).1;
        }
    }
}
