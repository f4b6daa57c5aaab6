//! Products of matrices that lie in slices.

use gemm::Parallelism;
use half::bf16 as rounding;
use multiversion::multiversion;

use super::bf16;
pub use super::strided::{Matrix, Target};
use super::tensor::Scratch;
use crate::Precision;

/// lhs · rhs into `out`; with `accumulate` added to what is there.
pub fn product(
    precision: Precision,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    out: Target<'_>,
    accumulate: bool,
) {
    let Target { values, row } = out;
    let (rows, columns) = (lhs.rows, rhs.columns);
    assert!(columns <= row && (rows == 0 || (rows - 1) * row + columns <= values.len()));
    // SAFETY: the target's rows lie in `values`, and what is accumulated to is there.
    unsafe { into(precision, lhs, rhs, values.as_mut_ptr(), row, accumulate) }
}

/// lhs · rhs row by row at the end of `out`.
pub fn append_product(precision: Precision, lhs: Matrix<'_>, rhs: Matrix<'_>, out: &mut Vec<f32>) {
    let count = lhs.rows * rhs.columns;
    out.reserve(count);
    // SAFETY: `count` values are reserved, and a product that isn't accumulated writes all of them.
    unsafe {
        into(precision, lhs, rhs, out.as_mut_ptr().add(out.len()), rhs.columns, false);
        out.set_len(out.len() + count);
    }
}

/// lhs · rhs added to `sum`, which is empty where nothing was added yet.
pub fn add_product(precision: Precision, lhs: Matrix<'_>, rhs: Matrix<'_>, sum: &mut Vec<f32>) {
    if sum.is_empty() {
        return append_product(precision, lhs, rhs, sum);
    }
    let row = rhs.columns;
    product(precision, lhs, rhs, Target { values: sum, row }, true);
}

/// A matrix turned, row by row: factors of a product are read faster so than across.
pub fn turned(values: &[f32], columns: usize) -> Scratch {
    let mut out = Scratch::of(values.len());
    turn(values, columns, &mut out);
    out
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn turn(values: &[f32], columns: usize, out: &mut [f32]) {
    // As many lines as a cache holds of those whose addresses differ by a power of two.
    const TILE: usize = 8;
    let rows = values.len() / columns;
    let (whole_rows, whole_columns) = (rows - rows % TILE, columns - columns % TILE);
    for left in (0..whole_columns).step_by(TILE) {
        for top in (0..whole_rows).step_by(TILE) {
            let mut tile = [[0.0; TILE]; TILE];
            for (i, line) in tile.iter_mut().enumerate() {
                let from = (top + i) * columns + left;
                line.copy_from_slice(&values[from..from + TILE]);
            }
            #[expect(clippy::needless_range_loop, reason = "it numbers columns of the tile")]
            for j in 0..TILE {
                let to = (left + j) * rows + top;
                let line: [f32; TILE] = std::array::from_fn(|i| tile[i][j]);
                out[to..to + TILE].copy_from_slice(&line);
            }
        }
    }
    for i in 0..rows {
        let from = if i < whole_rows { whole_columns } else { 0 };
        for j in from..columns {
            out[j * rows + i] = values[i * columns + j];
        }
    }
}

/// # Safety
/// `out` is of `lhs.rows` rows of `rhs.columns` values, a row every `row` values, that may be
/// written, and read where `accumulate`.
unsafe fn into(
    precision: Precision,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    out: *mut f32,
    row: usize,
    accumulate: bool,
) {
    assert_eq!(lhs.columns, rhs.rows);
    assert!(lhs.span() <= lhs.values.len() && rhs.span() <= rhs.values.len());
    match precision {
        // SAFETY: the factors lie in their slices; of the target the caller says it.
        Precision::F32 => unsafe { single(lhs, rhs, out, row, accumulate) },
        #[cfg(target_arch = "x86_64")]
        Precision::Bf16 if bf16::supported() => {
            // SAFETY: the processor is supported; of the target the caller says it.
            unsafe { bf16::into(lhs, rhs, out, row, accumulate) }
        }
        // SAFETY: as of f32.
        Precision::Bf16 => unsafe { in_software(lhs, rhs, out, row, accumulate) },
    }
}

/// Of factors that are rounded to bfloat16, on any processor.
///
/// # Safety
/// As [`into`]; and the factors lie in their slices.
pub(super) unsafe fn in_software(
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    out: *mut f32,
    row: usize,
    accumulate: bool,
) {
    let (a, b) = (rounded(lhs), rounded(rhs));
    let a = Matrix::part(&a, lhs.rows, lhs.columns, lhs.columns);
    let b = Matrix::part(&b, rhs.rows, rhs.columns, rhs.columns);
    // SAFETY: the rounded factors are whole; of the target the caller says it.
    unsafe { single(a, b, out, row, accumulate) }
}

/// # Safety
/// As [`into`]; and the factors lie in their slices.
unsafe fn single(lhs: Matrix<'_>, rhs: Matrix<'_>, out: *mut f32, row: usize, accumulate: bool) {
    let read = if accumulate { 1.0 } else { 0.0 };
    // SAFETY: the caller's.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.columns,
            lhs.columns,
            out,
            1,
            row as isize,
            accumulate,
            lhs.values.as_ptr(),
            lhs.column as isize,
            lhs.row as isize,
            rhs.values.as_ptr(),
            rhs.column as isize,
            rhs.row as isize,
            read,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Row by row, each value the nearest of bfloat16.
fn rounded(matrix: Matrix<'_>) -> Scratch {
    let mut out = Scratch::of(matrix.rows * matrix.columns);
    let rows = out.chunks_exact_mut(matrix.columns.max(1)).enumerate();
    for (i, out) in rows {
        for (j, out) in out.iter_mut().enumerate() {
            *out = rounding::from_f32(matrix.values[i * matrix.row + j * matrix.column]).to_f32();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The product by its definition.
    fn defined(lhs: Matrix<'_>, rhs: Matrix<'_>) -> Vec<f32> {
        let at = |m: Matrix<'_>, i: usize, j: usize| m.values[i * m.row + j * m.column];
        let places = (0..lhs.rows).flat_map(|i| (0..rhs.columns).map(move |j| (i, j)));
        places.map(|(i, j)| (0..lhs.columns).map(|k| at(lhs, i, k) * at(rhs, k, j)).sum()).collect()
    }

    #[test]
    fn products_of_turned_and_strided_factors() {
        let a: Vec<f32> = (0..60).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
        let b: Vec<f32> = (0..90).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
        for precision in [Precision::F32, Precision::Bf16] {
            for lhs in [Matrix::part(&a, 5, 4, 12), Matrix::part(&a, 4, 5, 12).transposed()] {
                for rhs in [Matrix::part(&b, 4, 7, 20), Matrix::part(&b, 7, 4, 9).transposed()] {
                    let mut out = vec![];
                    append_product(precision, lhs, rhs, &mut out);
                    let expected = defined(lhs, rhs);
                    assert_eq!(out, expected);
                    add_product(precision, lhs, rhs, &mut out);
                    assert!(out.iter().zip(expected).all(|(found, one)| *found == 2.0 * one));
                    let mut wide = vec![9.0; 4 * 8 + 7];
                    let target = Target { values: &mut wide, row: 8 };
                    product(precision, lhs, rhs, target, false);
                    assert_eq!(wide[7], 9.0);
                    assert_eq!(wide[8..15], defined(lhs, rhs)[7..14]);
                }
            }
        }
    }

    #[test]
    fn what_is_turned_twice_is_as_it_was() {
        let values: Vec<f32> = (0..37 * 21).map(|i| i as f32).collect();
        let once = turned(&values, 21);
        assert_eq!(once[3 * 37 + 5], values[5 * 21 + 3]);
        assert_eq!(*turned(&once, 37), *values);
    }
}
