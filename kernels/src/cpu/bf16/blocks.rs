//! A product in blocks that the caches hold.

use std::cell::RefCell;

use super::pack::{self, LANES, PAIRS, PANEL, Part, ROW};
use super::tile;
use crate::cpu::strided::Matrix;

/// Rows of a block of the left factor.
const ROWS: usize = 96;

/// Columns of a block of the right factor, which the second cache holds.
const COLUMNS: usize = 16 * PANEL;

/// A block of either factor, packed.
struct Scratch {
    left: Vec<Line>,
    right: Vec<Line>,
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u32; LANES]);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        left: vec![Line([0; LANES]); ROWS * ROW / LANES],
        right: vec![Line([0; LANES]); COLUMNS * PAIRS / LANES],
    });
}

/// lhs · rhs.
///
/// # Safety
/// The processor has [`super::NEEDED`], and the factors lie in their slices; else as of
/// [`super::into`].
pub unsafe fn product(
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    out: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    let (m, n, k) = (lhs.rows, rhs.columns, lhs.columns);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        for row in (0..m).filter(|_| !accumulate) {
            // SAFETY: the row is within the product.
            unsafe { out.add(row * stride).write_bytes(0, n) };
        }
        return;
    }
    let depth = 2 * even(k.div_ceil(2), PAIRS, LANES);
    let width = even(n, COLUMNS, PANEL);
    SCRATCH.with_borrow_mut(|scratch| {
        let left = scratch.left.as_mut_ptr().cast::<u32>();
        let right = scratch.right.as_mut_ptr().cast::<u32>();
        for from in (0..k).step_by(depth) {
            let depth = depth.min(k - from);
            for column in (0..n).step_by(width) {
                let width = width.min(n - column);
                // SAFETY: blocks are within the factors, no larger than the scratch, and their
                // product is within `out`.
                unsafe {
                    panels(part(&rhs.transposed(), column, width, from, depth), right);
                    for row in (0..m).step_by(ROWS) {
                        let rows = ROWS.min(m - row);
                        pack::lanes(part(&lhs, row, rows, from, depth), left, ROW);
                        let out = out.add(row * stride + column);
                        let size = [rows, width, depth.div_ceil(2)];
                        block(size, left, right, out, stride, accumulate || from > 0);
                    }
                }
            }
        }
    });
}

/// The size of parts of `whole` that are about alike, in units, and at most `most`.
fn even(whole: usize, most: usize, unit: usize) -> usize {
    whole.div_ceil(whole.div_ceil(most)).next_multiple_of(unit)
}

/// Rows of a matrix, and a part of the columns as depth.
fn part(matrix: &Matrix<'_>, lane: usize, lanes: usize, depth: usize, depths: usize) -> Part {
    let first = lane * matrix.row + depth * matrix.column;
    Part {
        values: matrix.values[first..].as_ptr(),
        lanes,
        depth: depths,
        lane_stride: matrix.row,
        depth_stride: matrix.column,
    }
}

/// A block of the right factor, panel after panel.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn panels(part: Part, to: *mut u32) {
    let size = part.depth.div_ceil(2) * PANEL;
    for (i, lane) in (0..part.lanes).step_by(PANEL).enumerate() {
        let lanes = PANEL.min(part.lanes - lane);
        // SAFETY: the panel's lanes are within the part.
        unsafe {
            let values = part.values.add(lane * part.lane_stride);
            pack::pairs(Part { values, lanes, ..part }, to.add(i * size), PANEL);
        }
    }
}

/// A block of the product: `[rows, columns, pairs]`.
unsafe fn block(
    [rows, columns, pairs]: [usize; 3],
    left: *const u32,
    right: *const u32,
    out: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    for column in (0..columns).step_by(PANEL) {
        let width = PANEL.min(columns - column);
        let vectors = width.div_ceil(LANES);
        let last = pack::mask(width - (vectors - 1) * LANES);
        let mut row = 0;
        while row < rows {
            let height = tile::rows(vectors, rows - row);
            // SAFETY: the tile is within the block.
            unsafe {
                tile::of(vectors, height)(
                    pairs,
                    left.add(row * ROW),
                    right.add(column * pairs),
                    out.add(row * stride + column),
                    stride,
                    last,
                    accumulate,
                );
            }
            row += height;
        }
    }
}
