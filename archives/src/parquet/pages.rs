//! The pages of one column in one row group, read in order, with every claim of a page checked
//! before memory is taken for it.
//!
//! The library's own reader of pages takes memory for what a header claims, and some of its codecs
//! inflate without regard to it. What it makes of pages, levels and values, is left to it.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page as Decoded, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;

use super::super::Origin;
use super::super::packed::is_bomb;
use super::delta::Lengths;
use super::inflate::{Failure, inflate};
use super::page::{DATA, DATA_V2, DICTIONARY, INDEX, Page};
use super::{File, Trouble, Troubles, note};

/// Most bytes of a page's header; statistics of long values make it longer than the usual 50.
const HEADER: usize = 64 << 10;
/// A column of a row group that is not longer is read at once.
const AT_ONCE: u64 = 4 << 20;
/// Most values of a page whose values take memory before they are asked for: lengths, and what a
/// row has of them.
const VALUES: i64 = 4 << 20;

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(ParquetError::General(message.into()))
}

/// What of the pages one row may still take, in bytes and in values.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    bytes: AtomicU64,
    values: AtomicU64,
}

impl Allowance {
    /// Begins another row, which may need a dictionary and a page.
    pub(super) fn renew(&self, page_bytes: u64) {
        self.bytes.store(page_bytes.saturating_mul(2), Ordering::Relaxed);
        self.values.store(VALUES as u64, Ordering::Relaxed);
    }

    /// Whether a page may be taken, too.
    fn take(&self, bytes: u64, values: u64) -> bool {
        let take = |left: &AtomicU64, wanted| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left: u64| {
                left.checked_sub(wanted)
            })
            .is_ok()
        };
        take(&self.bytes, bytes) && take(&self.values, values)
    }
}

/// The pages of a column chunk.
pub(super) struct Pages {
    origin: Arc<dyn Origin>,
    troubles: Troubles,
    codec: Compression,
    kind: Type,
    /// Bytes of a value whose column has a fixed length.
    width: u64,
    /// The greatest level of definition and of repetition.
    levels: (i16, i16),
    page_bytes: u64,
    allowance: Arc<Allowance>,
    /// Where the next page, or its body, begins, and where the chunk ends.
    at: u64,
    end: u64,
    /// What is read from `at` on, and where reading goes on after that.
    held: Bytes,
    reader: Option<Box<dyn Read + Send>>,
    /// The next page, if its header was read.
    next: Option<Page>,
}

impl Pages {
    pub(super) fn open(
        file: &File,
        meta: &ColumnChunkMetaData,
        allowance: Arc<Allowance>,
    ) -> Result<Self> {
        let (start, length) = meta.byte_range();
        let end = start.checked_add(length).filter(|&end| end <= file.origin.bytes());
        let Some(end) = end else { return error("a column lies beyond the file's end") };
        let column = meta.column_descr();
        let mut pages = Self {
            origin: Arc::clone(&file.origin),
            troubles: Arc::clone(&file.troubles),
            codec: meta.compression(),
            kind: meta.column_type(),
            width: u64::try_from(column.type_length()).unwrap_or(0),
            levels: (column.max_def_level(), column.max_rep_level()),
            page_bytes: file.limits.page_bytes,
            allowance,
            at: start,
            end,
            held: Bytes::new(),
            reader: None,
            next: None,
        };
        if length <= AT_ONCE {
            let held = pages.origin.read_range(start..end);
            pages.held = held.map_err(|source| pages.io(source))?;
        }
        Ok(pages)
    }

    fn is_repeated(&self) -> bool {
        self.levels.1 > 0
    }

    fn io(&self, source: io::Error) -> ParquetError {
        note(&self.troubles, Trouble::Io(source));
        ParquetError::General("the storage failed".to_owned())
    }

    fn too_large<T>(&self, message: String) -> Result<T> {
        note(&self.troubles, Trouble::TooLarge);
        error(message)
    }

    fn unsupported<T>(&self, message: String) -> Result<T> {
        note(&self.troubles, Trouble::Unsupported);
        error(message)
    }

    /// Holds `want` bytes, fewer only at the end of the column.
    fn hold(&mut self, want: usize) -> Result<()> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = want.min(left);
        let missing = want.saturating_sub(self.held.len());
        if missing == 0 {
            return Ok(());
        }
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let from = self.at + self.held.len() as u64;
                self.origin.reader(from).map_err(|source| self.io(source))?
            }
        };
        let mut held = Vec::with_capacity(want);
        held.extend_from_slice(&self.held);
        let read = reader.by_ref().take(missing as u64).read_to_end(&mut held);
        let read = read.map_err(|source| self.io(source))?;
        if read < missing {
            return Err(self.io(io::ErrorKind::UnexpectedEof.into()));
        }
        (self.held, self.reader) = (held.into(), Some(reader));
        Ok(())
    }

    fn pass(&mut self, bytes: usize) -> Bytes {
        self.at += bytes as u64;
        self.held.split_to(bytes)
    }

    /// The next page's header; none at the column's end.
    fn header(&mut self) -> Result<Option<Page>> {
        while self.next.is_none() && self.at < self.end {
            self.hold(HEADER)?;
            let Some(mut page) = Page::parse(&self.held[..self.held.len().min(HEADER)]) else {
                return error("a page has no readable header");
            };
            // The claim is of no account where nothing is inflated.
            if self.codec == Compression::UNCOMPRESSED || !page.compressed {
                (page.inflated, page.compressed) = (page.stored, false);
            }
            self.check(&page)?;
            self.pass(page.header);
            if page.kind == INDEX {
                self.body(&page)?;
            } else {
                self.next = Some(page);
            }
        }
        Ok(self.next)
    }

    /// A page's body, as it is stored.
    fn body(&mut self, page: &Page) -> Result<Bytes> {
        let stored = usize::try_from(page.stored)?;
        self.hold(stored)?;
        if self.held.len() < stored {
            return error("a page lies beyond its column's end");
        }
        Ok(self.pass(stored))
    }

    fn check(&self, page: &Page) -> Result<()> {
        let (Ok(inflated), Ok(stored), Ok(values)) =
            (u64::try_from(page.inflated), u64::try_from(page.stored), u64::try_from(page.values))
        else {
            return error("a page of a negative size");
        };
        let most = self.page_bytes;
        if inflated.max(stored) > most || is_bomb(inflated, stored) {
            return self.too_large(format!(
                "a page inflates from {stored} bytes to {inflated}, where {most} are allowed"
            ));
        }
        let bytes = self.kind == Type::BYTE_ARRAY || self.kind == Type::FIXED_LEN_BYTE_ARRAY;
        // Room is made for as many values as a dictionary claims.
        let least = match self.kind {
            Type::BYTE_ARRAY | Type::INT32 | Type::FLOAT => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            Type::BOOLEAN => 1,
            Type::FIXED_LEN_BYTE_ARRAY => self.width,
        };
        match page.kind {
            DICTIONARY if inflated.checked_div(least).is_none_or(|most| values > most) => {
                error(format!("a dictionary of {values} values in {inflated} bytes"))
            }
            DATA_V2 if !self.is_repeated() && page.rows != Some(page.values) => {
                error("a page has another number of rows than of values")
            }
            DATA_V2 if page.definition_levels.min(page.repetition_levels).min(page.nulls) < 0 => {
                error("a page of negative levels")
            }
            DATA_V2
                if page
                    .definition_levels
                    .checked_add(page.repetition_levels)
                    .is_none_or(|levels| levels > page.inflated.min(page.stored)) =>
            {
                error("a page's levels are longer than the page")
            }
            DATA | DATA_V2
                if page.values > VALUES
                    && (self.is_repeated() || bytes && matches!(page.encoding, 6 | 7)) =>
            {
                self.too_large(format!("a page of {values} values, where {VALUES} are allowed"))
            }
            DATA | DATA_V2 | DICTIONARY | INDEX => Ok(()),
            other => error(format!("a page of kind {other}, which Parquet does not have")),
        }
    }

    fn encoding(&self, number: i64) -> Result<Encoding> {
        // Bits without runs, which only early levels are kept in.
        #[allow(deprecated)]
        let bit_packed = Encoding::BIT_PACKED;
        Ok(match number {
            0 => Encoding::PLAIN,
            2 => Encoding::PLAIN_DICTIONARY,
            3 => Encoding::RLE,
            4 => bit_packed,
            5 => Encoding::DELTA_BINARY_PACKED,
            6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            7 => Encoding::DELTA_BYTE_ARRAY,
            8 => Encoding::RLE_DICTIONARY,
            9 => Encoding::BYTE_STREAM_SPLIT,
            other => {
                return self.unsupported(format!(
                    "a page in encoding {other} is not read; write the column plain or with a \
                     dictionary"
                ));
            }
        })
    }

    /// A page's body, inflated.
    fn inflated(&self, page: &Page, body: Bytes) -> Result<Bytes> {
        // Only in the second form do levels stand before what is compressed.
        let levels = usize::try_from(page.definition_levels + page.repetition_levels)?;
        let whole = usize::try_from(page.inflated)?;
        if !page.compressed {
            return Ok(body);
        }
        let mut bytes = Vec::with_capacity(whole);
        bytes.extend_from_slice(&body[..levels]);
        // Where all values are null, there is nothing that could be inflated.
        if whole > levels {
            match inflate(self.codec, &body[levels..], whole - levels, &mut bytes) {
                Ok(()) => {}
                Err(Failure::Codec) => {
                    return self.unsupported(format!(
                        "pages compressed with {} are not read; write the file with zstd or snappy",
                        self.codec
                    ));
                }
                Err(Failure::TooMuch) => {
                    return self.too_large(format!(
                        "a page inflates to more than the {whole} bytes that it claims"
                    ));
                }
                Err(Failure::Damaged(problem)) => {
                    return error(format!("a page can't be inflated: {problem}"));
                }
            }
        }
        Ok(bytes.into())
    }

    /// Holds the lengths within a page against what the page claims: the library makes room for as
    /// many as they say, and prefixes may repeat a long value without end.
    fn check_lengths(&self, page: &Page, body: &[u8]) -> Result<()> {
        let is_bytes = matches!(self.kind, Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY);
        if !is_bytes || page.kind == DICTIONARY || !matches!(page.encoding, 6 | 7) {
            return Ok(());
        }
        let values = self.values_at(page, body).and_then(|at| body.get(at..));
        let read = |bytes: &[u8]| Lengths::read(bytes, page.values as u64);
        let check = || {
            let values = values?;
            let (prefixes, rest) = match page.encoding {
                7 => {
                    let prefixes = read(values)?;
                    (prefixes.sum, &values[prefixes.end..])
                }
                _ => (0, values),
            };
            let suffixes = read(rest)?;
            let there = (rest.len() - suffixes.end) as u64;
            (suffixes.sum <= there).then_some(prefixes + suffixes.sum)
        };
        match check() {
            None => error("a page's lengths are none"),
            Some(sum) if sum > self.page_bytes || is_bomb(sum, page.stored as u64) => {
                self.too_large(format!("a page of values that repeat each other to {sum} bytes"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Where in a page its values begin, behind the levels.
    fn values_at(&self, page: &Page, body: &[u8]) -> Option<usize> {
        if page.kind == DATA_V2 {
            return usize::try_from(page.definition_levels + page.repetition_levels).ok();
        }
        let mut at = 0_usize;
        let (definition, repetition) = self.levels;
        for (most, encoding) in
            [(repetition, page.repetition_encoding), (definition, page.definition_encoding)]
        {
            if most == 0 {
                continue;
            }
            at = match encoding {
                4 => {
                    let bits = u64::from(i16::BITS - most.leading_zeros());
                    let bits = u64::try_from(page.values).ok()?.checked_mul(bits)?;
                    at.checked_add(usize::try_from(bits.div_ceil(8)).ok()?)?
                }
                _ => {
                    let length = body.get(at..)?.first_chunk()?;
                    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                    at.checked_add(4)?.checked_add(length)?
                }
            };
        }
        Some(at)
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Decoded>> {
        let Some(page) = self.header()? else { return Ok(None) };
        let row_values = if self.is_repeated() { page.values as u64 } else { 0 };
        if !self.allowance.take(page.inflated as u64, row_values) {
            return self.too_large("a row that goes on over too many pages".to_owned());
        }
        let body = self.body(&page)?;
        self.next = None;
        let buf = self.inflated(&page, body)?;
        self.check_lengths(&page, &buf)?;
        let encoding = self.encoding(page.encoding)?;
        let num_values = u32::try_from(page.values)?;
        Ok(Some(match page.kind {
            DICTIONARY => Decoded::DictionaryPage { buf, num_values, encoding, is_sorted: false },
            DATA => Decoded::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding: self.encoding(page.definition_encoding)?,
                rep_level_encoding: self.encoding(page.repetition_encoding)?,
                statistics: None,
            },
            _ => Decoded::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls: u32::try_from(page.nulls)?,
                num_rows: u32::try_from(page.rows.unwrap_or(page.values))?,
                def_levels_byte_len: u32::try_from(page.definition_levels)?,
                rep_levels_byte_len: u32::try_from(page.repetition_levels)?,
                is_compressed: false,
                statistics: None,
            },
        }))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        Ok(self.header()?.map(|page| PageMetadata {
            num_rows: page.rows.and_then(|rows| usize::try_from(rows).ok()),
            num_levels: usize::try_from(page.values).ok(),
            is_dict: page.kind == DICTIONARY,
        }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        if let Some(page) = self.header()? {
            self.body(&page)?;
            self.next = None;
        }
        Ok(())
    }
}

impl Iterator for Pages {
    type Item = Result<Decoded>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
