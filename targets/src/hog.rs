//! Exact histograms of oriented gradients.
//!
//! For each colour channel of the u8 view, with borders reflected by one pixel:
//!
//! - gx, gy: cross-correlation with the Sobel kernels (rows 1 0 −1 / 2 0 −2 / 1 0 −1 for x, its
//!   transpose for y): whole numbers in −1020..=1020;
//! - magnitude √(gx² + gy²), angle θ = atan2(gx, gy), bin = ⌊θ/π · bins⌋ mod bins;
//! - a cell's histogram is the mean magnitude of each bin over its p×p pixels, divided by its
//!   Euclidean norm (at least 1e-12); channels are concatenated R, G, B.
//!
//! The published code takes the gradients of the normalised picture. Within a channel mean and
//! deviation cancel in angle and in the normalised histogram, so the bytes' gradients give the
//! same target, without the rounding that turns a flat cell into noise and throws a gradient on a
//! bin's edge left or right of it by chance.
//!
//! **Edges.** The bin depends on the direction mod π alone. A direction of whole numbers lies
//! exactly on the edge k·π/bins only at multiples of 45° (Niven: no other rational multiple of π
//! has a rational tangent but 0 and ±1). There the comparison below is exact; on all other edges
//! the nearest direction of numbers up to 1020 is far further away than the comparison's rounding.
//! A test compares all 2041² gradients.
//!
//! **Ties.** [`Hog::ties`] keeps the weight that lies on such edges apart, which is what makes the
//! mirror image exact ([`crate::mirror_hog`]).

use std::f64::consts::PI;

use multiversion::multiversion;

use crate::view::reflect;
use crate::{TargetError, View};

/// The edges on which gradients of whole numbers can lie: those at 0°, 45°, 90°, 135°.
pub fn tie_edges(bins: usize) -> Vec<usize> {
    (0..bins).filter(|edge| (edge * 4) % bins == 0).collect()
}

/// The HOG of a view at one cell size.
#[derive(Debug, Clone, PartialEq)]
pub struct Hog {
    /// The cell's side in pixels.
    pub cell: usize,
    /// Cells along a side.
    pub grid: usize,
    /// Bins a channel.
    pub bins: usize,
    /// `[grid², 3·bins]`, cells in rows, (channel, bin) within a cell; each channel's values have
    /// norm 1, or are all zero where the channel is flat.
    pub values: Vec<f32>,
    /// `[grid², 3·edges]`: the part of the value of bin e that lies exactly on its lower edge, for
    /// each edge e of [`tie_edges`].
    pub ties: Vec<f32>,
}

/// Extracts HOG of several cell sizes; tables and buffers are made once.
#[derive(Debug, Clone)]
pub struct HogExtractor {
    size: usize,
    bins: usize,
    /// For each edge 1..bins: its cosine and sine, which say on which side a gradient lies.
    edges: Vec<(f32, f32)>,
    /// The tie edges, and how a gradient on each looks.
    ties: Vec<(usize, Tie)>,
    /// The cell of the histograms that are taken from the pixels; it divides every other.
    finest: usize,
    planes: Vec<f32>,
    rows: RowBuffers,
    /// `[finest grid², 3, bins + ties]`: sums of magnitudes.
    sums: Vec<f32>,
    /// As `sums`, of a coarser cell.
    pooled: Vec<f32>,
    hogs: Vec<Hog>,
}

/// A gradient's place on a tie edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    /// 0°: gx is 0.
    GxZero,
    /// 45°: gx is gy.
    Same,
    /// 90°: gy is 0.
    GyZero,
    /// 135°: gx is −gy.
    Opposite,
}

impl HogExtractor {
    /// For views of `size` pixels.
    ///
    /// # Errors
    /// [`TargetError`] if a cell does not tile the view, or bins is not in 1..=64.
    pub fn new(size: usize, bins: usize, cells: &[usize]) -> Result<Self, TargetError> {
        if !(1..=64).contains(&bins) {
            return Err(TargetError::Bins(bins));
        }
        if size < 2 {
            return Err(TargetError::Size(size));
        }
        if let Some(&cell) = cells.iter().find(|&&cell| cell < 2 || size % cell != 0) {
            return Err(TargetError::Cell { cell, size });
        }
        let finest = cells.iter().copied().fold(0, gcd).max(1);
        let kinds = [Tie::GxZero, Tie::Same, Tie::GyZero, Tie::Opposite];
        let ties: Vec<_> =
            tie_edges(bins).into_iter().map(|edge| (edge, kinds[edge * 4 / bins])).collect();
        let hogs = cells
            .iter()
            .map(|&cell| {
                let grid = size / cell;
                Hog {
                    cell,
                    grid,
                    bins,
                    values: vec![0.0; grid * grid * 3 * bins],
                    ties: vec![0.0; grid * grid * 3 * ties.len()],
                }
            })
            .collect();
        Ok(Self {
            size,
            bins,
            edges: (1..bins).map(|edge| edge_vector(edge, bins)).collect(),
            finest,
            planes: vec![0.0; 3 * (size + 2) * (size + 2)],
            rows: RowBuffers::new(size),
            sums: vec![0.0; (size / finest).pow(2) * 3 * (bins + ties.len())],
            pooled: vec![],
            ties,
            hogs,
        })
    }

    /// The HOG of `view` at every cell size, in the order given to [`HogExtractor::new`]. The
    /// next call overwrites them.
    ///
    /// # Errors
    /// [`TargetError::Length`] if the view has another size.
    pub fn compute(&mut self, view: View<'_>) -> Result<&[Hog], TargetError> {
        if view.size() != self.size {
            return Err(TargetError::Length {
                what: "a view's side",
                expected: self.size,
                found: view.size(),
            });
        }
        self.spread(view);
        self.bin();
        for at in 0..self.hogs.len() {
            self.normalise(at);
        }
        Ok(&self.hogs)
    }

    /// The view's channels as planes of floats with reflected borders. Sums of bytes are exact in
    /// f32.
    fn spread(&mut self, view: View<'_>) {
        let (size, width) = (self.size, self.size + 2);
        let rgb = view.rgb();
        for (channel, plane) in self.planes.chunks_exact_mut(width * width).enumerate() {
            for (y, line) in plane.chunks_exact_mut(width).enumerate() {
                let from = reflect(y as isize - 1, size) * size * 3;
                let source = &rgb[from..from + size * 3];
                let (first, rest) = line.split_at_mut(1);
                let (middle, last) = rest.split_at_mut(size);
                for (value, pixel) in middle.iter_mut().zip(source.as_chunks::<3>().0) {
                    *value = f32::from(pixel[channel]);
                }
                first[0] = middle[1];
                last[0] = middle[size - 2];
            }
        }
    }

    /// Sums of magnitudes by bin, and on tie edges, for the finest cells.
    fn bin(&mut self) {
        let Self { size, bins, finest, .. } = *self;
        let width = size + 2;
        let grid = size / finest;
        let slots = bins + self.ties.len();
        self.sums.fill(0.0);
        for (channel, plane) in self.planes.chunks_exact(width * width).enumerate() {
            for y in 0..size {
                let lines = &plane[y * width..(y + 3) * width];
                let (above, rest) = lines.split_at(width);
                let (here, below) = rest.split_at(width);
                let pixels = &mut self.rows;
                gradients(above, here, below, pixels);
                assign_bins(&pixels.gx, &pixels.gy, &self.edges, &mut pixels.bin);
                let row = &mut self.sums[(y / finest) * grid * 3 * slots..][..grid * 3 * slots];
                let binned = pixels.bin.chunks_exact(finest);
                let binned = binned.zip(pixels.magnitude.chunks_exact(finest));
                for (cell, (bins_of, magnitudes)) in row.chunks_exact_mut(3 * slots).zip(binned) {
                    let sums = &mut cell[channel * slots..][..slots];
                    for (&bin, &magnitude) in bins_of.iter().zip(magnitudes) {
                        sums[bin as usize] += magnitude;
                    }
                }
                for (i, &(_, tie)) in self.ties.iter().enumerate() {
                    on_edge(pixels, tie);
                    for (cell, on_edge) in pixels.on_edge.chunks_exact(finest).enumerate() {
                        row[(cell * 3 + channel) * slots + bins + i] += on_edge.iter().sum::<f32>();
                    }
                }
            }
        }
    }

    /// Pools the finest sums to one cell size and divides by the norm.
    fn normalise(&mut self, at: usize) {
        let hog = &mut self.hogs[at];
        let slots = self.bins + self.ties.len();
        let (fine, grid) = (self.size / self.finest, hog.grid);
        let factor = hog.cell / self.finest;
        let sums = if factor == 1 {
            &self.sums
        } else {
            self.pooled.clear();
            self.pooled.resize(grid * grid * 3 * slots, 0.0);
            for (y, row) in self.sums.chunks_exact(fine * 3 * slots).enumerate() {
                let into = &mut self.pooled[(y / factor) * grid * 3 * slots..][..grid * 3 * slots];
                for (from, into) in
                    row.chunks_exact(factor * 3 * slots).zip(into.chunks_exact_mut(3 * slots))
                {
                    for cell in from.chunks_exact(3 * slots) {
                        into.iter_mut().zip(cell).for_each(|(into, from)| *into += from);
                    }
                }
            }
            &self.pooled
        };
        let area = (hog.cell * hog.cell) as f32;
        let values = hog.values.chunks_exact_mut(self.bins);
        let ties = hog.ties.chunks_exact_mut(self.ties.len());
        for ((sums, values), ties) in sums.chunks_exact(slots).zip(values).zip(ties) {
            let (sums, on_edges) = sums.split_at(self.bins);
            let norm = sums.iter().map(|sum| sum * sum).sum::<f32>().sqrt() / area;
            let scale = 1.0 / (norm.max(1e-12) * area);
            values.iter_mut().zip(sums).for_each(|(value, sum)| *value = sum * scale);
            ties.iter_mut().zip(on_edges).for_each(|(tie, sum)| *tie = sum * scale);
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// (cos, sin) of the edge's angle, exact where the angle is a multiple of 45° up to a common
/// factor, which does not change on which side of the edge a gradient lies.
fn edge_vector(edge: usize, bins: usize) -> (f32, f32) {
    if (edge * 4) % bins == 0 {
        return [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (-1.0, 1.0)][edge * 4 / bins];
    }
    let (sin, cos) = (edge as f64 * PI / bins as f64).sin_cos();
    (cos as f32, sin as f32)
}

/// What is known of a row's pixels.
#[derive(Debug, Clone)]
struct RowBuffers {
    gx: Vec<f32>,
    gy: Vec<f32>,
    magnitude: Vec<f32>,
    bin: Vec<u32>,
    on_edge: Vec<f32>,
}

impl RowBuffers {
    fn new(size: usize) -> Self {
        let zeros = || vec![0.0; size];
        Self { gx: zeros(), gy: zeros(), magnitude: zeros(), bin: vec![0; size], on_edge: zeros() }
    }
}

/// Gradients and magnitudes of one row of one channel. The lines are bordered: pixel x of
/// the row is element x + 1.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn gradients(above: &[f32], here: &[f32], below: &[f32], out: &mut RowBuffers) {
    let size = out.gx.len();
    let (above, here, below) = (&above[..size + 2], &here[..size + 2], &below[..size + 2]);
    for x in 0..size {
        let (left, right) = (x, x + 2);
        out.gx[x] = (above[left] - above[right])
            + 2.0 * (here[left] - here[right])
            + (below[left] - below[right]);
        out.gy[x] = (above[left] + 2.0 * above[x + 1] + above[right])
            - (below[left] + 2.0 * below[x + 1] + below[right]);
    }
    for ((magnitude, &gx), &gy) in out.magnitude.iter_mut().zip(&out.gx).zip(&out.gy) {
        *magnitude = (gx * gx + gy * gy).sqrt();
    }
}

/// The bin of each gradient: how many edges its direction is at or past.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn assign_bins(gx: &[f32], gy: &[f32], edges: &[(f32, f32)], bins: &mut [u32]) {
    bins.fill(0);
    for &(cos, sin) in edges {
        for ((bin, &gx), &gy) in bins.iter_mut().zip(gx).zip(gy) {
            // The sign of sin(θ − edge), for the direction mod π: turned about so that gx is not
            // negative. A direction with gx = 0 is θ = 0 there, past no edge.
            let side = gx * cos - gy * sin;
            let past = if gx < 0.0 { side <= 0.0 } else { side >= 0.0 };
            *bin += u32::from(past & (gx != 0.0));
        }
    }
}

/// The magnitudes of the row's gradients that lie on one tie edge, zero for all others.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn on_edge(rows: &mut RowBuffers, tie: Tie) {
    let pixels = rows.gx.iter().zip(&rows.gy).zip(&rows.magnitude);
    let out = rows.on_edge.iter_mut().zip(pixels);
    match tie {
        Tie::GxZero => {
            out.for_each(|(on, ((&gx, _), &m))| *on = if gx == 0.0 { m } else { 0.0 });
        }
        Tie::Same => out.for_each(|(on, ((&gx, &gy), &m))| *on = if gx == gy { m } else { 0.0 }),
        Tie::GyZero => {
            out.for_each(|(on, ((_, &gy), &m))| *on = if gy == 0.0 { m } else { 0.0 });
        }
        Tie::Opposite => {
            out.for_each(|(on, ((&gx, &gy), &m))| *on = if gx == -gy { m } else { 0.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gradient_gets_its_bin() {
        for bins in [9, 18, 8] {
            let edges: Vec<_> = (1..bins).map(|edge| edge_vector(edge, bins)).collect();
            let gxs: Vec<f32> = (-1020..=1020).map(|gx| gx as f32).collect();
            let mut found = vec![0; gxs.len()];
            for gy in -1020..=1020i32 {
                assign_bins(&gxs, &vec![gy as f32; gxs.len()], &edges, &mut found);
                for (i, gx) in (-1020..=1020i32).enumerate() {
                    let reference = reference_bin(gx, gy, bins as i64);
                    assert_eq!(i64::from(found[i]), reference, "gx {gx}, gy {gy}, {bins} bins");
                }
            }
        }
    }

    /// ⌊atan2(gx, gy)/π · bins⌋ mod bins, with the ties settled in whole numbers.
    fn reference_bin(gx: i32, gy: i32, bins: i64) -> i64 {
        let eighth = match (gx, gy) {
            (0, _) => Some(0),
            (_, 0) => Some(2),
            _ if gx == gy => Some(1),
            _ if gx == -gy => Some(3),
            _ => None,
        };
        match eighth {
            Some(eighth) => eighth * bins / 4,
            None => {
                let angle = f64::from(gx).atan2(f64::from(gy)) / PI * bins as f64;
                assert!((angle - angle.round()).abs() > 1e-9, "a tie that was not foreseen");
                (angle.floor() as i64).rem_euclid(bins)
            }
        }
    }
}
