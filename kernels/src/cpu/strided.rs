//! Matrices that lie in slices, and where their products go.

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
    /// All of `values`, row by row.
    pub fn new(values: &'a [f32], columns: usize) -> Self {
        Self::part(values, values.len() / columns, columns, columns)
    }

    /// `rows` × `columns` from the beginning of `values`, a row every `row` values.
    pub fn part(values: &'a [f32], rows: usize, columns: usize, row: usize) -> Self {
        Self { values, rows, columns, row, column: 1 }
    }

    /// Rows for columns.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }

    /// Values from its first to its last element.
    pub(super) fn span(&self) -> usize {
        match self.rows == 0 || self.columns == 0 {
            true => 0,
            false => (self.rows - 1) * self.row + (self.columns - 1) * self.column + 1,
        }
    }
}

/// Where a product goes: its rows, `row` values from one to the next.
pub struct Target<'a> {
    /// From its first element on.
    pub values: &'a mut [f32],
    /// From one row to the next.
    pub row: usize,
}
