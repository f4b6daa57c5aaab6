//! The bytes of one column in one row group, read in order, with every page's claims checked
//! before the Parquet library acts on them.
//!
//! The library takes memory for what a page header claims, and some of its codecs inflate without
//! regard to it; neither can be limited there.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, buf::Reader};
use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::super::Origin;
use super::super::packed::is_bomb;
use super::page::{DATA, DATA_V2, DICTIONARY, Page};
use super::{File, Trouble, Troubles, note};

/// Most bytes of a file's metadata. Decoded they take some hundred times as many.
const METADATA: u64 = 32 << 20;
/// Most bytes of a page's header; statistics of long values make it longer than the usual 50.
const HEADER: usize = 64 << 10;
/// A column of a row group that is not longer is read at once.
const AT_ONCE: u64 = 4 << 20;

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(ParquetError::General(message.into()))
}

/// The end of a file, from which its metadata is read.
pub(super) struct Footer {
    pub(super) origin: Arc<dyn Origin>,
    pub(super) troubles: Troubles,
}

impl Length for Footer {
    fn len(&self) -> u64 {
        self.origin.bytes()
    }
}

impl ChunkReader for Footer {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let length = self.len().saturating_sub(start);
        Ok(self.get_bytes(start, usize::try_from(length)?)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|&end| end <= self.len());
        let Some(end) = end else { return error("it points beyond the file's end") };
        if length as u64 > METADATA {
            return error(format!("{length} bytes of metadata, where {METADATA} are allowed"));
        }
        self.origin.read_range(start..end).map_err(|source| {
            note(&self.troubles, Trouble::Io(source));
            ParquetError::General("the storage failed".to_owned())
        })
    }
}

/// The bytes of a column chunk.
pub(super) struct Chunk {
    origin: Arc<dyn Origin>,
    troubles: Troubles,
    codec: Compression,
    is_bytes: bool,
    page_bytes: u64,
    start: u64,
    end: u64,
    state: Mutex<State>,
}

/// What is read and not yet taken, and where reading goes on.
#[derive(Default)]
struct State {
    held: Bytes,
    held_at: u64,
    reader: Option<Box<dyn Read + Send>>,
    /// The last page whose header was read, and where its body begins.
    page: Option<(Page, u64)>,
    /// The dictionary, to which the library goes back if it passed over it at first.
    dictionary: Option<(Page, u64)>,
}

impl Chunk {
    pub(super) fn open(file: &File, meta: &ColumnChunkMetaData) -> Result<Self> {
        let codec = meta.compression();
        // The library inflates the other codecs without a limit.
        if !matches!(
            codec,
            Compression::UNCOMPRESSED
                | Compression::SNAPPY
                | Compression::GZIP(_)
                | Compression::ZSTD(_)
                | Compression::LZ4_RAW
        ) {
            note(&file.troubles, Trouble::Unsupported);
            return error(format!(
                "pages compressed with {codec} are not read; write the file with zstd or snappy"
            ));
        }
        let (start, length) = meta.byte_range();
        let end = start.checked_add(length).filter(|&end| end <= file.origin.bytes());
        let Some(end) = end else { return error("a column lies beyond the file's end") };
        let chunk = Self {
            origin: Arc::clone(&file.origin),
            troubles: Arc::clone(&file.troubles),
            codec,
            is_bytes: meta.column_type() == Type::BYTE_ARRAY,
            page_bytes: file.limits.page_bytes,
            start,
            end,
            state: Mutex::default(),
        };
        if length <= AT_ONCE {
            let held = chunk.origin.read_range(start..end).map_err(|source| chunk.io(source))?;
            let mut state = chunk.lock();
            (state.held, state.held_at) = (held, start);
            drop(state);
        }
        Ok(chunk)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self, source: io::Error) -> ParquetError {
        note(&self.troubles, Trouble::Io(source));
        ParquetError::General("the storage failed".to_owned())
    }

    /// Holds up to `want` bytes from `start` on, fewer only at the end of the column.
    fn hold(&self, state: &mut State, start: u64, want: usize) -> Result<usize> {
        let ahead = start.checked_sub(state.held_at).and_then(|ahead| usize::try_from(ahead).ok());
        match ahead.filter(|&ahead| ahead <= state.held.len()) {
            Some(ahead) => state.held.advance(ahead),
            None => {
                state.held.clear();
                state.reader = None;
            }
        }
        state.held_at = start;
        let left = usize::try_from(self.end.saturating_sub(start)).unwrap_or(usize::MAX);
        let want = want.min(left);
        let missing = want.saturating_sub(state.held.len());
        if missing > 0 {
            let from = start + state.held.len() as u64;
            let reader = match &mut state.reader {
                Some(reader) => reader,
                None => {
                    state.reader.insert(self.origin.reader(from).map_err(|source| self.io(source))?)
                }
            };
            let mut held = Vec::with_capacity(want);
            held.extend_from_slice(&state.held);
            let read = reader.take(missing as u64).read_to_end(&mut held);
            let read = read.map_err(|source| self.io(source))?;
            state.held = held.into();
            if read < missing {
                return Err(self.io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(want)
    }

    fn check(&self, page: &Page) -> Result<()> {
        let (Ok(inflated), Ok(stored), Ok(values)) =
            (u64::try_from(page.inflated), u64::try_from(page.stored), u64::try_from(page.values))
        else {
            return error("a page of a negative size");
        };
        let most = self.page_bytes;
        if inflated.max(stored) > most || is_bomb(inflated, stored) {
            note(&self.troubles, Trouble::TooLarge);
            return error(format!(
                "a page inflates from {stored} bytes to {inflated}, where {most} are allowed"
            ));
        }
        match page.kind {
            // The library makes room for as many values as a dictionary claims; each takes four
            // bytes and more.
            DICTIONARY if values > inflated / 4 => {
                return error(format!("a dictionary of {values} values in {inflated} bytes"));
            }
            // Reading goes by one of them and passing over by the other.
            DATA_V2 if page.rows != Some(page.values) => {
                return error("a page has another number of rows than of values");
            }
            // Those of lengths and prefixes claim another number of values within the page.
            DATA | DATA_V2 if self.is_bytes && !matches!(page.encoding, 0 | 2 | 8) => {
                note(&self.troubles, Trouble::Unsupported);
                return error(format!(
                    "a page in encoding {} is not read; write the column plain or with a dictionary",
                    page.encoding
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// An error if a gzip body inflates to more than its page claims.
    fn check_gzip(&self, page: &Page, body: &[u8]) -> Result<()> {
        if !matches!(self.codec, Compression::GZIP(_)) || !page.compressed {
            return Ok(());
        }
        let levels = usize::try_from(page.levels)?;
        let claimed = u64::try_from(page.inflated - page.levels)?;
        let packed = body.get(levels..).unwrap_or_default();
        let mut inflating = MultiGzDecoder::new(packed).take(claimed.saturating_add(1));
        // Damage is told by the library.
        match io::copy(&mut inflating, &mut io::sink()) {
            Ok(inflated) if inflated > claimed => {
                note(&self.troubles, Trouble::TooLarge);
                error(format!("a page inflates to more than the {claimed} bytes that it claims"))
            }
            _ => Ok(()),
        }
    }
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.origin.bytes()
    }
}

impl ChunkReader for Chunk {
    type T = Reader<Bytes>;

    /// A page's header, or what follows one that was read before.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        if !(self.start..self.end).contains(&start) {
            return error("a page lies outside of its column");
        }
        let mut state = self.lock();
        let count = self.hold(&mut state, start, HEADER)?;
        let known = state.page.filter(|(_, body_at)| *body_at == start);
        let page = match (known, Page::parse(&state.held[..count])) {
            // The library knows this page already and won't read from here.
            (Some((known, _)), _) if known.stored > 0 => return Ok(Bytes::new().reader()),
            (_, Some(page)) => page,
            // The same, where the body has no bytes; or if not, it finds the end here.
            (Some(_), None) => return Ok(Bytes::new().reader()),
            (None, None) => return error("a page has no readable header"),
        };
        self.check(&page)?;
        let header = state.held.slice(..page.header);
        let body_at = start + page.header as u64;
        state.page = Some((page, body_at));
        if page.kind == DICTIONARY {
            state.dictionary = state.page;
        }
        Ok(header.reader())
    }

    /// A page's body.
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64);
        if start < self.start || end.is_none_or(|end| end > self.end) {
            return error("a page lies outside of its column");
        }
        if length as u64 > self.page_bytes {
            note(&self.troubles, Trouble::TooLarge);
            return error(format!("a page of {length} bytes"));
        }
        if length == 0 {
            return Ok(Bytes::new());
        }
        let mut state = self.lock();
        self.hold(&mut state, start, length)?;
        let body = state.held.split_to(length);
        state.held_at = start + length as u64;
        let pages = [state.page, state.dictionary];
        match pages.into_iter().flatten().find(|(_, body_at)| *body_at == start) {
            Some((page, _)) => self.check_gzip(&page, &body)?,
            None => return error("a page's body without its header"),
        }
        Ok(body)
    }
}
