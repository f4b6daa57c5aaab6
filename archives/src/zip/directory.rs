//! The directory at the end of a ZIP → its files.

use std::io::{self, BufReader, Read};

use super::entry::{Entry, extra, name, u16_at, u32_at, u64_at};
use crate::{ArchiveError, Origin};

/// Bytes of the record with which a ZIP ends, without the comment behind it.
const END: usize = 22;
/// The longest comment.
const COMMENT: u64 = 0xffff;
/// Bytes of the record before it that says where the one with large numbers lies.
const LOCATOR: usize = 20;
/// Bytes of that.
const LARGE_END: usize = 56;
/// Bytes of a file's record, without its names.
const RECORD: usize = 46;
/// Says that a number lies in an extra field.
const LARGE: u32 = u32::MAX;

/// The files of a ZIP, and what comes after them.
pub(super) struct Directory {
    pub(super) entries: Vec<Entry>,
    pub(super) end: Option<ArchiveError>,
}

/// What the end of a ZIP says of its directory.
struct End {
    /// Where the directory begins, and how long it is.
    start: u64,
    bytes: u64,
    /// Bytes that were put before the ZIP after it was written.
    prefix: u64,
    entries: u64,
}

/// Reads the directory, of `most` bytes at most; none if there is none.
pub(super) fn read(origin: &dyn Origin, most: u64) -> Result<Option<Directory>, ArchiveError> {
    let Some(end) = end(origin)? else { return Ok(None) };
    let damaged = |problem: String| ArchiveError::Damaged { offset: end.start, problem };
    if end.bytes > most {
        return Err(damaged(format!("its directory takes {} bytes, more than {most}", end.bytes)));
    }
    let io = |source| ArchiveError::Io { offset: end.start, source };
    let reader = origin.reader(end.start).map_err(io)?;
    let mut records = BufReader::with_capacity(64 << 10, reader.take(end.bytes));
    let mut entries = Vec::new();
    loop {
        let count = entries.len() as u64;
        match record(&mut records, end.prefix) {
            Ok(Some(entry)) => entries.push(entry),
            // Sixteen bits may not hold the number, and then hold its last bits.
            Ok(None) if count == end.entries || end.entries <= 0xffff && count > 0xffff => {
                return Ok(Some(Directory { entries, end: None }));
            }
            Ok(None) => {
                let problem = format!("its directory has {count} files of {}", end.entries);
                return Ok(Some(Directory { entries, end: Some(damaged(problem)) }));
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let problem = "its directory ends within a record".to_owned();
                return Ok(Some(Directory { entries, end: Some(damaged(problem)) }));
            }
            Err(error) => return Err(io(error)),
        }
    }
}

/// The next record of a directory; none where there is no more.
fn record(records: &mut impl Read, prefix: u64) -> io::Result<Option<Entry>> {
    let mut head = [0; RECORD];
    let mark = read_up_to(records, &mut head[..4])?;
    if mark < 4 || !head.starts_with(b"PK\x01\x02") {
        return Ok(None);
    }
    records.read_exact(&mut head[4..])?;
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let short = |at| u16_at(&head, at).ok_or_else(cut);
    let long = |at| u32_at(&head, at).ok_or_else(cut);
    let [name_bytes, extra_bytes, comment] = [short(28)?, short(30)?, short(32)?].map(usize::from);
    let mut names = vec![0; name_bytes + extra_bytes + comment];
    records.read_exact(&mut names)?;
    let (own_name, rest) = names.split_at(name_bytes);
    let fields = &rest[..extra_bytes];

    let (made_by, flags) = (short(4)? >> 8, short(8)?);
    let mut large = Large { field: extra(fields, 1).unwrap_or_default() };
    let bytes = large.number(long(24)?);
    let stored = large.number(long(20)?);
    let offset = large.number(long(42)?);
    // The upper half holds what Unix knows of a file's kind.
    let is_link = matches!(made_by, 3 | 19) && long(38)? >> 28 == 0o12;
    Ok(Some(Entry {
        name: name(own_name, flags & 1 << 11 != 0, fields, made_by == 0),
        method: short(10)?,
        is_encrypted: flags & 1 != 0,
        is_link,
        lies_over: false,
        crc: long(16)?,
        stored,
        bytes,
        offset: offset.saturating_add(prefix),
    }))
}

/// The numbers of a file that do not fit into 32 bits, in their order.
pub(super) struct Large<'a> {
    pub(super) field: &'a [u8],
}

impl Large<'_> {
    /// A number, or what is there instead of it.
    pub(super) fn number(&mut self, number: u32) -> u64 {
        match (number, self.field.split_first_chunk()) {
            (LARGE, Some((large, rest))) => {
                self.field = rest;
                u64::from_le_bytes(*large)
            }
            _ => number.into(),
        }
    }
}

/// Reads until the buffer is full or nothing more comes; how much came.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Finds the record with which the ZIP ends; none if there is none.
fn end(origin: &dyn Origin) -> Result<Option<End>, ArchiveError> {
    let bytes = origin.bytes();
    let from = bytes.saturating_sub(COMMENT + (END + LOCATOR) as u64);
    let io = |source| ArchiveError::Io { offset: from, source };
    let tail = origin.read_range(from..bytes).map_err(io)?;
    // The last one whose comment ends where the file does; else the last, with something behind it.
    let found = |exactly: bool| {
        (0..=tail.len().checked_sub(END)?).rev().find(|&at| {
            let record = &tail[at..];
            let end = u16_at(record, 20).map_or(usize::MAX, |comment| END + usize::from(comment));
            record.starts_with(b"PK\x05\x06")
                && if exactly { end == record.len() } else { end <= record.len() }
        })
    };
    let Some(at) = found(true).or_else(|| found(false)) else { return Ok(None) };
    let record = &tail[at..];
    let short = |at| u64::from(u16_at(record, at).unwrap_or_default());
    let long = |at| u64::from(u32_at(record, at).unwrap_or_default());
    if ![0, 0xffff].contains(&short(4)) || ![0, 0xffff].contains(&short(6)) {
        return Err(ArchiveError::Unread("the last part of a ZIP that was split"));
    }
    let (mut entries, mut size, mut start) = (short(10), long(12), long(16));
    let mut end = from + at as u64;
    if let Some(large) = large_end(origin, &tail[..at], end)? {
        (end, entries, size, start) = large;
    }
    // Whatever was put before the ZIP, the directory ends where its end begins.
    let own = end.checked_sub(size);
    for candidate in own.into_iter().chain([start]) {
        let range = candidate..candidate.saturating_add(4).min(bytes);
        let is_there = size == 0
            || range.start < range.end
                && origin.read_range(range).map_err(io)?.starts_with(b"PK\x01\x02");
        if is_there && candidate <= end {
            let prefix = candidate.saturating_sub(start);
            return Ok(Some(End { start: candidate, bytes: size, prefix, entries }));
        }
    }
    Ok(None)
}

/// The end that has room for large numbers, if there is one before that which begins at `end`: where
/// it begins, how many files there are, the directory's size and where it begins.
fn large_end(
    origin: &dyn Origin,
    before: &[u8],
    end: u64,
) -> Result<Option<(u64, u64, u64, u64)>, ArchiveError> {
    let locator = before.len().checked_sub(LOCATOR).map(|at| &before[at..]);
    let Some(locator) = locator.filter(|locator| locator.starts_with(b"PK\x06\x07")) else {
        return Ok(None);
    };
    let told = u64_at(locator, 8).unwrap_or_default();
    let own = end.saturating_sub((LOCATOR + LARGE_END) as u64);
    for at in [told, own] {
        let Some(to) = at.checked_add(LARGE_END as u64).filter(|&to| to <= end) else { continue };
        let record =
            origin.read_range(at..to).map_err(|source| ArchiveError::Io { offset: at, source })?;
        if record.starts_with(b"PK\x06\x06") {
            let long = |at| u64_at(&record, at).unwrap_or_default();
            return Ok(Some((at, long(32), long(40), long(48))));
        }
    }
    Ok(None)
}
