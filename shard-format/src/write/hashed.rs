//! The bytes of a shard on their way into its file, and their hashes.
//!
//! A thread of its own hashes the file and writes it, so that the next row group is put together
//! meanwhile: on many cores the bytes of all of them pass here.

use std::io::{self, Write};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Bytes that are hashed at once, and written while they are in the processor's cache.
const HASHED_AT_ONCE: usize = 128 << 10;

/// Pieces that wait to be written.
const WAITING: usize = 1;

/// A writer that hashes what is written to it. A row group is gathered first, so that its bytes are
/// hashed and passed on in large pieces.
pub struct Hashed {
    tail: Tail,
    bytes: u64,
    in_group: bool,
    /// The newest row group, whole or so far.
    group: Vec<u8>,
}

impl Hashed {
    pub fn new(writer: storage::Writer) -> io::Result<Self> {
        Ok(Self { tail: Tail::start(writer)?, bytes: 0, in_group: false, group: vec![] })
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What comes now is a row group.
    pub fn begin_group(&mut self) {
        self.in_group = true;
        self.group.clear();
    }

    /// The row group's bytes so far.
    pub fn group(&self) -> &[u8] {
        &self.group
    }

    /// Passes the row group on; its hash.
    pub fn end_group(&mut self) -> io::Result<blake3::Hash> {
        self.in_group = false;
        let hash = blake3::hash(&self.group);
        self.tail.write(&mut self.group)?;
        Ok(hash)
    }

    /// The writer, after everything went to it, with the count and the hash of all bytes.
    pub fn finish(self) -> io::Result<(storage::Writer, u64, blake3::Hash)> {
        let Self { tail, bytes, .. } = self;
        let (writer, hash) = tail.finish()?;
        Ok((writer, bytes, hash))
    }
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.in_group {
            self.group.extend_from_slice(buffer);
        } else {
            self.tail.write(&mut buffer.to_vec())?;
        }
        self.bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    /// Bytes are passed on as they come; to bring them to the disk is for the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that hashes and writes. Dropped before its end, it leaves what a dropped writer does.
struct Tail {
    /// None when no more is to come.
    pieces: Option<Sender<Vec<u8>>>,
    /// Buffers of pieces that are written.
    spare: Receiver<Vec<u8>>,
    /// None when its result was taken.
    thread: Option<JoinHandle<io::Result<(storage::Writer, blake3::Hash)>>>,
}

impl Tail {
    fn start(mut writer: storage::Writer) -> io::Result<Self> {
        let (pieces, to_write) = bounded::<Vec<u8>>(WAITING);
        let (written, spare) = bounded(WAITING + 1);
        let thread = thread::Builder::new().name("shard".into()).spawn(move || {
            let mut hasher = blake3::Hasher::new();
            for piece in to_write {
                for bytes in piece.chunks(HASHED_AT_ONCE) {
                    hasher.update(bytes);
                    writer.write_all(bytes).map_err(told)?;
                }
                // One that finds no place is of no use.
                let _ = written.try_send(piece);
            }
            Ok((writer, hasher.finalize()))
        })?;
        Ok(Self { pieces: Some(pieces), spare, thread: Some(thread) })
    }

    /// Passes a piece on, and leaves an empty buffer in its place. Errors may be those of earlier
    /// pieces.
    fn write(&mut self, piece: &mut Vec<u8>) -> io::Result<()> {
        let mut empty = self.spare.try_recv().unwrap_or_default();
        empty.clear();
        let piece = std::mem::replace(piece, empty);
        match &self.pieces {
            Some(pieces) if pieces.send(piece).is_ok() => Ok(()),
            _ => self.end().and(Err(io::Error::other("the thread that writes shards is gone"))),
        }
    }

    fn finish(mut self) -> io::Result<(storage::Writer, blake3::Hash)> {
        self.end()
    }

    fn end(&mut self) -> io::Result<(storage::Writer, blake3::Hash)> {
        self.pieces = None;
        let thread = self.thread.take();
        let gone = || io::Error::other("the thread that writes shards panicked");
        thread.and_then(|thread| thread.join().ok()).ok_or_else(gone)?
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // Waits, so that nothing is left when this is over.
        let _ = self.end();
    }
}

/// The error with its causes in its text, since the Parquet library passes on the text alone.
fn told(error: io::Error) -> io::Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    io::Error::new(error.kind(), text)
}
