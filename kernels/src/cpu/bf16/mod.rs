//! Matrix products of factors that are rounded to bfloat16, with sums in f32.
//!
//! What AVX512-BF16 has for it (`VDPBF16PS`) adds two products to each of 16 sums, so it does twice
//! the arithmetic of an f32 product in the same time. Factors are rounded (to the nearest, ties to
//! even) as they are packed into the layout that the instruction reads: pairs along the inner
//! dimension. Numbers below 2⁻¹²⁶ count as 0, as the instruction has it.
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

/// Whether this processor has what products in bfloat16 need. Without it [`product`] gives the same
/// but for the order of its sums, in more time than a product in f32.
pub fn supported() -> bool {
    missing().is_empty()
}

/// A matrix in a slice: element (i, j) is `values[i * row + j * column]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// From its first element on.
    pub values: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns` from the beginning of `values`, a row every `row` values.
    pub fn part(values: &'a [f32], rows: usize, columns: usize, row: usize) -> Self {
        Self { values, rows, columns, row, column: 1 }
    }

    /// Rows for columns.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.row + column * self.column]
    }

    /// Values from its first to its last element.
    fn span(&self) -> usize {
        match self.rows == 0 || self.columns == 0 {
            true => 0,
            false => (self.rows - 1) * self.row + (self.columns - 1) * self.column + 1,
        }
    }
}

/// lhs · rhs into `out`, a row every `row` values; with `accumulate` added to what is there. What lies
/// between rows stays as it is.
///
/// # Panics
/// If the factors' sizes do not fit, if one ends after its values, or the product after `out`.
pub fn product(lhs: Matrix<'_>, rhs: Matrix<'_>, out: &mut [f32], row: usize, accumulate: bool) {
    let (rows, columns) = (lhs.rows, rhs.columns);
    assert!(columns <= row && (rows == 0 || (rows - 1) * row + columns <= out.len()));
    // SAFETY: the product's rows lie in `out`, and what is accumulated to is there.
    unsafe { into(lhs, rhs, out.as_mut_ptr(), row, accumulate) }
}

/// The same into memory that need hold nothing yet unless with `accumulate`.
///
/// # Safety
/// `out` is of `lhs.rows` rows of `rhs.columns` values, a row every `row` values, that may be written,
/// and read with `accumulate`.
///
/// # Panics
/// If the factors' sizes do not fit, or one ends after its values.
pub unsafe fn into(lhs: Matrix<'_>, rhs: Matrix<'_>, out: *mut f32, row: usize, accumulate: bool) {
    assert_eq!(lhs.columns, rhs.rows, "factors of a product");
    assert!(lhs.span() <= lhs.values.len() && rhs.span() <= rhs.values.len());
    #[cfg(target_arch = "x86_64")]
    if supported() && lhs.columns > 0 {
        // SAFETY: the processor has the instructions; of the product the caller says it.
        return unsafe { blocks::product(lhs, rhs, out, row, accumulate) };
    }
    // SAFETY: the caller's.
    unsafe { plain(lhs, rhs, out, row, accumulate) }
}

/// The same on any processor: factors are rounded into f32.
///
/// # Safety
/// As of [`into`].
unsafe fn plain(lhs: Matrix<'_>, rhs: Matrix<'_>, out: *mut f32, row: usize, accumulate: bool) {
    let rounded = |matrix: &Matrix<'_>| -> Vec<f32> {
        let places = (0..matrix.rows).flat_map(|i| (0..matrix.columns).map(move |j| (i, j)));
        places.map(|(i, j)| half::bf16::from_f32(matrix.at(i, j)).to_f32()).collect()
    };
    let (a, b) = (rounded(&lhs), rounded(&rhs));
    let (m, n, k) = (lhs.rows, rhs.columns, lhs.columns);
    let read = if accumulate { 1.0 } else { 0.0 };
    // SAFETY: `a` is [m, k] and `b` [k, n], row after row; of `out` the caller says it.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            row as isize,
            accumulate,
            a.as_ptr(),
            1,
            k as isize,
            b.as_ptr(),
            1,
            n as isize,
            read,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
