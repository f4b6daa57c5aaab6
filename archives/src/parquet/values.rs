//! A column of a row group → its values, row by row.

use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;

use super::File;
use super::columns::is_unsigned;
use super::pages::{Allowance, Pages};

/// A value of a column.
#[derive(Debug)]
pub(crate) enum Value {
    Bytes(ByteArray),
    Number(i128),
    Float(f64),
}

/// A column, read row by row.
pub(crate) struct Values {
    reader: ColumnReader,
    /// Whether whole numbers have no sign.
    unsigned: bool,
    /// The level of definition of a value that is there.
    greatest: i16,
    /// Whether a row may have several values, or none.
    repeated: bool,
    /// The level of definition from which on there is an element, be it null.
    element: i16,
    page_bytes: u64,
    allowance: Arc<Allowance>,
}

impl Values {
    /// A reader of a column in a row group, which stands at `row` of it.
    pub(crate) fn open(
        file: &File,
        group: usize,
        column: usize,
        row: u64,
    ) -> Result<Self, ParquetError> {
        let missing = || ParquetError::General("a row group lacks a column".to_owned());
        let group = file.metadata.row_groups().get(group).ok_or_else(missing)?;
        let meta = group.columns().get(column).ok_or_else(missing)?;
        let allowance = Arc::new(Allowance::default());
        let pages = Pages::open(file, meta, Arc::clone(&allowance))?;
        let descr = file.metadata.file_metadata().schema_descr().column(column);
        let mut values = Self {
            unsigned: is_unsigned(&descr),
            greatest: descr.max_def_level(),
            repeated: descr.max_rep_level() > 0,
            element: descr.repeated_ancestor_def_level(),
            reader: get_column_reader(descr, Box::new(pages)),
            page_bytes: file.limits.page_bytes,
            allowance,
        };
        // By reading, for the library's way to skip looks at pages in another order: it finds damage
        // where who reads row by row does not, or not yet.
        for _ in 0..row {
            values.row()?;
        }
        Ok(values)
    }

    /// The next row's values, each of them none where it is null: one, or as many as its list has.
    pub(crate) fn row(&mut self) -> Result<Vec<Option<Value>>, ParquetError> {
        self.allowance.renew(self.page_bytes);
        let unsigned = self.unsigned;
        let whole = |value: i64, mask: i128| {
            Value::Number(if unsigned { i128::from(value) & mask } else { value.into() })
        };
        let mut levels = Vec::new();
        let into = &mut levels;
        let values: Vec<Value> = match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(reader) => record(reader, into, Value::Bytes)?,
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                record(reader, into, |value| Value::Bytes(value.into()))?
            }
            ColumnReader::Int32ColumnReader(reader) => {
                record(reader, into, |value| whole(value.into(), u32::MAX.into()))?
            }
            ColumnReader::Int64ColumnReader(reader) => {
                record(reader, into, |value| whole(value, u64::MAX.into()))?
            }
            ColumnReader::BoolColumnReader(reader) => {
                record(reader, into, |value| Value::Number(value.into()))?
            }
            ColumnReader::FloatColumnReader(reader) => {
                record(reader, into, |value| Value::Float(value.into()))?
            }
            ColumnReader::DoubleColumnReader(reader) => record(reader, into, Value::Float)?,
            ColumnReader::Int96ColumnReader(_) => {
                return Err(ParquetError::General("a column of an unread type".to_owned()));
            }
        };
        if self.greatest == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        let there = levels.into_iter().filter(|&level| !self.repeated || level >= self.element);
        Ok(there.map(|level| if level == self.greatest { values.next() } else { None }).collect())
    }

    /// The next row's value in a column without lists, none if it is null.
    pub(crate) fn next(&mut self) -> Result<Option<Value>, ParquetError> {
        Ok(self.row()?.pop().flatten())
    }
}

/// The values of the next row that are there, and the levels of definition of all.
fn record<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    levels: &mut Vec<i16>,
    value: impl Fn(T::T) -> Value,
) -> Result<Vec<Value>, ParquetError> {
    let (mut repetitions, mut values) = (Vec::new(), Vec::new());
    let (rows, ..) = reader.read_records(1, Some(levels), Some(&mut repetitions), &mut values)?;
    if rows == 0 {
        return Err(ParquetError::EOF("a column ends before its row group".to_owned()));
    }
    Ok(values.into_iter().map(value).collect())
}
