//! Each operation in Burn's own: what the others are held against.

use burn::backend::Autodiff;
use burn::tensor::activation::{gelu, log_softmax, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{FloatDType, Int, Tensor, TensorPrimitive};

use crate::float;
use crate::op::{
    AttentionBranch, Deconv, LayerNorm, LossKind, Merge, MlpBranch, Op, Place, Pool, Precision,
    TapLoss, Windows,
};

/// What is added to the score of two tokens that don't share a window. Its exponential is 0.
const APART: f64 = -1e9;

/// What `op` gives of `inputs`.
pub fn forward<B: Backend>(op: &Op<B>, inputs: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    let mut inputs = Inputs::<B>(inputs.into_iter());
    match op {
        Op::AttentionBranch(op) => float(attention_branch(op, &mut inputs)),
        Op::MlpBranch(op) => float(mlp_branch(op, &mut inputs)),
        Op::LayerNorm(op) => float(layer_norm(op, inputs.next(), inputs.next(), inputs.next())),
        Op::Linear(op) => {
            let (x, weight) = (inputs.next(), inputs.next());
            float(linear(op.precision, x, weight, inputs.maybe()))
        }
        Op::Place(op) => float(place(op, inputs.next(), inputs.next(), inputs.maybe())),
        Op::Deconv(op) => float(deconv(op, inputs.next(), inputs.next(), inputs.next())),
        Op::Pool(op) => float(pool(op, inputs.next())),
        Op::Merge(op) => float(merge(*op, inputs.next())),
        Op::TapLoss(op) => float(tap_loss(op, inputs.next())),
    }
}

/// The gradients of those `inputs` that `needs` names, by Burn's own differentiation.
pub fn backward<B: Backend>(
    op: &Op<B>,
    inputs: Vec<FloatTensor<B>>,
    gradient: FloatTensor<B>,
    needs: &[bool],
) -> Vec<Option<FloatTensor<B>>> {
    type Outer<B> = Autodiff<B>;
    let op = op.outer::<Outer<B>>();
    // Ranks are of no matter to a primitive.
    let leaves: Vec<FloatTensor<Outer<B>>> = inputs
        .into_iter()
        .zip(needs)
        .map(|(input, &need)| {
            let leaf = Tensor::<Outer<B>, 1>::from_primitive(TensorPrimitive::Float(
                <Outer<B> as burn::tensor::backend::AutodiffBackend>::from_inner(input),
            ));
            float(if need { leaf.require_grad() } else { leaf })
        })
        .collect();
    let output = forward(&op, leaves.clone());
    let gradient = <Outer<B> as burn::tensor::backend::AutodiffBackend>::from_inner(gradient);
    let product = <Outer<B> as burn::tensor::ops::FloatTensorOps<_>>::float_mul(output, gradient);
    let sum = <Outer<B> as burn::tensor::ops::FloatTensorOps<_>>::float_sum(product);
    let mut grads = <Outer<B> as burn::tensor::backend::AutodiffBackend>::backward(sum);
    leaves
        .into_iter()
        .zip(needs)
        .map(|(leaf, &need)| match need {
            true => {
                <Outer<B> as burn::tensor::backend::AutodiffBackend>::grad_remove(&leaf, &mut grads)
            }
            false => None,
        })
        .collect()
}

/// An operation's inputs, one after the other.
struct Inputs<B: Backend>(std::vec::IntoIter<FloatTensor<B>>);

impl<B: Backend> Inputs<B> {
    fn maybe<const D: usize>(&mut self) -> Option<Tensor<B, D>> {
        self.0.next().map(|tensor| Tensor::from_primitive(TensorPrimitive::Float(tensor)))
    }

    fn next<const D: usize>(&mut self) -> Tensor<B, D> {
        self.maybe().expect("the operation was given its inputs")
    }
}

fn layer_norm<B: Backend>(
    op: &LayerNorm,
    x: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 3> {
    let [_, tokens, _] = x.dims();
    let x = if op.skip > 0 { x.narrow(1, op.skip, tokens - op.skip) } else { x };
    let normed = norm(x, weight, bias, op.epsilon);
    if op.gelu { gelu(normed) } else { normed }
}

fn norm<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, 3> {
    Tensor::from_primitive(TensorPrimitive::Float(B::layer_norm(
        float(x),
        float(weight),
        Some(float(bias)),
        epsilon,
    )))
}

/// The product of matrices, f32, whose factors are rounded first where `precision` says so.
fn product<B: Backend, const D: usize>(
    precision: Precision,
    a: Tensor<B, D>,
    b: Tensor<B, D>,
) -> Tensor<B, D> {
    match precision {
        Precision::F32 => a.matmul(b),
        Precision::Bf16 => {
            a.cast(FloatDType::BF16).matmul(b.cast(FloatDType::BF16)).cast(FloatDType::F32)
        }
    }
}

fn linear<B: Backend>(
    precision: Precision,
    x: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 3> {
    let ([views, tokens, input], [_, output]) = (x.dims(), weight.dims());
    // The tokens of all views are flattened to one matrix first: with a leading dimension the
    // gradient of the weight would be a product for each view.
    let y = product(precision, x.reshape([views * tokens, input]), weight);
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape([views, tokens, output])
}

fn scaled<B: Backend>(branch: Tensor<B, 3>, scale: Option<&Tensor<B, 1>>) -> Tensor<B, 3> {
    match scale {
        Some(scale) => {
            let [views] = scale.dims();
            branch * scale.clone().reshape([views, 1, 1])
        }
        None => branch,
    }
}

fn mlp_branch<B: Backend>(op: &MlpBranch<B>, inputs: &mut Inputs<B>) -> Tensor<B, 3> {
    let x: Tensor<B, 3> = inputs.next();
    let normed = norm(x.clone(), inputs.next(), inputs.next(), op.epsilon);
    let hidden = linear(op.precision, normed, inputs.next(), Some(inputs.next()));
    let branch = linear(op.precision, gelu(hidden), inputs.next(), Some(inputs.next()));
    x + scaled(branch, op.scale.as_ref())
}

fn attention_branch<B: Backend>(op: &AttentionBranch<B>, inputs: &mut Inputs<B>) -> Tensor<B, 3> {
    let x: Tensor<B, 3> = inputs.next();
    let [views, tokens, width] = x.dims();
    let normed = norm(x.clone(), inputs.next(), inputs.next(), op.epsilon);
    let qkv = linear(op.precision, normed, inputs.next(), Some(inputs.next()));
    let (weight, bias) = (inputs.next(), inputs.next());
    // [3, views, heads, tokens, head]
    let head = width / op.heads;
    let qkv = qkv.reshape([views, tokens, 3, op.heads, head]).permute([2, 0, 3, 1, 4]);
    let [queries, keys, values] =
        [0, 1, 2].map(|i| qkv.clone().narrow(0, i, 1).squeeze_dim::<4>(0));
    let queries = queries * (head as f64).powf(-0.5);
    let mut scores = product(op.precision, queries, keys.swap_dims(2, 3));
    if let Some(windows) = &op.windows {
        scores = scores + window_bias(windows, inputs.next());
    }
    let mixed = product(op.precision, softmax(scores, 3), values);
    let mixed = mixed.swap_dims(1, 2).reshape([views, tokens, width]);
    let branch = linear(op.precision, mixed, weight, Some(bias));
    x + scaled(branch, op.scale.as_ref())
}

/// What is added to the scores of each head: `[1, heads, tokens, tokens]`.
fn window_bias<B: Backend>(windows: &Windows<B>, table: Tensor<B, 2>) -> Tensor<B, 4> {
    let [_, tokens] = windows.tokens.dims();
    let [rows, heads] = table.dims();
    let line = |at: usize| windows.tokens.clone().narrow(0, at, 1);
    // Each query's less each key's.
    let less = |at: usize| -> Tensor<B, 2, Int> {
        line(at).reshape([tokens, 1]).expand([tokens, tokens]) - line(at).expand([tokens, tokens])
    };
    let (reach, span) = (windows.side as i64 - 1, 2 * windows.side as i64 - 1);
    let relative = (less(2) + reach) * span + less(3) + reach;
    // Tokens of other windows may be farther than the table reaches.
    let relative = relative.clamp(0, rows as i64 - 1).reshape([tokens * tokens]);
    let bias = table.select(0, relative).reshape([tokens, tokens, heads]).permute([2, 0, 1]);
    let apart = less(1).not_equal_elem(0).float() * APART;
    (bias + apart.unsqueeze()).unsqueeze()
}

fn place<B: Backend>(
    op: &Place<B>,
    x: Tensor<B, 3>,
    token: Tensor<B, 3>,
    positions: Option<Tensor<B, 2>>,
) -> Tensor<B, 3> {
    let [views, rows, width] = x.dims();
    let placed = match &op.rows {
        None => crate::cat(vec![token.expand([views, 1, width]), x], 1),
        Some(index) => {
            let [_, places] = index.dims();
            // A view's rows, and the token after them.
            let x = crate::cat(vec![x, token.expand([views, 1, width])], 1);
            let index = index.clone().mask_fill(index.clone().lower_elem(0), rows as i64);
            x.gather(1, index.reshape([views, places, 1]).expand([views, places, width]))
        }
    };
    match (positions, &op.at) {
        (None, _) => placed,
        (Some(positions), None) => placed + positions.unsqueeze(),
        (Some(positions), Some(at)) => {
            let [_, places] = at.dims();
            let at = at.clone().reshape([views * places]);
            placed + positions.select(0, at).reshape([views, places, width])
        }
    }
}

fn deconv<B: Backend>(
    op: &Deconv,
    x: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 3> {
    let ([views, tokens, input], [_, output]) = (x.dims(), weight.dims());
    let (side, output) = (op.side, output / 4);
    let pixels: Tensor<B, 6> = product(op.precision, x.reshape([views * tokens, input]), weight)
        .reshape([views, side, side, 2, 2, output]);
    let pixels = pixels.permute([0, 1, 3, 2, 4, 5]).reshape([views, 4 * side * side, output]);
    pixels + bias.unsqueeze()
}

fn pool<B: Backend>(op: &Pool, x: Tensor<B, 3>) -> Tensor<B, 3> {
    let [views, _, width] = x.dims();
    let (by, coarse) = (op.by, op.side / op.by);
    let x: Tensor<B, 6> = x.reshape([views, coarse, by, coarse, by, width]);
    x.mean_dim(4).mean_dim(2).reshape([views, coarse * coarse, width])
}

fn tap_loss<B: Backend>(op: &TapLoss<B>, prediction: Tensor<B, 3>) -> Tensor<B, 1> {
    let [views, cells, channels] = op.values.dims();
    let error = match op.kind {
        LossKind::L2 => {
            let difference = prediction - op.values.clone();
            difference.clone() * difference
        }
        LossKind::L1 => (prediction - op.values.clone()).abs(),
        LossKind::CrossEntropy => {
            let values = views * cells * channels;
            let codes = prediction.dims()[2] / channels;
            let logarithms = log_softmax(prediction.reshape([values, codes]), 1);
            let of_target = logarithms.gather(1, op.values.clone().reshape([values, 1]).int());
            of_target.neg().reshape([views, cells, channels])
        }
    };
    let error = error.mean_dim(2).reshape([views, cells]);
    (error * op.weights.clone()).sum()
}

fn merge<B: Backend>(op: Merge, x: Tensor<B, 3>) -> Tensor<B, 3> {
    let [views, tokens, width] = x.dims();
    let half = op.side / 2;
    // (grid and row, row within, column, column within, channel)
    let x: Tensor<B, 5> = x.reshape([views * tokens / (2 * op.side), 2, half, 2, width]);
    x.permute([0, 2, 1, 3, 4]).reshape([views, tokens / 4, 4 * width])
}
