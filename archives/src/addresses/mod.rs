//! Lists of addresses as crawls publish them → their rows, one after the other.
//!
//! A list is a Parquet file without pictures in it, a CSV or TSV, or JSON lines, the latter in gzip
//! or zstd too, with a column of addresses and maybe one of labels. It is streamed as archives are:
//! [`open`] gives an [`Entry`] a row, each of which tells the [`Cursor`] behind it. What an address
//! leads to, nobody here asks.

mod columns;
mod delimited;
mod json;
mod parquet;
mod text;

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use formats::mark;
use schemas::{Fault, Reason};

pub use self::json::{Line, Lines, label};
use crate::{ArchiveError, Cursor, Limits, Origin, text_with};

/// How the names of lists end that are no Parquet files; each may have one of [`PACKED`] behind it.
const ENDINGS: [&str; 5] = [".csv", ".tsv", ".tab", ".jsonl", ".ndjson"];
/// How compressed ones end.
const PACKED: [&str; 3] = ["", ".gz", ".zst"];
/// Rows that are looked at to find the columns.
const LOOK: usize = 64;
/// Bytes of a compressed head that are inflated to tell what it is.
const INFLATED: u64 = 64 << 10;
/// Characters of a text that a message quotes.
const QUOTED: usize = 100;

/// What kind of list a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A Parquet file.
    Parquet,
    /// Fields with commas, tabs, semicolons or bars between them.
    Delimited(Compression),
    /// A JSON object a line.
    Json(Compression),
}

/// How a list is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// In gzip, in one member or several.
    Gzip,
    /// In zstd.
    Zstd,
}

/// A row of a list.
#[derive(Debug)]
pub struct Entry {
    /// Which row it is, from 0; several where a part of the list can't be read.
    pub rows: Range<u64>,
    /// The text of the picture's address, or why there is none.
    pub address: Result<String, Fault>,
    /// The class, if there is a column of them.
    pub label: Option<String>,
    /// Where reading goes on after this row: `members` counts rows.
    pub next: Cursor,
    /// About how many bytes of the list lie before that.
    pub read: u64,
}

/// The rows of a list, in its order; at most one error, which is the last item.
pub type Entries = Box<dyn Iterator<Item = Result<Entry, ArchiveError>> + Send>;

impl Form {
    /// Tells by the first bytes of a file, and by its name, whether it is a list that is no Parquet
    /// file. A text with an address a line is none of these.
    pub fn of(head: &[u8], name: &str, limits: &Limits) -> Option<Self> {
        let compression = Compression::of(head);
        let head = compression.inflated(head);
        let is_named = is_named(name);
        // Excel's "Unicode text", which is refused with a way out.
        if is_named && [b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| head.starts_with(*mark)) {
            return Some(Self::Delimited(compression));
        }
        let text = text_of(&head);
        if text.iter().any(|&byte| byte < b' ' && !b"\t\r\n".contains(&byte))
            || formats::is_picture(text)
            || text.starts_with(b"<")
        {
            return None;
        }
        let has_ending = |endings: &[&str]| named(name, endings);
        match text.first() {
            Some(b'{') => Some(Self::Json(compression)),
            Some(b'[') if has_ending(&[".json", ".jsonl", ".ndjson"]) => {
                Some(Self::Json(compression))
            }
            _ if has_ending(&[".jsonl", ".ndjson"]) => Some(Self::Json(compression)),
            _ if is_named || delimited::reads_like(text, limits) => {
                Some(Self::Delimited(compression))
            }
            _ => None,
        }
    }

    /// How it is compressed as a whole.
    pub fn compression(self) -> Compression {
        match self {
            Self::Parquet => Compression::Plain,
            Self::Delimited(compression) | Self::Json(compression) => compression,
        }
    }

    /// Whether a Parquet file holds addresses of pictures, and no pictures.
    ///
    /// # Errors
    /// [`ArchiveError`] if it can't be read.
    pub fn is_in_parquet(origin: Arc<dyn Origin>, limits: &Limits) -> Result<bool, ArchiveError> {
        parquet::are_in(origin, limits)
    }
}

impl Compression {
    fn of(head: &[u8]) -> Self {
        if head.starts_with(mark::GZIP) {
            Self::Gzip
        } else if head.starts_with(mark::ZSTD) {
            Self::Zstd
        } else {
            Self::Plain
        }
    }

    /// What the head stands for, as far as it goes: it is nearly always cut.
    fn inflated(self, head: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = match self {
            Self::Plain => return head.to_vec(),
            Self::Gzip => MultiGzDecoder::new(head).take(INFLATED).read_to_end(&mut bytes),
            Self::Zstd => zstd::Decoder::with_buffer(head)
                .and_then(|decoder| decoder.take(INFLATED).read_to_end(&mut bytes)),
        };
        bytes
    }
}

/// The text with which a list begins, unpacked, without a byte order mark and white space before it.
pub fn beginning(head: &[u8]) -> Vec<u8> {
    text_of(&Compression::of(head).inflated(head)).to_vec()
}

fn text_of(head: &[u8]) -> &[u8] {
    head.strip_prefix(text::MARK).unwrap_or(head).trim_ascii_start()
}

/// Whether a file's name ends like a list's that is no Parquet file.
pub fn is_named(name: &str) -> bool {
    named(name, &ENDINGS)
}

fn named(name: &str, endings: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    PACKED
        .iter()
        .filter_map(|packed| name.strip_suffix(packed))
        .any(|name| endings.iter().any(|ending| name.ends_with(ending)))
}

/// Opens a list at `from`, which is [`Cursor::default`] or an [`Entry::next`] of the same.
///
/// # Errors
/// [`ArchiveError`] if it can't be read, or has no column of addresses.
pub fn open(
    form: Form,
    origin: Arc<dyn Origin>,
    from: Cursor,
    limits: &Limits,
) -> Result<Entries, ArchiveError> {
    if form != Form::Parquet {
        check(&*origin, from)?;
    }
    match form {
        Form::Parquet => parquet::entries(origin, from, limits),
        Form::Delimited(compression) => delimited::entries(origin, compression, from, limits),
        Form::Json(compression) => json::entries(origin, compression, from, limits),
    }
}

/// An error unless `from` is a place in a list that is no Parquet file.
fn check(origin: &dyn Origin, from: Cursor) -> Result<(), ArchiveError> {
    let (offset, bytes) = (from.offset, origin.bytes());
    if offset > bytes { Err(ArchiveError::Cursor { offset, bytes }) } else { Ok(()) }
}

/// What `next` gives, up to its first error.
pub fn up_to_an_error<T: 'static>(
    mut next: impl FnMut() -> Result<Option<T>, ArchiveError> + Send + 'static,
) -> Box<dyn Iterator<Item = Result<T, ArchiveError>> + Send> {
    let mut ended = false;
    Box::new(std::iter::from_fn(move || {
        let entry = if ended { None } else { next().transpose() };
        ended |= entry.as_ref().is_none_or(Result::is_err);
        entry
    }))
}

/// Whether a text is an address such as a list holds: with a scheme that is read, and no tab or
/// line in it.
pub fn is_address(text: &str) -> bool {
    let Some((scheme, rest)) = text.trim().split_once("://") else { return false };
    const SCHEMES: [&str; 6] = ["http", "https", "s3", "s3a", "gs", "az"];
    SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known))
        && !rest.is_empty()
        && !rest.contains(char::is_control)
}

/// The text of the address that a row has.
fn address(text: Option<&str>) -> Result<String, Fault> {
    let none = |message: String| Err(Fault::new(Reason::NoAddress, message));
    let text = text.unwrap_or_default().trim();
    if text.is_empty() {
        return none("the row has no address".to_owned());
    }
    if !is_address(text) {
        return none(format!("`{}` is no http, s3, gs or az address", quoted(text)));
    }
    Ok(text.to_owned())
}

/// The text of an address; bytes that are not UTF-8 are written as they would be sent.
fn address_text(bytes: &[u8]) -> String {
    text_with(bytes, |byte| format!("%{byte:02X}"))
}

/// The beginning of a text that a stranger wrote, without what an address may hide.
fn quoted(text: &str) -> String {
    let shown = text.split('?').next().unwrap_or_default();
    match shown.char_indices().nth(QUOTED) {
        None => shown.to_owned(),
        Some((end, _)) => format!("{}…", &shown[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_an_address_that_are_no_text_are_written_as_they_would_be_sent() {
        let text = address_text(b"http://a/\xe9\xc3\xa9\\.jpg");
        assert_eq!(text, "http://a/%E9é\\.jpg");
    }

    #[test]
    fn an_address_has_a_scheme_that_is_read() {
        for good in ["http://a/b.jpg", " HTTPS://a/b c.jpg ", "s3://a/b", "gs://a/b", "az://a/b"] {
            assert!(is_address(good), "{good}");
            assert_eq!(address(Some(good)).unwrap(), good.trim());
        }
        for wrong in ["", "a/b.jpg", "//a/b", "ftp://a/b", "file:///a", "data:image/png;base64,x"] {
            assert!(!is_address(wrong), "{wrong}");
            assert_eq!(address(Some(wrong)).unwrap_err().reason, Reason::NoAddress, "{wrong}");
        }
    }

    #[test]
    fn what_a_message_quotes_is_short_and_without_a_query() {
        assert_eq!(quoted("ftp://host/a?token=hidden"), "ftp://host/a");
        assert_eq!(quoted(&"ü".repeat(200)).chars().count(), QUOTED + 1);
    }

    #[test]
    fn a_list_is_told_by_content_and_by_name() {
        let of = |text: &str, name: &str| Form::of(text.as_bytes(), name, &Limits::default());
        let (csv, json) =
            (Some(Form::Delimited(Compression::Plain)), Some(Form::Json(Compression::Plain)));
        assert_eq!(of("whatever\n", "a.CSV"), csv);
        assert_eq!(of("URL\tTEXT\nhttps://a/b.jpg\ta cat\n", "a.txt"), csv);
        assert_eq!(of("https://a/b.jpg\ta cat\n", "a"), csv);
        assert_eq!(of("\u{feff}url\r\nhttps://a/b.jpg\r\n", "a"), csv);
        assert_eq!(of(" {\"url\": 1}\n", "a"), json);
        assert_eq!(of("broken\n", "a.jsonl"), json);
        assert_eq!(of("https://a/b,c.jpg\nimage\n", "a.txt"), None);
        assert_eq!(of("image\nlabel\n", "a.txt"), None, "folders, one of which is called so");
        assert_eq!(of("<html>", "a.csv"), None);
        assert_eq!(of("\u{1}\u{2}", "a.csv"), None);
        let zstd = zstd::encode_all(&b"{\"url\": 1}"[..], 1).unwrap();
        assert_eq!(Form::of(&zstd, "a", &Limits::default()), Some(Form::Json(Compression::Zstd)));
    }
}
