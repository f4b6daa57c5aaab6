//! Where a product's kernel reads its factors and writes its sums, and what it does to a sum on its
//! way out. The product itself is cubek's.
//!
//! All buffers are without gaps and their sizes are told by scalars, so that a launch uploads nothing.

use cubecl::prelude::barrier::BarrierExpand;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::{Coords1d, Coords2d, Layout, LayoutExpand};
use cubecl::std::tensor::{
    View, ViewOperations, ViewOperationsExpand, ViewOperationsMut, ViewOperationsMutExpand,
};
use cubek::matmul::components::global::memory::GlobalLayoutConfig;
use cubek::matmul::launch::{BatchedCoords, MatmulArgs};
use half::bf16;

use crate::gpu::frame::Maybe;

/// What is made of a sum, to which the bias has been added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// It is the product.
    Plain,
    /// Its GELU is; and it is kept as well where there is a second output.
    Gelu,
    /// It is multiplied by the derivative of the GELU.
    GeluGradient,
    /// It is scaled and added to what is there.
    Residual,
}

/// Values of f32 or bfloat16, of which one is there.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Source<EO: CubePrimitive> {
    pub wide: Maybe<View<Vector<f32, EO::Size>, Coords1d>>,
    pub narrow: Maybe<View<Vector<bf16, EO::Size>, Coords1d>>,
}

/// As [`Source`], to be written.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Target<EO: CubePrimitive> {
    pub wide: Maybe<View<Vector<f32, EO::Size>, Coords1d, ReadWrite>>,
    pub narrow: Maybe<View<Vector<bf16, EO::Size>, Coords1d, ReadWrite>>,
}

/// What a sum is finished with.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Extras<EO: CubePrimitive> {
    /// `[n]`: is added.
    pub bias: Maybe<View<Vector<f32, EO::Size>, Coords1d>>,
    /// `[m, n]`: what the GELU's derivative is taken at, or what the branch is added to.
    pub beside: Maybe<Source<EO>>,
    /// `[views]`.
    pub scale: Maybe<View<f32, Coords1d>>,
    pub m: u32,
    pub n: u32,
    /// Rows of a view.
    pub rows: u32,
    #[cube(comptime)]
    pub finish: Finish,
    /// Of the vectors of the output.
    #[cube(comptime)]
    pub width: usize,
}

#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Inputs<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive> {
    pub lhs: View<Lhs, BatchedCoords>,
    pub rhs: View<Rhs, BatchedCoords>,
    pub extras: Extras<EO>,
}

#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Outputs<EO: CubePrimitive> {
    pub first: Target<EO>,
    pub second: Maybe<Target<EO>>,
}

#[derive(CubeType, Clone, Copy)]
pub struct State<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive> {
    inputs: Inputs<Lhs, Rhs, EO>,
    outputs: Outputs<EO>,
    #[cube(comptime)]
    bounds: GlobalLayoutConfig,
}

/// What cubek's products take.
#[derive(Clone)]
pub struct Arguments;

#[cube]
impl MatmulArgs for Arguments {
    type Input<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive> = Inputs<Lhs, Rhs, EO>;
    type Output<EO: CubePrimitive> = Outputs<EO>;
    type Config = ();
    type State<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive> = State<Lhs, Rhs, EO>;

    fn init_state<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        input: &Self::Input<Lhs, Rhs, EO>,
        output: &mut Self::Output<EO>,
        _config: (),
        #[comptime] _lhs_layout_config: GlobalLayoutConfig,
        #[comptime] _rhs_layout_config: GlobalLayoutConfig,
        #[comptime] out_layout_config: GlobalLayoutConfig,
    ) -> Self::State<Lhs, Rhs, EO> {
        State::<Lhs, Rhs, EO> { inputs: *input, outputs: *output, bounds: out_layout_config }
    }

    fn view_lhs<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        state: &Self::State<Lhs, Rhs, EO>,
    ) -> View<Lhs, BatchedCoords> {
        state.inputs.lhs
    }

    fn batch_lhs<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        _state: &Self::State<Lhs, Rhs, EO>,
        batch: usize,
    ) -> usize {
        batch
    }

    fn view_rhs<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        state: &Self::State<Lhs, Rhs, EO>,
    ) -> View<Rhs, BatchedCoords> {
        state.inputs.rhs
    }

    fn batch_rhs<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        _state: &Self::State<Lhs, Rhs, EO>,
        batch: usize,
    ) -> usize {
        batch
    }

    fn view_acc<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        _state: &Self::State<Lhs, Rhs, EO>,
    ) -> ComptimeOption<View<EO, BatchedCoords>> {
        ComptimeOption::new_None()
    }

    fn batch_acc<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        _state: &Self::State<Lhs, Rhs, EO>,
        batch: usize,
    ) -> usize {
        batch
    }

    fn view_out<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        state: &mut Self::State<Lhs, Rhs, EO>,
    ) -> View<EO, BatchedCoords, ReadWrite> {
        let extras = state.inputs.extras;
        let cells = Cells { rows: extras.m, columns: extras.n, bounds: state.bounds };
        let mut writer = Writer::<EO> { extras, outputs: state.outputs };
        View::new_mut::<Writer<EO>, Coords2d>(&mut writer, cells)
    }

    fn batch_out<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        _state: &Self::State<Lhs, Rhs, EO>,
        batch: usize,
    ) -> usize {
        batch
    }

    fn runtime_config<Lhs: CubePrimitive, Rhs: CubePrimitive, EO: CubePrimitive>(
        _state: &Self::State<Lhs, Rhs, EO>,
    ) {
    }
}

/// The product's cells, of which there is one batch.
#[derive(CubeType, Clone, Copy)]
struct Cells {
    rows: u32,
    columns: u32,
    #[cube(comptime)]
    bounds: GlobalLayoutConfig,
}

#[cube]
impl Layout for Cells {
    type Coordinates = BatchedCoords;
    type SourceCoordinates = Coords2d;

    fn to_source_pos(&self, pos: Self::Coordinates) -> Self::SourceCoordinates {
        let (_, row, column) = pos;
        (row, column)
    }

    fn to_source_pos_checked(&self, pos: Self::Coordinates) -> (Self::SourceCoordinates, bool) {
        (self.to_source_pos(pos), self.is_in_bounds(pos))
    }

    fn shape(&self) -> Self::Coordinates {
        (1usize.runtime(), self.rows, self.columns)
    }

    fn is_in_bounds(&self, pos: Self::Coordinates) -> bool {
        let (_, row, column) = pos;
        let bounds = self.bounds.comptime();
        match (bounds.check_row_bounds, bounds.check_col_bounds) {
            (true, true) => row < self.rows && column < self.columns,
            (true, false) => row < self.rows,
            (false, true) => column < self.columns,
            (false, false) => true,
        }
    }
}

/// Takes sums to their cells.
#[derive(CubeType, Clone, Copy)]
struct Writer<EO: CubePrimitive> {
    extras: Extras<EO>,
    outputs: Outputs<EO>,
}

/// Finishes the sums of a vector of cells of a row and writes what has become of them.
#[cube]
fn write<EO: CubePrimitive>(writer: &Writer<EO>, row: u32, column: u32, sums: EO) {
    let extras = writer.extras;
    let outputs = writer.outputs;
    let width = extras.width;
    let at = (row as usize * extras.n as usize + column as usize) / width;
    let sums = Vector::<f32, EO::Size>::cast_from(sums);
    let sums = biased::<EO::Size>(sums, extras.bias.given, column as usize / width);
    match extras.finish.comptime() {
        Finish::Plain => store::<EO>(outputs.first, at, sums),
        Finish::Gelu => {
            store::<EO>(outputs.first, at, gelu::<EO::Size>(sums));
            #[comptime]
            match outputs.second.given {
                ComptimeOption::Some(second) => store::<EO>(second, at, sums),
                ComptimeOption::None => {}
            }
        }
        Finish::GeluGradient => {
            let slope = gelu_slope::<EO::Size>(load::<EO>(extras.beside.given.unwrap(), at));
            store::<EO>(outputs.first, at, sums * slope);
        }
        Finish::Residual => {
            let branch = scaled::<EO::Size>(sums, extras.scale.given, (row / extras.rows) as usize);
            store::<EO>(outputs.first, at, load::<EO>(extras.beside.given.unwrap(), at) + branch);
        }
    }
}

#[cube]
fn biased<N: Size>(
    sums: Vector<f32, N>,
    bias: ComptimeOption<View<Vector<f32, N>, Coords1d>>,
    at: usize,
) -> Vector<f32, N> {
    #[comptime]
    match bias {
        ComptimeOption::Some(bias) => sums + bias.read(at),
        ComptimeOption::None => sums,
    }
}

#[cube]
fn scaled<N: Size>(
    sums: Vector<f32, N>,
    scale: ComptimeOption<View<f32, Coords1d>>,
    view: usize,
) -> Vector<f32, N> {
    #[comptime]
    match scale {
        ComptimeOption::Some(scale) => sums * Vector::new(scale.read(view)),
        ComptimeOption::None => sums,
    }
}

#[cube]
fn load<EO: CubePrimitive>(from: Source<EO>, at: usize) -> Vector<f32, EO::Size> {
    #[comptime]
    match from.wide.given {
        ComptimeOption::Some(wide) => wide.read(at),
        ComptimeOption::None => {
            Vector::<f32, EO::Size>::cast_from(from.narrow.given.unwrap().read(at))
        }
    }
}

#[cube]
fn store<EO: CubePrimitive>(to: Target<EO>, at: usize, values: Vector<f32, EO::Size>) {
    #[comptime]
    match to.wide.given {
        ComptimeOption::Some(wide) => wide.write(at, values),
        ComptimeOption::None => {
            to.narrow.given.unwrap().write(at, Vector::<bf16, EO::Size>::cast_from(values));
        }
    }
}

/// x·Φ(x).
#[cube]
fn gelu<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    x * normal::<N>(x)
}

/// Φ(x) + x·φ(x).
#[cube]
fn gelu_slope<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    // 1 / √2π.
    let peak = Vector::new(0.398_942_3_f32);
    let density = (x * x * Vector::new(-0.5_f32)).exp() * peak;
    normal::<N>(x) + x * density
}

/// Φ(x): the share of a standard normal distribution below x.
#[cube]
fn normal<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let root = comptime!(core::f32::consts::FRAC_1_SQRT_2);
    let half = Vector::new(0.5_f32);
    (x * Vector::new(root)).erf() * half + half
}

impl<EO: CubePrimitive> Vectorized for Writer<EO> {}

impl<EO: CubePrimitive> VectorizedExpand for WriterExpand<EO> {
    fn vector_size(&self) -> usize {
        self.extras.width
    }
}

impl<EO: CubePrimitive> ViewOperations<EO, Coords2d> for Writer<EO> {}

// A product's kernel asks its output for its shape, and writes; nothing is ever read from it.
impl<EO: CubePrimitive> ViewOperationsExpand<EO, Coords2d> for WriterExpand<EO> {
    fn __expand_read_method(
        &self,
        _: &mut Scope,
        _: <Coords2d as CubeType>::ExpandType,
    ) -> NativeExpand<EO> {
        unreachable!("a product isn't read")
    }

    fn __expand_read_checked_method(
        &self,
        _: &mut Scope,
        _: <Coords2d as CubeType>::ExpandType,
    ) -> NativeExpand<EO> {
        unreachable!("a product isn't read")
    }

    fn __expand_read_masked_method(
        &self,
        _: &mut Scope,
        _: <Coords2d as CubeType>::ExpandType,
        _: NativeExpand<EO>,
    ) -> NativeExpand<EO> {
        unreachable!("a product isn't read")
    }

    fn __expand_read_unchecked_method(
        &self,
        _: &mut Scope,
        _: <Coords2d as CubeType>::ExpandType,
    ) -> NativeExpand<EO> {
        unreachable!("a product isn't read")
    }

    fn __expand_to_linear_slice_method(
        &self,
        _: &mut Scope,
        _: <Coords2d as CubeType>::ExpandType,
        _: <Coords2d as CubeType>::ExpandType,
    ) -> SliceExpand<EO, ReadOnly> {
        unreachable!("a product isn't read")
    }

    fn __expand_tensor_map_load_method(
        &self,
        _: &mut Scope,
        _: BarrierExpand,
        _: SliceExpand<EO, ReadWrite>,
        _: <Coords2d as CubeType>::ExpandType,
    ) {
        unreachable!("a product isn't read")
    }

    fn __expand_shape_method(&self, _: &mut Scope) -> <Coords2d as CubeType>::ExpandType {
        (self.extras.m.clone(), self.extras.n.clone())
    }

    fn __expand_is_in_bounds_method(
        &self,
        scope: &mut Scope,
        (row, column): <Coords2d as CubeType>::ExpandType,
    ) -> NativeExpand<bool> {
        let row = lt::expand(scope, row, self.extras.m.clone());
        let column = lt::expand(scope, column, self.extras.n.clone());
        and::expand(scope, row, column)
    }
}

impl<EO: CubePrimitive> ViewOperationsMut<EO, Coords2d> for Writer<EO> {}

impl<EO: CubePrimitive> ViewOperationsMutExpand<EO, Coords2d> for WriterExpand<EO> {
    fn __expand_write_method(
        &self,
        scope: &mut Scope,
        (row, column): <Coords2d as CubeType>::ExpandType,
        value: NativeExpand<EO>,
    ) {
        write::expand::<EO>(scope, self.clone(), row, column, value);
    }

    // Bounds are the layout's to check.
    fn __expand_write_checked_method(
        &self,
        scope: &mut Scope,
        pos: <Coords2d as CubeType>::ExpandType,
        value: NativeExpand<EO>,
    ) {
        self.__expand_write_method(scope, pos, value);
    }

    fn __expand_to_linear_slice_mut_method(
        &self,
        _: &mut Scope,
        _: <Coords2d as CubeType>::ExpandType,
        _: <Coords2d as CubeType>::ExpandType,
    ) -> SliceExpand<EO, ReadWrite> {
        unreachable!("a product is written vector by vector")
    }

    fn __expand_tensor_map_store_method(
        &self,
        _: &mut Scope,
        _: SliceExpand<EO, ReadOnly>,
        _: <Coords2d as CubeType>::ExpandType,
    ) {
        unreachable!("a product is written vector by vector")
    }
}
