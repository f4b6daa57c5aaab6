//! On a GPU: one buffer each, and a launch or two for all of it.

use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, FloatDType, Shape, Tensor, TensorData, TensorPrimitive};
use burn_cubecl::element::{BoolElement, FloatElement, IntElement};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeRuntime};
use cubecl::device::Device;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;
use cubecl::server::{ReduceOperation, ServerCommunication};

use super::{Moments, Optimize, Places, Rate, Step};
use crate::float;
use crate::gpu::frame::{Maybe, UNITS, array, client, cubes, empty, empty_on, maybe, table, view};

/// Values that a cube takes.
const CHUNK: usize = 8192;
/// Cubes whose sums a norm is the sum of.
const SUMS: usize = 1024;
/// Tensors that one launch takes, where the device does.
const PARTS: usize = 32;

/// Pieces of parameters, one a cube.
#[derive(Debug)]
pub struct Chunks<R: CubeRuntime> {
    count: usize,
    /// u32 `[chunks, 2]`: where each begins and ends.
    spans: CubeTensor<R>,
    /// f32 `[chunks, 2]`: the factor of its learning rate, and its decay.
    rates: CubeTensor<R>,
}

impl<R, F, I, T> Optimize for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    type Values = CubeTensor<R>;
    type Table = Chunks<R>;

    const QUEUED: bool = true;

    fn alignment(device: &Self::Device) -> usize {
        R::client(device).properties().memory.alignment as usize / size_of::<f32>()
    }

    fn collect(
        places: &Places,
        sum: Option<Self::Values>,
        parts: Vec<Option<FloatTensor<Self>>>,
        factor: f64,
        device: &Self::Device,
    ) -> Self::Values {
        let add = sum.is_some();
        let sum =
            sum.unwrap_or_else(|| empty_on(R::client(device), device, [places.len], DType::F32));
        let any = parts.iter().flatten().next().cloned();
        let Some(any) = any else {
            return if add { sum } else { Self::zeros(places, device) };
        };
        let parts = parts.into_iter().enumerate().filter_map(|(at, part)| {
            let start = places.starts[at];
            let (count, end) = match part {
                Some(_) if add => (places.count(at), start + places.count(at)),
                Some(_) => (places.count(at), places.next(at)),
                None if add => return None,
                None => (0, places.next(at)),
            };
            let tensor = into_contiguous(part.unwrap_or_else(|| any.clone()));
            Some(Part { tensor, start, count, end })
        });
        let parts: Vec<_> = parts.collect();
        // Two are of the sum and of sizes.
        let most = sum.client.properties().hardware.max_bindings.saturating_sub(2) as usize;
        for parts in parts.chunks(PARTS.min(most).max(1)) {
            launch_collect(&sum, parts, factor as f32, add);
        }
        sum
    }

    fn zeros(places: &Places, device: &Self::Device) -> Self::Values {
        Self::float_zeros(Shape::new([places.len]), device, FloatDType::F32)
    }

    fn norm(values: &Self::Values) -> FloatTensor<Self> {
        let sums = empty(values, [SUMS], DType::F32);
        let norm = empty(values, [1], DType::F32);
        launch_sum(values, &sums, SUMS, true);
        launch_sum(&sums, &norm, 1, false);
        norm
    }

    fn hold(
        places: &Places,
        parameters: Vec<FloatTensor<Self>>,
        device: &Self::Device,
    ) -> Self::Values {
        Self::collect(places, None, parameters.into_iter().map(Some).collect(), 1.0, device)
    }

    fn give(
        places: &Places,
        values: Self::Values,
    ) -> (Vec<FloatTensor<Self>>, Option<Self::Values>) {
        let views = places.starts.iter().zip(&places.shapes);
        let views = views.map(|(start, shape)| {
            view(&values, start * size_of::<f32>(), shape.clone(), DType::F32)
        });
        (views.collect(), Some(values))
    }

    fn table(
        places: &Places,
        rates: &[Rate],
        present: &[bool],
        device: &Self::Device,
    ) -> Self::Table {
        let (mut spans, mut of_spans) = (vec![], vec![]);
        for (at, rate) in rates.iter().enumerate().filter(|&(at, _)| present[at]) {
            let end = places.starts[at] + places.count(at);
            for start in (places.starts[at]..end).step_by(CHUNK) {
                spans.extend([start as u32, end.min(start + CHUNK) as u32]);
                of_spans.extend([rate.scale as f32, rate.decay]);
            }
        }
        let count = spans.len() / 2;
        if count == 0 {
            // Nothing reads it, but there is no buffer of nothing.
            (spans, of_spans) = (vec![0; 2], vec![0.0; 2]);
        }
        Chunks { count, spans: table(&spans, device), rates: table(&of_spans, device) }
    }

    fn adamw(
        step: &Step<Self>,
        table: &Self::Table,
        parameters: &mut Self::Values,
        gradient: &Self::Values,
        moments: &mut Moments<Self>,
    ) {
        if table.count == 0 {
            return;
        }
        let corrections = step.corrections();
        let limit = step.clip.as_ref().map_or(0.0, |clip| clip.limit as f32);
        let norm = step.clip.as_ref().map(|clip| float(clip.norm.clone()));
        // SAFETY: the lengths are those of the buffers, and spans lie within them.
        unsafe {
            adamw_kernel::launch_unchecked::<R>(
                client(parameters),
                cubes(parameters, table.count),
                CubeDim::new_1d(UNITS as u32),
                array(parameters),
                array(&moments.first),
                array(&moments.second),
                array(gradient),
                maybe(norm.as_ref()),
                array(&table.spans),
                array(&table.rates),
                table.count,
                step.lr as f32,
                step.betas.0,
                step.betas.1,
                corrections.0,
                corrections.1,
                step.epsilon,
                limit,
            );
        }
    }

    /// By NCCL, where the runtime has it.
    fn across(
        values: Self::Values,
        devices: &[Self::Device],
    ) -> Result<Self::Values, Self::Values> {
        if !R::CubeServer::SERVER_COMM_ENABLED {
            return Err(values);
        }
        let ids = devices.iter().map(|device| device.to_id()).collect();
        let (mut client, handle) = (values.client.clone(), values.handle.clone());
        let float = ElemType::Float(FloatKind::F32);
        client.all_reduce(handle.clone(), handle, float, ids, ReduceOperation::Sum);
        client.sync_collective();
        Ok(values)
    }

    fn read(places: &Places, values: &Self::Values) -> Vec<Vec<f32>> {
        let flat = Tensor::<Self, 1>::from_primitive(TensorPrimitive::Float(values.clone()));
        let flat: Vec<f32> = flat.into_data().iter().collect();
        let of = |at: usize| flat[places.starts[at]..][..places.count(at)].to_vec();
        (0..places.shapes.len()).map(of).collect()
    }

    fn write(places: &Places, all: Vec<Vec<f32>>, device: &Self::Device) -> Self::Values {
        let mut flat = vec![0.0; places.len];
        for (&start, values) in places.starts.iter().zip(all) {
            flat[start..start + values.len()].copy_from_slice(&values);
        }
        Self::float_from_data(TensorData::new(flat, [places.len]), device)
    }
}

/// A tensor on its way into a buffer.
struct Part<R: CubeRuntime> {
    tensor: CubeTensor<R>,
    /// Where it goes.
    start: usize,
    /// Its values.
    count: usize,
    /// Up to there are zeros behind them.
    end: usize,
}

fn launch_collect<R: CubeRuntime>(sum: &CubeTensor<R>, parts: &[Part<R>], factor: f32, add: bool) {
    let mut tensors = SequenceArg::<R, Array<f32>>::new();
    let mut first = SequenceArg::<R, usize>::new();
    let mut starts = SequenceArg::<R, usize>::new();
    let mut counts = SequenceArg::<R, usize>::new();
    let mut ends = SequenceArg::<R, usize>::new();
    let mut count = 0;
    for part in parts {
        tensors.push(array(&part.tensor));
        first.push(count);
        starts.push(part.start);
        counts.push(part.count);
        ends.push(part.end);
        count += (part.end - part.start).div_ceil(CHUNK);
    }
    first.push(count);
    // SAFETY: the lengths are those of the buffers; a part's places lie within the sum.
    unsafe {
        collect_kernel::launch_unchecked::<R>(
            client(sum),
            cubes(sum, count),
            CubeDim::new_1d(UNITS as u32),
            tensors,
            array(sum),
            first,
            starts,
            counts,
            ends,
            factor,
            add,
        );
    }
}

fn launch_sum<R: CubeRuntime>(from: &CubeTensor<R>, to: &CubeTensor<R>, sums: usize, first: bool) {
    // SAFETY: the lengths are those of the buffers; there are so many cubes as sums.
    unsafe {
        sum_kernel::launch_unchecked::<R>(
            client(from),
            CubeCount::new_1d(sums as u32),
            CubeDim::new_1d(UNITS as u32),
            array(from),
            array(to),
            from.meta.num_elements(),
            sums * UNITS,
            first,
        );
    }
}

/// Each cube takes a chunk of a part: sum = factor · part, or more by that.
#[cube(launch_unchecked)]
fn collect_kernel(
    parts: Sequence<Array<f32>>,
    sum: &mut Array<f32>,
    first: Sequence<usize>,
    starts: Sequence<usize>,
    counts: Sequence<usize>,
    ends: Sequence<usize>,
    factor: f32,
    #[comptime] add: bool,
) {
    let number = comptime![parts.len()];
    #[unroll]
    for k in 0..number {
        let next = k + 1;
        let begin = first[k];
        if CUBE_POS >= begin && CUBE_POS < first[next] {
            let start = starts[k];
            let count = counts[k];
            let offset = (CUBE_POS - begin) * CHUNK;
            let end = min(ends[k] - start, offset + CHUNK);
            let mut at = offset + UNIT_POS as usize;
            while at < end {
                let mut value = f32::new(0.0);
                if at < count {
                    value = parts[k][at] * factor;
                }
                if comptime!(add) {
                    value += sum[start + at];
                }
                sum[start + at] = value;
                at += UNITS;
            }
        }
    }
}

/// A sum for each cube: of squares, or the root of that of what is there.
#[cube(launch_unchecked)]
fn sum_kernel(
    from: &Array<f32>,
    to: &mut Array<f32>,
    len: usize,
    stride: usize,
    #[comptime] squares: bool,
) {
    let unit = UNIT_POS as usize;
    let mut sum = f32::new(0.0);
    let mut at = ABSOLUTE_POS;
    while at < len {
        let x = from[at];
        if comptime!(squares) {
            sum += x * x;
        } else {
            sum += x;
        }
        at += stride;
    }
    let mut shared = SharedMemory::<f32>::new(UNITS);
    shared[unit] = sum;
    sync_cube();
    let mut active = CUBE_DIM;
    while active > 1 {
        active /= 2;
        if UNIT_POS < active {
            let other = shared[(UNIT_POS + active) as usize];
            shared[unit] += other;
        }
        sync_cube();
    }
    if unit == 0 {
        let sum = shared[0];
        if comptime!(squares) {
            to[CUBE_POS] = sum;
        } else {
            to[CUBE_POS] = sum.sqrt();
        }
    }
}

/// Each cube takes a span of a parameter.
#[cube(launch_unchecked)]
fn adamw_kernel(
    parameters: &mut Array<f32>,
    first: &mut Array<f32>,
    second: &mut Array<f32>,
    gradient: &Array<f32>,
    norm: &Maybe<Array<f32>>,
    spans: &Array<u32>,
    rates: &Array<f32>,
    count: usize,
    lr: f32,
    beta_1: f32,
    beta_2: f32,
    correction_1: f32,
    correction_2: f32,
    epsilon: f32,
    limit: f32,
) {
    if CUBE_POS < count {
        let begin = spans[2 * CUBE_POS] as usize;
        let end = spans[2 * CUBE_POS + 1] as usize;
        let rate = lr * rates[2 * CUBE_POS];
        let kept = f32::new(1.0) - rate * rates[2 * CUBE_POS + 1];
        let mut factor = f32::new(1.0);
        #[comptime]
        if let ComptimeOption::Some(norm) = &norm.given {
            if norm[0] > limit {
                factor = limit / norm[0];
            }
        }
        let mut at = begin + UNIT_POS as usize;
        while at < end {
            let g = gradient[at] * factor;
            let m = first[at] * beta_1 + g * (f32::new(1.0) - beta_1);
            let v = second[at] * beta_2 + g * g * (f32::new(1.0) - beta_2);
            first[at] = m;
            second[at] = v;
            let root = (v / correction_2).sqrt() + epsilon;
            parameters[at] = parameters[at] * kept - m / correction_1 / root * rate;
            at += UNITS;
        }
    }
}
