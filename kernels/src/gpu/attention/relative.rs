//! The gradient of the table of relative positions: sums of scores' gradients over the pairs of a
//! window's tokens that are as far apart.
//!
//! Each unit sums for its own relative positions. The query and how far the key is from it tell the
//! key, which a grid of the window's tokens finds.

use cubecl::prelude::*;

use super::columns::Columns;
use super::tiles::{Sequence, Tables, Tile, UNITS, place, share, token};
use crate::gpu::frame::Maybe;

/// Where a window's tokens are, in shared memory: rows and columns are taken modulo the window's
/// side, which tells the tokens of one window apart.
#[derive(CubeType)]
pub struct Grid {
    /// For each cell the number of its token in the sequence, −1 for none.
    tokens: SharedMemory<i32>,
    /// That token's place.
    places: SharedMemory<i32>,
    /// A block's own rows' places, and rows and columns of their cells.
    own: SharedMemory<i32>,
    own_rows: SharedMemory<i32>,
    own_columns: SharedMemory<i32>,
}

/// An empty one.
#[cube]
pub fn grid(#[comptime] tile: Tile) -> Grid {
    let windows = comptime!(tile.side > 0);
    let cells = comptime!(if windows { tile.side * tile.side } else { 1 });
    let own = comptime!(if windows { tile.own_rows() } else { 1 });
    Grid {
        tokens: SharedMemory::<i32>::new(cells),
        places: SharedMemory::<i32>::new(cells),
        own: SharedMemory::<i32>::new(own),
        own_rows: SharedMemory::<i32>::new(own),
        own_columns: SharedMemory::<i32>::new(own),
    }
}

/// Puts the sequence's tokens in their cells.
#[cube]
pub fn fill(grid: &mut Grid, tables: &Maybe<Tables>, of: &Sequence, #[comptime] tile: Tile) {
    #[comptime]
    match &tables.given {
        ComptimeOption::Some(tables) => {
            let side = comptime!(tile.side as i32);
            let mut cell = UNIT_POS as usize;
            while cell < comptime!(tile.side * tile.side) {
                grid.tokens[cell] = -1i32;
                cell += comptime!(UNITS * UNITS);
            }
            sync_cube();
            let mut at = UNIT_POS as usize;
            while at < of.count {
                let token = tables.tokens[of.first + at] as usize;
                let row = tables.tokens[2 * of.tokens + token];
                let column = tables.tokens[3 * of.tokens + token];
                let cell = ((row % side) * side + column % side) as usize;
                grid.tokens[cell] = at as i32;
                grid.places[cell] = row * comptime!(tile.span() as i32) + column;
                at += comptime!(UNITS * UNITS);
            }
        }
        ComptimeOption::None => {}
    }
}

/// Tells where a block's own rows are.
#[cube]
pub fn fill_own(
    grid: &mut Grid,
    tables: &Maybe<Tables>,
    of: &Sequence,
    start: usize,
    #[comptime] tile: Tile,
) {
    #[comptime]
    match &tables.given {
        ComptimeOption::Some(tables_) => {
            let side = comptime!(tile.side as i32);
            let own = UNIT_POS as usize;
            if own < comptime!(tile.own_rows()) {
                let token = token(tables, of, start + own);
                grid.own[own] = place(tables, of, token, tile);
                grid.own_rows[own] = tables_.tokens[2 * of.tokens + token] % side;
                grid.own_columns[own] = tables_.tokens[3 * of.tokens + token] % side;
            }
        }
        ComptimeOption::None => {}
    }
}

/// `at − less` in a grid's row or column: one side further, or less, where that is outside.
#[cube]
fn wrapped(at: i32, less: i32, #[comptime] side: i32) -> i32 {
    let at = at - less;
    let at = select(at < 0, at + side, at);
    select(at >= side, at - side, at)
}

/// Adds the scores' gradients of a block's own rows, from `start` on, with its other ones, from
/// `from` on, to the unit's relative positions.
#[cube]
pub fn add_positions<M: Size>(
    grid: &Grid,
    shares: &SharedMemory<Vector<f32, M>>,
    positions: &mut Array<f32>,
    of: &Sequence,
    start: usize,
    from: usize,
    #[comptime] tile: Tile,
) {
    let (side, span) = comptime!((tile.side as i32, tile.span() as i32));
    let last = comptime!(tile.relative() as i32 - 1);
    for y in 0..comptime!(if tile.side > 0 { UNITS } else { 0 }) {
        #[unroll]
        for i in 0..comptime!(tile.own) {
            let own = y + comptime!(UNITS * i);
            if start + own < of.count {
                let (row, column) = (grid.own_rows[own], grid.own_columns[own]);
                let place = grid.own[own];
                #[unroll]
                for n in 0..comptime!(tile.positions()) {
                    // Units without a position of their own sum the last one's, and write nothing.
                    let position =
                        min((UNIT_POS as usize + comptime!(UNITS * UNITS * n)) as i32, last);
                    let row = wrapped(row, position / span - (side - 1), side);
                    let column = wrapped(column, position % span - (side - 1), side);
                    let cell = (row * side + column) as usize;
                    let key = grid.tokens[cell] - from as i32;
                    let there = grid.places[cell] == place + comptime!(last / 2) - position;
                    if there && key >= 0 && key < comptime!(tile.other_rows() as i32) {
                        positions[n] += shares[share(key as usize, y)][i];
                    }
                }
            }
        }
    }
}

/// Writes the cube's sums where [`Columns`] says.
#[cube]
pub fn store_positions(
    positions: &Array<f32>,
    partials: &mut Array<f32>,
    #[comptime] tile: Tile,
    #[comptime] columns: Columns,
) {
    let row = (CUBE_POS_Z * CUBE_COUNT_Y + CUBE_POS_Y) as usize * comptime!(columns.total);
    #[unroll]
    for n in 0..comptime!(tile.positions()) {
        let position = UNIT_POS as usize + comptime!(UNITS * UNITS * n);
        if position < comptime!(tile.relative()) {
            let at = position * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
            partials[row + comptime!(columns.relative) + at] = positions[n];
        }
    }
}
