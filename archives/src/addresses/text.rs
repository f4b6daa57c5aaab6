//! The text of a list, plain or compressed, in a buffer that holds a row.

use std::io::Read;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::Compression;
use crate::counted::Counted;
use crate::{ArchiveError, Origin};

/// UTF-8's byte order mark.
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;
/// Most bytes of a row.
pub(super) const ROW: usize = 4 << 20;
/// Bytes without the end of a row after which a list is given up.
const ENDLESS: u64 = 1 << 30;
const WITHIN: &str = "a compressed list";

enum Bytes {
    Plain(Counted),
    Gzip(Box<MultiGzDecoder<Counted>>),
    Zstd(Box<zstd::Decoder<'static, Counted>>),
}

impl Bytes {
    fn source(&self) -> &Counted {
        match self {
            Self::Plain(source) => source,
            Self::Gzip(gzip) => gzip.get_ref(),
            Self::Zstd(zstd) => zstd.get_ref(),
        }
    }
}

pub(super) struct Text {
    bytes: Bytes,
    buffer: Vec<u8>,
    /// What is taken of the buffer.
    from: usize,
    /// Bytes of the text that are taken.
    at: u64,
    /// Nothing more is to be had.
    done: bool,
    /// Why not, if it is not the end.
    failed: Option<ArchiveError>,
}

/// Where a line ends.
pub(super) enum LineEnd {
    /// After so many bytes, its end among them.
    After(usize),
    /// Beyond what a row may have.
    Beyond,
}

impl Text {
    /// The text from its byte `at` on, which can be other than 0 only in a plain file.
    pub fn open(
        origin: Arc<dyn Origin>,
        compression: Compression,
        at: u64,
    ) -> Result<Self, ArchiveError> {
        let source = Counted::new(origin, at)?;
        let bytes = match compression {
            Compression::Plain => Bytes::Plain(source),
            Compression::Gzip => Bytes::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Zstd => {
                let zstd = zstd::Decoder::with_buffer(source).map_err(|error| {
                    ArchiveError::Damaged { offset: at, problem: error.to_string() }
                })?;
                Bytes::Zstd(Box::new(zstd))
            }
        };
        let mut text = Self { bytes, buffer: vec![], from: 0, at, done: false, failed: None };
        if at == 0 && text.fill(MARK.len()).starts_with(MARK) {
            text.take(MARK.len());
        }
        Ok(text)
    }

    /// Bytes before the one that comes next: of the text, which are those of a plain file.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// About how many bytes of the file lie before that.
    pub fn read(&self) -> u64 {
        match &self.bytes {
            Bytes::Plain(_) => self.at,
            packed => packed.source().at(),
        }
    }

    /// What comes next, as far as it is here.
    pub fn ahead(&self) -> &[u8] {
        &self.buffer[self.from..]
    }

    /// Whether the text ends with what is ahead.
    pub fn ended(&self) -> bool {
        self.done && self.failed.is_none()
    }

    /// What ended the text, if it was not its end, once what came before it is taken as far as it
    /// goes.
    pub fn failure(&mut self) -> Result<(), ArchiveError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// At least so many bytes of what comes next, fewer only where nothing more is to be had.
    pub fn fill(&mut self, want: usize) -> &[u8] {
        while self.buffer.len() - self.from < want && !self.done {
            self.buffer.drain(..self.from);
            self.from = 0;
            let held = self.buffer.len();
            self.buffer.resize(held + CHUNK, 0);
            let into = &mut self.buffer[held..];
            let read = match &mut self.bytes {
                Bytes::Plain(source) => source.read(into),
                Bytes::Gzip(gzip) => gzip.read(into),
                Bytes::Zstd(zstd) => zstd.read(into),
            };
            self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(read) => self.done = read == 0,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = Some(self.bytes.source().error(error, WITHIN));
                    self.done = true;
                }
            }
        }
        self.ahead()
    }

    /// Passes over bytes that are ahead.
    pub fn take(&mut self, bytes: usize) {
        let bytes = bytes.min(self.buffer.len() - self.from);
        self.from += bytes;
        self.at += bytes as u64;
    }

    /// Passes over empty lines.
    pub fn skip_empty(&mut self) {
        loop {
            let ahead = self.fill(1);
            let blank = ahead.iter().take_while(|byte| b"\r\n".contains(byte)).count();
            let goes_on = blank == ahead.len() && blank > 0;
            self.take(blank);
            if !goes_on {
                return;
            }
        }
    }

    /// Where the next line ends; none at the end of the text.
    pub fn line(&mut self) -> Result<Option<LineEnd>, ArchiveError> {
        let mut searched = 0;
        loop {
            let ahead = self.fill(searched + 1);
            if let Some(end) = ahead[searched..].iter().position(|&byte| byte == b'\n') {
                return Ok(Some(LineEnd::After(searched + end + 1)));
            }
            searched = ahead.len();
            if self.done {
                self.failure()?;
                return Ok((searched > 0).then_some(LineEnd::After(searched)));
            }
            if searched > ROW {
                return Ok(Some(LineEnd::Beyond));
            }
        }
    }

    /// Passes over the rest of a line.
    pub fn skip_line(&mut self) -> Result<(), ArchiveError> {
        let begins = self.at;
        loop {
            let ahead = self.fill(1);
            let end = ahead.iter().position(|&byte| byte == b'\n');
            let count = end.map_or(ahead.len(), |end| end + 1);
            let at_end = end.is_some() || ahead.is_empty();
            self.take(count);
            if at_end {
                return if end.is_some() { Ok(()) } else { self.failure() };
            }
            if self.at - begins > ENDLESS {
                let problem = format!("a row goes on for more than {ENDLESS} bytes");
                return Err(ArchiveError::Damaged { offset: self.read(), problem });
            }
        }
    }
}

/// That a row is too long to be one.
pub(super) fn too_long() -> String {
    format!("the row has more than {ROW} bytes")
}
