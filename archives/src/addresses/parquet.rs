//! Parquet with a column of addresses, and none of pictures → its rows.

use std::sync::Arc;

use formats::caught;
use parquet::errors::ParquetError;

use super::columns::{Choice, Seen};
use super::{Entries, Entry, address, address_text, is_address, up_to_an_error};
use crate::parquet::columns::{All, Label, class_names, is_bytes, is_flat, is_label};
use crate::parquet::{File, Value, Values, label_of};
use crate::{ArchiveError, Cursor, Limits, Origin};

/// Rows that are looked at to find the column.
const LOOK: u64 = 64;

/// Whether a file holds addresses of pictures, and no pictures.
pub(super) fn are_in(origin: Arc<dyn Origin>, limits: &Limits) -> Result<bool, ArchiveError> {
    // What is damaged is told where it is read.
    let file = match File::open(origin, limits) {
        Err(error @ ArchiveError::Io { .. }) => return Err(error),
        Err(_) => return Ok(false),
        Ok(file) => file,
    };
    if !file.rows().is_ok_and(|rows| rows > 0) {
        return Ok(false);
    }
    let all = All::of(&file);
    let image = match limits.image_column.as_deref() {
        Some(name) => all.named_image(name),
        None => all.found_image(&file),
    };
    let image = match image {
        Ok(column) => Some(column),
        Err(ArchiveError::Columns(_)) => None,
        Err(error) => return Err(error),
    };
    let seen = match image {
        None => None,
        // A list of pictures a row.
        Some(column) if !all.fitting(is_flat).any(|flat| flat == column) => Some(Seen::Other),
        Some(column) => Some(seen(&file, column)?),
    };
    // Some writers do not say of a text that it is one.
    if seen.is_some_and(|seen| seen != Seen::Address) {
        return Ok(false);
    }
    let (choice, _) = choice(&file)?;
    Ok(match &limits.url_column {
        Some(name) => choice.named(name).is_some(),
        // Which one of several is told where it is read.
        None => choice.found().map_or(true, |column| column.is_some()),
    })
}

/// The columns that may hold addresses, and their places in the file.
fn choice(file: &File) -> Result<(Choice, Vec<usize>), ArchiveError> {
    let mut choice = Choice::default();
    let all = All::of(file);
    let columns: Vec<_> = all.fitting(|column| is_flat(column) && is_bytes(column)).collect();
    for &column in &columns {
        choice.add(all.names.path(column), seen(file, column)?);
    }
    Ok((choice, columns))
}

/// What the first rows have in a column.
fn seen(file: &File, column: usize) -> Result<Seen, ArchiveError> {
    let group = (0..).map_while(|at| file.rows_of(at)).position(|rows| rows > 0).unwrap_or(0);
    let look = || {
        let mut values = Values::open(file, group, column, 0)?;
        let mut seen = Seen::Nothing;
        for _ in 0..file.rows_of(group).unwrap_or(0).min(LOOK) {
            match values.next()? {
                Some(Value::Bytes(bytes)) if bytes.data().is_empty() => {}
                Some(Value::Bytes(bytes)) if str::from_utf8(bytes.data()).is_ok_and(is_address) => {
                    return Ok(Seen::Address);
                }
                Some(_) => seen = Seen::Other,
                None => {}
            }
        }
        Ok(seen)
    };
    let trouble = match caught(look) {
        Ok(Ok(seen)) => return Ok(seen),
        Ok(Err(error)) => file.trouble(Ok(error)),
        Err(panic) => file.trouble(Err(panic)),
    };
    // A column that can't be read is not the one.
    trouble.map(|_| Seen::Other).map_err(|source| ArchiveError::Io { offset: 0, source })
}

/// The columns that are read, by their place in the file.
struct Columns {
    address: usize,
    label: Option<Label>,
}

impl Columns {
    fn find(file: &File) -> Result<Self, ArchiveError> {
        let (choice, columns) = choice(file)?;
        let all = All::of(file);
        let named = file.limits.url_column.as_deref();
        let address = match named {
            Some(name) => choice.named(name),
            None => choice.found()?,
        };
        let address = columns[address.ok_or_else(|| choice.none(named))?];
        let label = file.limits.label_column.as_deref();
        let label = choice.label(label, |names| all.find_any(names, is_label))?;
        let label = label.map(|column| Label { column, names: class_names(file, column) });
        Ok(Self { address, label })
    }
}

/// The rows of a file from row `from.offset` on.
pub(super) fn entries(
    origin: Arc<dyn Origin>,
    from: Cursor,
    limits: &Limits,
) -> Result<Entries, ArchiveError> {
    let file = File::open(origin, limits)?;
    let rows = file.rows()?;
    if from.offset > rows {
        return Err(ArchiveError::Cursor { offset: from.offset, bytes: file.origin.bytes() });
    }
    let columns = if rows == 0 { None } else { Some(Columns::find(&file)?) };
    let mut addresses =
        Addresses { file, columns, rows, group: 0, first: 0, row: from.offset, open: None };
    Ok(up_to_an_error(move || addresses.next().transpose()))
}

/// The columns of a row group, both at the same row.
struct Open {
    address: Values,
    label: Option<Values>,
}

struct Addresses {
    file: File,
    /// None if there is no row.
    columns: Option<Columns>,
    rows: u64,
    /// The row group that is read, its first row, and the row that is next, in the whole file.
    group: usize,
    first: u64,
    row: u64,
    open: Option<Open>,
}

impl Addresses {
    fn next(&mut self) -> Option<Result<Entry, ArchiveError>> {
        let columns = self.columns.as_ref()?;
        let end = loop {
            let end = self.first + self.file.rows_of(self.group)?;
            if self.row < end {
                break end;
            }
            (self.first, self.open) = (end, None);
            self.group += 1;
        };
        let (file, row, open) = (&self.file, self.row, &mut self.open);
        let read = caught(|| {
            let open = match open {
                Some(open) => open,
                None => {
                    let at = |column| Values::open(file, self.group, column, row - self.first);
                    let label = columns.label.as_ref().map(|label| at(label.column)).transpose()?;
                    open.insert(Open { address: at(columns.address)?, label })
                }
            };
            let address = open.address.next()?;
            let label = open.label.as_mut().map(Values::next).transpose()?.flatten();
            Ok::<_, ParquetError>((address, label))
        });
        let found = match read {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(file.trouble(Ok(error))),
            Err(panic) => Err(file.trouble(Err(panic))),
        };
        let (next, label, address) = match found {
            Ok((found, label)) => {
                let label = columns.label.as_ref().zip(label);
                let label = label.and_then(|(column, value)| label_of(column, &value));
                let found = match &found {
                    Some(Value::Bytes(bytes)) => Some(address_text(bytes.data())),
                    _ => None,
                };
                (row + 1, label, address(found.as_deref()))
            }
            // As among pictures, what is left of the row group is one reject.
            Err(Ok(fault)) => {
                self.open = None;
                (end, None, Err(fault))
            }
            Err(Err(source)) => return Some(Err(ArchiveError::Io { offset: row, source })),
        };
        self.row = next;
        let read = u128::from(self.file.origin.bytes()) * u128::from(next) / u128::from(self.rows);
        Some(Ok(Entry {
            rows: row..next,
            address,
            label,
            next: Cursor { members: next, offset: next, skip: 0 },
            read: read as u64,
        }))
    }
}
