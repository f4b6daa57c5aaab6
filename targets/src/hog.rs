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
//! bin's edge left or right of it by chance. The bin depends on the direction mod π alone, and is
//! decided without rounding for every gradient and every number of bins.
//!
//! **Ties.** [`Hog::ties`] keeps the weight that lies exactly on an edge apart, which is what
//! makes the mirror image exact ([`crate::mirror_hog`]).
//!
//! **One pass.** A row's pixels are handled together, edge by edge, in loops that a compiler turns
//! into vector instructions; a histogram is first summed down each column, then across columns,
//! and coarser cells are sums of the finest.

use crate::direction::{Edge, tie_edges};
use crate::kernels::{
    Gradients, Line, add, fold, gradients, normalise, sort_by_edge, split_line, transpose,
};
use crate::view::reflect;
use crate::{TargetError, View};

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
    /// each edge e of [`crate::tie_edges`].
    pub ties: Vec<f32>,
}

/// Extracts HOG of several cell sizes; tables and buffers are made once.
#[derive(Debug, Clone)]
pub struct HogExtractor {
    size: usize,
    bins: usize,
    /// The upper edge of each bin, filled up to a multiple of three, as [`sort_by_edge`] wants it.
    upper_edges: Vec<Edge>,
    tie_edges: Vec<usize>,
    tie_directions: Vec<Edge>,
    /// The cell of the histograms that are taken from the pixels; it divides every other.
    finest: usize,
    /// Row y of the view is at y mod 3.
    lines: [[Line; 3]; 3],
    pixels: Gradients,
    /// `[3, slots, size]`: sums of magnitudes down the columns of a row of cells, then folded to
    /// those of the cells. The slots are those of [`sort_by_edge`].
    columns: Vec<f32>,
    spare: Vec<f32>,
    /// `[finest grid, 3, slots, finest grid]`: sums of magnitudes, a row of cells after the other.
    sums: Vec<f32>,
    scale: Vec<f32>,
    hogs: Vec<Hog>,
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
        if let Some(&cell) = cells.iter().find(|&&cell| cell < 2 || !size.is_multiple_of(cell)) {
            return Err(TargetError::Cell { cell, size });
        }
        let tie_edges = tie_edges(bins);
        let edge = |number| Edge::new(number, bins);
        let mut upper_edges: Vec<_> = (1..bins).map(edge).collect();
        upper_edges.resize(bins.next_multiple_of(3), Edge::LAST);
        let slots = upper_edges.len() + tie_edges.len();
        let finest = cells.iter().copied().reduce(gcd).unwrap_or(size);
        let hogs = cells
            .iter()
            .map(|&cell| {
                let grid = size / cell;
                Hog {
                    cell,
                    grid,
                    bins,
                    values: vec![0.0; grid * grid * 3 * bins],
                    ties: vec![0.0; grid * grid * 3 * tie_edges.len()],
                }
            })
            .collect();
        Ok(Self {
            size,
            bins,
            upper_edges,
            tie_directions: tie_edges.iter().copied().map(edge).collect(),
            tie_edges,
            finest,
            lines: std::array::from_fn(|_| std::array::from_fn(|_| Line::new(size))),
            pixels: Gradients::new(size),
            columns: vec![],
            spare: vec![],
            sums: vec![0.0; (size / finest).pow(2) * 3 * slots],
            scale: vec![],
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
        self.sum_finest(view);
        for at in 0..self.hogs.len() {
            self.normalise(at);
        }
        Ok(&self.hogs)
    }

    /// Slots of a channel.
    fn slots(&self) -> usize {
        self.upper_edges.len() + self.tie_edges.len()
    }

    /// Sums of magnitudes for the finest cells.
    fn sum_finest(&mut self, view: View<'_>) {
        let (size, slots) = (self.size, self.slots());
        let mut rows = view.rgb().chunks_exact(size * 3).enumerate();
        let mut split_next = |lines: &mut [[Line; 3]; 3]| {
            if let Some((y, rgb)) = rows.next() {
                split_line(rgb, &mut lines[y % 3]);
            }
        };
        split_next(&mut self.lines);
        let cells = self.sums.chunks_exact_mut(3 * slots * (size / self.finest));
        for (row, sums) in cells.enumerate() {
            self.columns.clear();
            self.columns.resize(3 * slots * size, 0.0);
            for y in row * self.finest..(row + 1) * self.finest {
                split_next(&mut self.lines);
                let line = |dy| &self.lines[reflect(y as isize + dy, size) % 3];
                let (above, here, below) = (line(-1), line(0), line(1));
                for (channel, columns) in self.columns.chunks_exact_mut(slots * size).enumerate() {
                    gradients(&above[channel], &here[channel], &below[channel], &mut self.pixels);
                    let (upper_edges, ties) = (&self.upper_edges, &self.tie_directions);
                    sort_by_edge(&mut self.pixels, upper_edges, ties, columns);
                }
            }
            fold(&mut self.columns, &mut self.spare, self.finest);
            sums.copy_from_slice(&self.columns);
        }
    }

    /// Sums the finest cells to one cell size and divides by the norm.
    fn normalise(&mut self, at: usize) {
        let slots = self.slots();
        let hog = &mut self.hogs[at];
        let (fine, grid, factor) = (self.size / self.finest, hog.grid, hog.cell / self.finest);
        // The norm of the means is at least 1e-12, so that of the sums is at least so many times.
        let least = 1e-12 * (hog.cell * hog.cell) as f32;
        self.scale.resize(grid, 0.0);
        let rows = self.sums.chunks_exact(factor * 3 * slots * fine);
        let values = hog.values.chunks_exact_mut(grid * 3 * hog.bins);
        let ties = hog.ties.chunks_exact_mut(grid * 3 * self.tie_edges.len());
        for ((rows, values), ties) in rows.zip(values).zip(ties) {
            let (first, rest) = rows.split_at(3 * slots * fine);
            self.columns.clear();
            self.columns.extend_from_slice(first);
            for row in rest.chunks_exact(3 * slots * fine) {
                add(row, &mut self.columns);
            }
            fold(&mut self.columns, &mut self.spare, factor);
            let channels = self.columns.chunks_exact_mut(slots * grid).enumerate();
            for (channel, sums) in channels {
                let (in_bins, on_edges) = sums.split_at_mut(self.upper_edges.len() * grid);
                let in_bins = &mut in_bins[..self.bins * grid];
                normalise(in_bins, on_edges, &self.tie_edges, least, &mut self.scale);
                transpose(in_bins, grid, channel * self.bins, values);
                transpose(on_edges, grid, channel * self.tie_edges.len(), ties);
            }
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
