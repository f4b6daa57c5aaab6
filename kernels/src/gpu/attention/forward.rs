//! Attention: softmax(queries·keysᵀ + bias)·values, in one pass over the keys.

use cubecl::ir::StorageType;
use cubecl::prelude::*;

use super::tiles::{
    APART, Tables, Tile, UNITS, add_bias, add_shares, blocks, lanes, load, load_bias, no_sums,
    own_places, place, scores, sequence, share, store, sum_across, thirds, token,
};
use crate::gpu::frame::Maybe;

/// From qkv `[views·tokens, 3·width]` to `mixed` `[views·tokens, width]`; and in `logsums`
/// `[views, heads, tokens]` the logarithm of the sum that each row of the softmax is divided by.
///
/// Cubes are heads × windows × views, each with the queries of its window block by block; or heads ×
/// blocks of queries × views.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)] // They are a kernel's.
pub fn attend<E: Float, N: Size, M: Size>(
    qkv: &Array<Vector<E, N>>,
    tables: &Maybe<Tables>,
    mixed: &mut Array<Vector<E, N>>,
    logsums: &mut Array<f32>,
    tokens: u32,
    scale: f32,
    #[comptime] tile: Tile,
    #[define(E)] _dtype: StorageType,
) {
    let (own, other) = comptime!((tile.own_rows(), tile.other_rows()));
    let mut queries = SharedMemory::<Vector<f32, N>>::new(comptime!(own * tile.stride()));
    let mut others = SharedMemory::<Vector<f32, N>>::new(comptime!(other * tile.stride()));
    let mut shares = SharedMemory::<Vector<f32, M>>::new(comptime!(other * (UNITS + 1)));
    let mut across = SharedMemory::<Vector<f32, M>>::new(comptime!(UNITS * (UNITS + 1)));
    let mut bias = SharedMemory::<f32>::new(comptime!(Ord::max(tile.relative(), 1)));
    load_bias(tables, &mut bias, tile);

    let of = sequence(tables, tokens as usize, tile);
    let thirds = thirds(&of, scale);
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let (begin, end) = blocks(&of, tile);
    for block in begin..end {
        let start = block * own;
        sync_cube();
        load::<E, N>(qkv, &mut queries, tables, &of, thirds.queries, start, own, tile);
        let places = own_places(tables, &of, start, tile);
        let mut most = Vector::<f32, M>::new(APART);
        let mut total = Vector::<f32, M>::new(0.0f32);
        let mut sums = Array::<Vector<f32, N>>::new(comptime!(tile.own * tile.parts()));
        no_sums::<N>(&mut sums, tile);
        let mut from = 0usize.runtime();
        while from < of.count {
            sync_cube();
            load::<E, N>(qkv, &mut others, tables, &of, thirds.keys, from, other, tile);
            sync_cube();
            let mut products = Array::<f32>::new(comptime!(tile.own * tile.other));
            scores::<N>(&queries, &others, &mut products, tile);
            let mut highest = most;
            #[unroll]
            for j in 0..comptime!(tile.other) {
                let at = from + x + comptime!(UNITS * j);
                let key = place(tables, &of, token(tables, &of, at), tile);
                add_bias(&mut products, &bias, &places, key, j, true, tile);
                leave_out(&mut products, at >= of.count, j, tile);
                highest = max(highest, lanes::<M>(&products, j, tile));
            }
            across[share(y, x)] = highest;
            sync_cube();
            load::<E, N>(qkv, &mut others, tables, &of, thirds.values, from, other, tile);
            #[unroll]
            for unit in 0..UNITS {
                highest = max(highest, across[share(y, unit)]);
            }
            let keep = Vector::exp(most - highest);
            most = highest;
            total *= keep;
            #[unroll]
            for j in 0..comptime!(tile.other) {
                let shared = Vector::exp(lanes::<M>(&products, j, tile) - most);
                total += shared;
                shares[share(x + comptime!(UNITS * j), y)] = shared;
            }
            multiply::<N, M>(&mut sums, keep, tile);
            sync_cube();
            add_shares::<N, M>(&shares, &others, &mut sums, tile);
            from += other;
        }

        let total = sum_across::<M>(total, &mut across);
        #[unroll]
        for i in 0..comptime!(tile.own) {
            let at = start + y + comptime!(UNITS * i);
            if x == 0 && at < of.count {
                logsums[of.kept + token(tables, &of, at)] = most[i] + f32::ln(total[i]);
            }
        }
        multiply::<N, M>(&mut sums, Vector::<f32, M>::new(1.0f32) / total, tile);
        store::<E, N>(&sums, mixed, tables, &of, thirds.mixed, start, tile);
    }
}

/// Gives the unit's scores with its other row `j` no weight, where it is not there.
#[cube]
fn leave_out(scores: &mut Array<f32>, outside: bool, #[comptime] j: usize, #[comptime] tile: Tile) {
    #[unroll]
    for i in 0..comptime!(tile.own) {
        scores[i * tile.other + j] = select(outside, APART, scores[i * tile.other + j]);
    }
}

/// Multiplies each of the unit's own rows by its factor.
#[cube]
fn multiply<N: Size, M: Size>(
    sums: &mut Array<Vector<f32, N>>,
    by: Vector<f32, M>,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for i in 0..comptime!(tile.own) {
        #[unroll]
        for part in 0..comptime!(tile.parts()) {
            sums[i * tile.parts() + part] *= Vector::new(by[i]);
        }
    }
}
