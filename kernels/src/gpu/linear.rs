//! x·weight + bias, and a deconvolution, which is one with its output's rows in another order.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::columns::{Matrix, Sums, first, squared};
use super::frame::{array, client, dims, empty, flat, reshape, stored, vector};
use super::gemm::{Element, Gemm, Order};
use crate::{Deconv, Linear, Precision};

/// The linear operation's output; it keeps nothing.
pub fn run<R: CubeRuntime>(
    op: &Linear,
    inputs: &[CubeTensor<R>],
) -> (CubeTensor<R>, Vec<CubeTensor<R>>) {
    let [x, weight, bias @ ..] = inputs else { unreachable!("a linear layer has a weight") };
    let ([views, tokens, k], [_, n]) = (dims(x), dims(weight));
    let (lhs, rhs) = (Order::Rows, Order::Rows);
    let gemm = Gemm { m: views * tokens, n, k, lhs, rhs, precision: op.precision };
    let output = match bias.first() {
        Some(bias) => gemm.biased(x, weight, bias, Element::F32),
        None => gemm.plain(x, weight, Element::F32),
    };
    (reshape(output, [views, tokens, n]), vec![])
}

/// The linear operation's gradients.
pub fn gradients<R: CubeRuntime>(
    op: &Linear,
    inputs: &[CubeTensor<R>],
    upward: &CubeTensor<R>,
    needs: &[bool],
) -> Vec<Option<CubeTensor<R>>> {
    let [x, weight, bias @ ..] = inputs else { unreachable!("a linear layer has a weight") };
    let ([views, tokens, _], [_, output]) = (dims(x), dims(weight));
    let dtype = stored(op.precision);
    let copy = (dtype != DType::F32).then_some(dtype);
    let sums = Sums::new(x, views * tokens, &[output]);
    let rounded = match bias {
        [] => None,
        _ => first(&Matrix { copy, ..Matrix::plain(upward) }, &sums, 0),
    };
    let upward = rounded.as_ref().unwrap_or(upward);
    let [dx, dweight] = factors(op.precision, [x, weight], upward, needs);
    let mut all = vec![dx, dweight];
    if !bias.is_empty() {
        all.extend(sums.finish().into_iter().map(Some));
    }
    all
}

/// The gradients of a product's factors, x `[views, tokens, in]` and weight `[in, out]`, where they are
/// needed.
fn factors<R: CubeRuntime>(
    precision: Precision,
    [x, weight]: [&CubeTensor<R>; 2],
    upward: &CubeTensor<R>,
    needs: &[bool],
) -> [Option<CubeTensor<R>>; 2] {
    let ([views, tokens, input], [_, output]) = (dims(x), dims(weight));
    let rows = views * tokens;
    let product = |m, n, k, lhs, rhs| Gemm { m, n, k, lhs, rhs, precision };
    let dx = needs[0].then(|| {
        let gemm = product(rows, input, output, Order::Rows, Order::Columns);
        reshape(gemm.plain(upward, weight, Element::F32), x.meta.shape().clone())
    });
    let dweight = needs[1].then(|| {
        let gemm = product(input, output, rows, Order::Columns, Order::Rows);
        gemm.plain(x, upward, Element::F32)
    });
    [dx, dweight]
}

/// The deconvolution's output; it keeps nothing.
pub fn deconv<R: CubeRuntime>(
    op: &Deconv,
    inputs: &[CubeTensor<R>],
) -> (CubeTensor<R>, Vec<CubeTensor<R>>) {
    let [x, weight, bias] = inputs else { unreachable!("a deconvolution has three inputs") };
    let ([views, tokens, k], [_, n]) = (dims(x), dims(weight));
    let (lhs, rhs) = (Order::Rows, Order::Rows);
    let gemm = Gemm { m: views * tokens, n, k, lhs, rhs, precision: op.precision };
    let squares = gemm.plain(x, weight, op.precision.into());
    let width = n / 4;
    let output = empty(x, [views, 4 * tokens, width], DType::F32);
    let by = vector(width);
    let vectors = width / by;
    let count = views * 4 * tokens * vectors;
    let (cubes, dim) = flat(x, count);
    // SAFETY: the kernel leaves out what is beyond the given number of vectors, which the arrays are
    // of.
    unsafe {
        pixels_kernel::launch_unchecked::<R>(
            client(x),
            cubes,
            dim,
            by,
            array(&squares),
            array(bias),
            array(&output),
            count,
            vectors,
            2 * op.side,
            squares.dtype.into(),
        );
    }
    (output, vec![])
}

/// The deconvolution's gradients.
pub fn deconv_gradients<R: CubeRuntime>(
    op: &Deconv,
    inputs: &[CubeTensor<R>],
    upward: &CubeTensor<R>,
    needs: &[bool],
) -> Vec<Option<CubeTensor<R>>> {
    let [x, weight, _] = inputs else { unreachable!("a deconvolution has three inputs") };
    let [views, pixels, width] = dims(upward);
    let sums = Sums::new(x, views * pixels, &[width]);
    let copy = Some(stored(op.precision));
    let of = Matrix { copy, squares: Some(2 * op.side), ..Matrix::plain(upward) };
    let squares = first(&of, &sums, 0).expect("a copy was asked for");
    let [dx, dweight] = factors(op.precision, [x, weight], &squares, needs);
    vec![dx, dweight, sums.finish().pop()]
}

#[cube(launch_unchecked)]
fn pixels_kernel<Read: Float, N: Size>(
    squares: &Array<Vector<Read, N>>,
    bias: &Array<Vector<f32, N>>,
    output: &mut Array<Vector<f32, N>>,
    count: usize,
    #[comptime] vectors: usize,
    #[comptime] side: usize,
    #[define(Read)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let (row, at) = (ABSOLUTE_POS / vectors, ABSOLUTE_POS % vectors);
    let square = squares[squared(row, side) * vectors + at];
    output[ABSOLUTE_POS] = Vector::cast_from(square) + bias[at];
}
