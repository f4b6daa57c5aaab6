//! What kernels of our own are launched with: contiguous tensors as arrays, vectors' widths, cubes.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, kernel};
use cubecl::prelude::*;
use cubecl::server::CubeCountSelection;

use crate::{Precision, float};

/// Units of a cube: what WebGPU allows at least.
pub const UNITS: usize = 256;

/// Bytes that an array of vectors of four f32 begins at a multiple of.
const ALIGNED: u64 = 16;

/// `tensor` with nothing between its values, from where vectors can be read. It is copied where it is
/// not so already.
pub fn contiguous<R: CubeRuntime>(tensor: &CubeTensor<R>) -> CubeTensor<R> {
    let tensor = kernel::into_contiguous(tensor.clone());
    match tensor.handle.offset_start.unwrap_or(0).is_multiple_of(ALIGNED) {
        true => tensor,
        false => tensor.copy(),
    }
}

/// A tensor of an operation itself, as [`contiguous`].
pub fn own<B, R, const D: usize>(tensor: &Tensor<B, D>) -> CubeTensor<R>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    contiguous(&float(tensor.clone()))
}

/// As [`own`], of whole numbers, which are i32 then.
pub fn whole<B, R, const D: usize>(tensor: &Tensor<B, D, Int>) -> CubeTensor<R>
where
    B: Backend<IntTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    contiguous(&kernel::cast(tensor.clone().into_primitive(), DType::I32))
}

/// What factors of products are stored as.
pub fn stored(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}

/// A contiguous tensor of no values yet, where `like` is.
pub fn empty<R: CubeRuntime>(
    like: &CubeTensor<R>,
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    let shape = shape.into();
    let client = like.client.clone();
    // Burn's own allocations may leave gaps between rows.
    let handle = client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(client, like.device.clone(), shape, handle, dtype)
}

/// `tensor`'s values under another shape of as many.
pub fn reshape<R: CubeRuntime>(tensor: CubeTensor<R>, shape: impl Into<Shape>) -> CubeTensor<R> {
    let CubeTensor { client, handle, device, dtype, .. } = tensor;
    CubeTensor::new_contiguous(client, device, shape.into(), handle, dtype)
}

/// The sizes of `tensor`.
pub fn dims<R: CubeRuntime, const D: usize>(tensor: &CubeTensor<R>) -> [usize; D] {
    tensor.meta.shape().dims()
}

/// `tensor`, which is contiguous, as a kernel takes it.
pub fn array<R: CubeRuntime>(tensor: &CubeTensor<R>) -> ArrayArg<R> {
    let length = tensor.meta.num_elements();
    // SAFETY: the handle is that of as many values.
    unsafe { ArrayArg::from_raw_parts(tensor.handle.clone(), length) }
}

/// As [`array`], of a tensor that there may not be.
pub fn maybe<R: CubeRuntime, E: CubePrimitive>(
    tensor: Option<&CubeTensor<R>>,
) -> ComptimeOptionArgs<Array<E>, R> {
    match tensor {
        Some(tensor) => ComptimeOptionArgs::Some(array(tensor)),
        None => ComptimeOptionArgs::None,
    }
}

/// How many values are read at once where each row is of `width` values.
pub fn vector(width: usize) -> usize {
    [4, 2].into_iter().find(|by| width.is_multiple_of(*by)).unwrap_or(1)
}

/// So many cubes, which [`CUBE_POS`](cubecl::prelude::CUBE_POS) counts; a few more where there are more
/// than one axis holds.
pub fn cubes<R: CubeRuntime>(like: &CubeTensor<R>, count: usize) -> CubeCount {
    CubeCountSelection::new(&like.client, count as u32).cube_count()
}

/// Cubes with a unit for each of `count`, which [`ABSOLUTE_POS`](cubecl::prelude::ABSOLUTE_POS) counts;
/// a few units more.
pub fn flat<R: CubeRuntime>(like: &CubeTensor<R>, count: usize) -> (CubeCount, CubeDim) {
    (cubes(like, count.div_ceil(UNITS)), CubeDim::new_1d(UNITS as u32))
}
