//! Parquet with a column of encoded pictures → its rows.
//!
//! Rows are read one at a time from the columns' pages, so that what is held is a page of each
//! column and the pictures of one row, whatever the row groups' size.

pub(crate) mod columns;
mod delta;
mod footer;
mod inflate;
mod names;
mod page;
mod pages;
mod thrift;
mod values;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec;

use bytes::Bytes;
use formats::caught;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use schemas::{Fault, Reason};

use self::columns::{Columns, Label};
use self::footer::Footer;
pub(crate) use self::values::{Value, Values};
use super::{ArchiveError, Cursor, Limits, Member, Origin, Reader, text, too_large};

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
) -> Result<impl Reader + use<>, ArchiveError> {
    let file = File::open(origin, limits)?;
    let rows = file.rows()?;
    if from.offset > rows {
        return Err(ArchiveError::Cursor { offset: from.offset, bytes: file.origin.bytes() });
    }

    let columns = if rows == 0 { None } else { Some(Columns::find(&file)?) };
    let (mut group, mut first) = (0, 0);
    while let Some(rows) = file.rows_of(group)
        && first + rows <= from.offset
    {
        first += rows;
        group += 1;
    }
    Ok(Rows {
        file,
        columns,
        group,
        first,
        row: from.offset,
        members: from.members - from.skip,
        skip: from.skip,
        open: None,
        pictures: None,
        ended: false,
    })
}

/// Whether a Parquet file has addresses of pictures and what became of them, but no column that
/// could hold a picture: what img2dataset leaves beside a shard.
pub fn is_metadata(origin: Arc<dyn Origin>) -> Result<bool, ArchiveError> {
    match File::open(origin, &Limits::default()) {
        Ok(file) => Ok(columns::are_metadata(&file)),
        Err(error @ ArchiveError::Io { .. }) => Err(error),
        Err(_) => Ok(false),
    }
}

/// An open file.
pub(crate) struct File {
    pub(crate) origin: Arc<dyn Origin>,
    metadata: ParquetMetaData,
    /// Whether some of its columns can't be read without a key.
    encrypted: bool,
    pub(crate) limits: Limits,
    troubles: Troubles,
}

impl File {
    pub(crate) fn open(origin: Arc<dyn Origin>, limits: &Limits) -> Result<Self, ArchiveError> {
        let bytes = origin.bytes();
        let damaged = |problem| ArchiveError::Damaged { offset: bytes, problem };
        let troubles = Troubles::default();
        let footer = Footer::new(Arc::clone(&origin), Arc::clone(&troubles));
        let metadata = caught(|| ParquetMetaDataReader::new().parse_and_finish(&footer))
            .map_err(|panic| damaged(format!("its metadata can't be read: {panic}")))?;
        match (metadata, noted(&troubles)) {
            (Ok(metadata), _) => {
                let (encrypted, limits) = (footer.is_encrypted(), limits.clone());
                Ok(Self { origin, metadata, encrypted, limits, troubles })
            }
            (Err(_), Some(Trouble::Io(source))) => Err(ArchiveError::Io { offset: bytes, source }),
            (Err(_), None) if footer.is_encrypted() => Err(ArchiveError::Columns(
                "the file is encrypted, which is not read; write it without encryption".to_owned(),
            )),
            (Err(error), _) => Err(damaged(format!("its metadata can't be read: {error}"))),
        }
    }

    /// The rows of all row groups.
    pub(crate) fn rows(&self) -> Result<u64, ArchiveError> {
        let bytes = self.origin.bytes();
        let mut rows: u64 = 0;
        for group in self.metadata.row_groups() {
            let more = u64::try_from(group.num_rows()).ok();
            rows = more.and_then(|more| rows.checked_add(more)).unwrap_or(u64::MAX);
        }
        // A row that holds anything, an address say, takes a byte.
        if rows > bytes {
            let problem = format!("it claims {rows} rows in {bytes} bytes");
            return Err(ArchiveError::Damaged { offset: bytes, problem });
        }
        Ok(rows)
    }

    /// The rows of a row group; none behind the last.
    pub(crate) fn rows_of(&self, group: usize) -> Option<u64> {
        let group = self.metadata.row_groups().get(group)?;
        Some(u64::try_from(group.num_rows()).unwrap_or(0))
    }

    /// What an error in reading pages, or a panic, was.
    pub(crate) fn trouble(&self, result: Result<ParquetError, String>) -> Result<Fault, io::Error> {
        let noted = noted(&self.troubles);
        Ok(match (result, noted) {
            (_, Some(Trouble::Io(error))) => return Err(error),
            (Err(panic), _) => {
                Fault::new(Reason::DecoderPanic, format!("the Parquet decoder gave up: {panic}"))
            }
            (Ok(error), Some(Trouble::TooLarge)) => Fault::new(Reason::TooLarge, error.to_string()),
            (Ok(error), Some(Trouble::Unsupported)) => {
                Fault::new(Reason::Unsupported, error.to_string())
            }
            (Ok(error), None) if self.encrypted => Fault::new(
                Reason::Unsupported,
                format!("columns of the file are encrypted, which is not read: {error}"),
            ),
            (Ok(error), None) => Fault::new(Reason::Corrupt, error.to_string()),
        })
    }
}

/// The columns of a row group, all at the same row.
struct Open {
    pictures: Values,
    label: Option<Values>,
    name: Option<Values>,
}

struct Row {
    pictures: Vec<Option<Value>>,
    label: Option<Value>,
    name: Option<Value>,
}

impl Open {
    fn new(file: &File, columns: &Columns, group: usize, row: u64) -> Result<Self, ParquetError> {
        let optional = |column: Option<usize>| {
            column.map(|column| Values::open(file, group, column, row)).transpose()
        };
        Ok(Self {
            pictures: Values::open(file, group, columns.image, row)?,
            label: optional(columns.label.as_ref().map(|label| label.column))?,
            name: optional(columns.name)?,
        })
    }

    fn next(&mut self) -> Result<Row, ParquetError> {
        let optional = |values: &mut Option<Values>| match values {
            Some(values) => values.next(),
            None => Ok(None),
        };
        let pictures = self.pictures.row()?;
        Ok(Row { pictures, label: optional(&mut self.label)?, name: optional(&mut self.name)? })
    }
}

/// The pictures of one row, or the reject for rows that are lost.
struct Pictures {
    /// The row, and the one behind it, or behind those that are lost.
    row: u64,
    after: u64,
    /// The row's name; pictures of a list are told apart by their number in it.
    name: String,
    listed: bool,
    label: Option<String>,
    /// The next one's number, from 0.
    number: u64,
    left: vec::IntoIter<Result<Option<Value>, Fault>>,
}

impl Pictures {
    fn of(row: u64, columns: &Columns, found: Row) -> Self {
        let name = found.name.and_then(|name| name_of(&name));
        let label = columns.label.as_ref().zip(found.label);
        let pictures: Vec<_> = found.pictures.into_iter().map(Ok).collect();
        Self {
            row,
            after: row + 1,
            name: name.unwrap_or_else(|| format!("row {row}")),
            listed: columns.listed,
            label: label.and_then(|(column, value)| label_of(column, &value)),
            number: 0,
            left: pictures.into_iter(),
        }
    }

    /// Pages can't be left out one by one, as columns differ in where theirs begin: what is left of
    /// the row group is one reject, and the next row group is sound again.
    fn lost(row: u64, after: u64, fault: Fault) -> Self {
        let name = match after - row {
            1 => format!("row {row}"),
            _ => format!("rows {row} to {}", after - 1),
        };
        let left = vec![Err(fault)].into_iter();
        Self { row, after, name, listed: false, label: None, number: 0, left }
    }

    /// The next one; `members` are those before it.
    fn next(&mut self, members: u64, limits: &Limits) -> Option<Member> {
        let picture = self.left.next()?;
        let name = match self.listed {
            true => format!("{}/{}", self.name, self.number),
            false => self.name.clone(),
        };
        self.number += 1;
        let (offset, skip) = match self.left.len() {
            0 => (self.after, 0),
            _ => (self.row, self.number),
        };
        let next = Cursor { members: members + 1, offset, skip };
        let body = picture.and_then(|picture| body_of(picture, limits));
        Some(Member { name, label: self.label.clone(), body, next })
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
    /// Pictures of the next row that the caller has already.
    skip: u64,
    open: Option<Open>,
    /// What was read last, as far as it is still to be given.
    pictures: Option<Pictures>,
    ended: bool,
}

impl Reader for Rows {}

impl Iterator for Rows {
    type Item = Result<Member, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let pictures = self.pictures.as_mut();
            match pictures.and_then(|left| left.next(self.members, &self.file.limits)) {
                Some(member) => {
                    self.members += 1;
                    if self.skip == 0 {
                        return Some(Ok(member));
                    }
                    self.skip -= 1;
                }
                None => match self.read() {
                    Ok(Some(pictures)) => {
                        self.row = pictures.after;
                        self.pictures = Some(pictures);
                    }
                    Ok(None) => self.ended = true,
                    Err(error) => {
                        self.ended = true;
                        return Some(Err(error));
                    }
                },
            }
        }
        None
    }
}

impl Rows {
    /// The pictures of the next row, which may have none; nothing behind the last row.
    fn read(&mut self) -> Result<Option<Pictures>, ArchiveError> {
        let Some(columns) = &self.columns else { return Ok(None) };
        let end = loop {
            let Some(rows) = self.file.rows_of(self.group) else { return Ok(None) };
            let end = self.first + rows;
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
        let trouble = match read {
            Ok(Ok(found)) => return Ok(Some(Pictures::of(row, columns, found))),
            Ok(Err(error)) => file.trouble(Ok(error)),
            Err(panic) => file.trouble(Err(panic)),
        };
        let fault = trouble.map_err(|source| ArchiveError::Io { offset: row, source })?;
        self.open = None;
        Ok(Some(Pictures::lost(row, end, fault)))
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
pub(crate) fn label_of(column: &Label, value: &Value) -> Option<String> {
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

fn body_of(picture: Option<Value>, limits: &Limits) -> Result<Bytes, Fault> {
    let Some(Value::Bytes(bytes)) = picture else {
        return Err(Fault::new(Reason::Empty, "the row has no bytes (null)"));
    };
    if bytes.len() as u64 > limits.member_bytes {
        return Err(too_large(bytes.len() as u64, limits));
    }
    // A copy, so that a picture in work does not keep its whole page.
    Ok(Bytes::copy_from_slice(bytes.data()))
}
