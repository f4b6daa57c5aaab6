//! An operation as one node of Burn's graph.

use std::fmt;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Graph;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use crate::{Gradients, Kernels, Op, Saved};

impl<B: Gradients, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn run(op: &Op<Self>, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        let op = op.inner();
        match inputs.len() {
            1 => node::<B, C, 1>(op, inputs),
            2 => node::<B, C, 2>(op, inputs),
            3 => node::<B, C, 3>(op, inputs),
            7 => node::<B, C, 7>(op, inputs),
            8 => node::<B, C, 8>(op, inputs),
            count => unreachable!("no operation has {count} inputs"),
        }
    }
}

/// What a node keeps for its gradient.
#[derive(Clone)]
struct Kept<B: Gradients> {
    op: Op<B>,
    inputs: Vec<FloatTensor<B>>,
    saved: Saved<B>,
}

impl<B: Gradients> fmt::Debug for Kept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("op", &self.op).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Node;

impl<B: Gradients, const N: usize> Backward<B, N> for Node {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, N>, graph: &mut Graph, _: &mut Checkpointer) {
        let gradient = graph.consume::<B>(&ops.node);
        let Kept { op, inputs, saved } = ops.state;
        let needs = ops.parents.each_ref().map(Option::is_some);
        let gradients = B::backward(&op, inputs, saved, gradient, &needs);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                graph.register::<B>(parent.id, gradient);
            }
        }
    }
}

fn node<B: Gradients, C: CheckpointStrategy, const N: usize>(
    op: Op<B>,
    inputs: Vec<FloatTensor<Autodiff<B, C>>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (nodes, inputs): (Vec<_>, Vec<_>) =
        inputs.into_iter().map(|input| (input.node.clone(), input.primitive)).unzip();
    let Ok(nodes) = <[_; N]>::try_from(nodes) else { unreachable!("there are N inputs") };
    match Backward::<B, N>::prepare::<C>(Node, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, saved) = B::forward(&op, &inputs);
            prep.finish(Kept { op, inputs, saved }, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::run(&op, inputs)),
    }
}
