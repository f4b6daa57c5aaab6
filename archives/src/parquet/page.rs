//! The header of a Parquet page.
//!
//! It is Thrift's compact form of `PageHeader` in parquet.thrift.

use super::thrift::{FALSE, INT, Input, STRUCT, TRUE};

/// What a page's header claims.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// Bytes that the header takes.
    pub(super) header: usize,
    pub(super) kind: i64,
    pub(super) inflated: i64,
    pub(super) stored: i64,
    /// Values with nulls, or of a dictionary.
    pub(super) values: i64,
    pub(super) encoding: i64,
    /// Only pages of the first form tell how their levels are encoded.
    pub(super) definition_encoding: i64,
    pub(super) repetition_encoding: i64,
    /// Rows and nulls, which pages of the second form tell.
    pub(super) rows: Option<i64>,
    pub(super) nulls: i64,
    /// Bytes of levels, which in pages of the second form stand before what is compressed.
    pub(super) definition_levels: i64,
    pub(super) repetition_levels: i64,
    /// Whether the values are compressed, if the column is.
    pub(super) compressed: bool,
}

/// A page of values, of the first form.
pub(super) const DATA: i64 = 0;
/// A page of no values, which nobody reads.
pub(super) const INDEX: i64 = 1;
/// A page of a dictionary's values.
pub(super) const DICTIONARY: i64 = 2;
/// A page of values, of the second form.
pub(super) const DATA_V2: i64 = 3;

impl Page {
    /// The header at the start of `bytes`; none if they are no such header or end within it.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut page = Self { compressed: true, ..Self::default() };
        let mut input = Input::new(bytes);
        let mut field = 0;
        while let Some(kind) = input.field(&mut field)? {
            match (field, kind) {
                (1, INT) => page.kind = input.int()?,
                (2, INT) => page.inflated = input.int()?,
                (3, INT) => page.stored = input.int()?,
                (5, STRUCT) => page.first_form(&mut input)?,
                (7, STRUCT) => page.of_dictionary(&mut input)?,
                (8, STRUCT) => page.second_form(&mut input)?,
                (1..=3 | 5 | 7 | 8, _) => return None,
                _ => input.skip(kind, 0)?,
            }
        }
        page.header = input.at();
        Some(page)
    }

    fn first_form(&mut self, input: &mut Input<'_>) -> Option<()> {
        let mut field = 0;
        while let Some(kind) = input.field(&mut field)? {
            match (field, kind) {
                (1, INT) => self.values = input.int()?,
                (2, INT) => self.encoding = input.int()?,
                (3, INT) => self.definition_encoding = input.int()?,
                (4, INT) => self.repetition_encoding = input.int()?,
                (1..=4, _) => return None,
                _ => input.skip(kind, 0)?,
            }
        }
        Some(())
    }

    fn of_dictionary(&mut self, input: &mut Input<'_>) -> Option<()> {
        let mut field = 0;
        while let Some(kind) = input.field(&mut field)? {
            match (field, kind) {
                (1, INT) => self.values = input.int()?,
                (2, INT) => self.encoding = input.int()?,
                (1 | 2, _) => return None,
                _ => input.skip(kind, 0)?,
            }
        }
        Some(())
    }

    fn second_form(&mut self, input: &mut Input<'_>) -> Option<()> {
        let mut field = 0;
        while let Some(kind) = input.field(&mut field)? {
            match (field, kind) {
                (1, INT) => self.values = input.int()?,
                (2, INT) => self.nulls = input.int()?,
                (3, INT) => self.rows = Some(input.int()?),
                (4, INT) => self.encoding = input.int()?,
                (5, INT) => self.definition_levels = input.int()?,
                (6, INT) => self.repetition_levels = input.int()?,
                (7, TRUE | FALSE) => self.compressed = kind == TRUE,
                (1..=7, _) => return None,
                _ => input.skip(kind, 0)?,
            }
        }
        Some(())
    }
}
