//! The loss of a tap: the weighted sum of its cells' errors, which stays on the device.

use burn::tensor::DType;
use burn::tensor::backend::Backend;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::columns::Sums;
use super::frame::{array, client, dims, empty, flat, own, vector};
use super::rows::{Rows, across, along, highest};
use crate::{LossKind, TapLoss};

/// What is summed up for a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    /// Of the rows that errors are taken of: cells' channels, or values' codes.
    by: Rows,
    /// Channels of a cell.
    channels: usize,
    /// Columns of the partial sums.
    total: usize,
}

/// The operation: the loss `[1]`, and of a cross entropy the logarithm of each value's sum.
pub fn run<B, R>(op: &TapLoss<B>, inputs: &[CubeTensor<R>]) -> (CubeTensor<R>, Vec<CubeTensor<R>>)
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let [prediction] = inputs else { unreachable!("there is one input") };
    let (values, weights) = (own(&op.values), own(&op.weights));
    let [views, cells, channels] = dims(&values);
    let codes = op.kind == LossKind::CrossEntropy;
    let rows = if codes { views * cells * channels } else { views * cells };
    let width = prediction.meta.num_elements() / rows;
    let sums = Sums::new(prediction, rows, &[1]);
    let by = Rows::new(&prediction.client, width, vector(width));
    let form = Form { by, channels, total: sums.total() };
    let chunks = CubeCount::new_1d(sums.chunks() as u32);
    let partials = array(sums.partials());
    let (predicted, targets) = (array(prediction), array(&values));
    let mut saved = vec![];
    // SAFETY: the kernels read the given number of rows, which the arrays are of, and write a partial
    // sum for each cube.
    unsafe {
        if codes {
            let logsums = empty(prediction, [rows], DType::F32);
            entropy_kernel::launch_unchecked::<R>(
                client(prediction),
                chunks,
                by.dim(),
                vector(width),
                predicted,
                targets,
                array(&weights),
                array(&logsums),
                partials,
                rows,
                sums.chunk(),
                form,
            );
            saved.push(logsums);
        } else {
            difference_kernel::launch_unchecked::<R>(
                client(prediction),
                chunks,
                by.dim(),
                vector(width),
                predicted,
                targets,
                array(&weights),
                partials,
                rows,
                sums.chunk(),
                form,
                op.kind == LossKind::L1,
            );
        }
    }
    (sums.finish().pop().expect("there is one sum"), saved)
}

/// The operation's gradient, from that of the loss, which stays on the device, too.
pub fn gradients<B, R>(
    op: &TapLoss<B>,
    inputs: &[CubeTensor<R>],
    saved: &[CubeTensor<R>],
    upward: &CubeTensor<R>,
) -> Vec<Option<CubeTensor<R>>>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let [prediction] = inputs else { unreachable!("there is one input") };
    let (values, weights) = (own(&op.values), own(&op.weights));
    let channels = dims::<R, 3>(&values)[2];
    let [_, _, wide] = dims(prediction);
    let width = if op.kind == LossKind::CrossEntropy { wide / channels } else { wide };
    let by = vector(width);
    let change = empty(prediction, prediction.meta.shape().clone(), DType::F32);
    let count = change.meta.num_elements() / by;
    let (cubes, dim) = flat(prediction, count);
    let (predicted, targets) = (array(prediction), array(&values));
    let (weights, upward, output) = (array(&weights), array(upward), array(&change));
    let client = client(prediction);
    // SAFETY: the kernels leave out what is beyond the given number of vectors, which the output is of.
    unsafe {
        match saved {
            [logsums] => entropy_change_kernel::launch_unchecked::<R>(
                client,
                cubes,
                dim,
                by,
                predicted,
                targets,
                weights,
                array(logsums),
                upward,
                output,
                count,
                width / by,
                channels,
            ),
            _ => difference_change_kernel::launch_unchecked::<R>(
                client,
                cubes,
                dim,
                by,
                predicted,
                targets,
                weights,
                upward,
                output,
                count,
                width / by,
                channels,
                op.kind == LossKind::L1,
            ),
        }
    }
    vec![Some(change)]
}

/// Writes the sum of what all units of the cube have, as the loss of its chunk.
#[cube]
fn write_sum(sum: f32, partials: &mut Array<f32>, #[comptime] form: Form) {
    let by =
        comptime!(Rows { lanes: form.by.lanes * form.by.rows, rows: 1, plane: false, ..form.by });
    let mut shared = SharedMemory::<f32>::new(by.lanes);
    let unit = UNIT_POS_Y as usize * form.by.lanes + UNIT_POS_X as usize;
    shared[unit] = sum;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(by.lanes.ilog2() as usize) {
        let reach = comptime!(by.lanes >> (step + 1));
        if unit < reach {
            let other = shared[unit + reach];
            shared[unit] += other;
        }
        sync_cube();
    }
    if unit == 0 {
        partials[CUBE_POS * form.total] = shared[0] * comptime!(1.0 / form.channels as f32);
    }
}

#[cube(launch_unchecked)]
fn difference_kernel<N: Size>(
    prediction: &Array<Vector<f32, N>>,
    values: &Array<Vector<f32, N>>,
    weights: &Array<f32>,
    partials: &mut Array<f32>,
    rows: usize,
    chunk: usize,
    #[comptime] form: Form,
    #[comptime] absolute: bool,
) {
    let by = comptime!(form.by);
    let lane = UNIT_POS_X as usize;
    let first = CUBE_POS * chunk;
    let end = min(first + chunk, rows);
    let mut sum = f32::new(0.0);
    let mut row = first + UNIT_POS_Y as usize;
    while row < end {
        let mut error = Vector::<f32, N>::new(0.0);
        #[unroll]
        for slot in 0..by.slots {
            let at = slot * by.lanes + lane;
            if at < by.vectors {
                let place = row * by.vectors + at;
                let difference = prediction[place] - values[place];
                if comptime!(absolute) {
                    error += Vector::abs(difference);
                } else {
                    error += difference * difference;
                }
            }
        }
        sum += weights[row] * along(error);
        row += by.rows;
    }
    write_sum(sum, partials, form);
}

#[cube(launch_unchecked)]
fn difference_change_kernel<N: Size>(
    prediction: &Array<Vector<f32, N>>,
    values: &Array<Vector<f32, N>>,
    weights: &Array<f32>,
    upward: &Array<f32>,
    output: &mut Array<Vector<f32, N>>,
    count: usize,
    #[comptime] vectors: usize,
    #[comptime] channels: usize,
    #[comptime] absolute: bool,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let share = comptime!(1.0 / channels as f32);
    let scale = upward[0] * weights[ABSOLUTE_POS / vectors] * share;
    let mut change = prediction[ABSOLUTE_POS] - values[ABSOLUTE_POS];
    if comptime!(absolute) {
        #[unroll]
        for i in 0..N::value() {
            let above = select(change[i] > 0.0, 1.0, 0.0);
            change[i] = select(change[i] < 0.0, -1.0, above);
        }
    } else {
        change *= Vector::new(2.0);
    }
    output[ABSOLUTE_POS] = change * Vector::new(scale);
}

#[cube(launch_unchecked)]
fn entropy_kernel<N: Size>(
    prediction: &Array<Vector<f32, N>>,
    values: &Array<f32>,
    weights: &Array<f32>,
    logsums: &mut Array<f32>,
    partials: &mut Array<f32>,
    rows: usize,
    chunk: usize,
    #[comptime] form: Form,
) {
    let by = comptime!(form.by);
    let (lane, line) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let mut shared = SharedMemory::<f32>::new(by.lanes * by.rows);
    let first = CUBE_POS * chunk;
    let end = min(first + chunk, rows);
    let mut sum = f32::new(0.0);
    for step in 0..(chunk + by.rows - 1) / by.rows {
        let own = first + step * by.rows + line;
        let row = min(own, end - 1);
        let code = values[row] as usize;
        let mut logits = Array::<Vector<f32, N>>::new(by.slots);
        let mut most = f32::new(f32::MIN);
        let mut of_target = f32::new(0.0);
        #[unroll]
        for slot in 0..by.slots {
            let at = slot * by.lanes + lane;
            // Beyond the row: nothing, once the exponential is taken.
            logits[slot] = Vector::new(f32::MIN);
            if at < by.vectors {
                let vector = prediction[row * by.vectors + at];
                logits[slot] = vector;
                #[unroll]
                for i in 0..N::value() {
                    most = max(most, vector[i]);
                    of_target += select(at * N::value() + i == code, vector[i], 0.0);
                }
            }
        }
        let most = highest(most, &mut shared, by);
        let mut shares = Vector::<f32, N>::new(0.0);
        #[unroll]
        for slot in 0..by.slots {
            shares += Vector::exp(logits[slot] - Vector::new(most));
        }
        let logsum = f32::ln(across(along(shares), &mut shared, by)) + most;
        if own < end {
            let weight = weights[row / form.channels];
            sum -= weight * of_target;
            if lane == 0 {
                sum += weight * logsum;
                logsums[row] = logsum;
            }
        }
    }
    write_sum(sum, partials, form);
}

#[cube(launch_unchecked)]
fn entropy_change_kernel<N: Size>(
    prediction: &Array<Vector<f32, N>>,
    values: &Array<f32>,
    weights: &Array<f32>,
    logsums: &Array<f32>,
    upward: &Array<f32>,
    output: &mut Array<Vector<f32, N>>,
    count: usize,
    #[comptime] vectors: usize,
    #[comptime] channels: usize,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let (row, at) = (ABSOLUTE_POS / vectors, ABSOLUTE_POS % vectors);
    let scale = upward[0] * weights[row / channels] * comptime!(1.0 / channels as f32);
    let code = values[row] as usize;
    let mut change = Vector::exp(prediction[ABSOLUTE_POS] - Vector::new(logsums[row]));
    #[unroll]
    for i in 0..N::value() {
        change[i] -= select(at * N::value() + i == code, 1.0, 0.0);
    }
    output[ABSOLUTE_POS] = change * Vector::new(scale);
}
