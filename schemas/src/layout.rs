//! The columns of a shard and what each holds.
//!
//! A row is one view of one picture. The wide columns are fixed-size binaries, so that a reader
//! gets at a row's bytes without copying and every Parquet reader can open them.

use arrow_schema::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::{PictureFilter, SCHEMA_VERSION};

/// The key of the schema version in a shard's Parquet key-value metadata.
pub const VERSION_KEY: &str = "localmim.schema_version";
/// The key of the [`ShardLayout`], as JSON, in a shard's Parquet key-value metadata.
pub const LAYOUT_KEY: &str = "localmim.layout";

/// u64: the row's number: that of its picture in the listing · views + view. Rejected pictures
/// leave gaps.
pub const ID: &str = "id";
/// utf8: where the picture lies, relative to the root given to `ingest`, with `/` between parts.
pub const SOURCE: &str = "source";
/// 32 bytes: BLAKE3 of the picture file.
pub const CONTENT_HASH: &str = "content_hash";
/// u64, may be null: the 64-bit perceptual hash of the picture, of which near duplicates differ in
/// few bits; null where a picture has none.
pub const PERCEPTUAL_HASH: &str = "perceptual_hash";
/// utf8, may be null: the class, which is the folder the picture lies in; null in the root.
pub const LABEL: &str = "label";
/// u32: which view of its picture, from 0.
pub const VIEW: &str = "view";
/// u32: the picture's width in pixels, upright (after EXIF orientation).
pub const SOURCE_WIDTH: &str = "source_width";
/// u32: the picture's height in pixels, upright.
pub const SOURCE_HEIGHT: &str = "source_height";
/// u32: the crop box's left edge in the upright picture's pixels.
pub const CROP_X: &str = "crop_x";
/// u32: the crop box's upper edge.
pub const CROP_Y: &str = "crop_y";
/// u32: the crop box's width.
pub const CROP_WIDTH: &str = "crop_width";
/// u32: the crop box's height.
pub const CROP_HEIGHT: &str = "crop_height";
/// size·size·3 bytes: the view, RGB, ordered (row, column, channel).
pub const PICTURE: &str = "picture";
/// size·size·3 bytes: the view after a [`PictureFilter`]; instead of [`PICTURE`], whose name it
/// does not share so that nobody takes one for the other.
pub const PICTURE_FILTERED: &str = "picture_filtered";

/// The HOG column of a cell size: (size/cell)² cells in rows, each 3·bins bytes ordered
/// (channel, bin); [`crate::code`] says what a byte stands for.
pub fn hog(cell: u32) -> String {
    format!("hog_{cell}")
}

/// The column beside [`hog`] that makes its mirror image exact: for each cell and channel, the
/// share of each [`ShardLayout::tie_edges`] edge in the bin above it, coded as the HOG is.
pub fn hog_ties(cell: u32) -> String {
    format!("hog_{cell}_ties")
}

/// (size/patch)² little-endian f32: each patch's mean over its patch²·3 normalised pixels.
pub fn mean(patch: u32) -> String {
    format!("mean_{patch}")
}

/// (size/patch)² little-endian f32: each patch's 1 / sqrt(unbiased variance + 1e-6).
pub fn inv_std(patch: u32) -> String {
    format!("inv_std_{patch}")
}

/// (size/cell)² little-endian u16: the codebook's nearest code of each patch, patches in rows.
pub fn code(cell: u32) -> String {
    format!("code_{cell}")
}

/// As [`code`], of the view's left-right mirror image, patches in its own rows.
pub fn code_mirrored(cell: u32) -> String {
    format!("code_{cell}_mirrored")
}

/// A codebook whose nearest codes a shard holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodebookLayout {
    /// The side in pixels of the patch that a code stands for.
    pub cell: u32,
    /// How many codes there are.
    pub codes: u32,
    /// BLAKE3 of the codebook's file, 64 hexadecimal digits.
    pub blake3: String,
}

/// What fixes a shard's columns. By default nothing is set, which does not pass [`Self::check`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardLayout {
    /// The side of a view in pixels.
    pub size: u32,
    /// HOG cell sizes, which are the patch sizes of the pixel statistics too, in pixels; rising.
    pub cells: Vec<u32>,
    /// Orientation bins a channel.
    pub bins: u32,
    /// The codebooks, by rising cell; usually none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codebooks: Vec<CodebookLayout>,
    /// What is done to a view's pixels before they are compressed.
    #[serde(default, skip_serializing_if = "is_none")]
    pub picture_filter: PictureFilter,
}

fn is_none(filter: &PictureFilter) -> bool {
    *filter == PictureFilter::None
}

/// What is wrong with a layout, or with a file that should have one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// A number is out of its range.
    #[error("{0}")]
    Invalid(String),
    /// The file has no layout in its metadata.
    #[error("no `{LAYOUT_KEY}` in the file's metadata: it was not written by ingest")]
    Missing,
    /// The metadata's layout is not readable.
    #[error("the layout in the file's metadata is not readable: {0}")]
    Unreadable(String),
    /// Written by a version of the schema that this reader does not know.
    #[error(
        "schema version {found}, but this program reads version {SCHEMA_VERSION}; ingest the pictures again, or use the release that wrote them"
    )]
    Version {
        /// The version found.
        found: String,
    },
    /// A column is missing or of another type.
    #[error("column `{column}` should be {expected}, but is {found}")]
    Column {
        /// The column's name.
        column: String,
        /// The type it should have.
        expected: String,
        /// The type it has.
        found: String,
    },
}

impl ShardLayout {
    /// What the side of a view may be.
    pub const SIZES: RangeInclusive<u32> = 1..=4096;
    /// How many orientation bins there may be.
    pub const BINS: RangeInclusive<u32> = 1..=64;

    /// A layout whose numbers fit together, with filtered pictures and without codebooks.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn new(size: u32, cells: Vec<u32>, bins: u32) -> Result<Self, LayoutError> {
        let layout =
            Self { size, cells, bins, codebooks: vec![], picture_filter: PictureFilter::GreenUp };
        layout.check()?;
        Ok(layout)
    }

    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// [`LayoutError::Invalid`] if the size is 0 or over 4096, there is no cell, the cells do not
    /// rise or do not divide the size, bins is not in 1..=64, or a codebook's cell does not divide
    /// the size, its codes are not 2 to 65,536, or two have one cell.
    pub fn check(&self) -> Result<(), LayoutError> {
        let Self { size, ref cells, bins, ref codebooks, picture_filter: _ } = *self;
        let invalid = |text: String| Err(LayoutError::Invalid(text));
        if !Self::SIZES.contains(&size) {
            return invalid(format!("the size of a view must be 1 to 4096, not {size}"));
        }
        if cells.is_empty() {
            return invalid("at least one cell size is needed".into());
        }
        if !cells.windows(2).all(|pair| pair[0] < pair[1]) {
            return invalid(format!("cell sizes must rise, but are {cells:?}"));
        }
        if let Some(cell) = cells.iter().find(|&&cell| cell < 2 || !size.is_multiple_of(cell)) {
            return invalid(format!(
                "a cell must be at least 2 pixels and divide the view's {size} pixels; {cell} does not"
            ));
        }
        if !Self::BINS.contains(&bins) {
            return invalid(format!("bins must be 1 to 64, not {bins}"));
        }
        if !codebooks.windows(2).all(|pair| pair[0].cell < pair[1].cell) {
            let cells: Vec<_> = codebooks.iter().map(|codebook| codebook.cell).collect();
            return invalid(format!(
                "codebooks must be given by rising patch, one for each, but theirs are {cells:?}"
            ));
        }
        for &CodebookLayout { cell, codes, ref blake3 } in codebooks {
            if cell < 2 || !size.is_multiple_of(cell) {
                return invalid(format!(
                    "a codebook's patch must be at least 2 pixels and divide the view's {size} pixels; {cell} does not"
                ));
            }
            if !(2..=1 << 16).contains(&codes) {
                return invalid(format!("a codebook has 2 to 65536 codes, not {codes}"));
            }
            if blake3.len() != 64 || !blake3.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return invalid(format!("`{blake3}` is no BLAKE3 of a codebook"));
            }
        }
        Ok(())
    }

    /// Cells along a side.
    pub fn grid(&self, cell: u32) -> usize {
        (self.size / cell) as usize
    }

    /// The name of the column that holds the views.
    pub fn picture_column(&self) -> &'static str {
        match self.picture_filter {
            PictureFilter::None => PICTURE,
            PictureFilter::GreenUp => PICTURE_FILTERED,
        }
    }

    /// The view of which these are the bytes in its column.
    pub fn view<'a>(&self, stored: &'a [u8]) -> Cow<'a, [u8]> {
        self.picture_filter.undo(stored, self.size as usize)
    }

    /// Bytes of the picture column: size·size·3.
    pub fn picture_bytes(&self) -> usize {
        (self.size * self.size * 3) as usize
    }

    /// Bytes of the HOG column of `cell`: grid²·3·bins.
    pub fn hog_bytes(&self, cell: u32) -> usize {
        self.grid(cell).pow(2) * 3 * self.bins as usize
    }

    /// Bytes of the tie column of `cell`: grid²·3·ties.
    pub fn tie_bytes(&self, cell: u32) -> usize {
        self.grid(cell).pow(2) * 3 * self.tie_edges().len()
    }

    /// Bytes of the mean column, and of the inverse deviation's: grid²·4.
    pub fn stat_bytes(&self, patch: u32) -> usize {
        self.grid(patch).pow(2) * 4
    }

    /// Bytes of a code column: grid²·2.
    pub fn code_bytes(&self, cell: u32) -> usize {
        self.grid(cell).pow(2) * 2
    }

    /// The bin edges (edge k lies at k·π/bins) on which a gradient of whole numbers can lie
    /// exactly: those at 0, 45, 90 and 135 degrees, by Niven's theorem no others.
    ///
    /// Mirroring a picture takes the inside of bin k to bin bins−1−k, but the edge k to the edge
    /// bins−k; so the weight on these edges is kept apart.
    pub fn tie_edges(&self) -> Vec<u32> {
        (0..self.bins).filter(|edge| (edge * 4) % self.bins == 0).collect()
    }

    /// Bytes of a row's wide columns, before compression.
    pub fn row_bytes(&self) -> usize {
        let of_cell =
            |&cell: &u32| self.hog_bytes(cell) + self.tie_bytes(cell) + 2 * self.stat_bytes(cell);
        let of_codebook = |codebook: &CodebookLayout| 2 * self.code_bytes(codebook.cell);
        self.picture_bytes()
            + self.cells.iter().map(of_cell).sum::<usize>()
            + self.codebooks.iter().map(of_codebook).sum::<usize>()
    }

    /// The Arrow schema of a shard, with version and layout in its metadata.
    pub fn arrow_schema(&self) -> Schema {
        let binary = |name: String, bytes: usize| {
            let bytes = i32::try_from(bytes).expect("a view of at most 4096 pixels a side");
            Field::new(name, DataType::FixedSizeBinary(bytes), false)
        };
        let mut fields = vec![
            Field::new(ID, DataType::UInt64, false),
            Field::new(SOURCE, DataType::Utf8, false),
            binary(CONTENT_HASH.into(), 32),
            Field::new(PERCEPTUAL_HASH, DataType::UInt64, true),
            Field::new(LABEL, DataType::Utf8, true),
        ];
        fields.extend(
            [VIEW, SOURCE_WIDTH, SOURCE_HEIGHT, CROP_X, CROP_Y, CROP_WIDTH, CROP_HEIGHT]
                .map(|name| Field::new(name, DataType::UInt32, false)),
        );
        fields.push(binary(self.picture_column().into(), self.picture_bytes()));
        for &cell in &self.cells {
            fields.push(binary(hog(cell), self.hog_bytes(cell)));
            fields.push(binary(hog_ties(cell), self.tie_bytes(cell)));
        }
        for &patch in &self.cells {
            fields.push(binary(mean(patch), self.stat_bytes(patch)));
            fields.push(binary(inv_std(patch), self.stat_bytes(patch)));
        }
        for &CodebookLayout { cell, .. } in &self.codebooks {
            fields.push(binary(code(cell), self.code_bytes(cell)));
            fields.push(binary(code_mirrored(cell), self.code_bytes(cell)));
        }
        let layout = serde_json::to_string(self).expect("numbers are always JSON");
        Schema::new_with_metadata(
            fields,
            HashMap::from([
                (VERSION_KEY.to_owned(), SCHEMA_VERSION.to_string()),
                (LAYOUT_KEY.to_owned(), layout),
            ]),
        )
    }

    /// The layout of a file with this Arrow schema.
    ///
    /// # Errors
    /// [`LayoutError`] if the file has no layout, one of another version, or columns that differ
    /// from it. Columns beyond the layout's are let be.
    pub fn of_schema(schema: &Schema) -> Result<Self, LayoutError> {
        let layout = schema.metadata().get(LAYOUT_KEY).ok_or(LayoutError::Missing)?;
        let version = schema.metadata().get(VERSION_KEY).map_or("none", String::as_str);
        if version != SCHEMA_VERSION.to_string() {
            return Err(LayoutError::Version { found: version.to_owned() });
        }
        let layout: Self = serde_json::from_str(layout)
            .map_err(|error| LayoutError::Unreadable(error.to_string()))?;
        layout.check()?;
        for expected in layout.arrow_schema().fields() {
            let found = schema.field_with_name(expected.name()).ok();
            if found.map(Field::data_type) != Some(expected.data_type()) {
                return Err(LayoutError::Column {
                    column: expected.name().clone(),
                    expected: expected.data_type().to_string(),
                    found: found.map_or("missing".into(), |field| field.data_type().to_string()),
                });
            }
        }
        Ok(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_gives_its_layout_back() {
        let layout = ShardLayout::new(224, vec![4, 8, 16, 32], 9).unwrap();
        assert_eq!(ShardLayout::of_schema(&layout.arrow_schema()), Ok(layout));
    }

    #[test]
    fn codebooks_have_two_columns_each_and_no_trace_where_there_are_none() {
        let plain = ShardLayout::new(32, vec![4], 9).unwrap();
        assert!(!serde_json::to_string(&plain).unwrap().contains("codebook"));
        let codebook = CodebookLayout { cell: 16, codes: 512, blake3: "0f".repeat(32) };
        let layout = ShardLayout { codebooks: vec![codebook.clone()], ..plain.clone() };
        assert_eq!(ShardLayout::of_schema(&layout.arrow_schema()), Ok(layout.clone()));
        assert_eq!(layout.row_bytes(), plain.row_bytes() + 2 * 4 * 2);
        for wrong in [
            CodebookLayout { cell: 5, ..codebook.clone() },
            CodebookLayout { codes: 1, ..codebook.clone() },
            CodebookLayout { codes: 65_537, ..codebook.clone() },
            CodebookLayout { blake3: "0f".into(), ..codebook.clone() },
        ] {
            let layout = ShardLayout { codebooks: vec![wrong.clone()], ..plain.clone() };
            assert!(layout.check().is_err(), "{wrong:?}");
        }
        let twice = ShardLayout { codebooks: vec![codebook; 2], ..plain };
        assert!(twice.check().is_err());
    }

    #[test]
    fn filtered_pictures_have_a_column_of_their_own_and_plain_ones_no_trace_of_it() {
        let layout = ShardLayout::new(32, vec![4], 9).unwrap();
        let plain = ShardLayout { picture_filter: PictureFilter::None, ..layout.clone() };
        assert!(!serde_json::to_string(&plain).unwrap().contains("filter"));
        let schema = layout.arrow_schema();
        assert_eq!(ShardLayout::of_schema(&schema), Ok(layout));
        assert!(schema.field_with_name(PICTURE).is_err());
        assert!(plain.arrow_schema().field_with_name(PICTURE).is_ok());
    }

    #[test]
    fn a_missing_column_is_named() {
        let layout = ShardLayout::new(32, vec![4, 8], 9).unwrap();
        let schema = layout.arrow_schema();
        let kept: Vec<_> =
            schema.fields().iter().filter(|field| field.name() != "hog_8").cloned().collect();
        let cut = Schema::new_with_metadata(kept, schema.metadata().clone());
        let error = ShardLayout::of_schema(&cut).unwrap_err();
        assert!(error.to_string().contains("`hog_8`"), "{error}");
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let schema = ShardLayout::new(32, vec![4], 9).unwrap().arrow_schema();
        let mut metadata = schema.metadata().clone();
        metadata.insert(VERSION_KEY, "7");
        let error = ShardLayout::of_schema(&schema.with_metadata(metadata)).unwrap_err();
        assert_eq!(error, LayoutError::Version { found: "7".into() });
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        for (size, cells, bins) in [
            (0, vec![4], 9),
            (224, vec![], 9),
            (224, vec![8, 4], 9),
            (224, vec![5], 9),
            (224, vec![4], 0),
        ] {
            assert!(
                ShardLayout::new(size, cells.clone(), bins).is_err(),
                "{size} {cells:?} {bins}"
            );
        }
    }

    #[test]
    fn ties_lie_at_multiples_of_45_degrees() {
        let edges = |bins| ShardLayout::new(32, vec![4], bins).unwrap().tie_edges();
        assert_eq!(edges(9), [0]);
        assert_eq!(edges(18), [0, 9]);
        assert_eq!(edges(8), [0, 2, 4, 6]);
    }
}
