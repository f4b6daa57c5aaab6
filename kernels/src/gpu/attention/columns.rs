//! Gradients that are sums over all views and tokens, of qkv's bias and of the table of relative
//! positions: each cube writes its part as it goes, into the partial sums of
//! [`Sums`](crate::gpu::columns::Sums).

use cubecl::prelude::*;

use super::tiles::{Sequence, Tile, UNITS};

/// Where sums are in a row, of which each view's window or block of tokens has one: those of qkv's
/// bias `[3·width]` first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Columns {
    /// Of the queries, of keys and of values each.
    pub width: usize,
    /// Where the table of relative positions `[span², heads]` begins.
    pub relative: usize,
    /// Of a row.
    pub total: usize,
}

/// No sum yet.
#[cube]
pub fn no_rows<N: Size>(sums: &mut Array<Vector<f32, N>>, #[comptime] tile: Tile) {
    #[unroll]
    for part in 0..comptime!(tile.parts()) {
        sums[part] = Vector::new(0.0f32);
    }
}

/// Adds up the unit's own rows that there are.
#[cube]
pub fn add_rows<N: Size>(
    rows: &Array<Vector<f32, N>>,
    sums: &mut Array<Vector<f32, N>>,
    of: &Sequence,
    start: usize,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for i in 0..comptime!(tile.own) {
        if start + UNIT_POS_Y as usize + comptime!(UNITS * i) < of.count {
            #[unroll]
            for part in 0..comptime!(tile.parts()) {
                sums[part] += rows[i * tile.parts() + part];
            }
        }
    }
}

/// Writes the cube's sum of a head's queries, keys or values (`third` 0, 1, 2), times `scale`.
#[cube]
pub fn store_rows<N: Size>(
    sums: &Array<Vector<f32, N>>,
    shared: &mut SharedMemory<Vector<f32, N>>,
    partials: &mut Array<f32>,
    #[comptime] third: usize,
    scale: f32,
    #[comptime] tile: Tile,
    #[comptime] columns: Columns,
) {
    let row = (CUBE_POS_Z * CUBE_COUNT_Y + CUBE_POS_Y) as usize * comptime!(columns.total);
    let head = row
        + comptime!(third * columns.width)
        + CUBE_POS_X as usize * comptime!(tile.vectors) * N::value();
    #[unroll]
    for part in 0..comptime!(tile.parts()) {
        sync_cube();
        shared[UNIT_POS as usize] = sums[part];
        sync_cube();
        let vector = UNIT_POS_X as usize + comptime!(UNITS * part);
        if UNIT_POS_Y == 0 && vector < comptime!(tile.vectors) {
            let mut sum = shared[UNIT_POS_X as usize];
            #[unroll]
            for y in 1..UNITS {
                sum += shared[UNIT_POS_X as usize + comptime!(UNITS * y)];
            }
            #[unroll]
            for lane in 0..N::value() {
                partials[head + vector * N::value() + lane] = sum[lane] * scale;
            }
        }
    }
}
