//! x + scale · second(gelu(first(norm(x)))) in three launches, and its gradient in eight.

use burn::tensor::DType;
use burn::tensor::backend::Backend;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;

use super::columns::{Matrix, Sums, first};
use super::frame::{dims, own, reshape, stored};
use super::gemm::{Element, Gemm, Order, Residual};
use super::norm;
use crate::MlpBranch;

/// Its products' sizes.
struct Sizes {
    rows: usize,
    tokens: usize,
    width: usize,
    hidden: usize,
}

impl Sizes {
    fn of<R: CubeRuntime>(x: &CubeTensor<R>, first: &CubeTensor<R>) -> Self {
        let ([views, tokens, width], [_, hidden]) = (dims(x), dims(first));
        Self { rows: views * tokens, tokens, width, hidden }
    }
}

/// The operation: its output; and the norm's moments, what it gives, what the GELU is taken of and
/// what it gives.
pub fn run<B, R>(
    op: &MlpBranch<B>,
    inputs: &[CubeTensor<R>],
    keep: bool,
) -> (CubeTensor<R>, Vec<CubeTensor<R>>)
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let [x, weight, bias, first, first_bias, second, second_bias] = inputs else {
        unreachable!("a branch has seven inputs")
    };
    let Sizes { rows, tokens, width, hidden } = Sizes::of(x, first);
    let precision = op.precision;
    let norm = norm::plain(op.epsilon);
    let (normed, moments) = norm::forward(&norm, [x, weight, bias], stored(precision));
    let (lhs, rhs) = (Order::Rows, Order::Rows);
    let up = Gemm { m: rows, n: hidden, k: width, lhs, rhs, precision };
    let (active, before) = up.gelu(&normed, first, first_bias, keep);
    let down = Gemm { m: rows, n: width, k: hidden, lhs, rhs, precision };
    let scale = op.scale.as_ref().map(own);
    let residual = Residual { x, bias: second_bias, scale: scale.as_ref(), rows: tokens };
    let output = reshape(down.residual(&active, second, &residual), x.meta.shape().clone());
    let saved = before.map(|before| vec![moments, normed, before, active]);
    (output, saved.unwrap_or_default())
}

/// The operation's gradients.
pub fn gradients<B, R>(
    op: &MlpBranch<B>,
    inputs: &[CubeTensor<R>],
    saved: &[CubeTensor<R>],
    upward: &CubeTensor<R>,
) -> Vec<Option<CubeTensor<R>>>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let ([x, weight, bias, first_weight, _, second_weight, _], [moments, normed, before, active]) =
        (inputs, saved)
    else {
        unreachable!("a branch has seven inputs, and keeps four tensors")
    };
    let Sizes { rows, width, hidden, .. } = Sizes::of(x, first_weight);
    let precision = op.precision;
    let product = |m, n, k, lhs, rhs| Gemm { m, n, k, lhs, rhs, precision };
    let sums = Sums::new(x, rows, &[width, width, hidden, width]);

    let scale = op.scale.as_ref().map(own);
    let dtype = stored(precision);
    let copy = (scale.is_some() || dtype != DType::F32).then_some(dtype);
    let of = Matrix { scale: scale.as_ref(), copy, ..Matrix::plain(upward) };
    let scaled = first(&of, &sums, 3);
    let scaled = scaled.as_ref().unwrap_or(upward);
    let of_second = product(hidden, width, rows, Order::Columns, Order::Rows).plain(
        active,
        scaled,
        Element::F32,
    );
    let steep = product(rows, hidden, width, Order::Rows, Order::Columns).gelu_gradient(
        scaled,
        second_weight,
        before,
    );
    first(&Matrix::plain(&steep), &sums, 2);
    let of_first = product(width, hidden, rows, Order::Columns, Order::Rows).plain(
        normed,
        &steep,
        Element::F32,
    );
    let of_normed = product(rows, width, hidden, Order::Rows, Order::Columns).plain(
        &steep,
        first_weight,
        Element::F32,
    );
    let of = norm::Backward { x, weight, bias, moments, upward: &of_normed, addend: Some(upward) };
    let dx = norm::backward(&norm::plain(op.epsilon), &of, &sums, [0, 1]);
    let mut sums = sums.finish().into_iter();
    let [weight, bias, first_bias, second_bias] = [(); 4].map(|()| sums.next());
    vec![Some(dx), weight, bias, Some(of_first), first_bias, Some(of_second), second_bias]
}
