//! A record batch of (key, bytes, label?, twin?) → pictures, whose bytes stay where they are.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use bytes::Bytes;
use ingest::engine::Given;
use pyo3::PyResult;

use crate::error::input;

/// The pictures of a batch. A picture whose bytes are null is one of none.
pub fn pictures(batch: &RecordBatch) -> PyResult<Vec<Given>> {
    let keys = Texts::of(batch, "key")?.ok_or_else(|| lacks("key"))?;
    let labels = Texts::of(batch, "label")?;
    let twins = Texts::of(batch, "twin")?;
    let bodies = Bodies::of(batch)?;
    (0..batch.num_rows())
        .map(|row| {
            let name = keys
                .at(row)
                .ok_or_else(|| input("a key is null; every picture needs a name of its own"))?;
            let text = |texts: &Option<Texts<'_>>| texts.as_ref()?.at(row).map(str::to_owned);
            Ok(Given {
                name: name.to_owned(),
                label: text(&labels),
                body: bodies.at(row),
                twin: text(&twins),
            })
        })
        .collect()
}

fn lacks(name: &str) -> pyo3::PyErr {
    input(format!("the record batch has no column `{name}`"))
}

fn is_another(name: &str, found: &DataType, wanted: &str) -> pyo3::PyErr {
    input(format!("column `{name}` is {found}, but should be {wanted}"))
}

/// A column of text.
enum Texts<'a> {
    Short(&'a arrow::array::StringArray),
    Long(&'a arrow::array::LargeStringArray),
    View(&'a arrow::array::StringViewArray),
    /// All null.
    None,
}

impl<'a> Texts<'a> {
    fn of(batch: &'a RecordBatch, name: &str) -> PyResult<Option<Self>> {
        let Some(column) = batch.column_by_name(name) else { return Ok(None) };
        Ok(Some(match column.data_type() {
            DataType::Utf8 => Self::Short(column.as_string()),
            DataType::LargeUtf8 => Self::Long(column.as_string()),
            DataType::Utf8View => Self::View(column.as_string_view()),
            DataType::Null => Self::None,
            other => return Err(is_another(name, other, "text")),
        }))
    }

    fn at(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Short(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Long(array) => array.is_valid(row).then(|| array.value(row)),
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
            Self::None => None,
        }
    }
}

/// The column of bytes.
enum Bodies<'a> {
    Short(&'a arrow::array::BinaryArray),
    Long(&'a arrow::array::LargeBinaryArray),
    View(&'a arrow::array::BinaryViewArray),
}

impl<'a> Bodies<'a> {
    fn of(batch: &'a RecordBatch) -> PyResult<Self> {
        let column = batch.column_by_name("bytes").ok_or_else(|| lacks("bytes"))?;
        Ok(match column.data_type() {
            DataType::Binary => Self::Short(column.as_binary()),
            DataType::LargeBinary => Self::Long(column.as_binary()),
            DataType::BinaryView => Self::View(column.as_binary_view()),
            other => return Err(is_another("bytes", other, "binary")),
        })
    }

    fn at(&self, row: usize) -> Bytes {
        let part = |values: &Buffer, from: usize, to: usize| {
            Bytes::from_owner(values.slice_with_length(from, to - from))
        };
        match self {
            Self::Short(array) => {
                let ends = array.value_offsets();
                part(array.values(), ends[row] as usize, ends[row + 1] as usize)
            }
            Self::Long(array) => {
                let ends = array.value_offsets();
                part(array.values(), ends[row] as usize, ends[row + 1] as usize)
            }
            Self::View(array) => Bytes::copy_from_slice(array.value(row)),
        }
    }
}
