//! Sweeps over the rows of matrices.

use multiversion::multiversion;

use super::math::{gelu, gelu_and_slope};

/// Work is done in blocks of about so many rows, which stay in a core's cache from one step to the
/// next.
pub const BLOCK: usize = 256;

/// Adds `bias` to each row.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn add_bias(values: &mut [f32], bias: &[f32]) {
    for row in values.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}

/// Adds `bias` to each row, and puts its GELU beside it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn bias_gelu(values: &mut [f32], bias: &[f32], out: &mut [f32]) {
    let width = bias.len();
    for (row, out) in values.chunks_exact_mut(width).zip(out.chunks_exact_mut(width)) {
        for ((value, bias), out) in row.iter_mut().zip(bias).zip(out) {
            *value += bias;
            *out = gelu(*value);
        }
    }
}

/// Adds `bias` to each row, and takes its GELU in place.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn bias_gelu_in_place(values: &mut [f32], bias: &[f32]) {
    for row in values.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value = gelu(*value + bias);
        }
    }
}

/// GELU of those `rows` of `before` into `after`; multiplies `gradient` by its slope, and adds up its
/// columns.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn gelu_gradient(
    before: &[f32],
    rows: &[usize],
    after: &mut [f32],
    gradient: &mut [f32],
    sums: &mut [f32],
) {
    let width = sums.len();
    let columns = after.chunks_exact_mut(width).zip(gradient.chunks_exact_mut(width));
    for ((after, gradient), row) in columns.zip(rows) {
        let before = &before[row * width..(row + 1) * width];
        let columns = before.iter().zip(after).zip(gradient).zip(sums.iter_mut());
        for (((before, after), gradient), sum) in columns {
            let (value, slope) = gelu_and_slope(*before);
            *after = value;
            *gradient *= slope;
            *sum += *gradient;
        }
    }
}

/// Adds value to value.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn add_to(values: &mut [f32], others: &[f32]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value += other;
    }
}

/// Adds the rows to `sums`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn add_columns(values: &[f32], sums: &mut [f32]) {
    for row in values.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

/// Adds scale · (branch + bias) to each row.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn add_branch(values: &mut [f32], branch: &[f32], bias: &[f32], scale: f32) {
    let width = bias.len();
    for (row, branch) in values.chunks_exact_mut(width).zip(branch.chunks_exact(width)) {
        for ((value, branch), bias) in row.iter_mut().zip(branch).zip(bias) {
            *value += scale * (branch + bias);
        }
    }
}

/// factor · values.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn multiplied(values: &[f32], factor: f32, out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = factor * value;
    }
}

/// Those `rows` of views of `tokens` rows of `width`, each times its view's factor.
pub fn gathered(
    values: &[f32],
    width: usize,
    rows: &[usize],
    factors: Option<(&[f32], usize)>,
    out: &mut [f32],
) {
    for (row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
        let values = &values[row * width..(row + 1) * width];
        match factors {
            None => out.copy_from_slice(values),
            Some((factors, tokens)) => multiplied(values, factors[row / tokens], out),
        }
    }
}

/// The rows of `width` that aren't all zero, and whose view's factor isn't: only these have a share in
/// a branch's gradients. In a decoder all tokens that were seen are left out so, for they have no loss.
pub fn active(gradient: &[f32], width: usize, factors: Option<(&[f32], usize)>) -> Vec<usize> {
    let rows = gradient.chunks_exact(width).enumerate();
    let counts = |at: usize| factors.is_none_or(|(factors, tokens)| factors[at / tokens] != 0.0);
    let active = rows.filter(|(at, row)| counts(*at) && row.iter().any(|&value| value != 0.0));
    active.map(|(at, _)| at).collect()
}

/// For each view that rows `from..` of a matrix lie in: how many of its rows do, and the view.
pub fn by_view(
    from: usize,
    count: usize,
    tokens: usize,
) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let views = if count == 0 { 0..0 } else { from / tokens..(from + count - 1) / tokens + 1 };
    views.map(move |view| {
        let (begin, end) = (view * tokens, (view + 1) * tokens);
        (view, begin.max(from) - from..end.min(from + count) - from)
    })
}
