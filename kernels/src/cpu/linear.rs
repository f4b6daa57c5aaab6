//! x·weight + bias, and the parts of its gradient that other operations share.

use burn_flex::FlexTensor;

use super::matrix::{Matrix, add_product, append_product, turned};
use super::rows::{BLOCK, add_bias, add_columns};
use super::tensor::{Floats, Scratch, dims, tensor};
use crate::{Linear, Precision};

/// What `op` gives.
pub fn forward(op: &Linear, inputs: &[FlexTensor]) -> FlexTensor {
    let [views, tokens, input] = dims(&inputs[0]);
    let [_, output] = dims(&inputs[1]);
    let (x, weight) = (Floats::of(&inputs[0]), Floats::of(&inputs[1]));
    let bias = inputs.get(2).map(Floats::of);
    let mut out = Vec::with_capacity(views * tokens * output);
    for x in x.chunks(BLOCK * input) {
        let start = out.len();
        let (x, weight) = (Matrix::new(x, input), Matrix::new(&weight, output));
        append_product(op.precision, x, weight, &mut out);
        if let Some(bias) = &bias {
            add_bias(&mut out[start..], bias);
        }
    }
    tensor(out, [views, tokens, output])
}

/// The inputs' gradients.
pub fn backward(
    op: &Linear,
    inputs: &[FlexTensor],
    gradient: &FlexTensor,
    needs: &[bool],
) -> Vec<Option<FlexTensor>> {
    let [views, tokens, input] = dims(&inputs[0]);
    let [_, output] = dims(&inputs[1]);
    let (x, weight) = (Floats::of(&inputs[0]), Floats::of(&inputs[1]));
    let gradient = Floats::of(gradient);
    let needs = [needs[0], needs[1], needs.get(2).is_some_and(|&need| need)];
    let mut sums = Gradient::of(op.precision, &weight, output, needs);
    let mut upward = Vec::with_capacity(if needs[0] { x.len() } else { 0 });
    for (x, gradient) in x.chunks(BLOCK * input).zip(gradient.chunks(BLOCK * output)) {
        sums.add(x, gradient, &mut upward);
    }
    let mut gradients = vec![
        needs[0].then(|| tensor(upward, [views, tokens, input])),
        needs[1].then(|| tensor(sums.weight, [input, output])),
        needs[2].then(|| tensor(sums.bias, [output])),
    ];
    gradients.truncate(inputs.len());
    gradients
}

/// The gradients of a linear layer, block by block of its rows.
pub struct Gradient {
    /// Of the weight, so far.
    pub weight: Vec<f32>,
    /// Of the bias, so far.
    pub bias: Vec<f32>,
    precision: Precision,
    /// `[out, in]`.
    turned: Option<Scratch>,
    output: usize,
    needs: [bool; 3],
}

impl Gradient {
    /// Nothing yet, of a layer with `weight` and `output` columns; `needs` of input, weight and bias.
    pub fn of(precision: Precision, weight: &[f32], output: usize, needs: [bool; 3]) -> Self {
        Self {
            weight: Vec::with_capacity(if needs[1] { weight.len() } else { 0 }),
            bias: vec![0.0; output],
            precision,
            turned: needs[0].then(|| turned(weight, output)),
            output,
            needs,
        }
    }

    /// Adds those of some rows, and appends their gradient to `upward`.
    pub fn add(&mut self, x: &[f32], gradient: &[f32], upward: &mut Vec<f32>) {
        let input = x.len() * self.output / gradient.len();
        let rows = Matrix::new(gradient, self.output);
        if let Some(turned) = &self.turned {
            append_product(self.precision, rows, Matrix::new(turned, input), upward);
        }
        if self.needs[1] {
            let x = Matrix::new(x, input).transposed();
            add_product(self.precision, x, rows, &mut self.weight);
        }
        if self.needs[2] {
            add_columns(gradient, &mut self.bias);
        }
    }
}
