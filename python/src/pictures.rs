//! A record batch of (key, bytes or at, label?, twin?, seen?) → pictures, whose bytes stay where they are.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use bytes::Bytes;
use ingest::engine::{Brought, Given, Named};
use pyo3::PyResult;
use storage::Address;

use crate::error::{input, of_storage};

/// The pictures of a batch: those with an address (`at`) are read from there, where one of the
/// engine's processes may have `seen` them; the others have the `bytes` of the batch. A picture whose
/// bytes are null is one of none.
pub fn pictures(batch: &RecordBatch) -> PyResult<Vec<Given>> {
    let keys = Texts::of(batch, "key")?.ok_or_else(|| lacks("key"))?;
    let labels = Texts::of(batch, "label")?;
    let twins = Texts::of(batch, "twin")?;
    let places = Texts::of(batch, "at")?;
    let bodies = Bodies::of(batch, places.is_some())?;
    let seen = truths(batch, "seen")?;
    let seen = |row| seen.is_some_and(|seen| seen.is_valid(row) && seen.value(row));
    (0..batch.num_rows())
        .map(|row| {
            let name = keys
                .at(row)
                .ok_or_else(|| input("a key is null; every picture needs a name of its own"))?;
            let file = match places.as_ref().and_then(|places| places.at(row)) {
                Some(at) => Brought::At(Named { at: place(at)?, seen: seen(row) }),
                None => Brought::Here(bodies.at(row)),
            };
            let text = |texts: &Option<Texts<'_>>| texts.as_ref()?.at(row).map(str::to_owned);
            Ok(Given { name: name.to_owned(), label: text(&labels), file, twin: text(&twins) })
        })
        .collect()
}

fn truths<'a>(batch: &'a RecordBatch, name: &str) -> PyResult<Option<&'a BooleanArray>> {
    match batch.column_by_name(name) {
        None => Ok(None),
        Some(column) => match column.as_boolean_opt() {
            Some(truths) => Ok(Some(truths)),
            None => Err(is_another(name, column.data_type(), "true or false")),
        },
    }
}

/// Where a picture lies.
fn place(at: &str) -> PyResult<Address> {
    let address = Address::parse(at).map_err(of_storage)?;
    match address.is_web() {
        false => Ok(address),
        true => Err(input(format!(
            "{address}: a picture lies in a folder or a bucket; those of the web are fetched by `ingest` from a list"
        ))),
    }
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
    /// None is here.
    None,
}

impl<'a> Bodies<'a> {
    fn of(batch: &'a RecordBatch, elsewhere: bool) -> PyResult<Self> {
        let column = match batch.column_by_name("bytes") {
            Some(column) => column,
            None if elsewhere => return Ok(Self::None),
            None => return Err(lacks("bytes")),
        };
        Ok(match column.data_type() {
            DataType::Binary => Self::Short(column.as_binary()),
            DataType::LargeBinary => Self::Long(column.as_binary()),
            DataType::BinaryView => Self::View(column.as_binary_view()),
            DataType::Null => Self::None,
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
            Self::None => Bytes::new(),
        }
    }
}
