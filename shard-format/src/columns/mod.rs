//! The columns of some rows, each as what it holds. The one place where a column is decoded.

pub mod row;

use std::borrow::Cow;

use arrow::array::{
    Array, FixedSizeBinaryArray, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use schemas::{Crop, ShardLayout, layout};

/// A column that some rows should have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnError {
    /// It was not read, or the shard does not have it.
    #[error("lacks column `{0}`")]
    Missing(String),
    /// It holds something else.
    #[error("column `{0}` is of another type than it should be")]
    Type(String),
}

/// The columns of some rows. Each is given as a function from a row's place among them to what it
/// holds there.
///
/// # Panics
/// The functions, of a place beyond the rows.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    /// The columns that were read of some rows.
    pub fn of(batch: &'a RecordBatch) -> Self {
        Self(batch)
    }

    /// The number of a row.
    ///
    /// # Errors
    /// As all of them: [`ColumnError`] if the column was not read, or is of another type.
    pub fn id(self) -> Result<impl Fn(usize) -> u64 + use<'a>, ColumnError> {
        let ids: &UInt64Array = self.array(layout::ID)?;
        Ok(move |row| ids.value(row))
    }

    /// Where a row's picture lies in the sources.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn source(self) -> Result<impl Fn(usize) -> &'a str + use<'a>, ColumnError> {
        let sources: &StringArray = self.array(layout::SOURCE)?;
        Ok(move |row| sources.value(row))
    }

    /// BLAKE3 of a row's picture file.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn content_hash(self) -> Result<impl Fn(usize) -> [u8; 32] + use<'a>, ColumnError> {
        let hashes: &FixedSizeBinaryArray = self.array(layout::CONTENT_HASH)?;
        if hashes.value_length() != 32 {
            return Err(ColumnError::Type(layout::CONTENT_HASH.to_owned()));
        }
        Ok(move |row| hashes.value(row).try_into().unwrap_or_default())
    }

    /// The perceptual hash of a row's picture, if it has one.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn perceptual_hash(self) -> Result<impl Fn(usize) -> Option<u64> + use<'a>, ColumnError> {
        let hashes: &UInt64Array = self.array(layout::PERCEPTUAL_HASH)?;
        Ok(move |row| hashes.is_valid(row).then(|| hashes.value(row)))
    }

    /// The class of a row's picture, if it has one.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn label(self) -> Result<impl Fn(usize) -> Option<&'a str> + use<'a>, ColumnError> {
        let labels: &StringArray = self.array(layout::LABEL)?;
        Ok(move |row| labels.is_valid(row).then(|| labels.value(row)))
    }

    /// Which view of its picture a row is, from 0.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn view(self) -> Result<impl Fn(usize) -> u32 + use<'a>, ColumnError> {
        self.number(layout::VIEW)
    }

    /// Width and height of a row's upright picture in pixels.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn source_size(self) -> Result<impl Fn(usize) -> (u32, u32) + use<'a>, ColumnError> {
        let width = self.number(layout::SOURCE_WIDTH)?;
        let height = self.number(layout::SOURCE_HEIGHT)?;
        Ok(move |row| (width(row), height(row)))
    }

    /// A row's crop of its picture.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn crop(self) -> Result<impl Fn(usize) -> Crop + use<'a>, ColumnError> {
        let (x, y) = (self.number(layout::CROP_X)?, self.number(layout::CROP_Y)?);
        let (width, height) = (self.number(layout::CROP_WIDTH)?, self.number(layout::CROP_HEIGHT)?);
        Ok(move |row| Crop { x: x(row), y: y(row), width: width(row), height: height(row) })
    }

    /// A row's view: size·size·3 bytes, ordered (row, column, channel).
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn picture(
        self,
        layout: &'a ShardLayout,
    ) -> Result<impl Fn(usize) -> Cow<'a, [u8]> + use<'a>, ColumnError> {
        let stored = self.bytes(layout.picture_column())?;
        Ok(move |row| layout.view(stored(row)))
    }

    /// A row's HOG of a cell size: codes, `[grid², 3·bins]`; [`schemas::code::decode`] gives the
    /// values.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn hog(self, cell: u32) -> Result<impl Fn(usize) -> &'a [u8] + use<'a>, ColumnError> {
        self.bytes(&layout::hog(cell))
    }

    /// A row's shares on tie edges of a cell size: codes, `[grid², 3·edges]`.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn hog_ties(self, cell: u32) -> Result<impl Fn(usize) -> &'a [u8] + use<'a>, ColumnError> {
        self.bytes(&layout::hog_ties(cell))
    }

    /// A row's patch means of the normalised view, `[grid²]`.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn mean(self, patch: u32) -> Result<impl Fn(usize) -> Vec<f32> + use<'a>, ColumnError> {
        self.floats(&layout::mean(patch))
    }

    /// A row's inverse deviations of patches, `[grid²]`.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn inv_std(self, patch: u32) -> Result<impl Fn(usize) -> Vec<f32> + use<'a>, ColumnError> {
        self.floats(&layout::inv_std(patch))
    }

    /// A row's nearest codes of a codebook's patches, `[grid²]`.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn code(self, cell: u32) -> Result<impl Fn(usize) -> Vec<u16> + use<'a>, ColumnError> {
        self.words(&layout::code(cell))
    }

    /// Those of the mirrored view, `[grid²]`, patches in its own rows.
    ///
    /// # Errors
    /// [`ColumnError`].
    pub fn code_mirrored(
        self,
        cell: u32,
    ) -> Result<impl Fn(usize) -> Vec<u16> + use<'a>, ColumnError> {
        self.words(&layout::code_mirrored(cell))
    }

    fn number(self, name: &str) -> Result<impl Fn(usize) -> u32 + use<'a>, ColumnError> {
        let numbers: &UInt32Array = self.array(name)?;
        Ok(move |row| numbers.value(row))
    }

    fn bytes(self, name: &str) -> Result<impl Fn(usize) -> &'a [u8] + use<'a>, ColumnError> {
        let values: &FixedSizeBinaryArray = self.array(name)?;
        Ok(move |row| values.value(row))
    }

    fn floats(self, name: &str) -> Result<impl Fn(usize) -> Vec<f32> + use<'a>, ColumnError> {
        let bytes = self.bytes(name)?;
        Ok(move |row| bytes(row).as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
    }

    fn words(self, name: &str) -> Result<impl Fn(usize) -> Vec<u16> + use<'a>, ColumnError> {
        let bytes = self.bytes(name)?;
        Ok(move |row| bytes(row).as_chunks().0.iter().map(|&b| u16::from_le_bytes(b)).collect())
    }

    fn array<A: Array + 'static>(self, name: &str) -> Result<&'a A, ColumnError> {
        let column = self.0.column_by_name(name);
        let column = column.ok_or_else(|| ColumnError::Missing(name.to_owned()))?;
        let array = column.as_any().downcast_ref();
        array.ok_or_else(|| ColumnError::Type(name.to_owned()))
    }
}
