//! x + scale · projection(attention(norm(x)·qkv)), in blocks of whole views that stay in the cache.

use std::ops::Range;

use burn::backend::Flex;
use burn_flex::FlexTensor;

use super::heads::{Heads, Mixed};
use super::matrix::{Matrix, Target, add_product, append_product, product, turned};
use super::norm::{self, normalise, normalise_again};
use super::rows::{BLOCK, active, add_bias, add_branch, add_columns, by_view, gathered};
use super::tensor::{Floats, Scratch, dims, scales, tensor};
use super::windows::{Plan, Span};
use crate::{AttentionBranch, Precision, Saved};

/// The inputs, and what there is to know of them.
struct Inputs {
    norm: [Floats; 2],
    qkv: [Floats; 2],
    projection: [Floats; 2],
    shape: [usize; 3],
    scale: Option<Floats>,
    plan: Option<Plan>,
    whole: [Span; 1],
    /// Of each head what is added to the scores of its pairs; empty without windows.
    bias: Vec<f32>,
    heads: usize,
    precision: Precision,
}

impl Inputs {
    fn of(op: &AttentionBranch<Flex>, inputs: &[FlexTensor]) -> Self {
        let pair = |at: usize| [at, at + 1].map(|at| Floats::of(&inputs[at]));
        let plan = op.windows.as_ref().map(Plan::of);
        let bias = plan.as_ref().map(|plan| plan.bias(&Floats::of(&inputs[7]), op.heads));
        let shape = dims(&inputs[0]);
        Self {
            norm: pair(1),
            qkv: pair(3),
            projection: pair(5),
            shape,
            scale: scales(op.scale.as_ref()),
            plan,
            whole: [Span::whole(shape[1])],
            bias: bias.unwrap_or_default(),
            heads: op.heads,
            precision: op.precision,
        }
    }

    fn scale(&self, view: usize) -> f32 {
        self.scale.as_ref().map_or(1.0, |scale| scale[view])
    }

    fn heads(&self) -> Heads<'_> {
        let [_, tokens, width] = self.shape;
        let spans = self.plan.as_ref().map_or(&self.whole[..], |plan| &plan.spans);
        let (precision, heads, bias) = (self.precision, self.heads, &self.bias[..]);
        Heads { precision, tokens, width, heads, spans, bias }
    }

    /// Views that are worked on at once.
    fn block(&self) -> usize {
        let [views, tokens, _] = self.shape;
        (BLOCK / tokens.max(1)).clamp(1, views.max(1))
    }
}

/// Rows in the order in which windows lie side by side.
enum Ordered {
    AsTheyWere(Floats),
    Gathered(Scratch),
}

impl Ordered {
    fn of(plan: Option<&Plan>, tensor: &FlexTensor, width: usize) -> Self {
        let values = Floats::of(tensor);
        match plan {
            None => Self::AsTheyWere(values),
            Some(plan) => Self::Gathered(plan.gathered(&values, width)),
        }
    }

    fn values(&self) -> &[f32] {
        match self {
            Self::AsTheyWere(values) => values,
            Self::Gathered(values) => values,
        }
    }
}

/// What `op` gives; and with `keep` the rows' moments, qkv, what heads mixed, and the logarithms of
/// their softmax' denominators, rows in the windows' order.
pub fn forward(
    op: &AttentionBranch<Flex>,
    tensors: &[FlexTensor],
    keep: bool,
) -> (FlexTensor, Saved<Flex>) {
    let inputs = Inputs::of(op, tensors);
    let [views, tokens, width] = inputs.shape;
    let (rows, block, heads) = (views * tokens, inputs.block(), inputs.heads());
    let x = Ordered::of(inputs.plan.as_ref(), &tensors[0], width);
    let kept = |columns: usize| Vec::with_capacity(if keep { rows } else { block } * columns);
    let mut out = Vec::with_capacity(rows * width);
    let mut moments = Vec::with_capacity(2 * rows);
    let (mut qkv, mut mixed, mut logarithms) = (kept(3 * width), kept(width), kept(op.heads));
    let mut normed = Scratch::of(block * tokens * width);
    for x in x.values().chunks(block * tokens * width) {
        if !keep {
            for buffer in [&mut qkv, &mut mixed, &mut logarithms] {
                buffer.clear();
            }
        }
        let (from, count) = (out.len() / width, x.len() / width);
        let kept_rows = mixed.len() / width;
        let normed = &mut normed[..count * width];
        let [weight, bias] = &inputs.norm;
        normalise(x, weight, bias, op.epsilon as f32, &mut moments, normed);
        let [weight, bias] = &inputs.qkv;
        let (lhs, rhs) = (Matrix::new(normed, width), Matrix::new(weight, 3 * width));
        append_product(op.precision, lhs, rhs, &mut qkv);
        add_bias(&mut qkv[kept_rows * 3 * width..], bias);
        mixed.resize((kept_rows + count) * width, 0.0);
        logarithms.resize((kept_rows + count) * op.heads, 0.0);
        let of_block = mixed[kept_rows * width..].chunks_exact_mut(tokens * width);
        let of_block =
            of_block.zip(logarithms[kept_rows * op.heads..].chunks_exact_mut(tokens * op.heads));
        let qkv = qkv[kept_rows * 3 * width..].chunks_exact(tokens * 3 * width);
        for (qkv, (mixed, logarithms)) in qkv.zip(of_block) {
            heads.mix(qkv, mixed, logarithms);
        }
        let [weight, bias] = &inputs.projection;
        let lhs = Matrix::new(&mixed[kept_rows * width..], width);
        let target = Target { values: &mut *normed, row: width };
        product(op.precision, lhs, Matrix::new(weight, width), target, false);
        out.extend_from_slice(x);
        for (view, part) in by_view(from, count, tokens) {
            let part = part.start * width..part.end * width;
            let out = &mut out[from * width..][part.clone()];
            add_branch(out, &normed[part], bias, inputs.scale(view));
        }
    }
    let out = in_order(inputs.plan.as_ref(), out, width);
    let saved = match keep {
        true => vec![
            tensor(moments, [rows, 2]),
            tensor(qkv, [rows, 3 * width]),
            tensor(mixed, [rows, width]),
            tensor(logarithms, [views, op.heads, tokens]),
        ],
        false => vec![],
    };
    (tensor(out, inputs.shape), saved)
}

fn in_order(plan: Option<&Plan>, values: Vec<f32>, width: usize) -> Vec<f32> {
    match plan {
        None => values,
        Some(plan) => plan.scattered(&values, width),
    }
}

/// The gradients of the parameters so far.
struct Sums {
    norm: norm::Sums,
    qkv: [Vec<f32>; 2],
    projection: [Vec<f32>; 2],
    bias: Vec<f32>,
}

/// The inputs' gradients.
pub fn backward(
    op: &AttentionBranch<Flex>,
    tensors: &[FlexTensor],
    saved: &[FlexTensor],
    gradient: &FlexTensor,
) -> Vec<Option<FlexTensor>> {
    let inputs = Inputs::of(op, tensors);
    let [views, tokens, width] = inputs.shape;
    let saved: Vec<Floats> = saved.iter().map(Floats::of).collect();
    let x = Ordered::of(inputs.plan.as_ref(), &tensors[0], width);
    let gradient = Ordered::of(inputs.plan.as_ref(), gradient, width);
    let qkv_turned = turned(&inputs.qkv[0], 3 * width);
    let projection_turned = turned(&inputs.projection[0], width);
    let mut sums = Sums {
        norm: norm::Sums::of(width),
        qkv: [Vec::with_capacity(3 * width * width), vec![0.0; 3 * width]],
        projection: [Vec::with_capacity(width * width), vec![0.0; width]],
        bias: vec![0.0; inputs.bias.len()],
    };
    let factors = inputs.scale.as_ref().map(|scale| (&**scale, tokens));
    let (x, gradient) = (x.values(), gradient.values());
    let all: Vec<usize> = (0..views * tokens).collect();
    let active = active(gradient, width, factors);
    let most = inputs.block() * tokens;
    let mut out = gradient.to_vec();
    let narrow = || Scratch::of(most * width);
    let (mut narrow, mut branch, mut mixed) = (narrow(), narrow(), narrow());
    let mut wide = Scratch::of(most * 3 * width);
    for all in all.chunks(most) {
        let block = all[0]..all[0] + all.len();
        let rows = within(&active, &block);
        if rows.is_empty() {
            continue;
        }
        let wide = &mut wide[..all.len() * 3 * width];
        let [branch, mixed] = [&mut branch, &mut mixed].map(|part| &mut part[..rows.len() * width]);
        gathered(gradient, width, rows, factors, branch);
        gathered(&saved[2], width, rows, None, mixed);
        let upward = Matrix::new(branch, width);
        let lhs = Matrix::new(mixed, width).transposed();
        add_product(op.precision, lhs, upward, &mut sums.projection[0]);
        add_columns(branch, &mut sums.projection[1]);
        let target = Target { values: &mut narrow[..rows.len() * width], row: width };
        product(op.precision, upward, Matrix::new(&projection_turned, width), target, false);
        let of_mixed = (&*mixed, &narrow[..rows.len() * width]);
        block_gradient(&inputs, [&saved[1], &saved[3]], of_mixed, (rows, block), &mut sums, wide);
        add_columns(wide, &mut sums.qkv[1]);
        let ([weight, bias], narrow) = (&inputs.norm, &mut narrow[..all.len() * width]);
        normalise_again(x, all, weight, bias, &saved[0], narrow);
        let (lhs, upward) = (Matrix::new(narrow, width).transposed(), Matrix::new(wide, 3 * width));
        add_product(op.precision, lhs, upward, &mut sums.qkv[0]);
        let target = Target { values: &mut *narrow, row: width };
        product(op.precision, upward, Matrix::new(&qkv_turned, width), target, false);
        norm::add_gradient(x, all, weight, &saved[0], narrow, &mut sums.norm, &mut out);
    }
    gradients(&inputs, sums, in_order(inputs.plan.as_ref(), out, width), tensors)
}

/// Those of `rows`, which are in order, that lie in `range`.
fn within<'a>(rows: &'a [usize], range: &Range<usize>) -> &'a [usize] {
    let before = |end: usize| rows.partition_point(|&row| row < end);
    &rows[before(range.start)..before(range.end)]
}

/// The gradient of qkv of a block of whole views into `out`, from that of what heads mixed, of which
/// there are the active rows alone.
fn block_gradient(
    inputs: &Inputs,
    [qkv, logarithms]: [&[f32]; 2],
    (mixed, upward): (&[f32], &[f32]),
    (rows, block): (&[usize], Range<usize>),
    sums: &mut Sums,
    out: &mut [f32],
) {
    let [_, tokens, width] = inputs.shape;
    let heads = inputs.heads();
    let mut done = 0;
    for (at, out) in out.chunks_exact_mut(tokens * 3 * width).enumerate() {
        let view = block.start + at * tokens..block.start + (at + 1) * tokens;
        let of_view = within(rows, &view);
        let queries: Vec<usize> = of_view.iter().map(|row| row - view.start).collect();
        let part = done * width..(done + queries.len()) * width;
        heads.gradient(
            &qkv[view.start * 3 * width..view.end * 3 * width],
            &logarithms[view.start * inputs.heads..view.end * inputs.heads],
            &Mixed { queries: &queries, mixed: &mixed[part.clone()], upward: &upward[part] },
            &mut sums.bias,
            out,
        );
        done += queries.len();
    }
}

fn gradients(
    inputs: &Inputs,
    sums: Sums,
    x: Vec<f32>,
    tensors: &[FlexTensor],
) -> Vec<Option<FlexTensor>> {
    let [_, _, width] = inputs.shape;
    let [norm_weight, norm_bias] = sums.norm.tensors();
    let ([mut qkv, qkv_bias], [mut projection, projection_bias]) = (sums.qkv, sums.projection);
    // Where no row has a gradient, nothing was added.
    qkv.resize(3 * width * width, 0.0);
    projection.resize(width * width, 0.0);
    let mut gradients = vec![
        tensor(x, inputs.shape),
        norm_weight,
        norm_bias,
        tensor(qkv, [width, 3 * width]),
        tensor(qkv_bias, [3 * width]),
        tensor(projection, [width, width]),
        tensor(projection_bias, [width]),
    ];
    if let Some(plan) = &inputs.plan {
        let [rows, heads] = dims(&tensors[7]);
        gradients.push(tensor(plan.table_gradient(&sums.bias, rows, heads), [rows, heads]));
    }
    gradients.into_iter().map(Some).collect()
}
