//! Products of matrices, with what is done to them on their way out.

mod kernel;
mod launch;
#[cfg(test)]
mod tests;

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::CubePrimitive;

use self::kernel::Finish;
use self::launch::Call;
use super::frame::empty;
use crate::Precision;

/// How a factor lies in its buffer, which has no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Row after row.
    Rows,
    /// Column after column: the buffer is the transposed matrix, row after row.
    Columns,
}

/// What a product is written as. A device that doesn't know bfloat16 takes f32 for it.
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

impl Gemm {
    /// lhs·rhs, `[m, n]`.
    pub fn plain<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        out: Element,
    ) -> CubeTensor<R> {
        run(self.call(lhs, rhs, Finish::Plain, out))
    }

    /// lhs·rhs + bias, `[m, n]`, of an f32 bias `[n]`.
    pub fn biased<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        bias: &CubeTensor<R>,
        out: Element,
    ) -> CubeTensor<R> {
        let bias = Some(whole(bias));
        run(Call { bias, ..self.call(lhs, rhs, Finish::Plain, out) })
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
        let out = self.precision.into();
        let second = keep.then(|| self.output(lhs, out));
        let bias = Some(whole(bias));
        let call = self.call(lhs, rhs, Finish::Gelu, out);
        (run(Call { bias, second: second.clone(), ..call }), second)
    }

    /// lhs·rhs times the derivative of the GELU at `before` `[m, n]`; in the precision's element.
    pub fn gelu_gradient<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        before: &CubeTensor<R>,
    ) -> CubeTensor<R> {
        let call = self.call(lhs, rhs, Finish::GeluGradient, self.precision.into());
        run(Call { beside: Some(whole(before)), ..call })
    }

    /// x + scale · (lhs·rhs + bias), f32 `[m, n]`.
    pub fn residual<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        residual: &Residual<R>,
    ) -> CubeTensor<R> {
        run(Call {
            bias: Some(whole(residual.bias)),
            beside: Some(whole(residual.x)),
            scale: residual.scale.map(whole),
            rows: residual.rows,
            ..self.call(lhs, rhs, Finish::Residual, Element::F32)
        })
    }

    fn call<R: CubeRuntime>(
        &self,
        lhs: &CubeTensor<R>,
        rhs: &CubeTensor<R>,
        finish: Finish,
        out: Element,
    ) -> Call<R> {
        Call {
            gemm: *self,
            lhs: whole(lhs),
            rhs: whole(rhs),
            bias: None,
            beside: None,
            scale: None,
            rows: self.m,
            finish,
            first: self.output(lhs, out),
            second: None,
        }
    }

    /// A tensor `[m, n]` without gaps.
    fn output<R: CubeRuntime>(&self, like: &CubeTensor<R>, out: Element) -> CubeTensor<R> {
        empty(like, [self.m, self.n], out.on(like))
    }
}

impl Element {
    fn on<R: CubeRuntime>(self, tensor: &CubeTensor<R>) -> DType {
        let bf16 = half::bf16::as_type_native_unchecked().storage_type();
        match self {
            Self::Bf16 if tensor.client.properties().supports_type(bf16) => DType::BF16,
            _ => DType::F32,
        }
    }
}

fn run<R: CubeRuntime>(call: Call<R>) -> CubeTensor<R> {
    let first = call.first.clone();
    call.run();
    first
}

/// The same without gaps.
fn whole<R: CubeRuntime>(tensor: &CubeTensor<R>) -> CubeTensor<R> {
    into_contiguous(tensor.clone())
}
