//! Rows of a matrix shared out among the units of cubes.

use cubecl::prelude::*;

use super::frame::UNITS;

/// So many vectors of a row a unit holds, before more units share it.
const HELD: usize = 8;

/// The fewest units that share a row: a plane of most devices.
const LANES: usize = 32;

/// How a cube's units are shared out: those of one place in its second axis have a row together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rows {
    /// Values of a row.
    pub width: usize,
    /// Vectors of a row.
    pub vectors: usize,
    /// Units that share a row.
    pub lanes: usize,
    /// Vectors of a row that a unit has, `lanes` apart; the last of them may be beyond the row.
    pub slots: usize,
    /// Rows that a cube has at once.
    pub rows: usize,
    /// Whether the units that share a row are one plane.
    pub plane: bool,
}

impl Rows {
    /// For rows of `width` values, read in vectors of `vector`.
    pub fn new<R: Runtime>(client: &ComputeClient<R>, width: usize, vector: usize) -> Self {
        let vectors = width / vector;
        let lanes = vectors.div_ceil(HELD).next_power_of_two().clamp(LANES, UNITS);
        let hardware = &client.properties().hardware;
        let plane = hardware.plane_size_min == hardware.plane_size_max
            && hardware.plane_size_min as usize == lanes;
        let slots = vectors.div_ceil(lanes);
        Self { width, vectors, lanes, slots, rows: UNITS / lanes, plane }
    }

    /// The cube.
    pub fn dim(&self) -> CubeDim {
        CubeDim::new_2d(self.lanes as u32, self.rows as u32)
    }
}

/// The sum of `value` over the units that share a row, the same for each of them; `shared` has a place
/// for each unit of the cube.
#[cube]
pub fn across(value: f32, shared: &mut SharedMemory<f32>, #[comptime] rows: Rows) -> f32 {
    if comptime!(rows.plane) { plane_sum(value) } else { fold(value, shared, rows, false) }
}

/// As [`across`], the largest.
#[cube]
pub fn highest(value: f32, shared: &mut SharedMemory<f32>, #[comptime] rows: Rows) -> f32 {
    if comptime!(rows.plane) { plane_max(value) } else { fold(value, shared, rows, true) }
}

#[cube]
fn fold(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] rows: Rows,
    #[comptime] highest: bool,
) -> f32 {
    let lane = UNIT_POS_X as usize;
    let first = UNIT_POS_Y as usize * rows.lanes;
    shared[first + lane] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(rows.lanes.ilog2() as usize) {
        let reach = comptime!(rows.lanes >> (step + 1));
        if lane < reach {
            let own = shared[first + lane];
            let other = shared[first + lane + reach];
            shared[first + lane] = if comptime!(highest) { max(own, other) } else { own + other };
        }
        sync_cube();
    }
    let all = shared[first];
    sync_cube();
    all
}

/// The sum of a vector's values.
#[cube]
pub fn along<N: Size>(vector: Vector<f32, N>) -> f32 {
    let mut sum = f32::new(0.0);
    #[unroll]
    for i in 0..N::value() {
        sum += vector[i];
    }
    sum
}

/// The sum of a lane's vectors over the rows that a cube has at once.
#[cube]
pub fn down<N: Size>(
    shared: &SharedMemory<Vector<f32, N>>,
    lane: usize,
    #[comptime] rows: Rows,
) -> Vector<f32, N> {
    let mut sum = shared[lane];
    #[unroll]
    for row in 1..rows.rows {
        sum += shared[row * rows.lanes + lane];
    }
    sum
}
