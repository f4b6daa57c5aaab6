//! The operations of a masked-image network, each whole with its gradient.
//!
//! [`Op`] says what is to be done, and [`Kernels::run`] does it on a backend. On a backend that
//! differentiates it becomes one node of the graph, whose gradient is [`Gradients::backward`]'s.
//! [`composed`] is each operation in Burn's own, which those of the backends, [`cpu`] and [`gpu`],
//! are held against.

pub mod asked;
pub mod autodiff;
pub mod composed;
pub mod cpu;
#[allow(clippy::manual_div_ceil, reason = "kernels are written in a language of fewer words")]
pub mod gpu;
#[allow(clippy::type_complexity, reason = "a backend's name is long")]
pub mod input;
pub mod op;
#[allow(clippy::collapsible_if, reason = "what is known when a kernel is compiled stands alone")]
pub mod optim;
#[cfg(test)]
mod parity;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};

pub use input::Inputs;
pub use op::{
    AttentionBranch, Deconv, LayerNorm, Linear, LossKind, Merge, MlpBranch, Op, Place, Pool,
    Precision, TapLoss, Windows,
};
pub use optim::Optimize;

/// What these kernels and the libraries that they are made with are, in 16 digits: what was compiled
/// of others is of no use to them.
pub const IDENTITY: &str = env!("KERNELS_IDENTITY");

/// What a forward pass leaves for its gradient.
pub type Saved<B> = Vec<FloatTensor<B>>;

/// A backend that has the operations.
pub trait Kernels: Inputs {
    /// What `op` gives of `inputs`, which [`Op`] lists.
    fn run(op: &Op<Self>, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self>;
}

/// A backend that has the operations' gradients, too.
pub trait Gradients: Kernels {
    /// As [`Kernels::run`], with what [`backward`](Self::backward) needs of it.
    fn forward(op: &Op<Self>, inputs: &[FloatTensor<Self>]) -> (FloatTensor<Self>, Saved<Self>);

    /// The gradients of those `inputs` that `needs` names, from that of the output.
    fn backward(
        op: &Op<Self>,
        inputs: Vec<FloatTensor<Self>>,
        saved: Saved<Self>,
        gradient: FloatTensor<Self>,
        needs: &[bool],
    ) -> Vec<Option<FloatTensor<Self>>>;
}

/// A backend that goes on where a graph was cut.
pub trait Onward: AutodiffBackend {
    /// The gradients of all that `outputs` are made of, from those of the outputs.
    fn onward(
        outputs: Vec<(FloatTensor<Self>, FloatTensor<Self::InnerBackend>)>,
        device: &Self::Device,
    ) -> Self::Gradients;
}

/// A backend that differentiates, over one that has the operations and an optimizer.
pub trait Trainable: Kernels + Onward<InnerBackend: Gradients + Optimize> {}

impl<B: Kernels + Onward<InnerBackend: Gradients + Optimize>> Trainable for B {}

impl<B: Kernels> Op<B> {
    /// What it gives of tensors of any rank.
    pub fn of<const D: usize>(&self, inputs: Vec<FloatTensor<B>>) -> Tensor<B, D> {
        Tensor::from_primitive(TensorPrimitive::Float(B::run(self, inputs)))
    }
}

/// Tensors one after the other along `dim`, also where several threads differentiate at once: Burn lets
/// go of its inputs before the node that is made of them is known, and in between another thread's
/// backward pass would take them for unused (tracel-ai/burn#5573).
pub fn cat<B: Backend, const D: usize>(tensors: Vec<Tensor<B, D>>, dim: usize) -> Tensor<B, D> {
    let held = tensors.clone();
    #[expect(clippy::disallowed_methods, reason = "its inputs are held")]
    let all = Tensor::cat(tensors, dim);
    drop(held);
    all
}

/// A tensor as operations take it.
pub fn float<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
