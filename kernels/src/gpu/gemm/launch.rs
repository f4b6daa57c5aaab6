//! Launches a product by that of cubek's kernels which the device is quickest with.

use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, CubeTuneId};
use cubecl::features::MmaConfig;
use cubecl::ir::{AddressType, StorageType};
use cubecl::prelude::*;
use cubecl::std::tensor::launch::ViewArg;
use cubecl::std::tensor::layout::VirtualLayoutLaunch;
use cubecl::std::tensor::layout::plain::PlainLayout;
use cubecl::tune::{LocalTuner, Tunable, TunableSet, local_tuner};
use cubecl::zspace::Strides;
use cubek::matmul::components::global::memory::{
    GlobalLayout, GlobalLayoutConfig, GlobalLayoutLaunch, NoopLayout, NoopLayoutLaunch,
};
use cubek::matmul::components::tile::TileMatmulKind;
use cubek::matmul::definition::{
    Blueprint, MatmulGlobalElems, MatmulProblem, MatmulSetupError, MatmulVectorSizes,
};
use cubek::matmul::launch::launch_kernel;
use cubek::matmul::routines::double_buffering::{
    CyclicDoubleBufferingAlgorithm, DoubleBufferingArgs,
};
use cubek::matmul::routines::double_unit::DoubleUnitAlgorithm;
use cubek::matmul::routines::ordered_double_buffering::{
    OrderedDoubleBufferingAlgorithm, OrderedSelectionArgs,
};
use cubek::matmul::routines::simple::{SimpleAlgorithm, SimpleArgs};
use cubek::matmul::routines::simple_unit::SimpleUnitAlgorithm;
use cubek::matmul::routines::{BlueprintStrategy, Routine};
use half::bf16;

use super::kernel::{
    Arguments, ExtrasLaunch, Finish, InputsLaunch, OutputsLaunch, SourceLaunch, TargetLaunch,
};
use super::{Gemm, Order};
use crate::{Precision, asked};

/// Products of fewer multiplications aren't worth trying several kernels for.
const SMALL: usize = 1 << 22;

/// A product with its buffers, none of which has gaps.
pub struct Call<R: CubeRuntime> {
    pub gemm: Gemm,
    pub lhs: CubeTensor<R>,
    pub rhs: CubeTensor<R>,
    pub bias: Option<CubeTensor<R>>,
    /// What the finish takes of each cell of the product.
    pub beside: Option<CubeTensor<R>>,
    pub scale: Option<CubeTensor<R>>,
    /// Rows of a view.
    pub rows: usize,
    pub finish: Finish,
    pub first: CubeTensor<R>,
    pub second: Option<CubeTensor<R>>,
}

impl<R: CubeRuntime> Clone for Call<R> {
    fn clone(&self) -> Self {
        Self {
            gemm: self.gemm,
            lhs: self.lhs.clone(),
            rhs: self.rhs.clone(),
            bias: self.bias.clone(),
            beside: self.beside.clone(),
            scale: self.scale.clone(),
            rows: self.rows,
            finish: self.finish,
            first: self.first.clone(),
            second: self.second.clone(),
        }
    }
}

type Launch<R> = fn(Call<R>) -> Result<(), String>;

impl<R: CubeRuntime> Call<R> {
    /// Writes the product.
    pub fn run(self) {
        static CORES: LocalTuner<String, CubeTuneId> = local_tuner!("tensor-cores");
        static UNITS: LocalTuner<String, CubeTuneId> = local_tuner!("units");
        let Gemm { m, n, k, .. } = self.gemm;
        if m * n == 0 {
            return;
        }
        if m * n * k < SMALL {
            return self.run_first();
        }
        let client = self.first.client.clone();
        let id = CubeTuneId::new(&client, &self.first.device);
        if self.on_tensor_cores() {
            CORES.execute(&id, &client, CORES.init(|| set(&on_tensor_cores::<R>())), self);
        } else {
            UNITS.execute(&id, &client, UNITS.init(|| set(&on_units::<R>())), self);
        }
    }

    /// Takes the first kernel that can do it.
    fn run_first(self) {
        let kernels =
            if self.on_tensor_cores() { on_tensor_cores().to_vec() } else { on_units().to_vec() };
        let mut errors = vec![];
        for (name, launch) in kernels {
            match launch(self.clone()) {
                Ok(()) => return,
                Err(error) => errors.push(format!("{name}: {error}")),
            }
        }
        unreachable!("units take any product, not {:?}: {}", self.gemm, errors.join("; "));
    }

    fn on_tensor_cores(&self) -> bool {
        self.gemm.precision == Precision::Bf16 && has_tensor_cores(&self.first.client)
    }

    /// What the factors are rounded to before they are multiplied.
    fn staged(&self) -> StorageType {
        if self.on_tensor_cores() { narrow() } else { wide() }
    }

    /// What the quickest kernel depends on. Rows are of a batch, and batches of about the same size
    /// have the same one.
    fn key(&self) -> String {
        let Gemm { m, n, k, lhs, rhs, .. } = self.gemm;
        let (m, k) = (m.next_power_of_two(), k.next_power_of_two());
        let (left, right) = (self.lhs.dtype, self.rhs.dtype);
        let (first, finish) = (self.first.dtype, self.finish);
        format!("{m}×{k} {lhs:?} {left:?} · {k}×{n} {rhs:?} {right:?} → {finish:?} {first:?}")
    }

    fn problem(&self) -> Result<MatmulProblem, MatmulSetupError> {
        let Gemm { m, n, k, lhs, rhs, .. } = self.gemm;
        let staged = self.staged();
        let most = (m * k).max(k * n).max(m * n);
        MatmulProblem::from_shapes_and_strides(
            [m, k].into(),
            [k, n].into(),
            [m, n].into(),
            Strides::from(strides(lhs, [m, k])),
            Strides::from(strides(rhs, [k, n])),
            [n, 1].into(),
            MatmulGlobalElems { lhs: staged, rhs: staged, out: wide() },
            AddressType::from_len(most),
            None,
            None,
        )
    }

    fn vectors(&self) -> MatmulVectorSizes {
        let Gemm { m, n, k, lhs, rhs, .. } = self.gemm;
        let factor = |tensor: &CubeTensor<R>, order, [rows, columns]: [usize; 2]| {
            let along = if order == Order::Rows { columns } else { rows };
            vector(tensor, tensor.dtype.size(), along)
        };
        let beside = [&self.bias, &self.beside, &self.second].into_iter().flatten();
        let out = beside.chain([&self.first]).map(|tensor| vector(tensor, size_of::<f32>(), n));
        MatmulVectorSizes {
            lhs: factor(&self.lhs, lhs, [m, k]),
            rhs: factor(&self.rhs, rhs, [k, n]),
            out: out.min().unwrap_or(1),
        }
    }
}

/// The strides of rows and columns.
fn strides(order: Order, [rows, columns]: [usize; 2]) -> [usize; 2] {
    match order {
        Order::Rows => [columns, 1],
        Order::Columns => [1, rows],
    }
}

/// The widest vectors of elements of `size` bytes that rows of `along` elements consist of.
fn vector<R: CubeRuntime>(tensor: &CubeTensor<R>, size: usize, along: usize) -> usize {
    let offset = tensor.handle.offset_start.unwrap_or(0) as usize;
    let fits = |&wide: &usize| {
        along.is_multiple_of(wide) && offset.is_multiple_of(wide * tensor.dtype.size())
    };
    tensor.client.io_optimized_vector_sizes(size).find(fits).unwrap_or(1)
}

fn wide() -> StorageType {
    f32::as_type_native_unchecked().storage_type()
}

fn narrow() -> StorageType {
    bf16::as_type_native_unchecked().storage_type()
}

fn has_tensor_cores<R: CubeRuntime>(client: &ComputeClient<R>) -> bool {
    let (narrow, wide) = (narrow(), wide());
    let fits = |it: &MmaConfig| it.a_type == narrow && it.b_type == narrow && it.cd_type == wide;
    client.properties().features.matmul.cmma.iter().any(fits)
}

fn set<R: CubeRuntime>(kernels: &[(&str, Launch<R>)]) -> TunableSet<String, Call<R>, ()> {
    let set = TunableSet::new(Call::<R>::key, |_: &String, call: &Call<R>| call.clone());
    kernels.iter().fold(set, |set, &(name, launch)| set.with(Tunable::new(name, launch)))
}

fn on_units<R: CubeRuntime>() -> [(&'static str, Launch<R>); 2] {
    [
        ("unit", |call| launch::<R, SimpleUnitAlgorithm>(call, Default::default())),
        ("double unit", |call| launch::<R, DoubleUnitAlgorithm>(call, Default::default())),
    ]
}

fn on_tensor_cores<R: CubeRuntime>() -> [(&'static str, Launch<R>); 5] {
    [
        ("double cmma", |call| double(call, TileMatmulKind::Cmma)),
        ("double mma", |call| double(call, TileMatmulKind::Mma)),
        ("ordered mma", |call| {
            let args = OrderedSelectionArgs {
                tile_matmul: TileMatmulKind::Mma,
                partition_k: Some(2),
                row_count: Some(8),
                rows_per_plane: Some(2),
            };
            launch::<R, OrderedDoubleBufferingAlgorithm>(call, args)
        }),
        ("simple mma", |call| {
            let args = SimpleArgs { multi_rows: true, tile_matmul: TileMatmulKind::Mma };
            launch::<R, SimpleAlgorithm>(call, args)
        }),
        ("unit", |call| launch::<R, SimpleUnitAlgorithm>(call, Default::default())),
    ]
}

fn double<R: CubeRuntime>(call: Call<R>, tile_matmul: TileMatmulKind) -> Result<(), String> {
    let args = DoubleBufferingArgs { tile_matmul, specialized: false };
    launch::<R, CyclicDoubleBufferingAlgorithm>(call, args)
}

fn launch<R: CubeRuntime, A: Routine<()>>(
    call: Call<R>,
    strategy: A::Strategy,
) -> Result<(), String> {
    try_launch::<R, A>(call, strategy).map_err(|error| format!("{error:?}"))
}

fn try_launch<R: CubeRuntime, A: Routine<()>>(
    call: Call<R>,
    strategy: A::Strategy,
) -> Result<(), MatmulSetupError> {
    let client = call.first.client.clone();
    let problem = call.problem()?;
    let settings = A::device_settings(&client, call.vectors());
    let strategy = BlueprintStrategy::Inferred(strategy);
    let expanded = A::expand_blueprint(&problem, &settings, &strategy)?;
    let mut info = A::prepare(&problem, &settings, expanded)?;
    // The kernel is laid out for factors that are staged as they are; what they are read as is theirs.
    info.dtypes.lhs_global = call.lhs.dtype.into();
    info.dtypes.rhs_global = call.rhs.dtype.into();
    let Gemm { m, n, k, lhs, rhs, .. } = call.gemm;
    let vectors = info.vector_sizes;
    let extras = ExtrasLaunch::new(
        call.bias.map(plain).into(),
        call.beside
            .map(|tensor| match tensor.dtype.size() {
                4 => SourceLaunch::new(Some(plain(tensor)).into(), None.into()),
                _ => SourceLaunch::new(None.into(), Some(plain(tensor)).into()),
            })
            .into(),
        call.scale.map(plain).into(),
        m as u32,
        n as u32,
        call.rows as u32,
        call.finish,
        vectors.out,
    );
    let (left, right) =
        (info.blueprint.lhs_global_layout_config(), info.blueprint.rhs_global_layout_config());
    let inputs = InputsLaunch::new(
        factor(call.lhs, lhs, [m, k], vectors.lhs, left),
        factor(call.rhs, rhs, [k, n], vectors.rhs, right),
        extras,
    );
    let target = |tensor: CubeTensor<R>| match tensor.dtype.size() {
        4 => TargetLaunch::new(Some(plain(tensor)).into(), None.into()),
        _ => TargetLaunch::new(None.into(), Some(plain(tensor)).into()),
    };
    let outputs = OutputsLaunch::new(target(call.first), call.second.map(target).into());
    asked::launch();
    launch_kernel::<Arguments, R, A>(&client, inputs, outputs, (), info)
}

fn factor<R: CubeRuntime>(
    tensor: CubeTensor<R>,
    order: Order,
    shape: [usize; 2],
    vector: usize,
    config: GlobalLayoutConfig,
) -> ViewArg<cubek::matmul::launch::BatchedCoords, R> {
    let [row, column] = strides(order, shape);
    let layout = GlobalLayoutLaunch::new(
        VirtualLayoutLaunch::new::<NoopLayout>(NoopLayoutLaunch::new()),
        shape[0] as u32,
        shape[1] as u32,
        row,
        column,
        vector,
        1,
        config,
    );
    ViewArg::new_array::<GlobalLayout>(array(tensor), layout)
}

fn plain<R: CubeRuntime>(tensor: CubeTensor<R>) -> ViewArg<usize, R> {
    ViewArg::new_array::<PlainLayout>(array(tensor), ())
}

fn array<R: CubeRuntime>(tensor: CubeTensor<R>) -> ArrayArg<R> {
    let count = tensor.meta.shape().num_elements();
    // SAFETY: the tensor is without gaps, so that its buffer holds as many elements as its shape says.
    unsafe { ArrayArg::from_raw_parts(tensor.handle, count) }
}
