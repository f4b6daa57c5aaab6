//! Products of matrices, with what is done to them on their way out.

use burn::tensor::activation::gelu;
use burn::tensor::{DType, FloatDType, Shape, Tensor, TensorMetadata, TensorPrimitive};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeRuntime};

use crate::Precision;

/// How a factor lies in its buffer, which has no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Row after row.
    Rows,
    /// Column after column: the buffer is the transposed matrix, row after row.
    Columns,
}

/// What a product is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// f32.
    F32,
    /// bfloat16.
    Bf16,
}

impl From<Precision> for Element {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// The product of a left factor `[m, k]` and a right one `[k, n]`. Each is f32 or bfloat16, of any
/// rank: what counts is its buffer. The sums are f32, and what is done to them before they are
/// written is so, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// Rows of the left factor and of the product.
    pub m: usize,
    /// Columns of the right factor and of the product.
    pub n: usize,
    /// Columns of the left factor, rows of the right one.
    pub k: usize,
    /// Of the left factor.
    pub lhs: Order,
    /// Of the right factor.
    pub rhs: Order,
    /// What the factors are rounded to, wherever they aren't it.
    pub precision: Precision,
}

/// What is added to a product, and what it is multiplied by.
#[derive(Debug)]
pub struct Residual<'a, R: CubeRuntime> {
    /// f32 `[m, n]`: what is added in the end.
    pub x: &'a CubeTensor<R>,
    /// f32 `[n]`: what is added first.
    pub bias: &'a CubeTensor<R>,
    /// f32 `[views]`: what is multiplied by then; none for 1.
    pub scale: Option<&'a CubeTensor<R>>,
    /// Rows `[i·rows, (i+1)·rows)` are of view i.
    pub rows: usize,
}

type Plain<R> = CubeBackend<R, f32, i32, u32>;

impl Gemm {
    /// lhs·rhs, `[m, n]`.
    pub fn plain<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        out: Element,
    ) -> CubeTensor<R> {
        primitive(self.product(lhs, rhs), out)
    }

    /// lhs·rhs + bias, `[m, n]`, of an f32 bias `[n]`.
    pub fn biased<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        bias: &CubeTensor<R>,
        out: Element,
    ) -> CubeTensor<R> {
        primitive(self.product(lhs, rhs) + tensor(bias, [1, self.n]), out)
    }

    /// gelu(lhs·rhs + bias) and, where `keep`, what it is the GELU of; both `[m, n]`, in the
    /// precision's element.
    pub fn gelu<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        bias: &CubeTensor<R>,
        keep: bool,
    ) -> (CubeTensor<R>, Option<CubeTensor<R>>) {
        let before = self.product(lhs, rhs) + tensor(bias, [1, self.n]);
        let out = self.precision.into();
        (primitive(gelu(before.clone()), out), keep.then(|| primitive(before, out)))
    }

    /// lhs·rhs times the derivative of the GELU at `before` `[m, n]`; in the precision's element.
    pub fn gelu_gradient<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        before: &CubeTensor<R>,
    ) -> CubeTensor<R> {
        let before = tensor(before, [self.m, self.n]);
        // Φ(x) + x·φ(x).
        let normal = (before.clone() * core::f64::consts::FRAC_1_SQRT_2).erf() * 0.5 + 0.5;
        let density = (before.clone() * before.clone() * -0.5).exp() * 0.398_942_280_401_432_7;
        primitive(self.product(lhs, rhs) * (normal + before * density), self.precision.into())
    }

    /// x + scale · (lhs·rhs + bias), f32 `[m, n]`.
    pub fn residual<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        residual: &Residual<R>,
    ) -> CubeTensor<R> {
        let branch = self.product(lhs, rhs) + tensor(residual.bias, [1, self.n]);
        let branch = match residual.scale {
            None => branch,
            Some(scale) => {
                let views = self.m / residual.rows;
                let scale: Tensor<Plain<R>, 3> = tensor(scale, [views, 1, 1]);
                let branch: Tensor<Plain<R>, 3> = branch.reshape([views, residual.rows, self.n]);
                (branch * scale).reshape([self.m, self.n])
            }
        };
        primitive(tensor(residual.x, [self.m, self.n]) + branch, Element::F32)
    }

    fn product<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
    ) -> Tensor<Plain<R>, 2> {
        let lhs = self.factor(lhs, self.lhs, [self.m, self.k]);
        let rhs = self.factor(rhs, self.rhs, [self.k, self.n]);
        lhs.matmul(rhs).cast(FloatDType::F32)
    }

    fn factor<R: CubeRuntime>(
        &self,
        factor: &CubeTensor<R>,
        order: Order,
        [rows, columns]: [usize; 2],
    ) -> Tensor<Plain<R>, 2> {
        let of = match self.precision {
            Precision::F32 => FloatDType::F32,
            Precision::Bf16 => FloatDType::BF16,
        };
        match order {
            Order::Rows => raw(factor, [rows, columns]).cast(of),
            Order::Columns => raw(factor, [columns, rows]).cast(of).transpose(),
        }
    }
}

fn raw<R: CubeRuntime, const D: usize>(
    of: &CubeTensor<R>,
    shape: [usize; D],
) -> Tensor<Plain<R>, D> {
    let count = of.shape().num_elements();
    let flat = CubeTensor::new_contiguous(
        of.client.clone(),
        of.device.clone(),
        Shape::from([count]),
        of.handle.clone(),
        of.dtype,
    );
    Tensor::<Plain<R>, 1>::from_primitive(TensorPrimitive::Float(flat)).reshape(shape)
}

fn tensor<R: CubeRuntime, const D: usize>(
    of: &CubeTensor<R>,
    shape: [usize; D],
) -> Tensor<Plain<R>, D> {
    let raw = raw(of, shape);
    if of.dtype == DType::F32 { raw } else { raw.cast(FloatDType::F32) }
}

fn primitive<R: CubeRuntime>(of: Tensor<Plain<R>, 2>, out: Element) -> CubeTensor<R> {
    let of = match out {
        Element::F32 => of,
        Element::Bf16 => of.cast(FloatDType::BF16),
    };
    burn_cubecl::kernel::into_contiguous(of.into_primitive().tensor())
}
