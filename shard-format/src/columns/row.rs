//! One row with everything that it holds.

use schemas::{CodebookLayout, Crop, ShardLayout};

use super::{ColumnError, Columns};

/// One row, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// The row's number.
    pub id: u64,
    /// Where the picture lies in the sources.
    pub source: String,
    /// BLAKE3 of the picture file.
    pub content_hash: Vec<u8>,
    /// The picture's perceptual hash, if it has one.
    pub perceptual_hash: Option<u64>,
    /// The class, where the folder gives one.
    pub label: Option<String>,
    /// Which view of its picture.
    pub view: u32,
    /// Width and height of the upright picture in pixels.
    pub source_size: (u32, u32),
    /// The view's crop of it.
    pub crop: Crop,
    /// The view: size·size·3 bytes, ordered (row, column, channel).
    pub picture: Vec<u8>,
    /// The targets, one entry a cell size.
    pub cells: Vec<StoredCells>,
    /// The codes, one entry a codebook.
    pub codes: Vec<StoredCodes>,
}

/// What a row holds for one codebook.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCodes {
    /// The patch's side in pixels.
    pub cell: u32,
    /// Each patch's nearest code, `[grid²]`.
    pub codes: Vec<u16>,
    /// Those of the mirrored view, `[grid²]`, patches in its own rows.
    pub mirrored: Vec<u16>,
}

/// What a row holds for one cell size.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCells {
    /// The cell's side in pixels.
    pub cell: u32,
    /// HOG codes, `[grid², 3·bins]`; [`schemas::code::decode`] gives the values.
    pub hog: Vec<u8>,
    /// Codes of the shares on tie edges, `[grid², 3·edges]`.
    pub ties: Vec<u8>,
    /// Patch means of the normalised picture, `[grid²]`.
    pub mean: Vec<f32>,
    /// Patch inverse deviations, `[grid²]`.
    pub inv_std: Vec<f32>,
}

impl StoredRow {
    /// The row at a place among some rows that have all columns of a layout.
    ///
    /// # Errors
    /// [`ColumnError`] of the first column that is not there.
    pub fn of(columns: Columns<'_>, layout: &ShardLayout, row: usize) -> Result<Self, ColumnError> {
        let of_cell = |&cell: &u32| {
            Ok(StoredCells {
                cell,
                hog: columns.hog(cell)?(row).to_vec(),
                ties: columns.hog_ties(cell)?(row).to_vec(),
                mean: columns.mean(cell)?(row),
                inv_std: columns.inv_std(cell)?(row),
            })
        };
        let of_codebook = |&CodebookLayout { cell, .. }: &CodebookLayout| {
            Ok(StoredCodes {
                cell,
                codes: columns.code(cell)?(row),
                mirrored: columns.code_mirrored(cell)?(row),
            })
        };
        Ok(Self {
            id: columns.id()?(row),
            source: columns.source()?(row).to_owned(),
            content_hash: columns.content_hash()?(row).to_vec(),
            perceptual_hash: columns.perceptual_hash()?(row),
            label: columns.label()?(row).map(str::to_owned),
            view: columns.view()?(row),
            source_size: columns.source_size()?(row),
            crop: columns.crop()?(row),
            picture: columns.picture(layout)?(row).into_owned(),
            cells: layout.cells.iter().map(of_cell).collect::<Result<_, _>>()?,
            codes: layout.codebooks.iter().map(of_codebook).collect::<Result<_, _>>()?,
        })
    }
}
