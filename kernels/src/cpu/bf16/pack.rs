//! f32 factors → rounded pairs along k, in the order in which tiles read them.
//!
//! A lane is a row of the left factor or a column of the right one. Whichever way a factor lies in
//! memory, 16 lanes by 16 pairs are read along it, and turned if it lies across.

use std::arch::x86_64::{
    __m512bh, __m512i, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_cvtne2ps_pbh,
    _mm512_loadu_epi16, _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_storeu_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::mem::transmute;

/// Lanes of a vector, and pairs.
pub const LANES: usize = 16;

/// Pairs along k of a block: what a panel of the right factor has in the first cache.
pub const PAIRS: usize = 128;

/// From one row of the left factor to the next, in pairs: whole vectors, and not a power of two.
pub const ROW: usize = PAIRS + LANES;

/// Columns of a panel of the right factor.
pub const PANEL: usize = 64;

/// A part of a factor.
#[derive(Clone, Copy)]
pub struct Part {
    pub values: *const f32,
    pub lanes: usize,
    /// Values along k.
    pub depth: usize,
    pub lane_stride: usize,
    pub depth_stride: usize,
}

impl Part {
    /// At most 16 lanes and 16 pairs of it.
    ///
    /// # Safety
    /// Lane and depth are within it.
    unsafe fn piece(self, lane: usize, depth: usize) -> Self {
        // SAFETY: the first value of the piece is one of the part's.
        let values = unsafe { self.at(lane, depth) };
        let lanes = (self.lanes - lane).min(LANES);
        Self { values, lanes, depth: (self.depth - depth).min(2 * LANES), ..self }
    }

    /// # Safety
    /// As of [`Self::piece`].
    unsafe fn at(&self, lane: usize, depth: usize) -> *const f32 {
        // SAFETY: it is one of the part's values.
        unsafe { self.values.add(lane * self.lane_stride + depth * self.depth_stride) }
    }
}

/// The left factor: lane after lane, each `stride` pairs after the one before, which has room for
/// whole vectors.
///
/// # Safety
/// The processor has what is enabled here; the part is in memory, and so is the room for all lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn lanes(part: Part, to: *mut u32, stride: usize) {
    if part.depth_stride == 1 {
        for lane in 0..part.lanes {
            for depth in (0..part.depth).step_by(2 * LANES) {
                // SAFETY: both are within the part, and each lane has room for whole vectors.
                unsafe {
                    let from = part.at(lane, depth);
                    prefetch(from.wrapping_add(AHEAD * part.lane_stride));
                    prefetch(from.wrapping_add(AHEAD * part.lane_stride + LANES));
                    let pairs = along_depth(from, part.depth - depth);
                    _mm512_storeu_epi32(to.add(lane * stride + depth / 2).cast(), pairs);
                }
            }
        }
        return;
    }
    for depth in (0..part.depth).step_by(2 * LANES) {
        for lane in (0..part.lanes).step_by(LANES) {
            // SAFETY: as above.
            unsafe {
                let piece = part.piece(lane, depth);
                let to = to.add(lane * stride + depth / 2);
                for (i, pairs) in transposed(by_pair(piece)).into_iter().enumerate() {
                    if i < piece.lanes {
                        _mm512_storeu_epi32(to.add(i * stride).cast(), pairs);
                    }
                }
            }
        }
    }
}

/// The right factor: pair after pair, each `stride` lanes after the one before, which has room for
/// whole vectors. Lanes up to the next whole vector are 0.
///
/// # Safety
/// As of [`lanes`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn pairs(part: Part, to: *mut u32, stride: usize) {
    if part.lane_stride == 1 {
        for depth in (0..part.depth).step_by(2) {
            for lane in (0..part.lanes).step_by(LANES) {
                // SAFETY: both are within the part, and each pair has room for whole vectors.
                unsafe {
                    let from = part.at(lane, depth);
                    prefetch(from.wrapping_add(2 * AHEAD * part.depth_stride));
                    prefetch(from.wrapping_add((2 * AHEAD + 1) * part.depth_stride));
                    let (lanes, second) = (part.lanes - lane, depth + 1 < part.depth);
                    let lanes = along_lanes(from, lanes, part.depth_stride, second);
                    _mm512_storeu_epi32(to.add(depth / 2 * stride + lane).cast(), lanes);
                }
            }
        }
        return;
    }
    for depth in (0..part.depth).step_by(2 * LANES) {
        for lane in (0..part.lanes).step_by(LANES) {
            // SAFETY: as above.
            unsafe {
                let piece = part.piece(lane, depth);
                let turned = match piece.depth_stride == 1 {
                    true => transposed(by_lane(piece)),
                    false => by_pair(piece),
                };
                let to = to.add(depth / 2 * stride + lane);
                for (i, lanes) in turned.into_iter().enumerate() {
                    if 2 * i < piece.depth {
                        _mm512_storeu_epi32(to.add(i * stride).cast(), lanes);
                    }
                }
            }
        }
    }
}

/// So many lanes or pairs ahead of what is read the next ones are asked for.
const AHEAD: usize = 16;

/// Asks for what is soon read; it may be beyond the end.
fn prefetch(values: *const f32) {
    // SAFETY: a hint, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(values.cast()) }
}

/// Those of the first `count` of 16.
pub fn mask(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

/// 16 pairs of a lane that lies in a row, `left` values of it; what is beyond them is 0.
///
/// # Safety
/// The values are there.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn along_depth(from: *const f32, left: usize) -> __m512i {
    // SAFETY: what is masked out is not read.
    unsafe {
        let low = _mm512_maskz_loadu_ps(mask(left), from);
        let high = mask(left.saturating_sub(LANES));
        let high = _mm512_maskz_loadu_ps(high, from.wrapping_add(LANES));
        transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// 16 lanes of a pair that lie in a row, `left` of them, and `second` if it has one; what is beyond
/// them is 0.
///
/// # Safety
/// As of [`along_depth`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn along_lanes(from: *const f32, left: usize, stride: usize, second: bool) -> __m512i {
    const INTERLEAVED: [u16; 2 * LANES] = {
        let mut order = [0; 2 * LANES];
        let mut i = 0;
        while i < 2 * LANES {
            order[i] = (i / 2 + i % 2 * LANES) as u16;
            i += 1;
        }
        order
    };
    // SAFETY: what is masked out is not read.
    unsafe {
        let low = _mm512_maskz_loadu_ps(mask(left), from);
        let high = if second { mask(left) } else { 0 };
        let high = _mm512_maskz_loadu_ps(high, from.wrapping_add(stride));
        let order = _mm512_loadu_epi16(INTERLEAVED.as_ptr().cast());
        _mm512_permutexvar_epi16(
            order,
            transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)),
        )
    }
}

/// 16 pairs of each lane, which lie in a row.
///
/// # Safety
/// As of [`along_depth`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn by_lane(piece: Part) -> [__m512i; LANES] {
    let mut lanes = [_mm512_setzero_si512(); LANES];
    for (i, lane) in lanes.iter_mut().enumerate() {
        let from = piece.values.wrapping_add(i * piece.lane_stride);
        prefetch(from.wrapping_add(LANES * piece.lane_stride));
        prefetch(from.wrapping_add(LANES * piece.lane_stride + LANES));
        let left = if i < piece.lanes { piece.depth } else { 0 };
        // SAFETY: so many values are the lane's.
        *lane = unsafe { along_depth(from, left) };
    }
    lanes
}

/// 16 lanes of each pair, whether or not they lie in a row.
///
/// # Safety
/// As of [`along_depth`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn by_pair(piece: Part) -> [__m512i; LANES] {
    if piece.lane_stride == 1 {
        // SAFETY: the caller's.
        return unsafe { by_pair_in_row(piece) };
    }
    let mut copy = [0.0f32; 2 * LANES * LANES];
    for depth in 0..piece.depth {
        for lane in 0..piece.lanes {
            // SAFETY: both are within the piece.
            copy[depth * LANES + lane] = unsafe { *piece.at(lane, depth) };
        }
    }
    let copy = Part { values: copy.as_ptr(), lane_stride: 1, depth_stride: LANES, ..piece };
    // SAFETY: the copy has all lanes of all depths.
    unsafe { by_pair_in_row(copy) }
}

/// 16 lanes of each pair, which lie in a row.
///
/// # Safety
/// As of [`along_depth`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn by_pair_in_row(piece: Part) -> [__m512i; LANES] {
    let mut pairs = [_mm512_setzero_si512(); LANES];
    for (i, pair) in pairs.iter_mut().enumerate() {
        let from = piece.values.wrapping_add(2 * i * piece.depth_stride);
        prefetch(from.wrapping_add(2 * LANES * piece.depth_stride));
        prefetch(from.wrapping_add((2 * LANES + 1) * piece.depth_stride));
        let left = if 2 * i < piece.depth { piece.lanes } else { 0 };
        // SAFETY: so many values are the pair's.
        *pair = unsafe { along_lanes(from, left, piece.depth_stride, 2 * i + 1 < piece.depth) };
    }
    pairs
}

/// Rows as columns.
#[target_feature(enable = "avx512f")]
fn transposed(r: [__m512i; LANES]) -> [__m512i; LANES] {
    let mut t = r;
    for i in (0..16).step_by(2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    // Quarter q of u[4i + j] is column 4q + j of rows 4i to 4i + 3.
    let mut u = t;
    for i in (0..16).step_by(4) {
        u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    let mut columns = u;
    for j in 0..4 {
        let even = _mm512_shuffle_i32x4::<0x88>(u[j], u[4 + j]);
        let odd = _mm512_shuffle_i32x4::<0xdd>(u[j], u[4 + j]);
        let even_below = _mm512_shuffle_i32x4::<0x88>(u[8 + j], u[12 + j]);
        let odd_below = _mm512_shuffle_i32x4::<0xdd>(u[8 + j], u[12 + j]);
        columns[j] = _mm512_shuffle_i32x4::<0x88>(even, even_below);
        columns[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd, odd_below);
        columns[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even, even_below);
        columns[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_below);
    }
    columns
}
