//! Matrix products of factors that are rounded to bfloat16, with sums in f32.
//!
//! What AVX512-BF16 has for it (`VDPBF16PS`) adds two products to each of 16 sums, so it does twice
//! the arithmetic of an f32 product in the same time. Factors are rounded (to the nearest, ties to
//! even) as they are packed into the layout that the instruction reads: pairs along the inner
//! dimension. Numbers below 2⁻¹²⁶ count as 0, as the instruction has it.
//!
//! It is taken at every size: attention's products of 50 and of 197 tokens gain by it, too. Products
//! with few columns, whose time goes into reading a factor once, gain least.
//!
//! A sum is taken in the same order whatever the other sizes are: a slice of rows has the bits that
//! it has in the whole.

#[cfg(target_arch = "x86_64")]
mod blocks;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile;

#[cfg(target_arch = "x86_64")]
use super::strided::Matrix;

/// What a processor must have for products in bfloat16 to be fast.
pub const NEEDED: [&str; 4] = ["avx512f", "avx512bw", "avx512vl", "avx512bf16"];

/// What of [`NEEDED`] this processor lacks.
pub fn missing() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let has = [
        is_x86_feature_detected!("avx512f"),
        is_x86_feature_detected!("avx512bw"),
        is_x86_feature_detected!("avx512vl"),
        is_x86_feature_detected!("avx512bf16"),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let has = [false; NEEDED.len()];
    NEEDED.into_iter().zip(has).filter(|(_, has)| !has).map(|(name, _)| name).collect()
}

/// Whether this processor has what products in bfloat16 need. Without it
/// [`product`](super::matrix::product) gives the same but for the order of its sums, in more time than
/// in f32.
pub fn supported() -> bool {
    missing().is_empty()
}

/// lhs · rhs into `out`, a row every `row` values; with `accumulate` added to what is there.
///
/// # Safety
/// The processor is [`supported`]; `out` is of `lhs.rows` rows of `rhs.columns` values that may be
/// written, and read with `accumulate`.
///
/// # Panics
/// If the factors' sizes do not fit, or one ends after its values.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn into(
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    out: *mut f32,
    row: usize,
    accumulate: bool,
) {
    assert_eq!(lhs.columns, rhs.rows);
    assert!(lhs.span() <= lhs.values.len() && rhs.span() <= rhs.values.len());
    // SAFETY: the factors lie in their slices; the rest is the caller's.
    unsafe { blocks::product(lhs, rhs, out, row, accumulate) }
}
