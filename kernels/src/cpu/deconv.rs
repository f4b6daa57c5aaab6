//! Deconvolution of kernel 2 and stride 2: a product, whose columns are four pixels of each token.

use std::ops::Range;

use burn_flex::FlexTensor;

use super::linear::Gradient;
use super::matrix::{Matrix, Target, product};
use super::rows::{BLOCK, add_bias, add_columns, gathered};
use super::tensor::{Floats, Scratch, dims, tensor};
use crate::Deconv;

/// Rows of the grid, of all views one after the other, that are worked on at once.
fn blocks(side: usize, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let block = (BLOCK / side.max(1)).max(1);
    (0..rows).step_by(block).map(move |from| from..rows.min(from + block))
}

/// What `op` gives.
pub fn forward(op: &Deconv, inputs: &[FlexTensor]) -> FlexTensor {
    let [views, tokens, input] = dims(&inputs[0]);
    let [_, columns] = dims(&inputs[1]);
    let (side, width) = (op.side, columns / 4);
    let [x, weight, bias] = [0, 1, 2].map(|at| Floats::of(&inputs[at]));
    let mut out = Vec::with_capacity(views * tokens * columns);
    let mut pixels = Scratch::of((BLOCK + side) * columns);
    for rows in blocks(side, views * side) {
        let x = &x[rows.start * side * input..rows.end * side * input];
        let pixels = &mut pixels[..rows.len() * side * columns];
        let (lhs, rhs) = (Matrix::new(x, input), Matrix::new(&weight, columns));
        product(op.precision, lhs, rhs, Target { values: &mut *pixels, row: columns }, false);
        let start = out.len();
        // Of each row of tokens the upper pixels, two of each token, and then the lower.
        for row in pixels.chunks_exact(side * columns) {
            for half in [0..2 * width, 2 * width..4 * width] {
                for token in row.chunks_exact(columns) {
                    out.extend_from_slice(&token[half.clone()]);
                }
            }
        }
        add_bias(&mut out[start..], &bias);
    }
    tensor(out, [views, 4 * tokens, width])
}

/// The inputs' gradients.
pub fn backward(
    op: &Deconv,
    inputs: &[FlexTensor],
    gradient: &FlexTensor,
    needs: &[bool],
) -> Vec<Option<FlexTensor>> {
    let [views, tokens, input] = dims(&inputs[0]);
    let [_, columns] = dims(&inputs[1]);
    let (side, width) = (op.side, columns / 4);
    let (x, weight) = (Floats::of(&inputs[0]), Floats::of(&inputs[1]));
    let gradient = Floats::of(gradient);
    // A token's upper two pixels, and the lower.
    let pixels = |token: usize| {
        let upper = 2 * (token / side * 2 * side + token % side) * width;
        [upper, upper + 2 * side * width].map(|at| &gradient[at..at + 2 * width])
    };
    let some =
        |token: &usize| pixels(*token).iter().any(|part| part.iter().any(|&value| value != 0.0));
    let active: Vec<usize> = (0..views * tokens).filter(some).collect();
    let mut sums = Gradient::of(op.precision, &weight, columns, [needs[0], true, true]);
    let mut out = vec![0.0; if needs[0] { x.len() } else { 0 }];
    let most = BLOCK.min(active.len());
    let (mut wide, mut narrow) = (Scratch::of(most * columns), Scratch::of(most * input));
    let mut upward = Vec::with_capacity(most * input);
    for rows in active.chunks(BLOCK) {
        let (wide, narrow) = (&mut wide[..rows.len() * columns], &mut narrow[..rows.len() * input]);
        for (wide, &token) in wide.chunks_exact_mut(columns).zip(rows) {
            let [upper, lower] = pixels(token);
            wide[..2 * width].copy_from_slice(upper);
            wide[2 * width..].copy_from_slice(lower);
        }
        gathered(&x, input, rows, None, narrow);
        upward.clear();
        sums.add(narrow, wide, &mut upward);
        for (upward, row) in upward.chunks_exact(input).zip(rows) {
            out[row * input..(row + 1) * input].copy_from_slice(upward);
        }
    }
    // Where no token has a gradient, nothing was added.
    sums.weight.resize(input * columns, 0.0);
    let mut bias = vec![0.0; width];
    add_columns(&sums.bias, &mut bias);
    vec![
        needs[0].then(|| tensor(out, [views, tokens, input])),
        Some(tensor(sums.weight, [input, columns])),
        Some(tensor(bias, [width])),
    ]
}
