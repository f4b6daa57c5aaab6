//! The loss of a tap.

use burn::backend::Flex;
use burn_flex::FlexTensor;
use multiversion::multiversion;

use super::math::{exp, sum, sum_of_two};
use super::tensor::{Floats, Scratch, dims, tensor};
use crate::{LossKind, TapLoss};

/// Predictions, targets and weights, cell by cell.
struct Cells {
    values: Floats,
    weights: Floats,
    channels: usize,
}

impl Cells {
    fn of(op: &TapLoss<Flex>) -> Self {
        let [_, _, channels] = op.values.dims();
        Self {
            values: Floats::of(&crate::float(op.values.clone())),
            weights: Floats::of(&crate::float(op.weights.clone())),
            channels,
        }
    }
}

/// What `op` gives.
pub fn forward(op: &TapLoss<Flex>, inputs: &[FlexTensor]) -> FlexTensor {
    let [_, _, wide] = dims(&inputs[0]);
    let prediction = Floats::of(&inputs[0]);
    let cells = Cells::of(op);
    let codes = wide / cells.channels;
    let mut row = Scratch::of(codes);
    let mut total = 0.0;
    let rows = prediction.chunks_exact(wide).zip(cells.values.chunks_exact(cells.channels));
    for ((prediction, values), &weight) in rows.zip(&*cells.weights) {
        // What weighs nothing is a number all the same, or the loss is none.
        let error = match op.kind {
            LossKind::CrossEntropy => prediction
                .chunks_exact(codes)
                .zip(values)
                .map(|(logits, &code)| logits_logarithm(logits, &mut row) - logits[code as usize])
                .sum(),
            kind => cell_error(kind == LossKind::L2, prediction, values),
        };
        total += (weight * error) as f64;
    }
    tensor(vec![(total / cells.channels as f64) as f32], [1])
}

/// The prediction's gradient.
pub fn backward(op: &TapLoss<Flex>, inputs: &[FlexTensor], gradient: &FlexTensor) -> FlexTensor {
    let shape = dims(&inputs[0]);
    let [_, _, wide] = shape;
    let prediction = Floats::of(&inputs[0]);
    let cells = Cells::of(op);
    let codes = wide / cells.channels;
    let share = Floats::of(gradient)[0] / cells.channels as f32;
    let mut out = vec![0.0; prediction.len()];
    if op.kind != LossKind::CrossEntropy {
        let squared = op.kind == LossKind::L2;
        slopes(squared, &prediction, &cells.values, &cells.weights, (share, wide), &mut out);
        return tensor(out, shape);
    }
    let values = prediction.chunks_exact(codes).zip(out.chunks_exact_mut(codes));
    for (at, ((logits, out), &code)) in values.zip(&*cells.values).enumerate() {
        let weight = share * cells.weights[at / cells.channels];
        let logarithm = logits_logarithm(logits, out);
        shares(logits, logarithm, weight, out);
        out[code as usize] -= weight;
    }
    tensor(out, shape)
}

/// Σ of the errors of a cell's channels.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn cell_error(squared: bool, prediction: &[f32], values: &[f32]) -> f32 {
    match squared {
        true => sum_of_two(prediction, values, |a, b| (a - b) * (a - b)),
        false => sum_of_two(prediction, values, |a, b| (a - b).abs()),
    }
}

/// The errors' slopes, times each cell's weight and `share`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn slopes(
    squared: bool,
    prediction: &[f32],
    values: &[f32],
    weights: &[f32],
    (share, wide): (f32, usize),
    out: &mut [f32],
) {
    let cells = prediction.chunks_exact(wide).zip(values.chunks_exact(wide)).zip(weights);
    for (((prediction, values), weight), out) in cells.zip(out.chunks_exact_mut(wide)) {
        let weight = weight * share;
        for ((out, prediction), value) in out.iter_mut().zip(prediction).zip(values) {
            let apart = prediction - value;
            let sign = if apart > 0.0 {
                1.0
            } else if apart < 0.0 {
                -1.0
            } else {
                apart
            };
            *out = weight * if squared { 2.0 * apart } else { sign };
        }
    }
}

/// The logarithm of the sum of the logits' exponentials. Leaves anything in `row`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn logits_logarithm(logits: &[f32], row: &mut [f32]) -> f32 {
    let most = logits.iter().fold(f32::MIN, |most, &logit| if logit > most { logit } else { most });
    for (out, logit) in row.iter_mut().zip(logits) {
        *out = exp(logit - most);
    }
    most + sum(row, |share| share).ln()
}

/// weight · softmax.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn shares(logits: &[f32], logarithm: f32, weight: f32, out: &mut [f32]) {
    for (out, logit) in out.iter_mut().zip(logits) {
        *out = weight * exp(logit - logarithm);
    }
}
