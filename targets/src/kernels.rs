//! The loops over pixels: plain arithmetic on slices, compiled once for each instruction set and
//! chosen at run time. All values are exact whole numbers but for magnitudes and what is summed
//! from them, so every instruction set gives the same bins.

use multiversion::multiversion;

use crate::direction::Edge;

/// What the gradients of three rows share: for each pixel of a line of one channel, with
/// reflected borders.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    bytes: Vec<f32>,
    /// left − right.
    difference: Vec<f32>,
    /// left + 2 · middle + right.
    sum: Vec<f32>,
}

impl Line {
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0.0; size + 2], difference: vec![0.0; size], sum: vec![0.0; size] }
    }
}

/// Parts a row of RGB bytes into its channels' lines.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(crate) fn split_line(rgb: &[u8], lines: &mut [Line; 3]) {
    let pixels = rgb.as_chunks::<3>().0;
    let size = pixels.len();
    let [red, green, blue] = lines;
    let channels = red.bytes[1..=size]
        .iter_mut()
        .zip(&mut green.bytes[1..=size])
        .zip(&mut blue.bytes[1..=size]);
    for (&[r, g, b], ((red, green), blue)) in pixels.iter().zip(channels) {
        (*red, *green, *blue) = (f32::from(r), f32::from(g), f32::from(b));
    }
    for line in lines {
        line.bytes[0] = line.bytes[2];
        line.bytes[size + 1] = line.bytes[size - 1];
        let (left, right) = (&line.bytes[..size], &line.bytes[2..]);
        let middle = &line.bytes[1..=size];
        let out = line.difference.iter_mut().zip(&mut line.sum);
        for (((difference, sum), (left, right)), middle) in
            out.zip(left.iter().zip(right)).zip(middle)
        {
            *difference = left - right;
            *sum = left + 2.0 * middle + right;
        }
    }
}

/// The gradients of a row of one channel, turned about where that makes gx positive, which the
/// bin does not see.
#[derive(Debug, Clone)]
pub(crate) struct Gradients {
    gx: Vec<f32>,
    gy: Vec<f32>,
    magnitude: Vec<f32>,
}

impl Gradients {
    pub fn new(size: usize) -> Self {
        Self { gx: vec![0.0; size], gy: vec![0.0; size], magnitude: vec![0.0; size] }
    }
}

/// The gradients of the row `here`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(crate) fn gradients(above: &Line, here: &Line, below: &Line, out: &mut Gradients) {
    let size = out.gx.len();
    let differences = above.difference[..size]
        .iter()
        .zip(&here.difference[..size])
        .zip(&below.difference[..size]);
    let sums = above.sum[..size].iter().zip(&below.sum[..size]);
    let out = out.gx.iter_mut().zip(&mut out.gy).zip(&mut out.magnitude);
    for ((((gx, gy), magnitude), ((a, h), b)), (sum_above, sum_below)) in
        out.zip(differences).zip(sums)
    {
        let x = a + 2.0 * h + b;
        let y = sum_above - sum_below;
        *gx = x.abs();
        *gy = if x < 0.0 { -y } else { y };
        *magnitude = (x * x + y * y).sqrt();
    }
}

/// Adds each pixel's magnitude to its slot of its column. `columns` is `[slots, size]`: a slot for
/// each of `upper_edges`, which takes what lies before it and past, not on, the one before; then
/// one for each of `tie_edges`, which takes what lies on it. Three upper edges are handled at a
/// time, so their number must be a multiple of three.
///
/// A pixel's magnitude is kept at hand until its slot is found.
pub(crate) fn sort_by_edge(
    pixels: &mut Gradients,
    upper_edges: &[Edge],
    tie_edges: &[Edge],
    columns: &mut [f32],
) {
    let Gradients { gx, gy, magnitude: at_hand } = pixels;
    let size = gx.len();
    let (inside, on_edges) = columns.split_at_mut(upper_edges.len() * size);
    for (&edge, slot) in tie_edges.iter().zip(on_edges.chunks_exact_mut(size)) {
        take_ties(gx, gy, at_hand, edge, slot);
    }
    let threes = upper_edges.as_chunks().0.iter();
    for (edges, slots) in threes.zip(inside.chunks_exact_mut(3 * size)) {
        let (first, rest) = slots.split_at_mut(size);
        let (second, third) = rest.split_at_mut(size);
        sort_by_three(gx, gy, at_hand, edges, first, second, third);
    }
}

/// [`sort_by_edge`] for one tie edge.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn take_ties(gx: &[f32], gy: &[f32], at_hand: &mut [f32], edge: Edge, slot: &mut [f32]) {
    for (((&gx, &gy), at_hand), slot) in gx.iter().zip(gy).zip(at_hand).zip(slot) {
        let is_on = edge.is_at(gx, gy);
        *slot += if is_on { *at_hand } else { 0.0 };
        *at_hand = if is_on { 0.0 } else { *at_hand };
    }
}

/// [`sort_by_edge`] for three upper edges, whose slots come apart so that the compiler knows that
/// they do not overlap.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn sort_by_three(
    gx: &[f32],
    gy: &[f32],
    at_hand: &mut [f32],
    edges: &[Edge; 3],
    first: &mut [f32],
    second: &mut [f32],
    third: &mut [f32],
) {
    let size = gx.len();
    let (gy, at_hand) = (&gy[..size], &mut at_hand[..size]);
    let (first, second, third) = (&mut first[..size], &mut second[..size], &mut third[..size]);
    let part = |edge: Edge, gx: f32, gy: f32, at_hand: f32| {
        if edge.is_after(gx, gy) { (at_hand, 0.0) } else { (0.0, at_hand) }
    };
    for x in 0..size {
        let (gx, gy) = (gx[x], gy[x]);
        let (before_first, rest) = part(edges[0], gx, gy, at_hand[x]);
        let (before_second, rest) = part(edges[1], gx, gy, rest);
        let (before_third, rest) = part(edges[2], gx, gy, rest);
        first[x] += before_first;
        second[x] += before_second;
        third[x] += before_third;
        at_hand[x] = rest;
    }
}

/// Adds `from` to `into`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(crate) fn add(from: &[f32], into: &mut [f32]) {
    into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
}

/// Sums each `factor` neighbours of `values`; `spare` is a buffer to work in.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(crate) fn fold(values: &mut Vec<f32>, spare: &mut Vec<f32>, mut factor: usize) {
    while factor > 1 {
        if factor.is_multiple_of(2) {
            spare.resize(values.len() / 2, 0.0);
            for (sum, [left, right]) in spare.iter_mut().zip(values.as_chunks().0) {
                *sum = left + right;
            }
            factor /= 2;
        } else {
            spare.clear();
            spare.extend(values.chunks_exact(factor).map(|group| group.iter().sum::<f32>()));
            factor = 1;
        }
        std::mem::swap(values, spare);
    }
}

/// A row of cells of one channel from sums to a histogram of norm 1, cell by cell.
///
/// `bins` is `[bins, grid]` without what lies on lower edges; `ties` is `[edges, grid]`, what lies
/// on those of `tie_edges`. The first is completed and both are divided by the norm, or by `least`
/// if the norm is smaller; `scale` is a buffer of grid values.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(crate) fn normalise(
    bins: &mut [f32],
    ties: &mut [f32],
    tie_edges: &[usize],
    least: f32,
    scale: &mut [f32],
) {
    let grid = scale.len();
    for (&edge, on_edge) in tie_edges.iter().zip(ties.chunks_exact(grid)) {
        let bin = &mut bins[edge * grid..][..grid];
        bin.iter_mut().zip(on_edge).for_each(|(bin, on_edge)| *bin += on_edge);
    }
    scale.fill(0.0);
    for bin in bins.chunks_exact(grid) {
        scale.iter_mut().zip(bin).for_each(|(norm, sum)| *norm += sum * sum);
    }
    scale.iter_mut().for_each(|norm| *norm = 1.0 / norm.sqrt().max(least));
    for row in bins.chunks_exact_mut(grid).chain(ties.chunks_exact_mut(grid)) {
        row.iter_mut().zip(&*scale).for_each(|(sum, scale)| *sum *= scale);
    }
}

/// Writes rows `[count, grid]` as columns `first..first + count` of `out`, which is
/// `[grid, width]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(crate) fn transpose(rows: &[f32], grid: usize, first: usize, out: &mut [f32]) {
    let width = out.len() / grid;
    for (at, row) in (first..).zip(rows.chunks_exact(grid)) {
        for (value, cell) in row.iter().zip(out.chunks_exact_mut(width)) {
            cell[at] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direction::tie_edges;
    use std::f64::consts::PI;

    /// The bin of (gx, gy), or as an error the tie edge it lies on; by its angle, with ties
    /// settled in whole numbers.
    fn expected_slot(gx: i32, gy: i32, bins: usize) -> Result<usize, usize> {
        let eighth = match (gx, gy) {
            (0, _) => Some(0),
            (_, 0) => Some(2),
            _ if gx == gy => Some(1),
            _ if gx == -gy => Some(3),
            _ => None,
        };
        let on = eighth.and_then(|eighth| {
            let mut edges = tie_edges(bins).into_iter();
            edges.position(|edge| edge * 4 == eighth * bins)
        });
        let angle = f64::from(gx).atan2(f64::from(gy)) / PI * bins as f64;
        on.map_or(Ok((angle.floor() as i64).rem_euclid(bins as i64) as usize), Err)
    }

    #[test]
    fn every_gradient_gets_its_slot() {
        let all = -1020..=1020i32;
        for bins in [1, 8, 9, 11, 18] {
            let edge = |number| Edge::new(number, bins);
            let mut upper: Vec<_> = (1..bins).map(edge).collect();
            upper.resize(bins.next_multiple_of(3), Edge::LAST);
            let on: Vec<_> = tie_edges(bins).into_iter().map(edge).collect();
            for gy in all.clone() {
                // As `gradients` gives them, but each of magnitude 1.
                let gxs = all.clone();
                let mut pixels = Gradients {
                    gx: gxs.clone().map(|gx| gx.abs() as f32).collect(),
                    gy: gxs.clone().map(|gx| if gx < 0 { -gy } else { gy } as f32).collect(),
                    magnitude: vec![1.0; all.clone().count()],
                };
                let size = pixels.gx.len();
                let mut columns = vec![0.0; (upper.len() + on.len()) * size];
                sort_by_edge(&mut pixels, &upper, &on, &mut columns);
                for (i, gx) in gxs.enumerate() {
                    let slot = expected_slot(gx, gy, bins).unwrap_or_else(|tie| upper.len() + tie);
                    assert_eq!(columns[slot * size + i], 1.0, "gx {gx}, gy {gy}, {bins} bins");
                }
                assert_eq!(columns.iter().sum::<f32>(), size as f32, "one slot for each");
            }
        }
    }

    #[test]
    fn neighbours_are_summed_by_any_factor() {
        for factor in [1, 2, 3, 4, 6, 7, 12] {
            let mut values: Vec<f32> = (0..factor * 5).map(|i| i as f32).collect();
            let expected: Vec<f32> =
                values.chunks(factor).map(|group| group.iter().sum()).collect();
            fold(&mut values, &mut vec![], factor);
            assert_eq!(values, expected, "factor {factor}");
        }
    }
}
