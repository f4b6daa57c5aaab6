//! A ZIP without a directory → the files whose headers tell where they end.

use std::io::{self, Read};
use std::sync::Arc;

use flate2::bufread::DeflateDecoder;

use super::directory::{Directory, Large};
use super::entry::{DEFLATE, Entry, LOCAL, LocalHeader, extra, name};
use crate::counted::{Counted, SEEK};
use crate::packed::is_bomb;
use crate::{ArchiveError, Limits, Origin};

/// The files from the start on, up to the first that is not whole; after them comes why they end.
pub(super) fn directory(
    origin: &Arc<dyn Origin>,
    limits: &Limits,
) -> Result<Directory, ArchiveError> {
    let mut entries = Vec::new();
    let mut source = Counted::new(Arc::clone(origin), 0)?;
    let mut held = 0;
    let end = loop {
        let offset = source.at();
        match entry(origin, &mut source) {
            Ok(Some(entry)) => {
                held += (size_of::<Entry>() + entry.name.len()) as u64;
                entries.push(entry);
            }
            Ok(None) if offset == 0 => {
                let problem = "there is no directory at its end, nor a file at its start";
                return Err(ArchiveError::Damaged { offset, problem: problem.to_owned() });
            }
            Ok(None) => {
                break ArchiveError::Cut { offset: origin.bytes(), within: "its directory" };
            }
            Err(error @ ArchiveError::Io { .. }) => return Err(error),
            Err(error) => break error,
        }
        if held > limits.page_bytes {
            let problem = format!("more than {} files without a directory", entries.len());
            break ArchiveError::Damaged { offset, problem };
        }
    };
    Ok(Directory { entries, end: Some(end) })
}

/// The file that comes next, which is passed over; none where something else comes.
fn entry(origin: &Arc<dyn Origin>, source: &mut Counted) -> Result<Option<Entry>, ArchiveError> {
    let mut offset = source.at();
    let within = "a file";
    let mut mark = source.exactly(4, within)?;
    // What a ZIP begins with that was to be split, and was not.
    if offset == 0 && (mark == b"PK00" || mark == b"PK\x07\x08") {
        offset = source.at();
        mark = source.exactly(4, within)?;
    }
    if mark != formats::mark::ZIP {
        return Ok(None);
    }
    mark.extend(source.exactly(LOCAL - 4, within)?);
    let Some(header) = LocalHeader::parse(&mark) else { return Ok(None) };
    let names = source.exactly(header.names as usize, within)?;
    let (own_name, fields) = names.split_at(header.name.into());
    let large = extra(fields, 1);
    let mut numbers = Large { field: large.unwrap_or_default() };
    let mut bytes = numbers.number(header.bytes);
    let mut stored = numbers.number(header.stored);
    let mut crc = header.crc;
    if header.flags & 1 << 3 == 0 || stored > 0 {
        pass(origin, source, stored)?;
    } else if header.method == DEFLATE && header.flags & 1 == 0 {
        let start = source.at();
        (bytes, crc) = inflate(source)?;
        stored = source.at() - start;
        descriptor(source, large.is_some())?;
    } else {
        let problem = "a file does not say how long it is, and the directory is lost".to_owned();
        return Err(ArchiveError::Damaged { offset, problem });
    }
    Ok(Some(Entry {
        name: name(own_name, header.flags & 1 << 11 != 0, fields, false),
        method: header.method,
        is_encrypted: header.flags & 1 != 0,
        is_link: false,
        lies_over: false,
        crc,
        stored,
        bytes,
        offset,
    }))
}

fn pass(origin: &Arc<dyn Origin>, source: &mut Counted, bytes: u64) -> Result<(), ArchiveError> {
    let to = source.at().saturating_add(bytes);
    if to > origin.bytes() {
        return Err(ArchiveError::Cut { offset: origin.bytes(), within: "a file" });
    }
    if bytes <= SEEK {
        return source.pass(bytes, "a file");
    }
    *source = Counted::new(Arc::clone(origin), to)?;
    Ok(())
}

/// Passes over what Deflate says is one file; how much it inflates to, and its checksum.
fn inflate(source: &mut Counted) -> Result<(u64, u32), ArchiveError> {
    let offset = source.at();
    let mut decoder = DeflateDecoder::new(&mut *source);
    let mut buffer = vec![0; 64 << 10];
    let mut sum = flate2::Crc::new();
    let mut inflated = 0;
    let result = loop {
        match decoder.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(read) => {
                sum.update(&buffer[..read]);
                inflated += read as u64;
                let stored = decoder.get_ref().at() - offset;
                if is_bomb(inflated, stored) {
                    return Err(ArchiveError::Bomb { offset, inflated, stored });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    result.map_err(|error| source.error(error, "a file"))?;
    Ok((inflated, sum.sum()))
}

/// Passes over what stands behind a file whose length was not known before it.
fn descriptor(source: &mut Counted, is_large: bool) -> Result<(), ArchiveError> {
    let first = source.exactly(4, "a file")?;
    // The mark may be left out; then this was the checksum.
    let has_mark = first == b"PK\x07\x08";
    let sizes = if is_large { 16 } else { 8 };
    source.pass(sizes + if has_mark { 4 } else { 0 }, "a file")
}
