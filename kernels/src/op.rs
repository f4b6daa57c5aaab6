//! What there is to do.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};

/// What matrix products are made in. Whatever enters and leaves an operation is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 throughout.
    F32,
    /// Factors are rounded to bfloat16; sums, norms and softmax stay f32.
    Bf16,
}

/// An operation. Each one lists its inputs, in this order; all of them are f32.
#[derive(Debug, Clone)]
pub enum Op<B: Backend> {
    /// x `[views, tokens, width]`, norm's weight and bias `[width]`, qkv's weight `[width, 3·width]`
    /// and bias `[3·width]`, projection's weight `[width, width]` and bias `[width]`; with windows
    /// the table of relative positions `[(2·window − 1)², heads]` → as x.
    AttentionBranch(AttentionBranch<B>),
    /// x `[views, tokens, width]`, norm's weight and bias `[width]`, first weight `[width, hidden]`
    /// and bias `[hidden]`, second weight `[hidden, width]` and bias `[width]` → as x.
    MlpBranch(MlpBranch<B>),
    /// x `[views, tokens, width]`, weight and bias `[width]` → `[views, tokens − skip, width]`.
    LayerNorm(LayerNorm),
    /// x `[views, tokens, in]`, weight `[in, out]`, bias `[out]` or none → `[views, tokens, out]`.
    Linear(Linear),
    /// x `[views, rows, width]`, token `[1, 1, width]`, positions `[places, width]` or none →
    /// `[views, places, width]`.
    Place(Place<B>),
    /// x `[views, side², in]`, weight `[in, 2·2·out]`, bias `[out]` → `[views, (2·side)², out]`.
    Deconv(Deconv),
    /// x `[views, side², width]` → `[views, (side/by)², width]`.
    Pool(Pool),
    /// x `[views, tokens, width]` → `[views, tokens/4, 4·width]`.
    Merge(Merge),
    /// Predictions `[views, cells, channels]` → `[1]`.
    TapLoss(TapLoss<B>),
}

/// x + scale · projection(attention(norm(x)·qkv)).
#[derive(Debug, Clone)]
pub struct AttentionBranch<B: Backend> {
    /// Heads, side by side in the width.
    pub heads: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Of the matrix products.
    pub precision: Precision,
    /// `[views]`: what the branch of each view is multiplied by; none for 1.
    pub scale: Option<Tensor<B, 1>>,
    /// Tokens attend to those of their window alone; none for one window.
    pub windows: Option<Windows<B>>,
}

/// Which window each token is in, and where; the same for all views. Windows may be of any number
/// of tokens, none among them; so all shapes follow from the network alone.
#[derive(Debug, Clone)]
pub struct Windows<B: Backend> {
    /// A full window's side in tokens.
    pub side: usize,
    /// `[4, tokens]`: the tokens, window by window; and for each token its window, and its row and
    /// column in the grid by which relative positions are told.
    pub tokens: Tensor<B, 2, Int>,
    /// `[windows + 1]`: where each window's tokens begin in the first row of `tokens`, and their
    /// number.
    pub first: Tensor<B, 1, Int>,
}

/// x + scale · second(gelu(first(norm(x)))).
#[derive(Debug, Clone)]
pub struct MlpBranch<B: Backend> {
    /// Added to the variance.
    pub epsilon: f64,
    /// Of the matrix products.
    pub precision: Precision,
    /// `[views]`: what the branch of each view is multiplied by; none for 1.
    pub scale: Option<Tensor<B, 1>>,
}

/// Layer norm over the width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// So many tokens at the beginning of each view are left out.
    pub skip: usize,
    /// A GELU follows.
    pub gelu: bool,
}

/// x·weight + bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Of the product.
    pub precision: Precision,
}

/// Rows of x and copies of a token, put in places, with what is added to each place.
#[derive(Debug, Clone)]
pub struct Place<B: Backend> {
    /// `[views, places]`: the row of x in each place, −1 for the token. A row of x is in one place, or
    /// in none. None for the token first, and then all rows in order.
    pub rows: Option<Tensor<B, 2, Int>>,
    /// `[views, places]`: the row of the positions that is added to each place; none where there is
    /// one for each place, the same for all views.
    pub at: Option<Tensor<B, 2, Int>>,
}

/// Deconvolution of kernel 2 and stride 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deconv {
    /// Of the product.
    pub precision: Precision,
    /// Side of x's grid.
    pub side: usize,
}

/// Means over by×by tokens of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Side of x's grid.
    pub side: usize,
    /// Divides it.
    pub by: usize,
}

/// Each 2×2 tokens side by side: those of grids that stand one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// Side of each grid, an even number.
    pub side: usize,
}

impl Merge {
    /// For each token of the output's, four in rows, where it stands among the tokens.
    pub(crate) fn order(self, tokens: usize) -> impl Iterator<Item = usize> {
        let (side, half) = (self.side, self.side / 2);
        (0..tokens / 4).flat_map(move |of| {
            let (row, column) = (of / half, of % half);
            [[0, 0], [0, 1], [1, 0], [1, 1]]
                .map(|[down, right]| (2 * row + down) * side + 2 * column + right)
        })
    }
}

/// How a prediction's error is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossKind {
    /// Squared difference.
    L2,
    /// Absolute difference.
    L1,
    /// Of the logits of all codes at each value of the target, which is a code's number.
    CrossEntropy,
}

/// Σ weight · mean over channels of the error.
#[derive(Debug, Clone)]
pub struct TapLoss<B: Backend> {
    /// The error.
    pub kind: LossKind,
    /// `[views, cells, channels]`.
    pub values: Tensor<B, 3>,
    /// `[views, cells]`.
    pub weights: Tensor<B, 2>,
}

/// The way of a tensor from one backend to another.
trait Carry<From: Backend, To: Backend> {
    fn floats<const D: usize>(tensor: &Tensor<From, D>) -> Tensor<To, D>;
    fn ints<const D: usize>(tensor: &Tensor<From, D, Int>) -> Tensor<To, D, Int>;
}

/// To the backend that does the work.
struct Inward;

impl<B: AutodiffBackend> Carry<B, B::InnerBackend> for Inward {
    fn floats<const D: usize>(tensor: &Tensor<B, D>) -> Tensor<B::InnerBackend, D> {
        tensor.clone().inner()
    }

    fn ints<const D: usize>(tensor: &Tensor<B, D, Int>) -> Tensor<B::InnerBackend, D, Int> {
        tensor.clone().inner()
    }
}

/// To a backend that differentiates.
struct Outward;

impl<B: AutodiffBackend> Carry<B::InnerBackend, B> for Outward {
    fn floats<const D: usize>(tensor: &Tensor<B::InnerBackend, D>) -> Tensor<B, D> {
        Tensor::from_inner(tensor.clone())
    }

    fn ints<const D: usize>(tensor: &Tensor<B::InnerBackend, D, Int>) -> Tensor<B, D, Int> {
        Tensor::from_inner(tensor.clone())
    }
}

impl<B: AutodiffBackend> Op<B> {
    /// The same on the backend that does the work.
    pub fn inner(&self) -> Op<B::InnerBackend> {
        self.carried::<B::InnerBackend, Inward>()
    }
}

impl<B: Backend> Op<B> {
    /// The same on a backend that differentiates over this one.
    pub fn outer<A: AutodiffBackend<InnerBackend = B>>(&self) -> Op<A> {
        self.carried::<A, Outward>()
    }

    fn carried<To: Backend, C: Carry<B, To>>(&self) -> Op<To> {
        match self {
            Self::AttentionBranch(op) => Op::AttentionBranch(AttentionBranch {
                heads: op.heads,
                epsilon: op.epsilon,
                precision: op.precision,
                scale: op.scale.as_ref().map(C::floats),
                windows: op.windows.as_ref().map(|windows| Windows {
                    side: windows.side,
                    tokens: C::ints(&windows.tokens),
                    first: C::ints(&windows.first),
                }),
            }),
            Self::MlpBranch(op) => Op::MlpBranch(MlpBranch {
                epsilon: op.epsilon,
                precision: op.precision,
                scale: op.scale.as_ref().map(C::floats),
            }),
            Self::LayerNorm(op) => Op::LayerNorm(*op),
            Self::Linear(op) => Op::Linear(*op),
            Self::Place(op) => Op::Place(Place {
                rows: op.rows.as_ref().map(C::ints),
                at: op.at.as_ref().map(C::ints),
            }),
            Self::Deconv(op) => Op::Deconv(*op),
            Self::Pool(op) => Op::Pool(*op),
            Self::Merge(op) => Op::Merge(*op),
            Self::TapLoss(op) => Op::TapLoss(TapLoss {
                kind: op.kind,
                values: C::floats(&op.values),
                weights: C::floats(&op.weights),
            }),
        }
    }
}
