//! A packed file, stream by stream: a gzip member, a zstd frame, an xz or a bzip2 stream.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use formats::mark;
use liblzma::bufread::XzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::counted::Counted;
use super::{ArchiveError, Origin};

/// More than this without a picture, at more than [`BOMB_RATIO`], is a bomb. Deflate reaches
/// 1,032, in haste some 170; pages and headers stay far below 100.
const BOMB_BYTES: u64 = 64 << 20;
const BOMB_RATIO: u64 = 100;
/// The largest window of a zstd frame, 128 MiB, as the tool `zstd` has it without `--long`.
const WINDOW_LOG: u32 = 27;
/// What unpacking xz may take; its largest preset needs 65 MiB.
const XZ_MEMORY: u64 = 192 << 20;
/// The largest dictionary of LZMA, for which that is enough.
const LZMA_DICTIONARY: u64 = 128 << 20;
const DEEP: &str = "it asks for a dictionary of more than 128 MiB; pack it with a preset";
/// The magic number of the skippable frame that holds the dictionary of a `.warc.zst`.
const DICTIONARY: [u8; 4] = [0x5d, 0x2a, 0x4d, 0x18];
/// Most bytes of that dictionary; real ones have 100 kB.
const DICTIONARY_BYTES: u64 = 16 << 20;

/// What an archive is packed with, as a whole or one stream behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Nothing.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
    /// xz, or the older forms of the same, lzma and lzip.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Packing {
    /// Tells it by the first bytes.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            _ if head.starts_with(mark::GZIP) => Some(Self::Gzip),
            _ if head.starts_with(mark::ZSTD) => Some(Self::Zstd),
            _ if head.starts_with(mark::XZ) => Some(Self::Xz),
            // A frame that is skipped.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [b'L', b'Z', b'I', b'P', ..] => Some(Self::Xz),
            // The size is not known, or is one that a file can have.
            [0x5d, 0, 0, _, _, size @ ..] if size.len() >= 8 => {
                (size[..8] == [0xff; 8] || size[5..8] == [0; 3]).then_some(Self::Xz)
            }
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => Some(Self::Bzip2),
            _ => None,
        }
    }

    fn begins(self, byte: u8) -> bool {
        match self {
            Self::Plain => true,
            Self::Gzip => byte == 0x1f,
            Self::Zstd => byte == 0x28 || (0x50..=0x5f).contains(&byte),
            Self::Xz => matches!(byte, 0xfd | b'L' | 0x5d),
            Self::Bzip2 => byte == b'B',
        }
    }

    /// What one stream is called.
    fn stream(self) -> &'static str {
        match self {
            Self::Plain => "its data",
            Self::Gzip => "a gzip member",
            Self::Zstd => "a zstd frame",
            Self::Xz => "an xz stream",
            Self::Bzip2 => "a bzip2 stream",
        }
    }
}

/// Whether `inflated` bytes from `stored` are out of all proportion.
pub(super) fn is_bomb(inflated: u64, stored: u64) -> bool {
    inflated > BOMB_BYTES && inflated / BOMB_RATIO > stored
}

/// What can be had of the first 512 bytes that a packed head stands for.
pub(super) fn head(packing: Packing, head: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = head;
    // A frame that is skipped gives nothing; behind it begins what does.
    while bytes.is_empty() && !rest.is_empty() {
        let before = rest.len();
        // The head is nearly always cut, so that an error at its end says nothing.
        if let Ok(mut decoder) = Decoder::new(packing, rest, &[]) {
            let _ = decoder.by_ref().take(512).read_to_end(&mut bytes);
            rest = decoder.into_inner();
        }
        if rest.len() == before {
            break;
        }
    }
    bytes
}

/// Whether the head is that of a `.warc.zst` with a dictionary, without which nothing of it can be
/// unpacked.
pub(super) fn has_dictionary(head: &[u8]) -> bool {
    head.starts_with(&DICTIONARY)
}

/// The dictionary with which the frames of a `.warc.zst` are packed: the first of all frames, a
/// skippable one, holds it as it is or packed itself. Of other archives it is empty.
pub(super) fn dictionary(origin: &dyn Origin) -> Result<Bytes, ArchiveError> {
    let io = |source| ArchiveError::Io { offset: 0, source };
    let damaged = |problem: &str| ArchiveError::Damaged { offset: 0, problem: problem.into() };
    if origin.bytes() < 8 {
        return Ok(Bytes::new());
    }
    let head = origin.read_range(0..8).map_err(io)?;
    let Some(size) = head.strip_prefix(&DICTIONARY).and_then(|size| size.first_chunk()) else {
        return Ok(Bytes::new());
    };
    let size = u64::from(u32::from_le_bytes(*size));
    if size > DICTIONARY_BYTES {
        return Err(damaged(&format!("its dictionary takes {size} bytes")));
    }
    if origin.bytes() < 8 + size {
        return Err(ArchiveError::Cut { offset: origin.bytes(), within: "its dictionary" });
    }
    let stored = origin.read_range(8..8 + size).map_err(io)?;
    if Packing::of(&stored) != Some(Packing::Zstd) {
        return Ok(stored);
    }
    let mut dictionary = Vec::new();
    let read = decoder(Packing::Zstd, &*stored)
        .and_then(|decoder| decoder.take(DICTIONARY_BYTES + 1).read_to_end(&mut dictionary));
    match read {
        Ok(_) if dictionary.len() as u64 <= DICTIONARY_BYTES => Ok(dictionary.into()),
        _ => Err(damaged("its dictionary can't be unpacked")),
    }
}

/// A reader of what one stream is packed from.
pub(super) fn decoder<R: BufRead>(packing: Packing, reader: R) -> io::Result<Decoder<R>> {
    Decoder::new(packing, reader, &[])
}

/// A reader of what LZMA in a ZIP is packed from: without a header of its own, but for a version and
/// its properties with their size before them.
pub(super) fn lzma_of_zip<R: BufRead>(mut reader: R) -> io::Result<XzDecoder<R>> {
    let mut head = [0; 9];
    reader.read_exact(&mut head)?;
    let [_, _, 5, 0, properties @ ..] = head else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no properties of LZMA"));
    };
    let [_, dictionary @ ..] = properties;
    if u64::from(u32::from_le_bytes(dictionary)) > LZMA_DICTIONARY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, DEEP));
    }
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma1_properties(&properties)?;
    let stream = liblzma::stream::Stream::new_raw_decoder(&filters)?;
    Ok(XzDecoder::new_stream(reader, stream))
}

/// Unpacks one stream of a reader.
pub(super) enum Decoder<R: BufRead> {
    Gzip(GzDecoder<R>),
    Zstd(ZstdDecoder<'static, R>),
    Xz(XzDecoder<R>),
    Bzip2(BzDecoder<R>),
    /// Of what is not packed.
    None(R),
}

impl<R: BufRead> Decoder<R> {
    fn new(packing: Packing, reader: R, dictionary: &[u8]) -> io::Result<Self> {
        Ok(match packing {
            Packing::Plain => Self::None(reader),
            Packing::Gzip => Self::Gzip(GzDecoder::new(reader)),
            Packing::Zstd => {
                let mut decoder = ZstdDecoder::with_dictionary(reader, dictionary)?.single_frame();
                decoder.window_log_max(WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            Packing::Xz => {
                let stream = liblzma::stream::Stream::new_auto_decoder(XZ_MEMORY, 0)?;
                Self::Xz(XzDecoder::new_stream(reader, stream))
            }
            Packing::Bzip2 => Self::Bzip2(BzDecoder::new(reader)),
        })
    }

    fn get_ref(&self) -> &R {
        match self {
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
            Self::Xz(decoder) => decoder.get_ref(),
            Self::Bzip2(decoder) => decoder.get_ref(),
            Self::None(reader) => reader,
        }
    }

    fn into_inner(self) -> R {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Bzip2(decoder) => decoder.into_inner(),
            Self::None(reader) => reader,
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer).map_err(in_words),
            Self::Xz(decoder) => decoder.read(buffer).map_err(in_words),
            Self::Bzip2(decoder) => decoder.read(buffer),
            Self::None(reader) => reader.read(buffer),
        }
    }
}

/// Says what to do where the libraries say that something wants more memory than it may have.
fn in_words(error: io::Error) -> io::Error {
    let text = error.to_string();
    let problem = if text.contains("too much memory") {
        "it asks for a window of more than 128 MiB; pack it with `--long=27` or less"
    } else if text.contains("memory limit") {
        DEEP
    } else {
        return error;
    };
    io::Error::new(error.kind(), problem)
}

enum State {
    /// Before a stream, or at the end.
    Between(Counted),
    Within(Box<Decoder<Counted>>),
    /// Left behind by an error while the state was taken apart; nothing is read from it.
    Lost,
}

pub(super) struct Packed {
    packing: Packing,
    dictionary: Bytes,
    state: State,
    buffer: Vec<u8>,
    /// What is not yet taken of the buffer.
    from: usize,
    to: usize,
    /// Where the stream begins whose first bytes are those at the buffer's start.
    starts: Option<u64>,
    trusted: bool,
    inflated: u64,
    stored_before: u64,
}

impl Packed {
    pub(super) fn new(source: Counted, packing: Packing, dictionary: Bytes) -> Self {
        let stored_before = source.at();
        Self {
            packing,
            dictionary,
            state: State::Between(source),
            buffer: vec![0; 64 << 10],
            from: 0,
            to: 0,
            starts: None,
            trusted: false,
            inflated: 0,
            stored_before,
        }
    }

    pub(super) fn at(&self) -> u64 {
        match &self.state {
            State::Between(source) => source.at(),
            State::Within(decoder) => decoder.get_ref().at(),
            State::Lost => self.stored_before,
        }
    }

    pub(super) fn resume_point(&mut self) -> Result<Option<u64>, ArchiveError> {
        Ok(if self.fill()?.is_empty() {
            Some(self.at())
        } else {
            self.starts.filter(|_| self.from == 0)
        })
    }

    /// Says that what is read now is a picture within the limits, or no longer; the account of
    /// what inflates begins anew.
    pub(super) fn trust(&mut self, trusted: bool) {
        self.trusted = trusted;
        self.inflated = 0;
        self.stored_before = self.at();
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.from = (self.from + bytes).min(self.to);
    }

    pub(super) fn fill(&mut self) -> Result<&[u8], ArchiveError> {
        while self.from == self.to {
            let within = self.packing.stream();
            match &mut self.state {
                State::Between(source) => {
                    if let Err(error) = pass_padding(source) {
                        return Err(source.error(error, within));
                    }
                    match source.fill_buf() {
                        Err(error) => return Err(source.error(error, within)),
                        Ok([]) => return Ok(&[]),
                        Ok([first, ..]) if self.packing.begins(*first) => {}
                        Ok(_) => {
                            let problem = format!("where {within} should begin is something else");
                            return Err(ArchiveError::Damaged { offset: source.at(), problem });
                        }
                    }
                    let starts = source.at();
                    let State::Between(source) = std::mem::replace(&mut self.state, State::Lost)
                    else {
                        return Ok(&[]);
                    };
                    let decoder =
                        Decoder::new(self.packing, source, &self.dictionary).map_err(|error| {
                            let problem = error.to_string();
                            ArchiveError::Damaged { offset: starts, problem }
                        })?;
                    self.state = State::Within(Box::new(decoder));
                    self.starts = Some(starts);
                    (self.from, self.to) = (0, 0);
                }
                State::Within(decoder) => match decoder.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(decoder.get_ref().error(error, within)),
                    Ok(0) => {
                        if let State::Within(decoder) =
                            std::mem::replace(&mut self.state, State::Lost)
                        {
                            self.state = State::Between(decoder.into_inner());
                        }
                    }
                    Ok(read) => {
                        // Only the first bytes of a stream lie at the start of the buffer at its
                        // start.
                        if self.to > 0 {
                            self.starts = None;
                        }
                        (self.from, self.to) = (0, read);
                        self.inflated += read as u64;
                        let stored = decoder.get_ref().at() - self.stored_before;
                        if !self.trusted && is_bomb(self.inflated, stored) {
                            let (offset, inflated) = (decoder.get_ref().at(), self.inflated);
                            return Err(ArchiveError::Bomb { offset, inflated, stored });
                        }
                    }
                },
                State::Lost => return Ok(&[]),
            }
        }
        Ok(&self.buffer[self.from..self.to])
    }
}

/// Passes over zeros behind a stream, which the tools too pass over.
fn pass_padding(source: &mut Counted) -> io::Result<()> {
    loop {
        let next = source.fill_buf()?;
        let zeros = next.iter().take_while(|&&byte| byte == 0).count();
        let ends = zeros < next.len() || next.is_empty();
        source.consume(zeros);
        if ends {
            return Ok(());
        }
    }
}
