//! An archive as one stream of bytes, plain or inflated, that knows where it stands.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use super::gzip::Gzip;
use super::{ContainerError, Origin};

/// Data passed over that is longer than this is sought past, if the archive is plain.
const SEEK: u64 = 4 << 20;

/// The stored bytes, counted.
pub(super) struct Source {
    origin: Arc<dyn Origin>,
    reader: BufReader<Box<dyn Read + Send>>,
    at: u64,
    /// The storage failed, not what decodes its bytes.
    failed: bool,
}

impl Source {
    fn new(origin: Arc<dyn Origin>, at: u64) -> Result<Self, ContainerError> {
        let reader =
            origin.reader(at).map_err(|source| ContainerError::Io { offset: at, source })?;
        Ok(Self { origin, reader: BufReader::with_capacity(64 << 10, reader), at, failed: false })
    }

    /// Bytes before the one that is read next.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Makes of an error in reading or decoding one that says which it was.
    pub(super) fn error(&self, error: io::Error, within: &'static str) -> ContainerError {
        let offset = self.at;
        if self.failed {
            ContainerError::Io { offset, source: error }
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            ContainerError::Cut { offset, within }
        } else {
            ContainerError::Damaged { offset, problem: error.to_string() }
        }
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.failed |=
            result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        result
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer);
        let read = self.note(read)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.reader.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
        Ok(self.reader.buffer())
    }

    fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.at += bytes as u64;
    }
}

/// A stream that members are read from.
pub(super) enum Stream {
    Plain(Box<Source>),
    Gzip(Box<Gzip>),
}

impl Stream {
    /// The bytes of the archive from offset `at` on.
    pub(super) fn plain(origin: Arc<dyn Origin>, at: u64) -> Result<Self, ContainerError> {
        Ok(Self::Plain(Box::new(Source::new(origin, at)?)))
    }

    /// What the gzip members from offset `at` on inflate to.
    pub(super) fn gzip(origin: Arc<dyn Origin>, at: u64) -> Result<Self, ContainerError> {
        Ok(Self::Gzip(Box::new(Gzip::new(Source::new(origin, at)?))))
    }

    /// The offset into the stored archive, for messages.
    pub(super) fn at(&self) -> u64 {
        match self {
            Self::Plain(source) => source.at(),
            Self::Gzip(gzip) => gzip.at(),
        }
    }

    /// The offset at which another stream would begin with what this one gives next, if there is
    /// one: everywhere in a plain archive, at the starts of members in gzip.
    pub(super) fn resume_point(&mut self) -> Result<Option<u64>, ContainerError> {
        match self {
            Self::Plain(source) => Ok(Some(source.at())),
            Self::Gzip(gzip) => gzip.resume_point(),
        }
    }

    /// Bytes that come next; none at the end.
    pub(super) fn fill(&mut self) -> Result<&[u8], ContainerError> {
        match self {
            Self::Plain(source) => {
                if let Err(error) = source.fill_buf() {
                    return Err(source.error(error, "its data"));
                }
                Ok(source.reader.buffer())
            }
            Self::Gzip(gzip) => gzip.fill(),
        }
    }

    /// Takes `bytes` of those that [`Stream::fill`] gave.
    pub(super) fn consume(&mut self, bytes: usize) {
        match self {
            Self::Plain(source) => source.consume(bytes),
            Self::Gzip(gzip) => gzip.consume(bytes),
        }
    }

    /// An error unless `bytes` more can be there.
    pub(super) fn check(&self, bytes: u64, within: &'static str) -> Result<(), ContainerError> {
        match self {
            Self::Plain(source) if bytes > source.origin.bytes().saturating_sub(source.at()) => {
                Err(ContainerError::Cut { offset: source.origin.bytes(), within })
            }
            _ => Ok(()),
        }
    }

    /// The next `bytes`, which the caller found to be within the limits. Memory is taken as they
    /// come, so that a claim costs nothing.
    pub(super) fn take(
        &mut self,
        bytes: u64,
        within: &'static str,
    ) -> Result<Vec<u8>, ContainerError> {
        self.check(bytes, within)?;
        let mut held = Vec::new();
        if let Self::Plain(_) = self {
            held.reserve_exact(usize::try_from(bytes).unwrap_or(0));
        }
        let mut left = bytes;
        while left > 0 {
            let next = self.fill()?;
            if next.is_empty() {
                return Err(ContainerError::Cut { offset: self.at(), within });
            }
            let count = next.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            held.extend_from_slice(&next[..count]);
            self.consume(count);
            left -= count as u64;
        }
        Ok(held)
    }

    /// The bytes of a picture: as [`Stream::take`], but they may inflate as they like, as they
    /// are within the limits.
    pub(super) fn take_body(
        &mut self,
        bytes: u64,
        within: &'static str,
    ) -> Result<Vec<u8>, ContainerError> {
        self.trust(true);
        let body = self.take(bytes, within);
        self.trust(false);
        body
    }

    fn trust(&mut self, trusted: bool) {
        if let Self::Gzip(gzip) = self {
            gzip.trust(trusted);
        }
    }

    /// Passes over `bytes`.
    pub(super) fn skip(&mut self, bytes: u64, within: &'static str) -> Result<(), ContainerError> {
        self.check(bytes, within)?;
        if let Self::Plain(source) = self
            && bytes > SEEK
        {
            **source = Source::new(Arc::clone(&source.origin), source.at + bytes)?;
            return Ok(());
        }
        let mut left = bytes;
        while left > 0 {
            let next = self.fill()?.len() as u64;
            if next == 0 {
                return Err(ContainerError::Cut { offset: self.at(), within });
            }
            let count = next.min(left);
            self.consume(count as usize);
            left -= count;
        }
        Ok(())
    }

    /// A line without its end, of at most `most` bytes; none at the end of the stream.
    pub(super) fn line(
        &mut self,
        most: u64,
        within: &'static str,
    ) -> Result<Option<(Vec<u8>, u64)>, ContainerError> {
        let mut line = Vec::new();
        loop {
            let next = self.fill()?;
            if next.is_empty() {
                return if line.is_empty() {
                    Ok(None)
                } else {
                    Err(ContainerError::Cut { offset: self.at(), within })
                };
            }
            let end = next.iter().position(|&byte| byte == b'\n');
            let count = end.map_or(next.len(), |end| end + 1);
            if (line.len() + count) as u64 > most {
                let problem = format!("{within} goes on for more than {most} bytes");
                return Err(ContainerError::Damaged { offset: self.at(), problem });
            }
            line.extend_from_slice(&next[..count]);
            self.consume(count);
            if end.is_some() {
                let taken = line.len() as u64;
                line.pop();
                line.pop_if(|last| *last == b'\r');
                return Ok(Some((line, taken)));
            }
        }
    }
}
