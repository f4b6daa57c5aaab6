//! Lists of addresses, and lists of rejects that an earlier run left → their rows: which picture,
//! and where it lies.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archives::addresses::{
    self, Compression, Entry, Form, Lines, is_address, label, up_to_an_error,
};
use archives::{ArchiveError, Cursor, Kind, Limits, Origin};
use schemas::{Fault, Reason};
use serde_json::{Map, Value};
use storage::Address;

/// A list with a row for each picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum List {
    /// Of addresses.
    Addresses(Form),
    /// Of rejects of an earlier run: of its pictures that could not be had. With where the sources
    /// lay from which it was made.
    Rejects(Compression, Arc<[Address]>),
}

/// A row of a list.
#[derive(Debug)]
pub(crate) struct Row {
    /// Which row it is, from 0; several where a part of the list can't be read.
    pub rows: Range<u64>,
    /// By what a picture of it goes: its address, as [`Address::published`] has it, or its source
    /// in the run that rejected it; none if the row has none.
    pub name: Option<String>,
    /// Where the picture lies, or why there is none.
    pub at: Result<Address, Fault>,
    /// The class, if the list tells one.
    pub label: Option<String>,
    /// Where reading goes on after this row: `members` counts rows.
    pub next: Cursor,
    /// About how many bytes of the list lie before that.
    pub read: u64,
}

/// The rows of a list, in its order; at most one error, which is the last item.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Row, ArchiveError>> + Send>;

/// What a list of rejects holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Pictures that could not be had and can be tried anew, and lines that can't be read.
    pub anew: u64,
    /// What is passed over, by the codes of the reasons.
    pub passed: BTreeMap<String, u64>,
}

/// What is passed over of a reject that could not be had, beside the codes of reasons.
const IN_ARCHIVE: &str = "in an archive";

impl List {
    /// Tells by the first bytes of a file, and by its name, whether it is a list that is no Parquet
    /// file; of rejects, without the sources of their run.
    pub fn of(head: &[u8], name: &str, limits: &Limits) -> Option<Self> {
        let form = Form::of(head, name, limits)?;
        let text = addresses::beginning(head);
        let of_rejects = match text.first() {
            None => addresses::is_named(name) && is_called_rejects(name),
            Some(_) => text.starts_with(b"{") && reads_like_rejects(&text),
        };
        Some(match of_rejects {
            true => Self::Rejects(form.compression(), Arc::default()),
            false => Self::Addresses(form),
        })
    }

    /// Whether it is of rejects: its user had named what is in it.
    pub fn is_of_rejects(&self) -> bool {
        matches!(self, Self::Rejects(..))
    }

    /// What is in a list of rejects; none of any other.
    ///
    /// # Errors
    /// [`ArchiveError`] if it can't be read.
    pub fn survey(&self, origin: Arc<dyn Origin>) -> Result<Option<Survey>, ArchiveError> {
        let Self::Rejects(compression, _) = *self else { return Ok(None) };
        let mut lines = Lines::open(origin, compression, Cursor::default())?;
        let mut survey = Survey::default();
        while let Some(line) = lines.object()? {
            match line.map(|object| told(&object)) {
                Ok(Ok(Told::Passed(code))) => *survey.passed.entry(code).or_default() += 1,
                Ok(Ok(Told::Anew(..)) | Err(_)) | Err(_) => survey.anew += 1,
            }
        }
        Ok(Some(survey))
    }

    /// The rows from `from` on, which is [`Cursor::default`] or a [`Row::next`] of the same list; of
    /// rejects, those to try anew.
    ///
    /// # Errors
    /// [`ArchiveError`] if it can't be read, or has no column of addresses.
    pub fn rows(
        &self,
        origin: Arc<dyn Origin>,
        from: Cursor,
        limits: &Limits,
    ) -> Result<Rows, ArchiveError> {
        match self {
            Self::Addresses(form) => {
                let entries = addresses::open(*form, origin, from, limits)?;
                Ok(Box::new(entries.map(|entry| entry.map(Row::of_address))))
            }
            Self::Rejects(compression, roots) => {
                rejects(origin, *compression, from, Arc::clone(roots))
            }
        }
    }
}

impl Row {
    fn of_address(entry: Entry) -> Self {
        let Entry { rows, address, label, next, read } = entry;
        let (name, at) = match address {
            Ok(text) => parsed(&text),
            Err(fault) => (None, Err(fault)),
        };
        Self { rows, name, at, label, next, read }
    }
}

/// By what a picture at an address goes, and where that leads.
fn parsed(text: &str) -> (Option<String>, Result<Address, Fault>) {
    match Address::parse(text) {
        Ok(at) => (Some(at.published()), Ok(at)),
        Err(error) => (None, Err(Fault::new(Reason::NoAddress, error.to_string()))),
    }
}

/// Whether a source is that of a picture within an archive, by its name.
fn is_in_archive(source: &str) -> bool {
    let mut parts = source.split('/');
    parts.next_back();
    parts.any(Kind::is_name)
}

/// Whether a file is called as lists of rejects are.
fn is_called_rejects(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|name| name.starts_with("rejects"))
}

/// Whether a text begins with the line of a reject.
fn reads_like_rejects(text: &[u8]) -> bool {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(line) else { return false };
    let is_text = |name| object.get(name).is_some_and(Value::is_string);
    ["source", "reason", "message"].into_iter().all(is_text)
        && object.get("bytes").is_some_and(Value::is_u64)
}

/// What is to become of a line.
enum Told {
    /// To be tried anew: its source and class.
    Anew(String, Option<String>),
    Passed(String),
}

fn told(object: &Map<String, Value>) -> Result<Told, Fault> {
    let text = |name: &str| match object.get(name) {
        Some(Value::String(text)) => Ok(text),
        _ => {
            let message = format!("the line has no `{name}`, as rejects have");
            Err(Fault::new(Reason::NoAddress, message))
        }
    };
    let (source, code) = (text("source")?, text("reason")?);
    // A code of a newer release is none that is known to pass.
    let reason: Option<Reason> = serde_json::from_value(Value::String(code.clone())).ok();
    Ok(if !reason.is_some_and(Reason::may_pass) {
        Told::Passed(code.clone())
    } else if is_in_archive(source) {
        Told::Passed(IN_ARCHIVE.to_owned())
    } else {
        Told::Anew(source.clone(), object.get("label").and_then(label))
    })
}

/// The pictures to try anew from `from` on; `roots` are the sources of the run that rejected them.
fn rejects(
    origin: Arc<dyn Origin>,
    compression: Compression,
    from: Cursor,
    roots: Arc<[Address]>,
) -> Result<Rows, ArchiveError> {
    let mut lines = Lines::open(origin, compression, from)?;
    Ok(up_to_an_error(move || {
        while let Some(line) = lines.object()? {
            let mut row = Row::of_address(lines.entry());
            match line.map(|object| told(&object)) {
                Ok(Ok(Told::Passed(_))) => continue,
                Ok(Ok(Told::Anew(source, label))) => {
                    row.at = place(&source, &roots);
                    (row.name, row.label) = (Some(source), label);
                }
                Ok(Err(fault)) => row.at = Err(fault),
                Err(problem) => row.at = Err(Fault::new(Reason::NoAddress, problem)),
            }
            return Ok(Some(row));
        }
        Ok(None)
    }))
}

/// Where a source lies. One that is no address is a path, from here or from where the run's sources
/// lay, as they were given to it or in lists.
fn place(source: &str, roots: &[Address]) -> Result<Address, Fault> {
    if source.contains("://") {
        return match is_address(source) {
            true => parsed(source.trim()).1,
            false => Address::parse(source).map_err(|error| unreadable(error.to_string())),
        };
    }
    let beside = |root: &Path| root.parent().map(|folder| folder.join(source));
    let below = roots.iter().filter_map(Address::local);
    let below = below.flat_map(|root| [Some(root.join(source)), beside(root)]).flatten();
    let found = std::iter::once(PathBuf::from(source)).chain(below).find_map(|path| {
        let about = fs::metadata(&path).ok()?;
        Some((path, about.is_file()))
    });
    match (found, roots.iter().find(|root| root.local().is_none())) {
        (Some((path, true)), _) => Ok(path.into()),
        // To open a pipe would wait for somebody who writes to it.
        (Some((_, false)), _) => Err(unreadable("it is no regular file".to_owned())),
        (None, Some(remote)) => Ok(remote.join(source)),
        (None, None) => Ok(PathBuf::from(source).into()),
    }
}

fn unreadable(message: String) -> Fault {
    Fault::new(Reason::Unreadable, message)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn line(source: &str, reason: &str, more: &str) -> String {
        format!(
            "{{\"source\":\"{source}\",\"bytes\":0,\"reason\":\"{reason}\",\"message\":\"m\"{more}}}\n"
        )
    }

    fn rows(list: &List, bytes: &Bytes, from: Cursor) -> Vec<Row> {
        let rows = list.rows(Arc::new(bytes.clone()), from, &Limits::default()).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn an_address_is_parsed_and_what_it_may_hide_is_not_published() {
        let (name, at) = parsed("http://a/%E9é\\.jpg");
        assert_eq!(at.unwrap().url().unwrap().as_str(), "http://a/%E9%C3%A9/.jpg");
        assert!(name.unwrap().contains("%E9"));
        for good in ["http://a/b.jpg", "HTTPS://a/b c.jpg", "s3://a/b", "gs://a/b", "az://a/b"] {
            assert!(parsed(good).1.is_ok(), "{good}");
        }
        let (name, at) = parsed("https://[broken/a.jpg");
        assert_eq!((name, at.unwrap_err().reason), (None, Reason::NoAddress));
    }

    #[test]
    fn a_list_of_rejects_is_told_by_content_and_by_name() {
        let of = |text: &str, name: &str| List::of(text.as_bytes(), name, &Limits::default());
        let reject = r#"{"source":"a","bytes":0,"reason":"unreadable","message":"m"}"#;
        let rejects = Some(List::Rejects(Compression::Plain, Arc::default()));
        assert_eq!(of(reject, "some.txt"), rejects);
        assert_eq!(of("", "x/rejects-00002.jsonl"), rejects);
        let json = Some(List::Addresses(Form::Json(Compression::Plain)));
        assert_eq!(of(" {\"url\": 1}\n", "a"), json);
        assert_eq!(of("broken\n", "a.jsonl"), json);
        assert_eq!(of("", "rejects.txt"), None);
        let zstd = zstd::encode_all(reject.as_bytes(), 1).unwrap();
        let packed = Some(List::Rejects(Compression::Zstd, Arc::default()));
        assert_eq!(List::of(&zstd, "list.csv", &Limits::default()), packed);
    }

    #[test]
    fn of_rejects_those_come_that_could_not_be_had() {
        let text = [
            line("https://a/1.jpg?id=7", "unreadable", ",\"label\":\"cat\""),
            line("https://a/2.jpg", "duplicate", ""),
            line("x.tar/3.jpg", "unreadable", ""),
            line("crawl.warc.gz/http://a/4.jpg", "unreadable", ""),
            line("https://a/5.jpg", "a_reason_of_later", ""),
            line("photos/6.jpg", "unreadable", ""),
        ]
        .concat();
        let list = List::of(text.as_bytes(), "rejects.jsonl", &Limits::default()).unwrap();
        let bytes = Bytes::from(text);
        let told: Vec<_> = rows(&list, &bytes, Cursor::default())
            .into_iter()
            .map(|row| (row.at.is_ok(), row.name.unwrap(), row.label))
            .collect();
        assert_eq!(
            told,
            [
                (true, "https://a/1.jpg?id=7".to_owned(), Some("cat".to_owned())),
                (true, "photos/6.jpg".to_owned(), None),
            ]
        );
        let survey = list.survey(Arc::new(bytes)).unwrap().unwrap();
        assert_eq!(survey.anew, 2);
        let passed: Vec<_> =
            survey.passed.iter().map(|(code, count)| (code.as_str(), *count)).collect();
        assert_eq!(passed, [("a_reason_of_later", 1), ("duplicate", 1), ("in an archive", 2)]);
    }

    #[test]
    fn reading_a_list_goes_on_behind_any_row() {
        let rejects = [
            line("https://a/1.jpg", "unreadable", ""),
            line("https://a/2.jpg", "duplicate", ""),
            "broken\n".to_owned(),
            line("https://a/4.jpg", "unreadable", ""),
            line("https://a/5.jpg", "corrupt", ""),
            line("s3://b/6.jpg", "unreadable", ""),
        ]
        .concat();
        let csv = "url,label\nhttps://a/1.jpg,cat\n,none\nhttps://[broken/3.jpg,\nhttps://a/4.jpg,";
        for (text, is_of_rejects) in [(rejects.as_str(), true), (csv, false)] {
            for compression in [Compression::Plain, Compression::Zstd] {
                let packed = match compression {
                    Compression::Zstd => zstd::encode_all(text.as_bytes(), 1).unwrap(),
                    _ => text.as_bytes().to_vec(),
                };
                let list = List::of(&packed, "list.csv", &Limits::default()).unwrap();
                assert_eq!(list.is_of_rejects(), is_of_rejects);
                let bytes = Bytes::from(packed);
                let whole = rows(&list, &bytes, Cursor::default());
                assert_eq!(whole.len(), 4, "{whole:?}");
                for (at, row) in whole.iter().enumerate() {
                    let rest = rows(&list, &bytes, row.next);
                    assert_eq!(format!("{rest:?}"), format!("{:?}", &whole[at + 1..]));
                }
            }
        }
    }
}
