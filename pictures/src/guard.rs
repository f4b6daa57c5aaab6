//! What keeps a decoder that takes for ever from holding up the run: reading ends when the time is up.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use schemas::{Fault, Reason};

/// When a picture's time is up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    end: Option<Instant>,
    limit: Duration,
}

impl Deadline {
    pub fn after(limit: Duration) -> Self {
        // So long a time that no clock has it is none at all.
        Self { end: Instant::now().checked_add(limit), limit }
    }

    pub fn is_past(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    pub fn fault(&self) -> Fault {
        let limit = self.limit.as_secs_f64();
        Fault::new(Reason::OverTime, format!("decoding took longer than {limit} s"))
    }
}

/// The bytes of a file, of which no more can be read once the time is up.
#[derive(Debug)]
pub(super) struct Timed<'a> {
    bytes: Cursor<&'a [u8]>,
    deadline: Deadline,
}

/// Bytes that a decoder gets at a time; between two such the clock is looked at.
const STEP: usize = 16 << 10;

impl<'a> Timed<'a> {
    pub fn new(bytes: &'a [u8], deadline: Deadline) -> Self {
        Self { bytes: Cursor::new(bytes), deadline }
    }

    fn check(&self) -> io::Result<()> {
        if self.deadline.is_past() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the time is up"));
        }
        Ok(())
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.bytes.read(buffer)
    }
}

impl BufRead for Timed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        let rest = self.bytes.fill_buf()?;
        Ok(&rest[..rest.len().min(STEP)])
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.consume(amount);
    }
}

impl Seek for Timed<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(position)
    }
}
