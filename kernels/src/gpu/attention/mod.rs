//! An attention branch: a norm, a product, attention, and a product onto the residual.
//!
//! Attention is flash attention's: scores are in shared memory and registers alone, block by block,
//! and are made again for the gradient. Sums are f32 and of a fixed order.

mod backward;
mod columns;
mod forward;
mod launch;
mod relative;
mod tiles;

use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::element::{BoolElement, FloatElement, IntElement};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeRuntime};

use self::launch::{Attention, Upward, Windows};
use super::columns::{Matrix, Sums, first};
use super::frame::{dims, own, reshape, stored, whole};
use super::gemm::{Element, Gemm, Order, Residual};
use super::norm;
use crate::Precision;
use crate::op::AttentionBranch;

type On<R, F, I, T> = AttentionBranch<CubeBackend<R, F, I, T>>;

/// What a branch is a function of, and its sizes.
struct Branch<'a, R: CubeRuntime> {
    x: &'a CubeTensor<R>,
    norm: [&'a CubeTensor<R>; 2],
    qkv: [&'a CubeTensor<R>; 2],
    projection: [&'a CubeTensor<R>; 2],
    scale: Option<CubeTensor<R>>,
    windows: Option<Windows<R>>,
    attention: Attention,
    rows: usize,
    width: usize,
    precision: Precision,
}

impl<'a, R: CubeRuntime> Branch<'a, R> {
    fn new<F: FloatElement, I: IntElement, T: BoolElement>(
        op: &On<R, F, I, T>,
        inputs: &'a [CubeTensor<R>],
    ) -> Self {
        let [x, norm, norm_bias, qkv, qkv_bias, projection, projection_bias, table @ ..] = inputs
        else {
            unreachable!("an attention branch has seven inputs, or eight")
        };
        let [views, tokens, width] = dims(x);
        let windows = op.windows.as_ref().map(|windows| Windows {
            side: windows.side,
            tokens: whole(&windows.tokens),
            first: whole(&windows.first),
            table: table[0].clone(),
        });
        Self {
            x,
            norm: [norm, norm_bias],
            qkv: [qkv, qkv_bias],
            projection: [projection, projection_bias],
            scale: op.scale.as_ref().map(own),
            windows,
            attention: Attention { views, tokens, heads: op.heads, head: width / op.heads },
            rows: views * tokens,
            width,
            precision: op.precision,
        }
    }

    /// What is between products.
    fn dtype(&self) -> DType {
        stored(self.precision)
    }

    /// The product of matrices `[m, k]` and `[k, n]`.
    fn product(&self, [m, k, n]: [usize; 3], lhs: Order, rhs: Order) -> Gemm {
        Gemm { m, n, k, lhs, rhs, precision: self.precision }
    }
}

/// The operation: its output, and what [`gradients`] needs of it.
pub fn run<R: CubeRuntime, F: FloatElement, I: IntElement, T: BoolElement>(
    op: &On<R, F, I, T>,
    inputs: &[CubeTensor<R>],
) -> (CubeTensor<R>, Vec<CubeTensor<R>>) {
    let of = Branch::new(op, inputs);
    let (rows, width) = (of.rows, of.width);
    let by = norm::plain(op.epsilon);
    let (normed, moments) = norm::forward(&by, [of.x, of.norm[0], of.norm[1]], of.dtype());
    let qkv = of.product([rows, width, 3 * width], Order::Rows, Order::Rows).biased(
        &normed,
        of.qkv[0],
        of.qkv[1],
        op.precision.into(),
    );
    let (mixed, logsums) = of.attention.forward(&qkv, of.windows.as_ref());
    let onto = Residual {
        x: of.x,
        bias: of.projection[1],
        scale: of.scale.as_ref(),
        rows: of.attention.tokens,
    };
    let output = of.product([rows, width, width], Order::Rows, Order::Rows).residual(
        &mixed,
        of.projection[0],
        &onto,
    );
    (reshape(output, of.x.shape()), vec![normed, moments, qkv, mixed, logsums])
}

/// The operation's gradients.
pub fn gradients<R: CubeRuntime, F: FloatElement, I: IntElement, T: BoolElement>(
    op: &On<R, F, I, T>,
    inputs: &[CubeTensor<R>],
    saved: &[CubeTensor<R>],
    upward: &CubeTensor<R>,
) -> Vec<Option<CubeTensor<R>>> {
    let [normed, moments, qkv, mixed, logsums] = saved else {
        unreachable!("a branch keeps five tensors")
    };
    let of = Branch::new(op, inputs);
    let (rows, width) = (of.rows, of.width);
    let sums = Sums::new(of.x, rows, &[width, width, width]);

    let copied = of.scale.is_some() || of.dtype() != DType::F32;
    let matrix = Matrix {
        scale: of.scale.as_ref(),
        copy: copied.then_some(of.dtype()),
        ..Matrix::plain(upward)
    };
    let branch = first(&matrix, &sums, 2).unwrap_or_else(|| upward.clone());
    let [projection, _] = of.projection;
    let d_mixed = of.product([rows, width, width], Order::Rows, Order::Columns).plain(
        &branch,
        projection,
        op.precision.into(),
    );
    let d_projection = of.product([width, rows, width], Order::Columns, Order::Rows).plain(
        mixed,
        &branch,
        Element::F32,
    );

    let upward_of = Upward { qkv, mixed, logsums, upward: &d_mixed };
    let d_attention = of.attention.backward(&upward_of, of.windows.as_ref());
    let d_normed = of.product([rows, 3 * width, width], Order::Rows, Order::Columns).plain(
        &d_attention.qkv,
        of.qkv[0],
        Element::F32,
    );
    let d_qkv = of.product([width, rows, 3 * width], Order::Columns, Order::Rows).plain(
        normed,
        &d_attention.qkv,
        Element::F32,
    );

    let normed_of = norm::Backward {
        x: of.x,
        weight: of.norm[0],
        bias: of.norm[1],
        moments,
        upward: &d_normed,
        addend: Some(upward),
    };
    let dx = norm::backward(&norm::plain(op.epsilon), &normed_of, &sums, [0, 1]);
    let sums = sums.finish();
    let mut gradients = vec![
        dx,
        sums[0].clone(),
        sums[1].clone(),
        d_qkv,
        d_attention.bias,
        d_projection,
        sums[2].clone(),
    ];
    gradients.extend(d_attention.table);
    gradients.into_iter().map(Some).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, Tensor, TensorData};
    use burn_cubecl::CubeBackend;
    use cubecl::cuda::CudaRuntime;

    use crate::{AttentionBranch, Gradients, Op, Precision, Windows, float};

    type Cuda = CubeBackend<CudaRuntime, f32, i32, u8>;

    fn ints<const D: usize>(values: Vec<i32>, shape: [usize; D]) -> Tensor<Cuda, D, Int> {
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    #[test]
    #[ignore = "needs a driver of CUDA"]
    fn kernels_compile_for_cuda() {
        for precision in [Precision::Bf16, Precision::F32] {
            for (tokens, width, heads, side) in [
                (197, 768, 12, 0),
                (50, 192, 6, 0),
                (197, 160, 2, 0),
                (50, 192, 2, 0),
                (98, 96, 3, 7),
            ] {
                let zeros = |shape: Vec<usize>| {
                    let count = shape.iter().product();
                    let data = TensorData::new(vec![0.5f32; count], shape);
                    float(Tensor::<Cuda, 1>::from_data(
                        TensorData::new(data.to_vec::<f32>().unwrap(), [count]),
                        &Default::default(),
                    ))
                };
                let shaped =
                    |shape: Vec<usize>| crate::gpu::frame::reshape(zeros(shape.clone()), shape);
                let windows = (side > 0).then(|| Windows {
                    side,
                    tokens: ints(vec![0; 4 * tokens], [4, tokens]),
                    first: ints(vec![0, 49, 98], [3]),
                });
                let mut inputs = vec![
                    shaped(vec![2, tokens, width]),
                    shaped(vec![width]),
                    shaped(vec![width]),
                    shaped(vec![width, 3 * width]),
                    shaped(vec![3 * width]),
                    shaped(vec![width, width]),
                    shaped(vec![width]),
                ];
                if side > 0 {
                    inputs.push(shaped(vec![(2 * side - 1) * (2 * side - 1), heads]));
                }
                let op = Op::AttentionBranch(AttentionBranch {
                    heads,
                    epsilon: 1e-6,
                    precision,
                    scale: None,
                    windows,
                });
                let (output, saved) = Cuda::forward(&op, &inputs);
                let needs = vec![true; inputs.len()];
                let gradients = Cuda::backward(&op, inputs, saved, output, &needs);
                let bias = gradients.into_iter().nth(4).flatten().unwrap();
                let bias =
                    Tensor::<Cuda, 1>::from_primitive(burn::tensor::TensorPrimitive::Float(bias));
                assert_eq!(bias.into_data().to_vec::<f32>().unwrap().len(), 3 * width);
            }
        }
    }
}
