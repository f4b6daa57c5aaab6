//! ZIP → its files, in the order in which they lie in it.
//!
//! The directory at the end is read first. What it names is read from front to back, so that a file
//! on a disk or in a store is streamed; files of one key are brought together, wherever they lie.
//! Where there is no directory, as in a download cut short, the headers before the files say what
//! can be had.

mod directory;
mod entry;
mod salvage;

use std::sync::Arc;

use flate2::bufread::DeflateDecoder;
use formats::mark;
use schemas::{Fault, Reason};

use self::directory::Directory;
use self::entry::{Entry, LOCAL, LocalHeader};
use super::counted::{Counted, SEEK};
use super::packed::{self, Packing, is_bomb};
use super::samples::{File, Files};
use super::{ArchiveError, Cursor, Limits, Origin};

/// Whether the bytes are the beginning of a ZIP: a file, the end of an empty one, or the mark of one
/// that might have been split.
pub(super) fn begins(head: &[u8]) -> bool {
    [mark::ZIP, b"PK\x05\x06", b"PK00PK\x03\x04", b"PK\x07\x08PK\x03\x04"]
        .iter()
        .any(|mark| head.starts_with(mark))
}

const BEYOND: &str = "its bytes would lie behind the end of the ZIP";

/// The files of a ZIP. A place in it is the number of one of them.
pub(super) struct Zip {
    origin: Arc<dyn Origin>,
    entries: Vec<Entry>,
    /// The entry that comes next.
    at: usize,
    /// The one that was given last, or the end.
    given: usize,
    /// What comes after the last entry.
    end: Option<ArchiveError>,
    source: Option<Counted>,
}

impl Zip {
    pub(super) fn open(
        origin: Arc<dyn Origin>,
        from: Cursor,
        limits: &Limits,
    ) -> Result<Self, ArchiveError> {
        let Directory { entries, end } = match directory::read(&*origin, limits.page_bytes / 2)? {
            Some(directory) => directory,
            None => salvage::directory(&origin, limits)?,
        };
        let entries = entry::in_order(entries);
        let at = usize::try_from(from.offset).ok().filter(|&at| at <= entries.len());
        let at = at.ok_or(ArchiveError::Cursor { offset: from.offset, bytes: origin.bytes() })?;
        Ok(Self { origin, entries, at, given: at, end, source: None })
    }

    /// A reader that stands at `offset`: the one that is open, if that is not far away.
    fn source_at(&mut self, offset: u64) -> Result<&mut Counted, ArchiveError> {
        let open = self.source.take().filter(|source| {
            source.at() <= offset && offset - source.at() <= SEEK && !source.has_failed()
        });
        let mut source = match open {
            Some(source) => source,
            None => Counted::new(Arc::clone(&self.origin), offset)?,
        };
        source.pass(offset - source.at(), "a file")?;
        Ok(self.source.insert(source))
    }
}

impl Files for Zip {
    fn next(&mut self) -> Result<Option<File>, ArchiveError> {
        self.given = self.at;
        let Some(entry) = self.entries.get(self.at) else {
            return self.end.take().map_or(Ok(None), Err);
        };
        let resume_point = Some(self.given as u64);
        self.at += 1;
        let (name, bytes, is_link) = (entry.name.to_string(), entry.bytes, entry.is_link);
        Ok(Some(File { name, bytes, is_link, fault: entry.fault(), resume_point }))
    }

    fn resume_point(&self) -> Option<u64> {
        Some(self.given as u64)
    }

    fn body(&mut self, _: &File) -> Result<Result<Vec<u8>, Fault>, ArchiveError> {
        let Some(entry) = self.entries.get(self.given) else {
            return Ok(Err(Fault::new(Reason::Corrupt, "no file of the ZIP")));
        };
        let corrupt = |problem: &str| Ok(Err(Fault::new(Reason::Corrupt, problem)));
        let (offset, stored, bytes) = (entry.offset, entry.stored, entry.bytes);
        let (method, crc) = (entry.method, entry.crc);
        let archive = self.origin.bytes();
        let is_beyond = |names: u64| {
            let bytes = (LOCAL as u64).saturating_add(names).saturating_add(stored);
            offset.saturating_add(bytes) > archive
        };
        if is_beyond(0) {
            return corrupt(BEYOND);
        }
        let source = self.source_at(offset)?;
        let header = source.exactly(LOCAL, "a file's header")?;
        let Some(header) = LocalHeader::parse(&header) else {
            return corrupt("no file of the ZIP begins where its directory says");
        };
        if is_beyond(header.names) {
            return corrupt(BEYOND);
        }
        source.pass(header.names, "a file's header")?;
        unpack(source, method, (stored, bytes), crc)
    }

    fn skip_body(&mut self, _: &File) -> Result<(), ArchiveError> {
        Ok(())
    }
}

/// Unpacks the next `stored` bytes, which stand for `bytes`.
fn unpack(
    source: &mut Counted,
    method: u16,
    (stored, bytes): (u64, u64),
    crc: u32,
) -> Result<Result<Vec<u8>, Fault>, ArchiveError> {
    let mut packed = std::io::Read::take(&mut *source, stored);
    let mut unpack_with = |packing| {
        packed::decoder(packing, &mut packed).and_then(|decoder| gather(decoder, stored, bytes))
    };
    let unpacked = match method {
        entry::DEFLATE => gather(DeflateDecoder::new(&mut packed), stored, bytes),
        entry::BZIP2 => unpack_with(Packing::Bzip2),
        entry::LZMA => {
            packed::lzma_of_zip(&mut packed).and_then(|lzma| gather(lzma, stored, bytes))
        }
        entry::ZSTD => unpack_with(Packing::Zstd),
        entry::XZ => unpack_with(Packing::Xz),
        _ => gather(&mut packed, stored, bytes),
    };
    if source.has_failed() {
        let error = unpacked.err().unwrap_or_else(|| std::io::ErrorKind::Other.into());
        return Err(source.error(error, "a file"));
    }
    let corrupt = |problem: String| Ok(Err(Fault::new(Reason::Corrupt, problem)));
    let unpacked = match unpacked {
        Ok(unpacked) => unpacked,
        Err(error) => return corrupt(format!("it can't be unpacked: {error}")),
    };
    if !formats::is_picture(&unpacked) && is_bomb(unpacked.len() as u64, stored) {
        let message = format!("{stored} bytes inflate to {} and more", unpacked.len());
        return Ok(Err(Fault::new(Reason::TooLarge, message)));
    }
    if unpacked.len() as u64 != bytes {
        let what = if unpacked.len() as u64 > bytes { "more" } else { "less" };
        return corrupt(format!("{what} comes of it than the {bytes} bytes that the ZIP tells"));
    }
    let mut sum = flate2::Crc::new();
    sum.update(&unpacked);
    if sum.sum() != crc {
        return corrupt("its checksum is another than the ZIP tells".to_owned());
    }
    Ok(Ok(unpacked))
}

/// All that a decoder gives, up to a byte more than there should be, or to where it is a bomb.
fn gather(mut decoder: impl std::io::Read, stored: u64, bytes: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    const STEP: u64 = 1 << 20;
    let mut unpacked = Vec::new();
    loop {
        let left = bytes.saturating_add(1) - unpacked.len() as u64;
        let read = decoder.by_ref().take(left.min(STEP)).read_to_end(&mut unpacked);
        // What comes behind the last byte, or is missing there, is of no matter: the checksum is.
        let read = if unpacked.len() as u64 == bytes { read.unwrap_or(0) } else { read? };
        let is_none = !formats::is_picture(&unpacked) && is_bomb(unpacked.len() as u64, stored);
        if read == 0 || unpacked.len() as u64 > bytes || is_none {
            return Ok(unpacked);
        }
    }
}
