//! The gradient of attention, from probabilities that are made again.
//!
//! With P the softmax, dP = gradient·valuesᵀ, and d the sum of gradient·output over each query's row:
//! dS = P·(dP − d); d queries = dS·keys, d keys = dSᵀ·queries, d values = Pᵀ·gradient.

use cubecl::ir::StorageType;
use cubecl::prelude::*;

use super::columns::{Columns, add_rows, no_rows, store_rows};
use super::relative::{add_positions, fill, fill_own, grid, store_positions};
use super::tiles::{
    Sequence, Tables, Tile, UNITS, add_bias, add_shares, blocks, lanes, load, load_bias, no_sums,
    own_places, place, scores, sequence, share, store, sum_across, thirds, token,
};
use crate::gpu::frame::Maybe;

/// Into the first third of `change` `[views·tokens, 3·width]` the queries' gradient, from that of
/// what was mixed, `upward` `[views·tokens, width]`; into `dots` `[views, heads, tokens]` the sum over
/// each row of `upward·mixed`. Into `partials` ([`Columns`]) the cube's part of the gradients of the
/// queries' bias and of the table of relative positions.
///
/// Cubes as in [`super::forward::attend`].
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)] // They are a kernel's.
pub fn query_gradient<E: Float, G: Float, N: Size, M: Size>(
    qkv: &Array<Vector<E, N>>,
    mixed: &Array<Vector<E, N>>,
    upward: &Array<Vector<G, N>>,
    logsums: &Array<f32>,
    tables: &Maybe<Tables>,
    change: &mut Array<Vector<E, N>>,
    dots: &mut Array<f32>,
    partials: &mut Array<f32>,
    tokens: u32,
    scale: f32,
    #[comptime] tile: Tile,
    #[comptime] columns: Columns,
    #[define(E, G)] _dtypes: [StorageType; 2],
) {
    let (own, other) = comptime!((tile.own_rows(), tile.other_rows()));
    let mut queries = SharedMemory::<Vector<f32, N>>::new(comptime!(own * tile.stride()));
    let mut upwards = SharedMemory::<Vector<f32, N>>::new(comptime!(own * tile.stride()));
    let mut others = SharedMemory::<Vector<f32, N>>::new(comptime!(other * tile.stride()));
    let mut shares = SharedMemory::<Vector<f32, M>>::new(comptime!(other * (UNITS + 1)));
    let mut across = SharedMemory::<Vector<f32, M>>::new(comptime!(UNITS * (UNITS + 1)));
    let mut bias = SharedMemory::<f32>::new(comptime!(Ord::max(tile.relative(), 1)));
    load_bias(tables, &mut bias, tile);

    let of = sequence(tables, tokens as usize, tile);
    let mut biases = Array::<Vector<f32, N>>::new(comptime!(tile.parts()));
    no_rows::<N>(&mut biases, tile);
    let mut grid = grid(tile);
    fill(&mut grid, tables, &of, tile);
    let mut positions = Array::<f32>::new(comptime!(Ord::max(tile.positions(), 1)));
    #[unroll]
    for n in 0..comptime!(tile.positions()) {
        positions[n] = 0.0f32;
    }
    let mut rows = SharedMemory::<Vector<f32, N>>::new(comptime!(UNITS * UNITS));
    let thirds = thirds(&of, scale);
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let (begin, end) = blocks(&of, tile);
    for block in begin..end {
        let start = block * own;
        sync_cube();
        load::<E, N>(qkv, &mut queries, tables, &of, thirds.queries, start, own, tile);
        fill_own(&mut grid, tables, &of, start, tile);
        load::<G, N>(upward, &mut upwards, tables, &of, thirds.mixed, start, own, tile);
        sync_cube();
        let dot = dots_of::<E, N, M>(mixed, &upwards, tables, &of, start, tile);
        let dot = sum_across::<M>(dot, &mut across);
        let mut logsum = Vector::<f32, M>::empty();
        let places = own_places(tables, &of, start, tile);
        #[unroll]
        for i in 0..comptime!(tile.own) {
            let at = start + y + comptime!(UNITS * i);
            let token = token(tables, &of, at);
            logsum[i] = logsums[of.kept + token];
            if x == 0 && at < of.count {
                dots[of.kept + token] = dot[i];
            }
        }

        let mut sums = Array::<Vector<f32, N>>::new(comptime!(tile.own * tile.parts()));
        no_sums::<N>(&mut sums, tile);
        let mut from = 0usize.runtime();
        while from < of.count {
            sync_cube();
            load::<E, N>(qkv, &mut others, tables, &of, thirds.values, from, other, tile);
            sync_cube();
            let mut changes = Array::<f32>::new(comptime!(tile.own * tile.other));
            scores::<N>(&upwards, &others, &mut changes, tile);
            sync_cube();
            load::<E, N>(qkv, &mut others, tables, &of, thirds.keys, from, other, tile);
            sync_cube();
            let mut products = Array::<f32>::new(comptime!(tile.own * tile.other));
            scores::<N>(&queries, &others, &mut products, tile);
            #[unroll]
            for j in 0..comptime!(tile.other) {
                let at = from + x + comptime!(UNITS * j);
                let key = place(tables, &of, token(tables, &of, at), tile);
                add_bias(&mut products, &bias, &places, key, j, true, tile);
                let shared = Vector::exp(lanes::<M>(&products, j, tile) - logsum);
                let shared = shared * (lanes::<M>(&changes, j, tile) - dot);
                let nothing = Vector::<f32, M>::new(0.0f32);
                shares[share(x + comptime!(UNITS * j), y)] = select(at < of.count, shared, nothing);
            }
            sync_cube();
            add_shares::<N, M>(&shares, &others, &mut sums, tile);
            add_positions::<M>(&grid, &shares, &mut positions, &of, start, from, tile);
            from += other;
        }
        store::<E, N>(&sums, change, tables, &of, thirds.queries, start, tile);
        add_rows::<N>(&sums, &mut biases, &of, start, tile);
    }
    store_positions(&positions, partials, tile, columns);
    store_rows::<N>(&biases, &mut rows, partials, 0usize, scale, tile, columns);
}

/// The unit's part of the sum over each of its own rows of the gradient times what was mixed.
#[cube]
fn dots_of<E: Float, N: Size, M: Size>(
    mixed: &Array<Vector<E, N>>,
    upwards: &SharedMemory<Vector<f32, N>>,
    tables: &Maybe<Tables>,
    of: &Sequence,
    start: usize,
    #[comptime] tile: Tile,
) -> Vector<f32, M> {
    let mut dots = Vector::<f32, M>::empty();
    #[unroll]
    for i in 0..comptime!(tile.own) {
        let own = UNIT_POS_Y as usize + comptime!(UNITS * i);
        let row = (of.row + token(tables, of, start + own)) * of.width + of.column;
        let mut sum = 0.0f32;
        #[unroll]
        for part in 0..comptime!(tile.parts()) {
            let vector = UNIT_POS_X as usize + comptime!(UNITS * part);
            if vector < comptime!(tile.vectors) {
                let out = Vector::<f32, N>::cast_from(mixed[row + vector]);
                let product = out * upwards[own * comptime!(tile.stride()) + vector];
                #[unroll]
                for lane in 0..N::value() {
                    sum += product[lane];
                }
            }
        }
        dots[i] = sum;
    }
    dots
}

/// Into the second and third part of `change` the gradients of keys and values; as
/// [`query_gradient`], whose `dots` are an input. A block's own rows are keys, its other ones queries.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)] // They are a kernel's.
pub fn key_gradient<E: Float, G: Float, N: Size, M: Size>(
    qkv: &Array<Vector<E, N>>,
    upward: &Array<Vector<G, N>>,
    logsums: &Array<f32>,
    dots: &Array<f32>,
    tables: &Maybe<Tables>,
    change: &mut Array<Vector<E, N>>,
    partials: &mut Array<f32>,
    tokens: u32,
    scale: f32,
    #[comptime] tile: Tile,
    #[comptime] columns: Columns,
    #[define(E, G)] _dtypes: [StorageType; 2],
) {
    let (own, other) = comptime!((tile.own_rows(), tile.other_rows()));
    let mut keys = SharedMemory::<Vector<f32, N>>::new(comptime!(own * tile.stride()));
    let mut values = SharedMemory::<Vector<f32, N>>::new(comptime!(own * tile.stride()));
    let mut queries = SharedMemory::<Vector<f32, N>>::new(comptime!(other * tile.stride()));
    let mut upwards = SharedMemory::<Vector<f32, N>>::new(comptime!(other * tile.stride()));
    let shared = comptime!(other * (UNITS + 1));
    let mut shares = SharedMemory::<Vector<f32, M>>::new(shared);
    let mut changes = SharedMemory::<Vector<f32, M>>::new(shared);
    let mut key_biases = Array::<Vector<f32, N>>::new(comptime!(tile.parts()));
    let mut value_biases = Array::<Vector<f32, N>>::new(comptime!(tile.parts()));
    no_rows::<N>(&mut key_biases, tile);
    no_rows::<N>(&mut value_biases, tile);
    let mut bias = SharedMemory::<f32>::new(comptime!(Ord::max(tile.relative(), 1)));
    load_bias(tables, &mut bias, tile);

    let of = sequence(tables, tokens as usize, tile);
    let mut rows = SharedMemory::<Vector<f32, N>>::new(comptime!(UNITS * UNITS));
    let thirds = thirds(&of, scale);
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let (begin, end) = blocks(&of, tile);
    for block in begin..end {
        let start = block * own;
        sync_cube();
        load::<E, N>(qkv, &mut keys, tables, &of, thirds.keys, start, own, tile);
        load::<E, N>(qkv, &mut values, tables, &of, thirds.values, start, own, tile);
        let places = own_places(tables, &of, start, tile);
        let sums = comptime!(tile.own * tile.parts());
        let mut key_sums = Array::<Vector<f32, N>>::new(sums);
        let mut value_sums = Array::<Vector<f32, N>>::new(sums);
        no_sums::<N>(&mut key_sums, tile);
        no_sums::<N>(&mut value_sums, tile);
        let mut from = 0usize.runtime();
        while from < of.count {
            sync_cube();
            load::<E, N>(qkv, &mut queries, tables, &of, thirds.queries, from, other, tile);
            load::<G, N>(upward, &mut upwards, tables, &of, thirds.mixed, from, other, tile);
            sync_cube();
            let mut products = Array::<f32>::new(comptime!(tile.own * tile.other));
            let mut upward_products = Array::<f32>::new(comptime!(tile.own * tile.other));
            scores::<N>(&keys, &queries, &mut products, tile);
            scores::<N>(&values, &upwards, &mut upward_products, tile);
            #[unroll]
            for j in 0..comptime!(tile.other) {
                let at = from + x + comptime!(UNITS * j);
                let token = token(tables, &of, at);
                let query = place(tables, &of, token, tile);
                add_bias(&mut products, &bias, &places, query, j, false, tile);
                let logsum = Vector::<f32, M>::new(logsums[of.kept + token]);
                let dot = Vector::<f32, M>::new(dots[of.kept + token]);
                let nothing = Vector::<f32, M>::new(0.0f32);
                let here = at < of.count;
                let share_here = Vector::exp(lanes::<M>(&products, j, tile) - logsum);
                let share_here = select(here, share_here, nothing);
                let row = share(x + comptime!(UNITS * j), y);
                shares[row] = share_here;
                changes[row] = share_here * (lanes::<M>(&upward_products, j, tile) - dot);
            }
            sync_cube();
            add_shares::<N, M>(&shares, &upwards, &mut value_sums, tile);
            add_shares::<N, M>(&changes, &queries, &mut key_sums, tile);
            from += other;
        }
        store::<E, N>(&key_sums, change, tables, &of, thirds.keys, start, tile);
        store::<E, N>(&value_sums, change, tables, &of, thirds.values, start, tile);
        add_rows::<N>(&key_sums, &mut key_biases, &of, start, tile);
        add_rows::<N>(&value_sums, &mut value_biases, &of, start, tile);
    }
    store_rows::<N>(&key_biases, &mut rows, partials, 1usize, 1.0f32, tile, columns);
    store_rows::<N>(&value_biases, &mut rows, partials, 2usize, 1.0f32, tile, columns);
}
