//! An archive as one stream of bytes, plain or unpacked, that knows where it stands.

use std::io::BufRead;
use std::sync::Arc;

use bytes::Bytes;

use super::counted::{Counted, SEEK};
use super::packed::{self, Packed, Packing};
use super::{ArchiveError, Origin};

/// A stream that members are read from.
pub(super) enum Stream {
    Plain(Box<Counted>),
    Packed(Box<Packed>),
}

impl Stream {
    /// The bytes that the archive stands for, from those stored at offset `at` on, at which a stream
    /// of it begins.
    pub(super) fn open(
        origin: Arc<dyn Origin>,
        packing: Packing,
        at: u64,
    ) -> Result<Self, ArchiveError> {
        let dictionary = match packing {
            Packing::Plain => return Ok(Self::Plain(Box::new(Counted::new(origin, at)?))),
            Packing::Zstd => packed::dictionary(&*origin)?,
            _ => Bytes::new(),
        };
        let source = Counted::new(origin, at)?;
        Ok(Self::Packed(Box::new(Packed::new(source, packing, dictionary))))
    }

    /// The offset into the stored archive, for messages.
    pub(super) fn at(&self) -> u64 {
        match self {
            Self::Plain(source) => source.at(),
            Self::Packed(packed) => packed.at(),
        }
    }

    /// The offset at which another stream would begin with what this one gives next, if there is
    /// one: everywhere in a plain archive, at the starts of streams in a packed one.
    pub(super) fn resume_point(&mut self) -> Result<Option<u64>, ArchiveError> {
        match self {
            Self::Plain(source) => Ok(Some(source.at())),
            Self::Packed(packed) => packed.resume_point(),
        }
    }

    /// Bytes that come next; none at the end.
    pub(super) fn fill(&mut self) -> Result<&[u8], ArchiveError> {
        match self {
            Self::Plain(source) => {
                if let Err(error) = source.fill_buf() {
                    return Err(source.error(error, "its data"));
                }
                Ok(source.buffer())
            }
            Self::Packed(packed) => packed.fill(),
        }
    }

    /// Takes `bytes` of those that [`Stream::fill`] gave.
    pub(super) fn consume(&mut self, bytes: usize) {
        match self {
            Self::Plain(source) => source.consume(bytes),
            Self::Packed(packed) => packed.consume(bytes),
        }
    }

    /// An error unless `bytes` more can be there.
    pub(super) fn check(&self, bytes: u64, within: &'static str) -> Result<(), ArchiveError> {
        match self {
            Self::Plain(source) if bytes > source.stored().saturating_sub(source.at()) => {
                Err(ArchiveError::Cut { offset: source.stored(), within })
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
    ) -> Result<Vec<u8>, ArchiveError> {
        let mut held = Vec::new();
        self.take_onto(&mut held, bytes, within)?;
        Ok(held)
    }

    /// As [`Stream::take`], put behind what is held already.
    pub(super) fn take_onto(
        &mut self,
        held: &mut Vec<u8>,
        bytes: u64,
        within: &'static str,
    ) -> Result<(), ArchiveError> {
        self.check(bytes, within)?;
        if let Self::Plain(_) = self {
            held.reserve_exact(usize::try_from(bytes).unwrap_or(0));
        }
        let mut left = bytes;
        while left > 0 {
            let next = self.fill()?;
            if next.is_empty() {
                return Err(ArchiveError::Cut { offset: self.at(), within });
            }
            let count = next.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            held.extend_from_slice(&next[..count]);
            self.consume(count);
            left -= count as u64;
        }
        Ok(())
    }

    /// The bytes of a picture: as [`Stream::take`], but they may inflate as they like, as they
    /// are within the limits.
    pub(super) fn take_body(
        &mut self,
        bytes: u64,
        within: &'static str,
    ) -> Result<Vec<u8>, ArchiveError> {
        let mut body = Vec::new();
        self.take_body_onto(&mut body, bytes, within)?;
        Ok(body)
    }

    /// As [`Stream::take_body`], put behind what is held of it already.
    pub(super) fn take_body_onto(
        &mut self,
        held: &mut Vec<u8>,
        bytes: u64,
        within: &'static str,
    ) -> Result<(), ArchiveError> {
        self.trust(true);
        let taken = self.take_onto(held, bytes, within);
        self.trust(false);
        taken
    }

    fn trust(&mut self, trusted: bool) {
        if let Self::Packed(packed) = self {
            packed.trust(trusted);
        }
    }

    /// Passes over `bytes`.
    pub(super) fn skip(&mut self, bytes: u64, within: &'static str) -> Result<(), ArchiveError> {
        self.check(bytes, within)?;
        if let Self::Plain(source) = self
            && bytes > SEEK
        {
            **source = source.behind(bytes)?;
            return Ok(());
        }
        let mut left = bytes;
        while left > 0 {
            let next = self.fill()?.len() as u64;
            if next == 0 {
                return Err(ArchiveError::Cut { offset: self.at(), within });
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
    ) -> Result<Option<(Vec<u8>, u64)>, ArchiveError> {
        let mut line = Vec::new();
        loop {
            let next = self.fill()?;
            if next.is_empty() {
                return if line.is_empty() {
                    Ok(None)
                } else {
                    Err(ArchiveError::Cut { offset: self.at(), within })
                };
            }
            let end = next.iter().position(|&byte| byte == b'\n');
            let count = end.map_or(next.len(), |end| end + 1);
            if (line.len() + count) as u64 > most {
                let problem = format!("{within} goes on for more than {most} bytes");
                return Err(ArchiveError::Damaged { offset: self.at(), problem });
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
