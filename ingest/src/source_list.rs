//! A text file that lists where pictures lie → the lines that count.

/// Most bytes of a line; real addresses have some hundred.
const LINE: usize = 64 << 10;

/// An address of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which line of the file it is, from 1.
    pub number: u64,
    /// The address as it stands there, without the spaces around it.
    pub address: String,
}

/// What is wrong with a list.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListError {
    /// A line is no text.
    #[error("line {number} is not UTF-8; a list is a text file with one address a line")]
    NotText {
        /// Which line.
        number: u64,
    },
    /// A line has a control character, as files of other formats have.
    #[error("line {number} has a control character; a list is a text file with one address a line")]
    Control {
        /// Which line.
        number: u64,
    },
    /// A line is longer than an address can be.
    #[error("line {number} has {bytes} bytes, where an address may have {LINE}")]
    TooLong {
        /// Which line.
        number: u64,
        /// Its length.
        bytes: usize,
    },
    /// No line has an address.
    #[error(
        "the list has no address in its {lines} lines; put one on each line, `#` begins a comment"
    )]
    Empty {
        /// How many lines there are.
        lines: u64,
    },
}

/// The addresses of a list, in its order: one a line, but for empty lines and those that begin
/// with `#`. A `#` within a line belongs to the address.
///
/// # Errors
/// [`ListError`] of the first line that is no address, or if there is none at all.
pub fn parse(list: &[u8]) -> Result<Vec<Line>, ListError> {
    let list = list.strip_prefix(b"\xef\xbb\xbf").unwrap_or(list);
    let (mut lines, mut number) = (Vec::new(), 0);
    for line in list.split_inclusive(|&byte| byte == b'\n') {
        number += 1;
        let line = line.trim_ascii();
        if line.len() > LINE {
            return Err(ListError::TooLong { number, bytes: line.len() });
        }
        let address = str::from_utf8(line).map_err(|_| ListError::NotText { number })?.trim();
        if address.chars().any(char::is_control) {
            return Err(ListError::Control { number });
        }
        if !address.is_empty() && !address.starts_with('#') {
            lines.push(Line { number, address: address.to_owned() });
        }
    }
    if lines.is_empty() { Err(ListError::Empty { lines: number }) } else { Ok(lines) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_are_passed_over_and_counted() {
        let list = "\u{feff}# crawl of May\r\n\r\n  s3://bucket/a b.tar  \r\nphotos/#1\n\n/ü.warc";
        let lines = parse(list.as_bytes()).unwrap();
        let lines: Vec<_> = lines.iter().map(|line| (line.number, &*line.address)).collect();
        assert_eq!(lines, [(3, "s3://bucket/a b.tar"), (4, "photos/#1"), (6, "/ü.warc")]);
    }

    #[test]
    fn what_is_no_list_is_told_with_its_line() {
        assert_eq!(parse(b"a\n\xff\xd8\n"), Err(ListError::NotText { number: 2 }));
        assert_eq!(parse(b"a\n\nb\0c"), Err(ListError::Control { number: 3 }));
        assert_eq!(parse(b"# only this\n\n"), Err(ListError::Empty { lines: 2 }));
        assert_eq!(parse(b""), Err(ListError::Empty { lines: 0 }));
        let long = parse(&vec![b'a'; LINE + 1]);
        assert_eq!(long, Err(ListError::TooLong { number: 1, bytes: LINE + 1 }));
    }
}
