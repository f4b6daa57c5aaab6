//! Archives → their pictures, one after the other, without unpacking them to disk.
//!
//! [`open`] streams the [`Member`]s of a tar, a ZIP, a Parquet file or a WARC from an [`Origin`]. Every
//! member tells the [`Cursor`] from which another call goes on after it; that gives the same
//! members as reading on would.
//!
//! | | members | name | label |
//! | --- | --- | --- | --- |
//! | tar, ZIP | files that are pictures by name or content, and lone files that are nothing known | path | `.cls`, else `label`, `class` or `cls` of the `.json`, else the folder |
//! | Parquet | values of the column with the bytes | a key, path or address column, else `row N`; in lists with `/0`, `/1`, … | a label column |
//! | WARC | responses with a status of success, `resource` and `conversion` records that are a picture by content or say so | target URI | none |
//!
//! Whatever an archive claims, no more is held than [`Limits`] allow: sizes are checked before
//! memory is taken, and data that goes on inflating beyond all proportion is given up.

#![forbid(unsafe_code)]

pub mod addresses;
mod counted;
mod error;
mod http;
mod kind;
mod packed;
mod parquet;
mod passed;
mod records;
mod samples;
mod stream;
mod tar;
mod warc;
mod zip;

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use schemas::{Fault, Reason};
use serde::{Deserialize, Serialize};

pub use error::ArchiveError;
pub use http::undone;
pub use kind::Kind;
pub use packed::Packing;
pub use parquet::is_metadata;
pub use passed::Passed;
use samples::whole_number;
pub use samples::{COMPANION, Companion, companion};
use stream::Stream;

/// Columns of labels by convention.
const LABELS: [&str; 3] = ["label", "cls", "class"];

/// One picture of an archive, still encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Path in the tar, target URI in the WARC, key column or `row N` in the Parquet file, and behind
    /// it `/0`, `/1`, … in lists of pictures.
    pub name: String,
    /// The class, where the archive tells one.
    pub label: Option<String>,
    /// The picture's bytes, or why they can't be had; that ends the member, not the archive.
    pub body: Result<Bytes, Fault>,
    /// Where reading goes on after this member.
    pub next: Cursor,
}

/// Where in an archive a reader stands.
#[derive(Serialize, Deserialize, Clone, Copy, Eq, PartialEq, Debug, Default)]
pub struct Cursor {
    /// Members before this place.
    pub members: u64,
    /// A byte offset into the archive at which reading can begin; a row of a Parquet file, a sample
    /// of a ZIP.
    pub offset: u64,
    /// Members to pass over from `offset` on: those of the same WebDataset sample, or of the same
    /// row, and in a packed archive all since the last place at which unpacking can begin.
    #[serde(default)]
    pub skip: u64,
}

/// What a reader may take in, and which columns it looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one member; a larger one is rejected as too large without being held.
    pub member_bytes: u64,
    /// Most bytes that a page of a Parquet file may inflate to. Writers put up to some thousand
    /// pictures on a page, so that this is well over `member_bytes`.
    pub page_bytes: u64,
    /// The Parquet column with the pictures' bytes; found by name and content if not given.
    pub image_column: Option<String>,
    /// The column with the labels of a Parquet file or a list; found by name if not given.
    pub label_column: Option<String>,
    /// The column with the addresses of a list; found by name and content if not given.
    pub url_column: Option<String>,
}

impl Default for Limits {
    /// 256 MiB a member, 1 GiB a page, columns found.
    fn default() -> Self {
        Self {
            member_bytes: 256 << 20,
            page_bytes: 1 << 30,
            image_column: None,
            label_column: None,
            url_column: None,
        }
    }
}

/// What an archive is read from.
pub trait Origin: Send + Sync {
    /// The size of the whole archive in bytes.
    fn bytes(&self) -> u64;
    /// The bytes from offset `from` on, in order.
    ///
    /// # Errors
    /// What the storage says.
    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send>>;
    /// Exactly the bytes of the range.
    ///
    /// # Errors
    /// What the storage says; there is never less than was asked for.
    fn read_range(&self, range: Range<u64>) -> io::Result<Bytes>;
}

/// An archive in memory.
impl Origin for Bytes {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let from = usize::try_from(from).map_or(self.len(), |from| from.min(self.len()));
        Ok(Box::new(self.slice(from..).reader()))
    }

    fn read_range(&self, range: Range<u64>) -> io::Result<Bytes> {
        let at = |offset: u64| usize::try_from(offset).ok().filter(|&at| at <= self.len());
        match (at(range.start), at(range.end)) {
            (Some(start), Some(end)) if start <= end => Ok(self.slice(start..end)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The members of an archive, in its order; at most one error, which is the last item.
pub trait Reader: Iterator<Item = Result<Member, ArchiveError>> + Send {
    /// What was passed over since this was asked last. After each member it is what lies between
    /// that and the one before, or the place at which reading began.
    fn passed(&mut self) -> Passed {
        Passed::default()
    }
}

/// The members of an archive of any kind.
pub type Members = Box<dyn Reader>;

/// Opens the archive at `from`, which is [`Cursor::default`] or a [`Member::next`] of the same.
///
/// # Errors
/// [`ArchiveError`] if the archive can't be read at all; damage further in is the iterator's
/// last item, after every member before it.
pub fn open(
    kind: Kind,
    origin: Arc<dyn Origin>,
    from: Cursor,
    limits: &Limits,
) -> Result<Members, ArchiveError> {
    if kind != Kind::Parquet && from.offset > origin.bytes() || from.skip > from.members {
        return Err(ArchiveError::Cursor { offset: from.offset, bytes: origin.bytes() });
    }
    Ok(match kind {
        Kind::Tar(packing) => {
            let files = tar::Tar::new(Stream::open(origin, packing, from.offset)?);
            Box::new(samples::members(files, from, limits))
        }
        Kind::Warc(packing) => {
            Box::new(warc::members(Stream::open(origin, packing, from.offset)?, from, limits))
        }
        Kind::Parquet => Box::new(parquet::members(origin, from, limits)?),
        Kind::Zip => {
            let files = zip::Zip::open(origin, from, limits)?;
            Box::new(samples::members(files, from, limits))
        }
        Kind::Unread(what) => return Err(ArchiveError::Unread(what)),
    })
}

fn too_large(bytes: u64, limits: &Limits) -> Fault {
    let most = limits.member_bytes;
    Fault::new(Reason::TooLarge, format!("{bytes} bytes, where a picture may have {most} at most"))
}

/// Text of bytes, in which those that are not UTF-8 are written as `\xNN`.
pub fn text(bytes: &[u8]) -> String {
    text_with(bytes, |byte| format!("\\x{byte:02x}"))
}

/// Text of bytes, in which those that are not UTF-8 are written as `escaped` has them.
fn text_with(bytes: &[u8], escaped: impl Fn(u8) -> String) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for &byte in chunk.invalid() {
            text.push_str(&escaped(byte));
        }
    }
    text
}
