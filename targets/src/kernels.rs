//! The loops over pixels: plain arithmetic on slices, compiled once for each instruction set and
//! chosen at run time. Bins follow from whole numbers and their ratios, which every instruction set
//! rounds alike, as it does sums and roots in one order.

use multiversion::multiversion;

use crate::direction::Edge;

/// Pixels that are handled together: those of the largest vectors.
pub(crate) const LANES: usize = 16;

/// The numbers that a row of `size` pixels takes, with what is missing to whole vectors.
pub(crate) fn padded(size: usize) -> usize {
    size.next_multiple_of(LANES)
}

/// What the gradients of three rows share: for each pixel of a line of one channel, with
/// reflected borders, and zeros up to whole vectors.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    bytes: Vec<f32>,
    /// left − right.
    difference: Vec<[f32; LANES]>,
    /// left + 2 · middle + right.
    sum: Vec<[f32; LANES]>,
}

impl Line {
    pub fn new(size: usize) -> Self {
        let vectors = vec![[0.0; LANES]; size.div_ceil(LANES)];
        Self { bytes: vec![0.0; size + 2], difference: vectors.clone(), sum: vectors }
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
        let out = line.difference.as_flattened_mut().iter_mut().zip(line.sum.as_flattened_mut());
        for (((difference, sum), (left, right)), middle) in
            out.zip(left.iter().zip(right)).zip(middle)
        {
            *difference = left - right;
            *sum = left + 2.0 * middle + right;
        }
    }
}

/// The most rows of gradients that are handled at a time.
pub(crate) const ROWS: usize = 4;

/// The gradients of up to [`ROWS`] rows of one channel, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Gradients {
    /// Of a row: the view's side, and what is missing to whole vectors, which holds zeros.
    width: usize,
    /// gy/gx, infinite where gx is 0. The bin sees no more of a direction.
    ratio: Vec<f32>,
    /// Of what no slot has taken yet.
    magnitude: Vec<f32>,
}

impl Gradients {
    pub fn new(size: usize) -> Self {
        let width = padded(size);
        Self { width, ratio: vec![0.0; ROWS * width], magnitude: vec![0.0; ROWS * width] }
    }

    /// Sets row `at` to the gradients of the row `here`.
    pub fn set(&mut self, at: usize, above: &Line, here: &Line, below: &Line) {
        let [ratio, magnitude] = [&mut self.ratio, &mut self.magnitude]
            .map(|values| values[at * self.width..][..self.width].as_chunks_mut().0);
        gradients(above, here, below, ratio, magnitude);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn gradients(
    above: &Line,
    here: &Line,
    below: &Line,
    ratio: &mut [[f32; LANES]],
    magnitude: &mut [[f32; LANES]],
) {
    let differences = above.difference.iter().zip(&here.difference).zip(&below.difference);
    let sums = above.sum.iter().zip(&below.sum);
    let out = ratio.iter_mut().zip(magnitude);
    for (((ratio, magnitude), ((a, h), b)), (sum_above, sum_below)) in
        out.zip(differences).zip(sums)
    {
        for lane in 0..LANES {
            let x = a[lane] + 2.0 * h[lane] + b[lane];
            let y = sum_above[lane] - sum_below[lane];
            ratio[lane] = if x == 0.0 { f32::INFINITY } else { y / x };
            magnitude[lane] = (x * x + y * y).sqrt();
        }
    }
}

/// Adds each pixel's magnitude to its slot of its column, over the first `rows` rows. `columns` is
/// `[slots, width]`: a slot for each of `upper_edges`, which takes what lies before it and past, not
/// on, the one before; then one for each of `tie_edges`, which takes what lies on it. Three upper
/// edges are handled at a time, so their number must be a multiple of three.
///
/// If they are the `first` rows of a sum, it is begun anew.
pub(crate) fn sort_by_edge(
    pixels: &mut Gradients,
    rows: usize,
    upper_edges: &[Edge],
    tie_edges: &[Edge],
    first: bool,
    columns: &mut [f32],
) {
    if rows == ROWS && first {
        sort_rows::<ROWS, true>(pixels, 0, upper_edges, tie_edges, columns);
        return;
    }
    if first {
        columns.fill(0.0);
    }
    if rows == ROWS {
        sort_rows::<ROWS, false>(pixels, 0, upper_edges, tie_edges, columns);
    } else {
        for row in 0..rows {
            sort_rows::<1, false>(pixels, row, upper_edges, tie_edges, columns);
        }
    }
}

/// [`sort_by_edge`] for `COUNT` rows from row `at` on.
fn sort_rows<const COUNT: usize, const FIRST: bool>(
    pixels: &mut Gradients,
    at: usize,
    upper_edges: &[Edge],
    tie_edges: &[Edge],
    columns: &mut [f32],
) {
    let width = pixels.width;
    let ratio = &pixels.ratio[at * width..][..COUNT * width];
    let magnitude = &mut pixels.magnitude[at * width..][..COUNT * width];
    let (inside, on_edges) = columns.split_at_mut(upper_edges.len() * width);
    for (&edge, slot) in tie_edges.iter().zip(on_edges.chunks_exact_mut(width)) {
        take_ties::<COUNT, FIRST>(rows_of(ratio), magnitude, edge, slot);
    }
    let (ratio, magnitude) = (rows_of(ratio), rows_of(magnitude));
    let mut lower = Edge::FIRST;
    let threes = upper_edges.as_chunks::<3>().0.iter();
    for (&[a, b, c], slots) in threes.zip(inside.chunks_exact_mut(3 * width)) {
        let (first, rest) = slots.split_at_mut(width);
        let (second, third) = rest.split_at_mut(width);
        sort_by_three::<COUNT, FIRST>(ratio, magnitude, &[lower, a, b, c], first, second, third);
        lower = c;
    }
}

fn rows_of<const COUNT: usize>(values: &[f32]) -> [&[[f32; LANES]]; COUNT] {
    let width = values.len() / COUNT;
    std::array::from_fn(|row| values[row * width..][..width].as_chunks().0)
}

/// [`sort_by_edge`] for one tie edge. What it takes is gone for the slots beside it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn take_ties<const COUNT: usize, const FIRST: bool>(
    ratio: [&[[f32; LANES]]; COUNT],
    magnitude: &mut [f32],
    edge: Edge,
    slot: &mut [f32],
) {
    let chunks = slot.len() / LANES;
    let ratio = ratio.map(|row| &row[..chunks]);
    let magnitude = &mut magnitude.as_chunks_mut::<LANES>().0[..COUNT * chunks];
    for (at, slot) in slot.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sum = if FIRST { [0.0; LANES] } else { *slot };
        for row in 0..COUNT {
            let (ratio, magnitude) = (&ratio[row][at], &mut magnitude[row * chunks + at]);
            for lane in 0..LANES {
                let is_on = edge.is_at(ratio[lane]);
                sum[lane] += if is_on { magnitude[lane] } else { 0.0 };
                magnitude[lane] = if is_on { 0.0 } else { magnitude[lane] };
            }
        }
        *slot = sum;
    }
}

/// [`sort_by_edge`] for the three slots between four edges; the slots come apart so that the
/// compiler knows that they do not overlap.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn sort_by_three<const COUNT: usize, const FIRST: bool>(
    ratio: [&[[f32; LANES]]; COUNT],
    magnitude: [&[[f32; LANES]]; COUNT],
    edges: &[Edge; 4],
    first: &mut [f32],
    second: &mut [f32],
    third: &mut [f32],
) {
    let [first, second, third] = [first, second, third].map(|slot| slot.as_chunks_mut::<LANES>().0);
    let chunks = first.len();
    let (second, third) = (&mut second[..chunks], &mut third[..chunks]);
    let (ratio, magnitude) = (ratio.map(|row| &row[..chunks]), magnitude.map(|row| &row[..chunks]));
    for at in 0..chunks {
        let [mut a, mut b, mut c] =
            if FIRST { [[0.0; LANES]; 3] } else { [first[at], second[at], third[at]] };
        for row in 0..COUNT {
            let (ratio, magnitude) = (&ratio[row][at], &magnitude[row][at]);
            for lane in 0..LANES {
                let (ratio, magnitude) = (ratio[lane], magnitude[lane]);
                let added = |sum: f32, slot: usize| {
                    let is_in = edges[slot + 1].is_after(ratio) & edges[slot].is_not_after(ratio);
                    if is_in { sum + magnitude } else { sum }
                };
                (a[lane], b[lane], c[lane]) =
                    (added(a[lane], 0), added(b[lane], 1), added(c[lane], 2));
            }
        }
        (first[at], second[at], third[at]) = (a, b, c);
    }
}

/// Adds `from` to `into`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(crate) fn add(from: &[f32], into: &mut [f32]) {
    into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
}

/// Sums each `factor` neighbours, two by two as far as that goes. `values` are rows of `size`
/// numbers, padded, and so are those of `out`; `spare` is a buffer to work in.
pub(crate) fn fold(
    values: &[f32],
    size: usize,
    factor: usize,
    spare: &mut Vec<f32>,
    out: &mut [f32],
) {
    match factor {
        1 => out.copy_from_slice(values),
        2 => fold_pairs(values, size, out),
        4 => fold_fours(values, size, out),
        _ if factor.is_multiple_of(2) => {
            let mut halved = std::mem::take(spare);
            halved.resize(values.len() / padded(size) * padded(size / 2), 0.0);
            fold_pairs(values, size, &mut halved);
            fold(&halved, size / 2, factor / 2, spare, out);
            *spare = halved;
        }
        _ => {
            let rows = values.chunks_exact(padded(size));
            for (row, out) in rows.zip(out.chunks_exact_mut(padded(size / factor))) {
                for (sum, group) in out.iter_mut().zip(row[..size].chunks_exact(factor)) {
                    *sum = group.iter().sum();
                }
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn fold_pairs(values: &[f32], size: usize, out: &mut [f32]) {
    let rows = values.chunks_exact(padded(size));
    for (row, out) in rows.zip(out.chunks_exact_mut(padded(size / 2))) {
        for (sum, [a, b]) in out.iter_mut().zip(row[..size].as_chunks().0) {
            *sum = a + b;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn fold_fours(values: &[f32], size: usize, out: &mut [f32]) {
    let rows = values.chunks_exact(padded(size));
    for (row, out) in rows.zip(out.chunks_exact_mut(padded(size / 4))) {
        for (sum, [a, b, c, d]) in out.iter_mut().zip(row[..size].as_chunks().0) {
            *sum = (a + b) + (c + d);
        }
    }
}

/// What a row of cells of one channel is multiplied by to have norm 1, cell by cell.
///
/// `bins` is `[bins, padded grid]` without what lies on lower edges; `ties` is
/// `[edges, padded grid]`, what lies on those of `tie_edges`. The first is completed; `scale`
/// becomes the inverse of its norm, or of `least` if the norm is smaller.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(crate) fn complete(
    bins: &mut [f32],
    ties: &[f32],
    tie_edges: &[usize],
    least: f32,
    scale: &mut [f32],
) {
    let width = scale.len();
    for (&edge, on_edge) in tie_edges.iter().zip(ties.chunks_exact(width)) {
        let bin = &mut bins[edge * width..][..width];
        bin.iter_mut().zip(on_edge).for_each(|(bin, on_edge)| *bin += on_edge);
    }
    scale.fill(0.0);
    for bin in bins.chunks_exact(width) {
        scale.iter_mut().zip(bin).for_each(|(norm, sum)| *norm += sum * sum);
    }
    scale.iter_mut().for_each(|norm| *norm = 1.0 / norm.sqrt().max(least));
}

/// Cells that are stored at a time.
const STORED: usize = 64;

/// Stores rows of cells as columns `first…` of `out`, which has `width` columns: each value times
/// its cell's `scale`, as `of` gives it.
pub(crate) fn store<T: Copy + Default>(
    rows: &[f32],
    scale: &[f32],
    of: impl Fn(f32) -> T + Copy,
    out: &mut [T],
    (width, first): (usize, usize),
) {
    let fours = rows.chunks_exact(4 * scale.len());
    let ones = fours.remainder().chunks_exact(scale.len());
    let left = first + 4 * fours.len();
    for (rows, first) in fours.zip((first..).step_by(4)) {
        store_some::<T, 4>(rows, scale, of, out, (width, first));
    }
    for (row, first) in ones.zip(left..) {
        store_some::<T, 1>(row, scale, of, out, (width, first));
    }
}

/// [`store`] for so many rows, which a cell takes at once.
fn store_some<T: Copy + Default, const COUNT: usize>(
    rows: &[f32],
    scale: &[f32],
    of: impl Fn(f32) -> T + Copy,
    out: &mut [T],
    (width, first): (usize, usize),
) {
    let mut cells = [[T::default(); COUNT]; STORED];
    for (out, from) in out.chunks_mut(STORED * width).zip((0..).step_by(STORED)) {
        let here = from..scale.len().min(from + STORED);
        let rows = std::array::from_fn(|row| &rows[row * scale.len()..][here.clone()]);
        scale_cells(rows, &scale[here], of, &mut cells);
        for (out, cell) in out.chunks_exact_mut(width).zip(cells) {
            out[first..first + COUNT].copy_from_slice(&cell);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn scale_cells<T, F: Fn(f32) -> T, const COUNT: usize>(
    rows: [&[f32]; COUNT],
    scale: &[f32],
    of: F,
    cells: &mut [[T; COUNT]; STORED],
) {
    let count = scale.len();
    let cells = &mut cells[..count];
    for row in rows {
        assert_eq!(row.len(), count, "a value for each cell");
    }
    for at in 0..count {
        for row in 0..COUNT {
            cells[at][row] = of(rows[row][at] * scale[at]);
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
                let ratio = |gx| if gx == 0 { f32::INFINITY } else { gy as f32 / gx as f32 };
                let count = gxs.clone().count();
                let mut pixels = Gradients::new(count);
                pixels.ratio[..count].copy_from_slice(&gxs.clone().map(ratio).collect::<Vec<_>>());
                pixels.magnitude[..count].fill(1.0);
                let size = pixels.width;
                let mut columns = vec![0.0; (upper.len() + on.len()) * size];
                sort_by_edge(&mut pixels, 1, &upper, &on, true, &mut columns);
                for (i, gx) in gxs.enumerate() {
                    let slot = expected_slot(gx, gy, bins).unwrap_or_else(|tie| upper.len() + tie);
                    assert_eq!(columns[slot * size + i], 1.0, "gx {gx}, gy {gy}, {bins} bins");
                }
                assert_eq!(columns.iter().sum::<f32>(), count as f32, "one slot for each");
            }
        }
    }

    #[test]
    fn neighbours_are_summed_by_any_factor() {
        for factor in [1, 2, 3, 4, 6, 7, 8, 12, 40] {
            // Two rows of five sums.
            let (size, width) = (factor * 5, padded(factor * 5));
            let values: Vec<f32> = (0..2 * width).map(|i| i as f32).collect();
            let mut found = vec![0.0; 2 * padded(5)];
            fold(&values, size, factor, &mut vec![], &mut found);
            for (row, found) in values.chunks(width).zip(found.chunks(padded(5))) {
                let groups = row[..size].chunks(factor);
                let expected: Vec<f32> = groups.map(|group| group.iter().sum()).collect();
                assert_eq!(found[..5], *expected, "factor {factor}");
            }
        }
    }
}
