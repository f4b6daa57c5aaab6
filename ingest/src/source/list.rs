//! A text file that lists sources: its lines → addresses.

use storage::{Address, Storage};

use crate::{IngestError, source_list};

/// Bytes that a list may have; each line costs memory for as long as the run takes.
const MOST_BYTES: u64 = 16 << 30;

/// One line of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub number: u64,
    /// As it stands there.
    pub text: String,
    pub at: Address,
    /// The folder that the line names, in which its file lies.
    pub label: Option<String>,
}

/// Whether a file that is neither a picture nor an archive reads like a list.
pub(super) fn is_list(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The head may end within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    !text.trim().is_empty() && !text.contains(control) && !text.trim_start().starts_with('<')
}

/// The lines of a list, but for empty ones and those that begin with `#`. What is relative is so
/// to the list's folder.
pub(super) fn read(
    storage: &Storage,
    list: &Address,
    bytes: u64,
) -> Result<Vec<Line>, IngestError> {
    let wrong =
        |line: u64, problem: String| IngestError::List { list: list.to_string(), line, problem };
    if bytes > MOST_BYTES {
        return Err(wrong(1, format!("the list has {bytes} bytes, more than {MOST_BYTES}")));
    }
    let bytes = storage.read(list)?;
    let lines = source_list::parse(&bytes)
        .map_err(|error| IngestError::NotAList { list: list.to_string(), source: error })?;
    lines
        .into_iter()
        .map(|line| {
            let (number, line) = (line.number, line.address);
            let at = address(list, &line).map_err(|error| wrong(number, error.to_string()))?;
            // Where a web server keeps a picture says nothing of what it shows.
            let label = if at.is_web() { None } else { label(&line) };
            Ok(Line { number, text: shown(&at, &line), label, at })
        })
        .collect()
}

fn address(list: &Address, line: &str) -> Result<Address, storage::StorageError> {
    if line.contains("://") || line.starts_with('/') {
        return Address::parse(line);
    }
    if let Some(path) = list.local() {
        let folder = path.parent().unwrap_or(path);
        return Ok(folder.join(line).into());
    }
    let text = list.to_string();
    let folder = text.trim_end_matches('/').rsplit_once('/').map_or("", |(folder, _)| folder);
    Ok(Address::parse(folder)?.join(line))
}

/// The line, without what an address may hide.
fn shown(at: &Address, line: &str) -> String {
    if line.contains("://") { at.published() } else { line.to_owned() }
        .trim_end_matches('/')
        .to_owned()
}

/// The last folder that the line names; a host or a bucket is none.
fn label(line: &str) -> Option<String> {
    let path = match line.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => line,
    };
    let folder = path.trim_end_matches('/').rsplit_once('/')?.0;
    let name = folder.rsplit('/').next()?;
    (!name.is_empty() && name != "." && name != "..").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_relative_to_the_list_unless_it_says_where() {
        let local = Address::parse("/data/lists/all.txt").unwrap();
        let remote = Address::parse("s3://bucket/lists/all.txt").unwrap();
        let at = |list, line| address(list, line).unwrap().to_string();
        assert_eq!(at(&local, "a/b.jpg"), "/data/lists/a/b.jpg");
        assert_eq!(at(&local, "/a/b.jpg"), "/a/b.jpg");
        assert_eq!(at(&local, "s3://other/b.jpg"), "s3://other/b.jpg");
        assert_eq!(at(&remote, "a/b.jpg"), "s3://bucket/lists/a/b.jpg");
    }

    #[test]
    fn the_class_of_a_line_is_its_last_folder() {
        assert_eq!(label("a.jpg"), None);
        assert_eq!(label("../a.jpg"), None);
        assert_eq!(label("cat/a.jpg").as_deref(), Some("cat"));
        assert_eq!(label("s3://bucket/a.jpg"), None);
        assert_eq!(label("s3://bucket/cat/a.jpg").as_deref(), Some("cat"));
    }

    #[test]
    fn a_web_page_is_no_list() {
        assert!(is_list("a.jpg\nb/c.tar\n".as_bytes()));
        assert!(is_list(&"ü".as_bytes()[..1].iter().copied().fold(b"a/".to_vec(), |mut v, b| {
            v.push(b);
            v
        })));
        assert!(!is_list(b"<!DOCTYPE html>"));
        assert!(!is_list(b"\x89PNG\r\n\x1a\n"));
        assert!(!is_list(b" \n"));
    }
}
