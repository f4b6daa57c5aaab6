//! CSV and its kin: fields with commas, tabs, semicolons or bars between them, with or without a
//! first row of names.

use std::cmp::Reverse;
use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use schemas::{Fault, Reason};

use super::columns::{Choice, Seen};
use super::text::{LineEnd, Text, too_long};
use super::{Compression, Entries, Entry, LOOK, address, address_text, is_address, up_to_an_error};
use crate::{ArchiveError, Cursor, Kind, Limits, Origin, text as shown};

/// Tabs first, which stand in no text.
const DELIMITERS: [u8; 4] = *b"\t,;|";
/// Bytes of the beginning that are looked at to find the columns.
const HEAD: usize = 1 << 20;
/// Bytes that are parsed at first; a record that goes on is parsed again with twice as many.
const WINDOW: usize = 64 << 10;

/// How a file's records are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dialect {
    delimiter: u8,
    /// The first record has the names of the columns.
    header: bool,
    /// How many columns there are.
    columns: usize,
    address: usize,
    label: Option<usize>,
}

/// The fields of a record.
#[derive(Debug, Default)]
struct Fields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Fields {
    fn get(&self, field: usize) -> Option<&[u8]> {
        let end = *self.ends[..self.count].get(field)?;
        let start = field.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }

    fn text(&self, field: usize) -> Option<String> {
        self.get(field).map(|bytes| shown(bytes).trim().to_owned())
    }

    fn address(&self, field: usize) -> Option<String> {
        self.get(field).map(address_text)
    }

    fn all(&self) -> Vec<String> {
        (0..self.count).filter_map(|field| self.text(field)).collect()
    }

    /// Whether the record is a row with an address where it belongs.
    fn is_row(&self, dialect: &Dialect) -> bool {
        self.count == dialect.columns
            && self.text(dialect.address).is_some_and(|text| is_address(&text))
    }
}

/// Parses records from their first byte on.
struct Parser {
    quoted: Reader,
    literal: Reader,
}

/// Bytes of a record with its end, or of a terminator where nothing follows.
enum Parsed {
    Record(usize),
    Incomplete,
    Nothing,
}

impl Parser {
    fn new(delimiter: u8) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(delimiter);
        let quoted = builder.build();
        Self { quoted, literal: builder.quoting(false).build() }
    }

    /// Parses the first record of `input`, which goes on behind it unless it `ended`; without
    /// `quoting`, quotation marks are characters like others.
    fn parse(&mut self, input: &[u8], ended: bool, quoting: bool, fields: &mut Fields) -> Parsed {
        let reader = if quoting { &mut self.quoted } else { &mut self.literal };
        reader.reset();
        fields.bytes.resize(fields.bytes.len().max(input.len() + 1), 0);
        fields.ends.resize(fields.ends.len().max(64), 0);
        fields.count = 0;
        let (mut read, mut written) = (0, 0);
        loop {
            let (result, more, bytes, ends) = reader.read_record(
                &input[read..],
                &mut fields.bytes[written..],
                &mut fields.ends[fields.count..],
            );
            (read, written, fields.count) = (read + more, written + bytes, fields.count + ends);
            match result {
                ReadRecordResult::Record => return Parsed::Record(read),
                ReadRecordResult::End => return Parsed::Nothing,
                // What comes out is never longer than what goes in.
                ReadRecordResult::OutputFull => return Parsed::Incomplete,
                ReadRecordResult::OutputEndsFull => {
                    fields.ends.resize(2 * fields.ends.len(), 0);
                }
                // An empty input, which comes next, says that there is no more.
                ReadRecordResult::InputEmpty if ended => {}
                ReadRecordResult::InputEmpty => return Parsed::Incomplete,
            }
        }
    }
}

/// Whether a text that nothing else tells of is such a file: by a column that is called as those of
/// addresses are, and holds some, or by an address between tabs.
pub(super) fn reads_like(head: &[u8], limits: &Limits) -> bool {
    DELIMITERS.iter().any(|&delimiter| {
        let records = records(head, head.len() < Kind::HEAD, delimiter);
        let Some((first, rows)) = records.split_first() else { return false };
        let of_header = choice(first, rows);
        let named = limits.url_column.as_deref();
        let is_named = named.is_some_and(|name| first.len() > 1 && of_header.named(name).is_some());
        let with_tabs = delimiter == b'\t' && first.len() > 1;
        is_named
            || of_header.by_name().is_some()
            || with_tabs && first.iter().any(|field| is_address(field))
    })
}

/// The first records, but for one that is cut.
fn records(head: &[u8], ended: bool, delimiter: u8) -> Vec<Vec<String>> {
    let (mut parser, mut fields) = (Parser::new(delimiter), Fields::default());
    let (mut records, mut at) = (Vec::new(), 0);
    while records.len() < LOOK {
        let blank = head[at..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        at += blank;
        match parser.parse(&head[at..], ended, true, &mut fields) {
            Parsed::Record(bytes) => at += bytes,
            Parsed::Incomplete | Parsed::Nothing => break,
        }
        records.push(fields.all());
    }
    records
}

/// The columns that a first record names, with what rows have in them.
fn choice(header: &[String], rows: &[Vec<String>]) -> Choice {
    let mut choice = Choice::default();
    for (column, name) in header.iter().enumerate() {
        let mut values = rows.iter().filter_map(|row| row.get(column));
        let seen = if values.clone().any(|value| is_address(value)) {
            Seen::Address
        } else if values.all(String::is_empty) {
            Seen::Nothing
        } else {
            Seen::Other
        };
        choice.add(name, seen);
    }
    choice
}

/// How a file is to be read that begins like this.
fn dialect(head: &[u8], ended: bool, limits: &Limits) -> Result<Dialect, ArchiveError> {
    let mut parsed: Vec<_> =
        DELIMITERS.iter().map(|&delimiter| (delimiter, records(head, ended, delimiter))).collect();
    // What parts most records alike, into the most fields, is what is meant to part them.
    parsed.sort_by_key(|(_, records)| {
        let fields = records.first().map_or(0, Vec::len);
        let alike = records.iter().filter(|record| record.len() == fields && fields > 1);
        Reverse((alike.count(), fields))
    });
    let named = limits.url_column.as_deref();
    for (delimiter, records) in &parsed {
        if let Some(dialect) = fitting(*delimiter, records, limits)? {
            return Ok(dialect);
        }
    }
    let first = parsed[0].1.split_first();
    Err(first.map_or_else(Choice::default, |(first, rows)| choice(first, rows)).none(named))
}

/// The dialect with this delimiter, if there is a column of addresses with it.
fn fitting(
    delimiter: u8,
    records: &[Vec<String>],
    limits: &Limits,
) -> Result<Option<Dialect>, ArchiveError> {
    let Some((first, rows)) = records.split_first() else { return Ok(None) };
    let header = !first.iter().any(|field| is_address(field));
    // Columns without names go by their numbers.
    let numbers: Vec<_> = (1..=first.len()).map(|number| number.to_string()).collect();
    let choice = if header { choice(first, rows) } else { choice(&numbers, records) };
    let column = match limits.url_column.as_deref() {
        Some(name) => choice.named(name),
        None if header => choice.found()?,
        None => first.iter().position(|field| is_address(field)),
    };
    let Some(address) = column else { return Ok(None) };
    let label = choice.label(limits.label_column.as_deref(), |names| choice.any(names))?;
    Ok(Some(Dialect { delimiter, header, columns: first.len(), address, label }))
}

/// The rows of a file from `from` on.
pub(super) fn entries(
    origin: Arc<dyn Origin>,
    compression: Compression,
    from: Cursor,
    limits: &Limits,
) -> Result<Entries, ArchiveError> {
    let mut text = Text::open(Arc::clone(&origin), compression, 0)?;
    text.skip_empty();
    if [b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| text.ahead().starts_with(*mark)) {
        let problem = "the list is UTF-16; write it as UTF-8, as with `iconv -f utf-16 -t utf-8`";
        return Err(ArchiveError::Columns(problem.to_owned()));
    }
    let mut window = WINDOW;
    let dialect = loop {
        let head = text.fill(window).to_vec();
        match dialect(&head, text.ended(), limits) {
            // The first rows may be long, or without an address.
            Err(_) if !text.ended() && window < HEAD => window *= 4,
            dialect => break dialect?,
        }
    };
    let mut rows = Delimited {
        text,
        dialect,
        parser: Parser::new(dialect.delimiter),
        fields: Fields::default(),
        row: 0,
        resumes: compression == Compression::Plain,
    };
    if dialect.header {
        rows.record()?;
    }
    if from.offset > 0 {
        rows.text = Text::open(origin, compression, from.offset)?;
    } else {
        while rows.row < from.members && rows.record()?.is_some() {
            rows.row += 1;
        }
    }
    rows.row = from.members;
    Ok(up_to_an_error(move || {
        let record = rows.record()?;
        Ok(record.map(|record| {
            let entry = rows.entry(&record);
            rows.row = entry.rows.end;
            entry
        }))
    }))
}

struct Delimited {
    text: Text,
    dialect: Dialect,
    parser: Parser,
    fields: Fields,
    /// The row that comes next.
    row: u64,
    /// Reading can begin at any record.
    resumes: bool,
}

/// What a record was.
enum Record {
    Read,
    TooLong,
}

impl Delimited {
    /// Reads the next record into the fields; none at the end.
    fn record(&mut self) -> Result<Option<Record>, ArchiveError> {
        self.text.skip_empty();
        let mut window = WINDOW;
        loop {
            self.text.fill(window);
            let (ahead, ended) = (self.text.ahead(), self.text.ended());
            let cut = ahead.len() < window && !ended;
            match self.parser.parse(ahead, ended, true, &mut self.fields) {
                Parsed::Record(bytes) => {
                    let (record, own) = (&ahead[..bytes], self.fields.text(self.dialect.address));
                    if !swallows(record, own.as_deref(), &mut self.parser, &self.dialect) {
                        self.text.take(bytes);
                        return Ok(Some(Record::Read));
                    }
                    return self.line();
                }
                Parsed::Nothing => return self.text.failure().map(|()| None),
                // What is left of a row is none.
                Parsed::Incomplete if cut => return self.text.failure().map(|()| None),
                Parsed::Incomplete if window < super::text::ROW => window *= 2,
                Parsed::Incomplete => return self.line(),
            }
        }
    }

    /// Reads the next line as a record in which quotation marks mean nothing: one of them stands
    /// there alone.
    fn line(&mut self) -> Result<Option<Record>, ArchiveError> {
        Ok(match self.text.line()? {
            None => None,
            Some(LineEnd::Beyond) => {
                self.text.skip_line()?;
                Some(Record::TooLong)
            }
            Some(LineEnd::After(bytes)) => {
                let line = &self.text.ahead()[..bytes];
                self.parser.parse(line, true, false, &mut self.fields);
                self.text.take(bytes);
                Some(Record::Read)
            }
        })
    }

    fn entry(&self, record: &Record) -> Entry {
        let address = match record {
            Record::TooLong => Err(Fault::new(Reason::NoAddress, too_long())),
            Record::Read => address(self.fields.address(self.dialect.address).as_deref()),
        };
        let label = match record {
            Record::TooLong => None,
            Record::Read => self.dialect.label.and_then(|label| self.fields.text(label)),
        };
        let next = self.row + 1;
        let offset = if self.resumes { self.text.at() } else { 0 };
        Entry {
            rows: self.row..next,
            address,
            label: label.filter(|label| !label.is_empty()),
            next: Cursor { members: next, offset, skip: 0 },
            read: self.text.read(),
        }
    }
}

/// Whether a record has taken in rows, for want of a quotation mark that ends a field: one of its
/// lines is a row with an address that is not the record's `own`.
fn swallows(record: &[u8], own: Option<&str>, parser: &mut Parser, dialect: &Dialect) -> bool {
    let record = record.trim_ascii_end();
    if !record.contains(&b'"') {
        return false;
    }
    let mut fields = Fields::default();
    record.split(|&byte| byte == b'\n').any(|line| {
        [true, false].into_iter().any(|quoting| {
            let parsed = parser.parse(line, true, quoting, &mut fields);
            matches!(parsed, Parsed::Record(_))
                && fields.is_row(dialect)
                && fields.text(dialect.address).as_deref() != own
        })
    })
}
