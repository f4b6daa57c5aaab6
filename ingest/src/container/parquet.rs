//! Parquet with a column of encoded pictures → its rows.
//!
//! Rows are read one at a time from the columns' pages, so that what is held is a page of each
//! column and one picture, whatever the row groups' size.

pub(super) mod addresses;
mod chunk;
mod columns;
mod page;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::serialized_reader::SerializedPageReader;

use self::chunk::{Chunk, Footer};
use self::columns::{Columns, Label, is_unsigned};
use super::{ContainerError, Cursor, Limits, Member, Origin, Reader, fault, text, too_large};
use crate::caught::caught;
use crate::picture::Fault;
use schemas::Reason;

/// Names longer than this are cut.
const NAME: usize = 4096;

/// What became of reading a page, beside what the Parquet library says of it.
#[derive(Debug)]
enum Trouble {
    /// The storage failed.
    Io(io::Error),
    /// The page is over the limits.
    TooLarge,
    /// The page is of a form that is not read.
    Unsupported,
}

/// Where the readers of pages leave their trouble for the one who reads rows.
type Troubles = Arc<Mutex<Option<Trouble>>>;

fn note(troubles: &Troubles, trouble: Trouble) {
    *troubles.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
}

fn noted(troubles: &Troubles) -> Option<Trouble> {
    troubles.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The members of a Parquet file from row `from.offset` on.
pub(super) fn members(
    origin: Arc<dyn Origin>,
    from: Cursor,
    limits: &Limits,
) -> Result<impl Reader + use<>, ContainerError> {
    let (mut file, rows) = File::open(origin, limits)?;
    if from.offset > rows {
        return Err(ContainerError::Cursor { offset: from.offset, bytes: file.origin.bytes() });
    }
    let columns = if rows == 0 { None } else { Some(Columns::find(&mut file)?) };
    let (mut group, mut first) = (0, 0);
    while let Some(rows) = file.rows_of(group)
        && first + rows <= from.offset
    {
        first += rows;
        group += 1;
    }
    let row = from.offset;
    Ok(Rows { file, columns, group, first, row, members: from.members, open: None, ended: false })
}

/// An open file.
struct File {
    origin: Arc<dyn Origin>,
    metadata: ParquetMetaData,
    limits: Limits,
    troubles: Troubles,
}

impl File {
    /// Opens a file; how many rows it has.
    fn open(origin: Arc<dyn Origin>, limits: &Limits) -> Result<(Self, u64), ContainerError> {
        let bytes = origin.bytes();
        let damaged = |problem: String| ContainerError::Damaged { offset: bytes, problem };
        let troubles = Troubles::default();
        let footer = Footer { origin: Arc::clone(&origin), troubles: Arc::clone(&troubles) };
        let metadata = caught(|| ParquetMetaDataReader::new().parse_and_finish(&footer))
            .map_err(|panic| damaged(format!("its metadata can't be read: {panic}")))?;
        let metadata = match (metadata, noted(&troubles)) {
            (Ok(metadata), _) => metadata,
            (Err(_), Some(Trouble::Io(source))) => {
                return Err(ContainerError::Io { offset: bytes, source });
            }
            (Err(error), _) => return Err(damaged(format!("its metadata can't be read: {error}"))),
        };

        let mut rows: u64 = 0;
        for group in metadata.row_groups() {
            let more = u64::try_from(group.num_rows()).ok();
            rows = more.and_then(|more| rows.checked_add(more)).unwrap_or(u64::MAX);
        }
        // A row that holds anything, an address say, takes a byte.
        if rows > bytes {
            return Err(damaged(format!("it claims {rows} rows in {bytes} bytes")));
        }
        Ok((File { origin, metadata, limits: limits.clone(), troubles }, rows))
    }

    /// The rows of a row group; none behind the last.
    fn rows_of(&self, group: usize) -> Option<u64> {
        let group = self.metadata.row_groups().get(group)?;
        Some(u64::try_from(group.num_rows()).unwrap_or(0))
    }

    /// A reader of a column in a row group, which stands at `row` of it.
    fn column(&self, group: usize, column: usize, row: u64) -> Result<Values, ParquetError> {
        let missing = || ParquetError::General("a row group lacks a column".to_owned());
        let rows = usize::try_from(self.rows_of(group).unwrap_or(0))?;
        let group = self.metadata.row_groups().get(group).ok_or_else(missing)?;
        let meta = group.columns().get(column).ok_or_else(missing)?;
        let chunk = Chunk::open(self, meta)?;
        let pages = SerializedPageReader::new(Arc::new(chunk), meta, rows, None)?;
        let descr = self.metadata.file_metadata().schema_descr().column(column);
        let unsigned = is_unsigned(&descr);
        let mut values = Values { reader: get_column_reader(descr, Box::new(pages)), unsigned };
        // By reading, for the library's way to skip looks at pages in another order: it finds damage
        // where who reads row by row does not, or not yet.
        for _ in 0..row {
            values.next()?;
        }
        Ok(values)
    }

    /// What an error in reading pages, or a panic, was.
    fn trouble(&self, result: Result<ParquetError, String>) -> Result<Fault, io::Error> {
        let noted = noted(&self.troubles);
        Ok(match (result, noted) {
            (_, Some(Trouble::Io(error))) => return Err(error),
            (Err(panic), _) => {
                fault(Reason::DecoderPanic, format!("the Parquet decoder gave up: {panic}"))
            }
            (Ok(error), Some(Trouble::TooLarge)) => fault(Reason::TooLarge, error.to_string()),
            (Ok(error), Some(Trouble::Unsupported)) => {
                fault(Reason::Unsupported, error.to_string())
            }
            (Ok(error), None) => fault(Reason::Corrupt, error.to_string()),
        })
    }
}

/// A value of a column that is not nested in lists.
#[derive(Debug)]
enum Value {
    Bytes(ByteArray),
    Number(i128),
    Float(f64),
}

/// A column, read row by row.
struct Values {
    reader: ColumnReader,
    /// Whether whole numbers have no sign.
    unsigned: bool,
}

impl Values {
    /// The next row's value; inside, none if it is null.
    fn next(&mut self) -> Result<Option<Value>, ParquetError> {
        fn one<T: DataType>(
            reader: &mut ColumnReaderImpl<T>,
        ) -> Result<Option<T::T>, ParquetError> {
            let (mut levels, mut values) = (Vec::new(), Vec::new());
            let (rows, ..) = reader.read_records(1, Some(&mut levels), None, &mut values)?;
            if rows == 0 {
                return Err(ParquetError::EOF("a column ends before its row group".to_owned()));
            }
            Ok(values.pop())
        }
        let unsigned = self.unsigned;
        let whole = |value: i64, mask: i128| {
            Value::Number(if unsigned { i128::from(value) & mask } else { value.into() })
        };
        Ok(match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(reader) => one(reader)?.map(Value::Bytes),
            ColumnReader::Int32ColumnReader(reader) => {
                one(reader)?.map(|value| whole(value.into(), u32::MAX.into()))
            }
            ColumnReader::Int64ColumnReader(reader) => {
                one(reader)?.map(|value| whole(value, u64::MAX.into()))
            }
            ColumnReader::BoolColumnReader(reader) => {
                one(reader)?.map(|value| Value::Number(value.into()))
            }
            ColumnReader::FloatColumnReader(reader) => {
                one(reader)?.map(|value| Value::Float(value.into()))
            }
            ColumnReader::DoubleColumnReader(reader) => one(reader)?.map(Value::Float),
            _ => return Err(ParquetError::General("a column of an unread type".to_owned())),
        })
    }
}

/// The columns of a row group, all at the same row.
struct Open {
    image: Values,
    label: Option<Values>,
    name: Option<Values>,
}

struct Row {
    image: Option<ByteArray>,
    label: Option<Value>,
    name: Option<Value>,
}

impl Open {
    fn new(file: &File, columns: &Columns, group: usize, row: u64) -> Result<Self, ParquetError> {
        let optional = |column: Option<usize>| {
            column.map(|column| file.column(group, column, row)).transpose()
        };
        Ok(Self {
            image: file.column(group, columns.image, row)?,
            label: optional(columns.label.as_ref().map(|label| label.column))?,
            name: optional(columns.name)?,
        })
    }

    fn next(&mut self) -> Result<Row, ParquetError> {
        let optional = |values: &mut Option<Values>| match values {
            Some(values) => values.next(),
            None => Ok(None),
        };
        let image = match self.image.next()? {
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        Ok(Row { image, label: optional(&mut self.label)?, name: optional(&mut self.name)? })
    }
}

struct Rows {
    file: File,
    /// None if there is no row.
    columns: Option<Columns>,
    /// The row group that is read, its first row, and the row that is next, in the whole file.
    group: usize,
    first: u64,
    row: u64,
    members: u64,
    open: Option<Open>,
    ended: bool,
}

impl Reader for Rows {}

impl Iterator for Rows {
    type Item = Result<Member, ContainerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let columns = self.columns.as_ref()?;
        let end = loop {
            let end = self.first + self.file.rows_of(self.group)?;
            if self.row < end {
                break end;
            }
            (self.first, self.open) = (end, None);
            self.group += 1;
        };
        let row = self.row;
        let (file, open) = (&self.file, &mut self.open);
        let read = caught(|| {
            let open = match open {
                Some(open) => open,
                None => open.insert(Open::new(file, columns, self.group, row - self.first)?),
            };
            open.next()
        });
        let found = match read {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(file.trouble(Ok(error))),
            Err(panic) => Err(file.trouble(Err(panic))),
        };
        self.members += 1;
        let (name, label, body, next) = match found {
            Ok(found) => {
                let name = found.name.and_then(|name| name_of(&name));
                let name = name.unwrap_or_else(|| format!("row {row}"));
                let label = columns.label.as_ref().zip(found.label);
                let label = label.and_then(|(column, value)| label_of(column, &value));
                (name, label, body_of(found.image.as_ref(), &file.limits), row + 1)
            }
            // Pages can't be left out one by one, as columns differ in where theirs begin: what
            // is left of the row group is one reject, and the next row group is sound again.
            Err(Ok(fault)) => {
                let name = if row + 1 == end {
                    format!("row {row}")
                } else {
                    format!("rows {row} to {}", end - 1)
                };
                self.open = None;
                (name, None, Err(fault), end)
            }
            Err(Err(source)) => {
                self.ended = true;
                return Some(Err(ContainerError::Io { offset: row, source }));
            }
        };
        self.row = next;
        let next = Cursor { members: self.members, offset: next, skip: 0 };
        Some(Ok(Member { name, label, body, next }))
    }
}

fn name_of(value: &Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) if bytes.data().is_empty() => None,
        Value::Bytes(bytes) => Some(text(&bytes.data()[..bytes.len().min(NAME)])),
        Value::Number(number) => Some(number.to_string()),
        Value::Float(_) => None,
    }
}

/// The text, or the name of the whole number, that a label is.
fn label_of(column: &Label, value: &Value) -> Option<String> {
    match value {
        Value::Bytes(_) => name_of(value),
        Value::Number(number) => {
            let named = usize::try_from(*number).ok().and_then(|at| column.names.get(at));
            // Hugging Face writes −1 where a class is not known.
            let unknown = *number < 0 && !column.names.is_empty();
            named.cloned().or_else(|| (!unknown).then(|| number.to_string()))
        }
        // Infinite and what is no number have no whole part.
        Value::Float(number) if number.fract() == 0.0 => {
            label_of(column, &Value::Number(*number as i128))
        }
        Value::Float(_) => None,
    }
}

fn body_of(image: Option<&ByteArray>, limits: &Limits) -> Result<Bytes, Fault> {
    let Some(bytes) = image.map(ByteArray::data) else {
        return Err(fault(Reason::Empty, "the row has no bytes (null)"));
    };
    if bytes.len() as u64 > limits.member_bytes {
        return Err(too_large(bytes.len() as u64, limits));
    }
    // A copy, so that a picture in work does not keep its whole page.
    Ok(Bytes::copy_from_slice(bytes))
}
