//! What ends the reading of an archive.

use std::io;

/// Why an archive can't be read, or not further. Offsets are bytes into the archive as it is
/// stored, of the place that was being read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The storage failed.
    #[error("can't read the archive at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// What the storage said.
        source: io::Error,
    },
    /// The archive ends within something.
    #[error("the archive is cut short: it ends at byte {offset}, within {within}; fetch it again")]
    Cut {
        /// Where it ends.
        offset: u64,
        /// What was being read.
        within: &'static str,
    },
    /// The archive is not as its format has it.
    #[error("the archive is damaged at byte {offset}: {problem}; fetch or write it again")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The data inflates beyond all proportion, without a picture in it.
    #[error(
        "the archive inflates without end at byte {offset}: {inflated} bytes from {stored}; the rest of it is not read"
    )]
    Bomb {
        /// Where.
        offset: u64,
        /// Bytes that came out since the last picture.
        inflated: u64,
        /// Bytes that went in since the last picture.
        stored: u64,
    },
    /// An archive of a form that is not read.
    #[error("it is {0}, which is not read; write a tar, a ZIP or a WARC of what is in it")]
    Unread(&'static str),
    /// A sound Parquet file, but not one that holds pictures in a way that is read.
    #[error("{0}")]
    Columns(String),
    /// The place at which to go on is not in this archive.
    #[error(
        "reading can't go on at {offset} of an archive of {bytes} bytes; it changed since, so ingest it from the start"
    )]
    Cursor {
        /// The offset or row that was asked for.
        offset: u64,
        /// The archive's size.
        bytes: u64,
    },
}
