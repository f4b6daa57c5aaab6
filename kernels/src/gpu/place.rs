//! Rows and copies of a token put in places, with positions added.

use burn::tensor::DType;
use burn::tensor::backend::Backend;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::columns::Sums;
use super::frame::{
    Maybe, UNITS, array, client, cubes, dims, empty, flat, maybe, reshape, vector, whole,
};
use super::rows::{Rows, down};
use crate::Place;

/// Units that share a row.
const LANES: usize = 32;

/// Views whose gradients of positions are summed up one after the other.
const VIEWS: usize = 16;

/// A row's units.
fn units(width: usize) -> Rows {
    let vectors = width / vector(width);
    let slots = vectors.div_ceil(LANES);
    Rows { width, vectors, lanes: LANES, slots, rows: UNITS / LANES, plane: false }
}

/// The operation with its tables.
struct Placed<R: CubeRuntime> {
    views: usize,
    /// Rows of x in a view.
    rows: usize,
    places: usize,
    width: usize,
    /// The row in each place.
    table: Option<CubeTensor<R>>,
    /// The position in each place.
    at: Option<CubeTensor<R>>,
}

impl<R: CubeRuntime> Placed<R> {
    fn new<B>(op: &Place<B>, x: &CubeTensor<R>) -> Self
    where
        B: Backend<IntTensorPrimitive = CubeTensor<R>>,
    {
        let [views, rows, width] = dims(x);
        let table: Option<CubeTensor<R>> = op.rows.as_ref().map(whole);
        let places = table.as_ref().map_or(rows + 1, |table| dims::<R, 2>(table)[1]);
        Self { views, rows, places, width, table, at: op.at.as_ref().map(whole) }
    }

    /// The gradient of x, each of whose rows is in one place or in none.
    fn of_rows(&self, upward: &CubeTensor<R>) -> CubeTensor<R> {
        let by = units(self.width);
        let dx = empty(upward, [self.views, self.rows, self.width], DType::F32);
        let count = self.views * self.rows;
        // SAFETY: the kernel writes the given number of rows, which the output is of, and reads places
        // that there are.
        unsafe {
            rows_kernel::launch_unchecked::<R>(
                client(upward),
                cubes(upward, count.div_ceil(by.rows)),
                by.dim(),
                vector(self.width),
                array(upward),
                maybe(self.table.as_ref()),
                array(&dx),
                count,
                self.rows,
                self.places,
                by,
            );
        }
        dx
    }

    /// The gradients of the token and, where there is one for each place, of the positions.
    fn of_token(
        &self,
        upward: &CubeTensor<R>,
        positions: bool,
    ) -> (CubeTensor<R>, Option<CubeTensor<R>>) {
        let (by, width) = (units(self.width), self.width);
        // Without a table the token is in the first place alone.
        let places = if positions || self.table.is_some() { self.places } else { 1 };
        let chunks = places.div_ceil(by.rows);
        let sums = Sums::new_of(upward, chunks, &[width]);
        let positions = positions.then(|| empty(upward, [places, width], DType::F32));
        let total = sums.total() / vector(width);
        // SAFETY: the kernel leaves out places and columns beyond the last, and writes a row of sums
        // for each of the cubes in its second axis.
        unsafe {
            token_kernel::launch_unchecked::<R>(
                client(upward),
                CubeCount::new_2d(by.slots as u32, chunks as u32),
                by.dim(),
                vector(width),
                array(upward),
                maybe(self.table.as_ref()),
                maybe(positions.as_ref()),
                array(sums.partials()),
                self.views,
                places,
                self.places,
                by,
                total,
            );
        }
        let token = sums.finish().pop().expect("there is one sum");
        (reshape(token, [1, 1, width]), positions)
    }

    /// The gradient of `count` positions, each of which may be in any places.
    fn of_positions(
        &self,
        upward: &CubeTensor<R>,
        at: &CubeTensor<R>,
        count: usize,
    ) -> CubeTensor<R> {
        let (by, width) = (units(self.width), self.width);
        let chunks = self.views.div_ceil(VIEWS);
        let sums = Sums::new_of(upward, chunks, &[count * width]);
        let total = sums.total() / vector(width);
        // SAFETY: the kernel leaves out positions and columns beyond the last, and writes a row of sums
        // for each of the cubes in its second axis.
        unsafe {
            positions_kernel::launch_unchecked::<R>(
                client(upward),
                CubeCount::new_2d(count.div_ceil(by.rows) as u32, chunks as u32),
                by.dim(),
                vector(width),
                array(upward),
                array(at),
                array(sums.partials()),
                count,
                self.views,
                self.places,
                by,
                total,
            );
        }
        let positions = sums.finish().pop().expect("there is one sum");
        reshape(positions, [count, width])
    }
}

/// The operation's output; it keeps nothing.
pub fn run<B, R>(op: &Place<B>, inputs: &[CubeTensor<R>]) -> (CubeTensor<R>, Vec<CubeTensor<R>>)
where
    B: Backend<IntTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let [x, token, positions @ ..] = inputs else { unreachable!("there are x and a token") };
    let of = Placed::new(op, x);
    let by = vector(of.width);
    let vectors = of.width / by;
    let output = empty(x, [of.views, of.places, of.width], DType::F32);
    let count = of.views * of.places * vectors;
    let (cubes, dim) = flat(x, count);
    // SAFETY: the kernel leaves out what is beyond the given number of vectors, which the output is of,
    // and reads rows that there are, as the operation asks of its tables.
    unsafe {
        place_kernel::launch_unchecked::<R>(
            client(x),
            cubes,
            dim,
            by,
            array(x),
            array(token),
            maybe(positions.first()),
            maybe(of.table.as_ref()),
            maybe(of.at.as_ref()),
            array(&output),
            count,
            of.rows,
            of.places,
            vectors,
        );
    }
    (output, vec![])
}

/// The operation's gradients.
pub fn gradients<B, R>(
    op: &Place<B>,
    inputs: &[CubeTensor<R>],
    upward: &CubeTensor<R>,
    needs: &[bool],
) -> Vec<Option<CubeTensor<R>>>
where
    B: Backend<IntTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let of = Placed::new(op, &inputs[0]);
    let dx = needs[0].then(|| of.of_rows(upward));
    let positions = needs.get(2).copied().unwrap_or(false);
    let each = positions && of.at.is_none();
    let (token, each) = match needs[1] || each {
        true => {
            let (token, each) = of.of_token(upward, each);
            (Some(token), each)
        }
        false => (None, None),
    };
    let positions = match &of.at {
        Some(at) if positions => {
            let [count, _] = dims(&inputs[2]);
            Some(of.of_positions(upward, at, count))
        }
        _ => each,
    };
    let mut all = vec![dx, token, positions];
    all.truncate(inputs.len());
    all
}

/// The row of x in a place, the `cell`th of all views' and the `place`th of its own; none is below 0.
#[cube]
fn row_in(table: &Maybe<Array<i32>>, cell: usize, place: usize) -> i32 {
    #[comptime]
    match &table.given {
        ComptimeOption::Some(table) => table[cell],
        ComptimeOption::None => i32::cast_from(place) - 1,
    }
}

#[cube(launch_unchecked)]
fn place_kernel<N: Size>(
    x: &Array<Vector<f32, N>>,
    token: &Array<Vector<f32, N>>,
    positions: &Maybe<Array<Vector<f32, N>>>,
    table: &Maybe<Array<i32>>,
    at: &Maybe<Array<i32>>,
    output: &mut Array<Vector<f32, N>>,
    count: usize,
    rows: usize,
    places: usize,
    #[comptime] vectors: usize,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let (cell, column) = (ABSOLUTE_POS / vectors, ABSOLUTE_POS % vectors);
    let (view, place) = (cell / places, cell % places);
    let row = row_in(table, cell, place);
    let mut value = token[column];
    if row >= 0 {
        value = x[(view * rows + row as usize) * vectors + column];
    }
    #[comptime]
    if let ComptimeOption::Some(positions) = &positions.given {
        #[comptime]
        let position = match &at.given {
            ComptimeOption::Some(at) => at[cell] as usize,
            ComptimeOption::None => place,
        };
        value += positions[position * vectors + column];
    }
    output[ABSOLUTE_POS] = value;
}

/// A row of x for each of a cube's: its units look for its place together.
#[cube(launch_unchecked)]
fn rows_kernel<N: Size>(
    upward: &Array<Vector<f32, N>>,
    table: &Maybe<Array<i32>>,
    dx: &mut Array<Vector<f32, N>>,
    count: usize,
    rows: usize,
    places: usize,
    #[comptime] by: Rows,
) {
    let (lane, line) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let own = CUBE_POS * by.rows + line;
    let (view, row) = (min(own, count - 1) / rows, min(own, count - 1) % rows);
    let mut found = SharedMemory::<u32>::new(by.rows);
    #[comptime]
    match &table.given {
        ComptimeOption::Some(table) => {
            if lane == 0 {
                found[line] = places as u32;
            }
            sync_cube();
            let mut place = lane;
            while place < places {
                if table[view * places + place] == row as i32 {
                    found[line] = place as u32;
                }
                place += by.lanes;
            }
        }
        ComptimeOption::None => {
            if lane == 0 {
                found[line] = row as u32 + 1;
            }
        }
    }
    sync_cube();
    let place = found[line] as usize;
    if own < count {
        #[unroll]
        for slot in 0..by.slots {
            let column = slot * by.lanes + lane;
            if column < by.vectors {
                let mut value = Vector::<f32, N>::new(0.0);
                if place < places {
                    value = upward[(view * places + place) * by.vectors + column];
                }
                dx[own * by.vectors + column] = value;
            }
        }
    }
}

/// The sums over all views of `counted` places, and of those that the token is in.
#[cube(launch_unchecked)]
fn token_kernel<N: Size>(
    upward: &Array<Vector<f32, N>>,
    table: &Maybe<Array<i32>>,
    positions: &mut Maybe<Array<Vector<f32, N>>>,
    partials: &mut Array<Vector<f32, N>>,
    views: usize,
    counted: usize,
    places: usize,
    #[comptime] by: Rows,
    #[comptime] total: usize,
) {
    let (lane, line) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let column = CUBE_POS_X as usize * by.lanes + lane;
    let place = CUBE_POS_Y as usize * by.rows + line;
    let mut all = Vector::<f32, N>::new(0.0);
    let mut of_token = Vector::<f32, N>::new(0.0);
    if column < by.vectors && place < counted {
        for view in 0..views {
            let cell = view * places + place;
            let value = upward[cell * by.vectors + column];
            all += value;
            if row_in(table, cell, place) < 0 {
                of_token += value;
            }
        }
        #[comptime]
        if let ComptimeOption::Some(positions) = &mut positions.given {
            positions[place * by.vectors + column] = all;
        }
    }
    let mut shared = SharedMemory::<Vector<f32, N>>::new(by.lanes * by.rows);
    shared[line * by.lanes + lane] = of_token;
    sync_cube();
    if line == 0 && column < by.vectors {
        partials[CUBE_POS_Y as usize * total + column] = down(&shared, lane, by);
    }
}

/// The sums over the places of some views that a position is in, for each of a cube's.
#[cube(launch_unchecked)]
fn positions_kernel<N: Size>(
    upward: &Array<Vector<f32, N>>,
    at: &Array<i32>,
    partials: &mut Array<Vector<f32, N>>,
    count: usize,
    views: usize,
    places: usize,
    #[comptime] by: Rows,
    #[comptime] total: usize,
) {
    let lane = UNIT_POS_X as usize;
    let own = CUBE_POS_X as usize * by.rows + UNIT_POS_Y as usize;
    if own < count {
        let mut sums = Array::<Vector<f32, N>>::new(by.slots);
        #[unroll]
        for slot in 0..by.slots {
            sums[slot] = Vector::new(0.0);
        }
        let first = CUBE_POS_Y as usize * VIEWS;
        let end = min(first + VIEWS, views);
        for cell in first * places..end * places {
            if at[cell] == own as i32 {
                #[unroll]
                for slot in 0..by.slots {
                    let column = slot * by.lanes + lane;
                    if column < by.vectors {
                        sums[slot] += upward[cell * by.vectors + column];
                    }
                }
            }
        }
        #[unroll]
        for slot in 0..by.slots {
            let column = slot * by.lanes + lane;
            if column < by.vectors {
                let begin = CUBE_POS_Y as usize * total + own * by.vectors;
                partials[begin + column] = sums[slot];
            }
        }
    }
}
