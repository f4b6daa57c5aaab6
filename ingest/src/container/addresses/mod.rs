//! Lists of addresses as crawls publish them → their rows, one after the other.
//!
//! A list is a Parquet file without pictures in it, a CSV or TSV, or JSON lines, the latter in gzip
//! or zstd too, with a column of addresses and maybe one of labels. It is streamed as archives are:
//! [`open`] gives an [`Entry`] a row, each of which tells the [`Cursor`] behind it. A list of rejects
//! that an earlier run left is one too: of the pictures that could not be had.

mod columns;
mod delimited;
mod json;
mod rejects;
mod text;

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use storage::Address;

pub(super) use self::columns::{Choice, LABELS, Seen};
pub use self::rejects::Survey;
use super::{ContainerError, Cursor, Limits, Origin, fault, parquet, sniff};
use crate::picture::Fault;
use schemas::Reason;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A Parquet file.
    Parquet,
    /// Fields with commas, tabs, semicolons or bars between them.
    Delimited(Packing),
    /// A JSON object a line.
    Json(Packing),
    /// Rejects of an earlier run, and where the sources lay from which it was made.
    Rejects(Packing, Arc<[Address]>),
}

/// How a list is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
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
    /// By what a picture of it goes: its address, as [`Address::published`] has it; none if the row
    /// has none.
    pub name: Option<String>,
    /// Where the picture lies, or why there is none.
    pub at: Result<Address, Fault>,
    /// The class, if there is a column of them.
    pub label: Option<String>,
    /// Where reading goes on after this row: `members` counts rows.
    pub next: Cursor,
    /// About how many bytes of the list lie before that.
    pub read: u64,
}

/// The rows of a list, in its order; at most one error, which is the last item.
pub type Entries = Box<dyn Iterator<Item = Result<Entry, ContainerError>> + Send>;

impl Form {
    /// Tells by the first bytes of a file, and by its name, whether it is a list that is no Parquet
    /// file. A text with an address a line is none of these.
    pub fn of(head: &[u8], name: &str, limits: &Limits) -> Option<Self> {
        let packing = Packing::of(head);
        let head = packing.inflated(head);
        let is_named = is_named(name);
        // Excel's "Unicode text", which is refused with a way out.
        if is_named && [b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| head.starts_with(*mark)) {
            return Some(Self::Delimited(packing));
        }
        let text = head.strip_prefix(text::MARK).unwrap_or(&head).trim_ascii_start();
        if text.iter().any(|&byte| byte < b' ' && !b"\t\r\n".contains(&byte))
            || sniff::is_picture(text)
            || text.starts_with(b"<")
        {
            return None;
        }
        let has_ending = |endings: &[&str]| named(name, endings);
        match text.first() {
            None if is_named && is_rejects(name) => Some(Self::Rejects(packing, Arc::default())),
            Some(b'{') if rejects::reads_like(text) => Some(Self::Rejects(packing, Arc::default())),
            Some(b'{') => Some(Self::Json(packing)),
            Some(b'[') if has_ending(&[".json", ".jsonl", ".ndjson"]) => Some(Self::Json(packing)),
            _ if has_ending(&[".jsonl", ".ndjson"]) => Some(Self::Json(packing)),
            _ if is_named || delimited::reads_like(text, limits) => Some(Self::Delimited(packing)),
            _ => None,
        }
    }

    /// Whether a Parquet file holds addresses of pictures, and no pictures.
    ///
    /// # Errors
    /// [`ContainerError`] if it can't be read.
    pub fn is_in_parquet(origin: Arc<dyn Origin>, limits: &Limits) -> Result<bool, ContainerError> {
        parquet::addresses::are_in(origin, limits)
    }

    /// What is in a list of rejects; none of any other.
    ///
    /// # Errors
    /// [`ContainerError`] if it can't be read.
    pub fn survey(&self, origin: Arc<dyn Origin>) -> Result<Option<Survey>, ContainerError> {
        match self {
            Self::Rejects(packing, _) => rejects::survey(origin, *packing).map(Some),
            _ => Ok(None),
        }
    }
}

impl Packing {
    fn of(head: &[u8]) -> Self {
        if head.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
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

/// Whether a file's name ends like a list's that is no Parquet file.
pub fn is_named(name: &str) -> bool {
    named(name, &ENDINGS)
}

/// Whether a file is called as lists of rejects are.
fn is_rejects(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|name| name.starts_with("rejects"))
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
/// [`ContainerError`] if it can't be read, or has no column of addresses.
pub fn open(
    form: &Form,
    origin: Arc<dyn Origin>,
    from: Cursor,
    limits: &Limits,
) -> Result<Entries, ContainerError> {
    if *form != Form::Parquet && from.offset > origin.bytes() {
        return Err(ContainerError::Cursor { offset: from.offset, bytes: origin.bytes() });
    }
    match form {
        Form::Parquet => parquet::addresses::entries(origin, from, limits),
        Form::Delimited(packing) => delimited::entries(origin, *packing, from, limits),
        Form::Json(packing) => json::entries(origin, *packing, from, limits),
        Form::Rejects(packing, roots) => {
            rejects::entries(origin, *packing, from, Arc::clone(roots))
        }
    }
}

/// The rows that `next` gives, up to the first error.
pub(super) fn up_to_an_error(
    mut next: impl FnMut() -> Result<Option<Entry>, ContainerError> + Send + 'static,
) -> Entries {
    let mut ended = false;
    Box::new(std::iter::from_fn(move || {
        let entry = if ended { None } else { next().transpose() };
        ended |= entry.as_ref().is_none_or(Result::is_err);
        entry
    }))
}

/// Whether a text is an address such as a list holds: with a scheme that is read, and no tab or
/// line in it.
pub(super) fn is_address(text: &str) -> bool {
    let Some((scheme, rest)) = text.trim().split_once("://") else { return false };
    const SCHEMES: [&str; 6] = ["http", "https", "s3", "s3a", "gs", "az"];
    SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known))
        && !rest.is_empty()
        && !rest.contains(char::is_control)
}

/// The address that a row has, and what a picture of it goes by.
pub(super) fn address(text: Option<&str>) -> (Option<String>, Result<Address, Fault>) {
    let none = |message: String| (None, Err(fault(Reason::NoAddress, message)));
    let text = text.unwrap_or_default().trim();
    if text.is_empty() {
        return none("the row has no address".to_owned());
    }
    if !is_address(text) {
        return none(format!("`{}` is no http, s3, gs or az address", quoted(text)));
    }
    match Address::parse(text) {
        Ok(at) => (Some(at.published()), Ok(at)),
        Err(error) => none(error.to_string()),
    }
}

/// The text of an address; bytes that are not UTF-8 are written as they would be sent.
pub(super) fn address_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
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
    fn bytes_of_an_address_that_are_no_text_are_sent_as_they_are() {
        let text = address_text(b"http://a/\xe9\xc3\xa9\\.jpg");
        let (name, at) = address(Some(&text));
        assert_eq!(at.unwrap().url().unwrap().as_str(), "http://a/%E9%C3%A9/.jpg");
        assert!(name.unwrap().contains("%E9"));
    }

    #[test]
    fn an_address_has_a_scheme_that_is_read() {
        for good in ["http://a/b.jpg", " HTTPS://a/b c.jpg ", "s3://a/b", "gs://a/b", "az://a/b"] {
            assert!(is_address(good), "{good}");
            assert!(address(Some(good)).1.is_ok(), "{good}");
        }
        for wrong in ["", "a/b.jpg", "//a/b", "ftp://a/b", "file:///a", "data:image/png;base64,x"] {
            assert!(!is_address(wrong), "{wrong}");
            assert_eq!(address(Some(wrong)).1.unwrap_err().reason, Reason::NoAddress, "{wrong}");
        }
        let (name, at) = address(Some("https://[broken/a.jpg"));
        assert_eq!((name, at.unwrap_err().reason), (None, Reason::NoAddress));
    }

    #[test]
    fn what_a_message_quotes_is_short_and_without_a_query() {
        assert_eq!(quoted("ftp://host/a?token=hidden"), "ftp://host/a");
        assert_eq!(quoted(&"ü".repeat(200)).chars().count(), QUOTED + 1);
    }

    #[test]
    fn a_list_is_told_by_content_and_by_name() {
        let of = |text: &str, name: &str| Form::of(text.as_bytes(), name, &Limits::default());
        let (csv, json) = (Some(Form::Delimited(Packing::Plain)), Some(Form::Json(Packing::Plain)));
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
        let reject = r#"{"source":"a","bytes":0,"reason":"unreadable","message":"m"}"#;
        let rejects = Some(Form::Rejects(Packing::Plain, Arc::default()));
        assert_eq!(of(reject, "some.txt"), rejects);
        assert_eq!(of("", "x/rejects-00002.jsonl"), rejects);
        let zstd = zstd::encode_all(&b"{\"url\": 1}"[..], 1).unwrap();
        assert_eq!(Form::of(&zstd, "a", &Limits::default()), Some(Form::Json(Packing::Zstd)));
    }
}
