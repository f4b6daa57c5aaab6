//! Layer norm and its gradient, each in one pass over the rows.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::columns::Sums;
use super::frame::{Maybe, array, client, cubes, dims, empty, maybe, vector};
use super::gelu::{gelu, slope};
use super::rows::{Rows, across, along, down};
use crate::LayerNorm;

/// A norm of all tokens, with nothing after it.
pub fn plain(epsilon: f64) -> LayerNorm {
    LayerNorm { epsilon, skip: 0, gelu: false }
}

/// The operation: its output, and what [`gradients`] needs of it.
pub fn run<R: CubeRuntime>(
    op: &LayerNorm,
    inputs: &[CubeTensor<R>],
) -> (CubeTensor<R>, Vec<CubeTensor<R>>) {
    let [x, weight, bias] = inputs else { unreachable!("a norm has three inputs") };
    let (output, moments) = forward(op, [x, weight, bias], DType::F32);
    (output, vec![moments])
}

/// The operation's gradients.
pub fn gradients<R: CubeRuntime>(
    op: &LayerNorm,
    inputs: &[CubeTensor<R>],
    saved: &[CubeTensor<R>],
    upward: &CubeTensor<R>,
) -> Vec<Option<CubeTensor<R>>> {
    let ([x, weight, bias], [moments]) = (inputs, saved) else {
        unreachable!("a norm has three inputs, and keeps its moments")
    };
    let [views, tokens, width] = dims(x);
    let sums = Sums::new(x, views * tokens, &[width, width]);
    let of = Backward { x, weight, bias, moments, upward, addend: None };
    let dx = backward(op, &of, &sums, [0, 1]);
    std::iter::once(dx).chain(sums.finish()).map(Some).collect()
}

/// Where the rows of the output are in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    rows: Rows,
    tokens: usize,
    skip: usize,
    gelu: bool,
}

impl Form {
    fn new<R: CubeRuntime>(norm: &LayerNorm, x: &CubeTensor<R>) -> Self {
        let [_, tokens, width] = dims(x);
        // A division less where nothing is left out, and one kernel for any number of tokens.
        let tokens = if norm.skip == 0 { 1 } else { tokens };
        let rows = Rows::new(&x.client, width, vector(width));
        Self { rows, tokens, skip: norm.skip, gelu: norm.gelu }
    }
}

/// The norm of `x` `[views, tokens, width]`, whose `weight` and `bias` are `[width]`, all of them
/// contiguous and f32: `[views, tokens − skip, width]` of `dtype`, f32 or bf16; and the mean and 1/σ of
/// each of its rows, `[rows, 2]`.
pub fn forward<R: CubeRuntime>(
    norm: &LayerNorm,
    [x, weight, bias]: [&CubeTensor<R>; 3],
    dtype: DType,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let [views, tokens, width] = dims(x);
    let kept = tokens - norm.skip;
    let rows = views * kept;
    let form = Form::new(norm, x);
    let output = empty(x, [views, kept, width], dtype);
    let moments = empty(x, [rows, 2], DType::F32);
    // SAFETY: the kernel reads and writes the given numbers of rows, which the arrays are of.
    unsafe {
        forward_kernel::launch_unchecked::<R>(
            client(x),
            cubes(x, rows.div_ceil(form.rows.rows)),
            form.rows.dim(),
            vector(width),
            array(x),
            array(weight),
            array(bias),
            array(&output),
            array(&moments),
            rows,
            norm.epsilon as f32,
            form,
            dtype.into(),
        );
    }
    (output, moments)
}

/// What the gradient of a norm is made of, contiguous and f32.
pub struct Backward<'a, R: CubeRuntime> {
    /// `[views, tokens, width]`.
    pub x: &'a CubeTensor<R>,
    /// `[width]`.
    pub weight: &'a CubeTensor<R>,
    /// `[width]`.
    pub bias: &'a CubeTensor<R>,
    /// As [`forward`] gave them.
    pub moments: &'a CubeTensor<R>,
    /// The gradient of the output.
    pub upward: &'a CubeTensor<R>,
    /// What is added to the gradient of x, of its shape: the gradient past a branch.
    pub addend: Option<&'a CubeTensor<R>>,
}

/// The gradient of x; those of weight and bias are summed up in `sums`, which is of as many rows as x,
/// in its columns `weight` and `bias`.
pub fn backward<R: CubeRuntime>(
    norm: &LayerNorm,
    of: &Backward<'_, R>,
    sums: &Sums<R>,
    [weight, bias]: [usize; 2],
) -> CubeTensor<R> {
    let [views, tokens, width] = dims(of.x);
    let form = Form::new(norm, of.x);
    let by = vector(width);
    let dx = empty(of.x, [views, tokens, width], DType::F32);
    // SAFETY: the kernel reads and writes the given number of rows, which the arrays are of, and the
    // columns of the partial sums that are theirs.
    unsafe {
        backward_kernel::launch_unchecked::<R>(
            client(of.x),
            cubes(of.x, sums.chunks()),
            form.rows.dim(),
            by,
            array(of.x),
            array(of.weight),
            array(of.bias),
            array(of.moments),
            array(of.upward),
            maybe(of.addend),
            array(&dx),
            array(sums.partials()),
            views * tokens,
            sums.chunk(),
            form,
            Columns {
                total: sums.total() / by,
                weight: sums.column(weight) / by,
                bias: sums.column(bias) / by,
            },
        );
    }
    dx
}

/// Where the partial sums of the gradients of weight and bias are, in vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Columns {
    total: usize,
    weight: usize,
    bias: usize,
}

/// Where a row of the output is in the input.
#[cube]
fn source(row: usize, #[comptime] form: Form) -> usize {
    if comptime!(form.skip == 0) {
        row
    } else {
        let kept = comptime!(form.tokens - form.skip);
        row / kept * comptime!(form.tokens) + row % kept + comptime!(form.skip)
    }
}

/// Where a row of the input is in the output, and whether it is there.
#[cube]
fn target(row: usize, #[comptime] form: Form) -> (usize, bool) {
    if comptime!(form.skip == 0) {
        (row, true.runtime())
    } else {
        let kept = comptime!(form.tokens - form.skip);
        let token = row % comptime!(form.tokens);
        let target = row / comptime!(form.tokens) * kept + token - comptime!(form.skip);
        (target, token >= comptime!(form.skip))
    }
}

#[cube(launch_unchecked)]
fn forward_kernel<Output: Float, N: Size>(
    x: &Array<Vector<f32, N>>,
    weight: &Array<Vector<f32, N>>,
    bias: &Array<Vector<f32, N>>,
    output: &mut Array<Vector<Output, N>>,
    moments: &mut Array<f32>,
    rows: usize,
    epsilon: f32,
    #[comptime] form: Form,
    #[define(Output)] _dtype: StorageType,
) {
    let by = comptime!(form.rows);
    let lane = UNIT_POS_X as usize;
    let row = CUBE_POS * by.rows + UNIT_POS_Y as usize;
    // A row beyond the last reads the last, and writes nothing.
    let begin = source(min(row, rows - 1), form) * by.vectors;
    let mut shared = SharedMemory::<f32>::new(by.lanes * by.rows);

    let mut values = Array::<Vector<f32, N>>::new(by.slots);
    let mut sum = Vector::<f32, N>::new(0.0);
    #[unroll]
    for slot in 0..by.slots {
        let at = slot * by.lanes + lane;
        values[slot] = Vector::new(0.0);
        if at < by.vectors {
            values[slot] = x[begin + at];
        }
        sum += values[slot];
    }
    let share = comptime!(1.0 / form.rows.width as f32);
    let mean = across(along(sum), &mut shared, by) * share;
    let mut squares = Vector::<f32, N>::new(0.0);
    #[unroll]
    for slot in 0..by.slots {
        let at = slot * by.lanes + lane;
        if at < by.vectors {
            let centred = values[slot] - Vector::new(mean);
            squares += centred * centred;
        }
    }
    let variance = across(along(squares), &mut shared, by) * share;
    let inverse = 1.0 / f32::sqrt(variance + epsilon);
    if row < rows {
        #[unroll]
        for slot in 0..by.slots {
            let at = slot * by.lanes + lane;
            if at < by.vectors {
                let unit = (values[slot] - Vector::new(mean)) * Vector::new(inverse);
                let mut normed = unit * weight[at] + bias[at];
                if comptime!(form.gelu) {
                    normed = gelu(normed);
                }
                output[row * by.vectors + at] = Vector::cast_from(normed);
            }
        }
        if lane == 0 {
            moments[2 * row] = mean;
            moments[2 * row + 1] = inverse;
        }
    }
}

#[cube(launch_unchecked)]
fn backward_kernel<N: Size>(
    x: &Array<Vector<f32, N>>,
    weight: &Array<Vector<f32, N>>,
    bias: &Array<Vector<f32, N>>,
    moments: &Array<f32>,
    upward: &Array<Vector<f32, N>>,
    addend: &Maybe<Array<Vector<f32, N>>>,
    dx: &mut Array<Vector<f32, N>>,
    partials: &mut Array<Vector<f32, N>>,
    rows: usize,
    chunk: usize,
    #[comptime] form: Form,
    #[comptime] columns: Columns,
) {
    let by = comptime!(form.rows);
    let lane = UNIT_POS_X as usize;
    let line = UNIT_POS_Y as usize;
    let mut shared = SharedMemory::<f32>::new(by.lanes * by.rows);
    let mut of_weight = Array::<Vector<f32, N>>::new(by.slots);
    let mut of_bias = Array::<Vector<f32, N>>::new(by.slots);
    #[unroll]
    for slot in 0..by.slots {
        of_weight[slot] = Vector::new(0.0);
        of_bias[slot] = Vector::new(0.0);
    }
    let share = comptime!(1.0 / form.rows.width as f32);
    let first = CUBE_POS * chunk;
    let end = min(first + chunk, rows);
    for step in 0..(chunk + by.rows - 1) / by.rows {
        let row = first + step * by.rows + line;
        let (normed, counts) = target(row, form);
        let counts = counts && row < end;
        let normed = select(counts, normed, 0);
        let mean = moments[2 * normed];
        let inverse = moments[2 * normed + 1];
        let mut units = Array::<Vector<f32, N>>::new(by.slots);
        let mut steep = Array::<Vector<f32, N>>::new(by.slots);
        let mut sum = Vector::<f32, N>::new(0.0);
        let mut along_units = Vector::<f32, N>::new(0.0);
        #[unroll]
        for slot in 0..by.slots {
            let at = slot * by.lanes + lane;
            units[slot] = Vector::new(0.0);
            steep[slot] = Vector::new(0.0);
            if counts && at < by.vectors {
                let unit = (x[row * by.vectors + at] - Vector::new(mean)) * Vector::new(inverse);
                let mut up = upward[normed * by.vectors + at];
                if comptime!(form.gelu) {
                    up *= slope(unit * weight[at] + bias[at]);
                }
                of_weight[slot] += up * unit;
                of_bias[slot] += up;
                units[slot] = unit;
                steep[slot] = up * weight[at];
                sum += steep[slot];
                along_units += steep[slot] * unit;
            }
        }
        let sum = across(along(sum), &mut shared, by) * share;
        let along_units = across(along(along_units), &mut shared, by) * share;
        if row < end {
            #[unroll]
            for slot in 0..by.slots {
                let at = slot * by.lanes + lane;
                if at < by.vectors {
                    let rest = Vector::new(sum) + units[slot] * Vector::new(along_units);
                    let mut down = (steep[slot] - rest) * Vector::new(inverse);
                    // Where a row is left out all of this is zero.
                    #[comptime]
                    if let ComptimeOption::Some(addend) = &addend.given {
                        down += addend[row * by.vectors + at];
                    }
                    dx[row * by.vectors + at] = down;
                }
            }
        }
    }

    let mut weights = SharedMemory::<Vector<f32, N>>::new(by.lanes * by.rows);
    let mut biases = SharedMemory::<Vector<f32, N>>::new(by.lanes * by.rows);
    #[unroll]
    for slot in 0..by.slots {
        weights[line * by.lanes + lane] = of_weight[slot];
        biases[line * by.lanes + lane] = of_bias[slot];
        sync_cube();
        let at = slot * by.lanes + lane;
        if line == 0 && at < by.vectors {
            let begin = CUBE_POS * columns.total + at;
            partials[begin + columns.weight] = down(&weights, lane, by);
            partials[begin + columns.bias] = down(&biases, lane, by);
        }
        sync_cube();
    }
}
