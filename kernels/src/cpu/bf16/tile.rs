//! The sums of a tile of the product, in registers.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, __mmask16, _MM_HINT_ET0, _mm_prefetch, _mm512_add_ps,
    _mm512_dpbf16_ps, _mm512_loadu_epi32, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_set1_epi32, _mm512_setzero_ps,
};
use std::mem::transmute;

use super::pack::{LANES, PANEL, ROW};

/// Of `ROWS` rows and `VECTORS`·16 columns; of the last 16 those that are in `last`. Rows of `a` are
/// [`ROW`] pairs apart, pairs of `b` [`PANEL`] columns, and rows of `out` `stride` values.
pub type Tile = unsafe fn(
    pairs: usize,
    a: *const u32,
    b: *const u32,
    out: *mut f32,
    stride: usize,
    last: __mmask16,
    accumulate: bool,
);

/// Rows of a tile where so many are left: 24 sums, 4 vectors of the right factor and one of the left
/// are the registers' most.
pub fn rows(vectors: usize, left: usize) -> usize {
    let most = [12, 12, 8, 6][vectors - 1];
    if left >= most { most } else { left.min(6) }
}

/// The tile of so many rows and vectors, as [`rows`] has them.
pub fn of(vectors: usize, rows: usize) -> Tile {
    macro_rules! up_to_six {
        ($vectors:literal) => {
            [
                tile::<1, $vectors>,
                tile::<2, $vectors>,
                tile::<3, $vectors>,
                tile::<4, $vectors>,
                tile::<5, $vectors>,
                tile::<6, $vectors>,
            ]
        };
    }
    const TILES: [[Tile; 6]; 4] = [up_to_six!(1), up_to_six!(2), up_to_six!(3), up_to_six!(4)];
    match (vectors, rows) {
        (1, 12) => tile::<12, 1>,
        (2, 12) => tile::<12, 2>,
        (3, 8) => tile::<8, 3>,
        _ => TILES[vectors - 1][rows - 1],
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile<const ROWS: usize, const VECTORS: usize>(
    pairs: usize,
    a: *const u32,
    b: *const u32,
    out: *mut f32,
    stride: usize,
    last: __mmask16,
    accumulate: bool,
) {
    // The product's lines are on their way while its sums are made.
    for i in 0..ROWS {
        for j in 0..VECTORS {
            let line = out.wrapping_add(i * stride + j * LANES);
            _mm_prefetch::<_MM_HINT_ET0>(line.cast());
        }
    }
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for pair in 0..pairs {
        // SAFETY: the caller's `a` and `b` have so many pairs, rows and columns.
        unsafe {
            let mut right = [_mm512_setzero_ps(); VECTORS];
            for (i, right) in right.iter_mut().enumerate() {
                *right = transmute::<__m512i, __m512>(_mm512_loadu_epi32(
                    b.add(pair * PANEL + i * LANES).cast(),
                ));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(
                    *a.add(i * ROW + pair) as i32,
                ));
                for (sum, &right) in sums.iter_mut().zip(&right) {
                    *sum = _mm512_dpbf16_ps(*sum, left, transmute::<__m512, __m512bh>(right));
                }
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            let mask = if j + 1 == VECTORS { last } else { !0 };
            // SAFETY: what is masked out is neither read nor written.
            unsafe {
                let to = out.add(i * stride).wrapping_add(j * LANES);
                let before = if accumulate { mask } else { 0 };
                let sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(before, to));
                _mm512_mask_storeu_ps(to, mask, sum);
            }
        }
    }
}
