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
//! **One pass.** A few rows' pixels are handled together, edge by edge, in loops that a compiler
//! turns into vector instructions; a histogram is first summed down each column, then across
//! columns, and coarser cells are sums of the finest, each row of cells as soon as it is there.

use crate::direction::{Edge, tie_edges};
use crate::kernels::{
    Gradients, Line, ROWS, add, complete, fold, padded, sort_by_edge, split_line, store,
};
use crate::view::reflect;
use crate::{TargetError, View};

/// The HOG of a view at one cell size.
#[derive(Debug, Clone, PartialEq)]
pub struct Hog<T = f32> {
    /// The cell's side in pixels.
    pub cell: usize,
    /// Cells along a side.
    pub grid: usize,
    /// Bins a channel.
    pub bins: usize,
    /// `[grid², 3·bins]`, cells in rows, (channel, bin) within a cell; each channel's values have
    /// norm 1, or are all zero where the channel is flat.
    pub values: Vec<T>,
    /// `[grid², 3·edges]`: the part of the value of bin e that lies exactly on its lower edge, for
    /// each edge e of [`crate::tie_edges`].
    pub ties: Vec<T>,
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
    /// Row y of the view is at y mod [`LINES`].
    lines: [[Line; 3]; LINES],
    pixels: Gradients,
    /// `[3, slots, padded size]`: sums of magnitudes down the columns of a row of the finest cells.
    /// The slots are those of [`sort_by_edge`].
    columns: Vec<f32>,
    /// `[3, slots, padded finest grid]`: those of the cells.
    row: Vec<f32>,
    scales: Vec<Scale>,
    /// `[slots, padded grid]` of one channel of a row of cells.
    sums: Vec<f32>,
    /// `[padded grid]`: what they are multiplied by.
    factors: Vec<f32>,
    spare: Vec<f32>,
}

/// A row of cells of one size while it is gathered.
#[derive(Debug, Clone)]
struct Scale {
    cell: usize,
    /// `[3, slots, padded finest grid]`: the sum of its rows of the finest cells so far.
    rows: Vec<f32>,
}

/// Rows of the view that are kept: those of [`ROWS`] gradients.
const LINES: usize = ROWS + 2;

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
        let row = vec![0.0; 3 * slots * padded(size / finest)];
        Ok(Self {
            size,
            bins,
            upper_edges,
            tie_directions: tie_edges.iter().copied().map(edge).collect(),
            tie_edges,
            finest,
            lines: std::array::from_fn(|_| std::array::from_fn(|_| Line::new(size))),
            pixels: Gradients::new(size),
            columns: vec![0.0; 3 * slots * padded(size)],
            scales: cells.iter().map(|&cell| Scale { cell, rows: row.clone() }).collect(),
            row,
            sums: vec![],
            factors: vec![],
            spare: vec![],
        })
    }

    /// The HOG of `view` at every cell size, in the order given to [`HogExtractor::new`].
    ///
    /// # Errors
    /// [`TargetError::Length`] if the view has another size.
    pub fn compute(&mut self, view: View<'_>) -> Result<Vec<Hog>, TargetError> {
        self.compute_as(view, |value| value)
    }

    /// [`HogExtractor::compute`], with each value as `of` gives it.
    ///
    /// # Errors
    /// [`TargetError::Length`] if the view has another size.
    pub fn compute_as<T: Copy + Default>(
        &mut self,
        view: View<'_>,
        of: impl Fn(f32) -> T + Copy,
    ) -> Result<Vec<Hog<T>>, TargetError> {
        if view.size() != self.size {
            return Err(TargetError::Length {
                what: "a view's side",
                expected: self.size,
                found: view.size(),
            });
        }
        let (size, bins, edges) = (self.size, self.bins, self.tie_edges.len());
        let hog = |scale: &Scale| {
            let grid = size / scale.cell;
            let [values, ties] = [bins, edges].map(|of| vec![T::default(); grid * grid * 3 * of]);
            Hog { cell: scale.cell, grid, bins, values, ties }
        };
        let mut hogs: Vec<_> = self.scales.iter().map(hog).collect();
        let mut rows = view.rgb().chunks_exact(size * 3).enumerate();
        for at in 0..size / self.finest {
            self.sum_row(at, &mut rows);
            for (number, hog) in hogs.iter_mut().enumerate() {
                let factor = hog.cell / self.finest;
                let sums = &mut self.scales[number].rows;
                if at % factor > 0 {
                    add(&self.row, sums);
                } else if factor > 1 {
                    sums.copy_from_slice(&self.row);
                }
                if at % factor == factor - 1 {
                    self.store_row(number, at / factor, hog, of);
                }
            }
        }
        Ok(hogs)
    }

    /// Slots of a channel.
    fn slots(&self) -> usize {
        self.upper_edges.len() + self.tie_edges.len()
    }

    /// Sums the magnitudes of row `at` of the finest cells.
    fn sum_row<'v>(&mut self, at: usize, rows: &mut impl Iterator<Item = (usize, &'v [u8])>) {
        let Self { size, finest, lines, pixels, columns, .. } = self;
        let (size, finest, of_channel) = (*size, *finest, columns.len() / 3);
        let end = (at + 1) * finest;
        for first in (at * finest..end).step_by(ROWS) {
            let count = ROWS.min(end - first);
            // Up to the row below; above the first row are those that were split before.
            let wanted = (first + count + 1).min(size);
            for (y, rgb) in rows.by_ref() {
                split_line(rgb, &mut lines[y % LINES]);
                if y + 1 == wanted {
                    break;
                }
            }
            for (channel, columns) in columns.chunks_exact_mut(of_channel).enumerate() {
                for (row, y) in (first..first + count).enumerate() {
                    let line = |dy| &lines[reflect(y as isize + dy, size) % LINES][channel];
                    pixels.set(row, line(-1), line(0), line(1));
                }
                let (upper_edges, ties) = (&self.upper_edges, &self.tie_directions);
                sort_by_edge(pixels, count, upper_edges, ties, first == at * finest, columns);
            }
        }
        fold(columns, size, finest, &mut self.spare, &mut self.row);
    }

    /// Sums the finest cells of a row of cells to one cell size, divides by the norm and stores.
    fn store_row<T: Copy + Default>(
        &mut self,
        number: usize,
        at: usize,
        hog: &mut Hog<T>,
        of: impl Fn(f32) -> T + Copy,
    ) {
        let (slots, fine, factor) = (self.slots(), self.size / self.finest, hog.cell / self.finest);
        let (grid, edges) = (hog.grid, self.tie_edges.len());
        let width = padded(grid);
        // The norm of the means is at least 1e-12, so that of the sums is at least so many times.
        let least = 1e-12 * (hog.cell * hog.cell) as f32;
        self.factors.resize(width, 0.0);
        self.sums.resize(slots * width, 0.0);
        let values = &mut hog.values[at * grid * 3 * hog.bins..][..grid * 3 * hog.bins];
        let ties = &mut hog.ties[at * grid * 3 * edges..][..grid * 3 * edges];
        let rows = if factor == 1 { &self.row } else { &self.scales[number].rows };
        for (channel, rows) in rows.chunks_exact(slots * padded(fine)).enumerate() {
            fold(rows, fine, factor, &mut self.spare, &mut self.sums);
            let (in_bins, on_edges) = self.sums.split_at_mut(self.upper_edges.len() * width);
            let in_bins = &mut in_bins[..hog.bins * width];
            complete(in_bins, on_edges, &self.tie_edges, least, &mut self.factors);
            store(in_bins, &self.factors, of, values, (3 * hog.bins, channel * hog.bins));
            store(on_edges, &self.factors, of, ties, (3 * edges, channel * edges));
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
