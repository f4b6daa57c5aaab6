//! An operation as one node of Burn's graph.

use std::fmt;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Graph;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{FloatDType, Shape};

use crate::{Gradients, Kernels, Onward, Op, Saved};

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
    // Held until the node is known: else a backward pass of another thread takes the inputs' nodes
    // for unused, and their gradients are lost (tracel-ai/burn#5573).
    let held: Vec<_> = inputs.iter().map(|input| input.rc.clone()).collect();
    let (nodes, inputs): (Vec<_>, Vec<_>) =
        inputs.into_iter().map(|input| (input.node, input.primitive)).unzip();
    let Ok(nodes) = <[_; N]>::try_from(nodes) else { unreachable!("there are N inputs") };
    let output = match Backward::<B, N>::prepare::<C>(Node, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, saved) = B::forward(&op, &inputs);
            prep.finish(Kept { op, inputs, saved }, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::run(&op, inputs)),
    };
    drop(held);
    output
}

/// Gives one parent the gradient that it keeps, and the other, from which the next are reached, its own.
#[derive(Debug)]
struct Given;

impl<B: Gradients> Backward<B, 2> for Given {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<FloatTensor<B>, 2>, graph: &mut Graph, _: &mut Checkpointer) {
        let own = graph.consume::<B>(&ops.node);
        for (parent, gradient) in ops.parents.into_iter().zip([own, ops.state]) {
            if let Some(parent) = parent {
                graph.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: Gradients, C: CheckpointStrategy> Onward for Autodiff<B, C> {
    fn onward(
        outputs: Vec<(FloatTensor<Self>, FloatTensor<B>)>,
        device: &Self::Device,
    ) -> <Self as AutodiffBackend>::Gradients {
        // Nothing is made of the root's value.
        let nothing = B::float_zeros(Shape::new([1]), device, FloatDType::F32);
        let root = Self::from_inner(nothing);
        let root = outputs.into_iter().fold(root, |root, (output, gradient)| {
            let held = [root.rc.clone(), output.rc.clone()];
            let nodes = [root.node, output.node];
            let kind = Backward::<B, 2>::prepare::<C>(Given, nodes).compute_bound().stateful();
            let root = match kind {
                OpsKind::Tracked(prep) => prep.finish(gradient, root.primitive),
                OpsKind::UnTracked(prep) => prep.finish(root.primitive),
            };
            drop(held);
            root
        });
        Self::backward(root)
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::{Distribution, Tensor, Tolerance};

    use super::*;
    use crate::op::{LayerNorm, Linear, Precision};
    use crate::{cat, float};

    type B = Autodiff<Flex>;

    const TOKENS: usize = 64;
    const WIDTH: usize = 64;
    /// So many layers lie one above the other.
    const DEPTH: usize = 8;

    /// What is differentiated by.
    struct Leaves {
        input: Tensor<B, 2>,
        weights: Vec<Tensor<B, 2>>,
        norms: Vec<Tensor<B, 2>>,
    }

    impl Leaves {
        fn random() -> Self {
            let leaf = |rows| {
                let device = Default::default();
                let tensor = Tensor::random([rows, WIDTH], Distribution::Default, &device);
                tensor.require_grad()
            };
            let all = |rows| (0..DEPTH).map(|_| leaf(rows)).collect();
            Self { input: leaf(TOKENS), weights: all(WIDTH), norms: all(2) }
        }

        /// How many have no gradient of the means of some layers.
        fn lost(&self) -> usize {
            let mut x = self.input.clone().unsqueeze::<3>();
            let mut means = vec![];
            for (weight, norm) in self.weights.iter().zip(&self.norms) {
                let row = |row| float(norm.clone().slice(row..row + 1).squeeze_dim::<1>(0));
                let op = Op::LayerNorm(LayerNorm { epsilon: 1e-6, skip: 0, gelu: true });
                x = op.of(vec![float(x), row(0), row(1)]);
                let op = Op::Linear(Linear { precision: Precision::F32 });
                x = op.of(vec![float(x), float(weight.clone())]);
                means.push(x.clone().mean());
            }
            let grads = cat(means, 0).sum().backward();
            let leaves = [&self.input].into_iter().chain(&self.weights).chain(&self.norms);
            leaves.filter(|leaf| leaf.grad(&grads).is_none()).count()
        }
    }

    #[test]
    fn gradients_go_on_from_where_a_graph_was_cut() {
        let leaves = Leaves::random();
        let layer = |x: Tensor<B, 3>, at: usize| -> Tensor<B, 3> {
            let op = Op::Linear(Linear { precision: Precision::F32 });
            op.of(vec![float(x), float(leaves.weights[at].clone())])
        };
        // One output is made of another; a graph can be gone through once.
        let outputs = || {
            let first = layer(leaves.input.clone().unsqueeze(), 0);
            let second = layer(first.clone(), 1);
            [first, second]
        };
        let [first, second] = outputs();
        let whole = (first.sum() + second.square().sum()).backward();

        let outputs = outputs();
        let cut = outputs.each_ref().map(|output| output.clone().detach().require_grad());
        let mut grads = (cut[0].clone().sum() + cut[1].clone().square().sum()).backward();
        let gradients = cut.map(|leaf| float(leaf.grad_remove(&mut grads).unwrap()));
        let outputs = outputs.map(float).into_iter().zip(gradients).collect();
        let onward = B::onward(outputs, &Default::default());
        for leaf in [&leaves.input, &leaves.weights[0], &leaves.weights[1]] {
            let [onward, whole] = [&onward, &whole].map(|grads| leaf.grad(grads).unwrap());
            onward.into_data().assert_approx_eq::<f32>(&whole.into_data(), Tolerance::default());
        }
    }

    #[test]
    fn threads_that_go_backward_at_once_leave_one_anothers_graphs_whole() {
        std::thread::scope(|scope| {
            let work = || {
                // Again and again by the same, as batches do that are accumulated.
                let leaves = Leaves::random();
                for round in 0..100 {
                    assert_eq!(leaves.lost(), 0, "gradients are missing in round {round}");
                }
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}
