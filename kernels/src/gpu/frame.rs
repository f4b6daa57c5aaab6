//! What kernels of our own are launched with: contiguous tensors as arrays, vectors' widths, cubes.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Element, Int, Shape, Tensor};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, kernel};
use cubecl::prelude::*;
use cubecl::server::CubeCountSelection;

use crate::{Precision, asked, float};

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
    empty_on(like.client.clone(), &like.device, shape, dtype)
}

/// As [`empty`], on a device that `client` is of.
pub fn empty_on<R: CubeRuntime>(
    client: ComputeClient<R>,
    device: &R::Device,
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    let shape = shape.into();
    // Burn's own allocations may leave gaps between rows.
    let handle = client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(client, device.clone(), shape, handle, dtype)
}

/// A tensor of the values of `all` from its byte `start` on, which both read and write.
pub fn view<R: CubeRuntime>(
    all: &CubeTensor<R>,
    start: usize,
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    let shape = shape.into();
    let length = all.meta.num_elements() * all.dtype.size();
    let after = length - start - shape.num_elements() * dtype.size();
    let handle = all.handle.clone().offset_start(start as u64).offset_end(after as u64);
    CubeTensor::new_contiguous(all.client.clone(), all.device.clone(), shape, handle, dtype)
}

/// A tensor of these numbers, `[values]`.
pub fn table<R: CubeRuntime, E: CubeElement + Element>(
    values: &[E],
    device: &R::Device,
) -> CubeTensor<R> {
    let client = R::client(device);
    asked::upload(size_of_val(values));
    let handle = client.create_from_slice(E::as_bytes(values));
    CubeTensor::new_contiguous(client, device.clone(), [values.len()].into(), handle, E::dtype())
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

/// What a kernel may be given or not, known when it is compiled.
///
/// Compiled kernels are kept by a hash that says nothing of a [`ComptimeOption`] that is none: of a
/// kernel with two, the one that has the first alone would be taken for that which has the second. So
/// no kernel takes one but in here, where `there` says it.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Maybe<T: LaunchArg> {
    /// It, if it is there.
    pub given: ComptimeOption<T>,
    #[cube(comptime)]
    #[expect(dead_code, reason = "it is for the hash")]
    there: bool,
}

impl<T: LaunchArg, R: CubeRuntime> From<Option<T::RuntimeArg<R>>> for MaybeLaunch<T, R> {
    fn from(given: Option<T::RuntimeArg<R>>) -> Self {
        let there = given.is_some();
        Self::new(given.into(), there)
    }
}

/// As [`array`], of a tensor that there may not be.
pub fn maybe<R: CubeRuntime, E: CubePrimitive>(
    tensor: Option<&CubeTensor<R>>,
) -> MaybeLaunch<Array<E>, R> {
    tensor.map(array).into()
}

/// The client of a tensor, to launch a kernel by; the launch is counted.
pub fn client<R: CubeRuntime>(tensor: &CubeTensor<R>) -> &ComputeClient<R> {
    asked::launch();
    &tensor.client
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::path::Path;

    use super::*;

    #[test]
    fn a_kernel_with_one_of_two_arrays_is_told_from_that_with_the_other() {
        let argument = |there| {
            let array = ArrayCompilationArg { inplace: None };
            let given = match there {
                true => ComptimeOptionCompilationArg::Some(array),
                false => ComptimeOptionCompilationArg::None,
            };
            MaybeCompilationArg::<Array<f32>> { given, there }
        };
        let hash = |there: [bool; 2]| {
            let mut hasher = DefaultHasher::new();
            there.map(argument).hash(&mut hasher);
            hasher.finish()
        };
        assert_ne!(hash([true, false]), hash([false, true]));
    }

    /// The items that a launch's arguments are told in: kernels up to their bodies, structs whole.
    fn launched(code: &str) -> impl Iterator<Item = &str> {
        let kernels = code.split("#[cube(launch").skip(1).map(|rest| rest.split(") {").next());
        let structs = code.split("CubeLaunch").skip(1).map(|rest| rest.split("\n}").next());
        kernels.chain(structs).flatten()
    }

    /// The crate's code, file by file, without tests.
    fn sources() -> Vec<(String, String)> {
        let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = vec![];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let code = fs::read_to_string(&path).unwrap();
            let code = code.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            found.push((path.display().to_string(), code));
        }
        found
    }

    #[test]
    fn no_kernel_takes_an_option_by_itself() {
        let mut seen = 0;
        for (path, code) in sources() {
            let bare =
                |item: &&str| item.contains("ComptimeOption<") && !item.contains("struct Maybe<");
            seen += launched(&code).count();
            let found: Vec<_> = launched(&code).filter(bare).collect();
            assert!(found.is_empty(), "{path}: {found:?}");
        }
        assert!(seen > 20, "{seen} kernels and structs");
    }

    #[test]
    fn every_launch_is_counted() {
        let mut seen = 0;
        for (path, code) in sources() {
            for call in code.split("launch_unchecked::<R>(").skip(1) {
                assert!(call.trim_start().starts_with("client"), "{path}: {}", &call[..60]);
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen} launches");
    }
}
