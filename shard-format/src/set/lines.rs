//! A manifest read as `ingest` writes it, a shard a line: a few lines are there as text at once, since
//! that of a million shards has most of a gigabyte.

use std::io::{self, Read};

use rayon::prelude::*;
use schemas::{Manifest, ShardTable};

/// Bytes that are read at once.
const PIECE: usize = 4 << 20;
/// Bytes of lines that a thread takes at once.
const SHARE: usize = 1 << 20;
/// What comes before the line of the first shard.
const OPENING: &[u8] = b"\n  \"shards\": [\n";
/// What comes between two shards.
const BETWEEN: &[u8] = b",\n";
/// What comes after the last.
const CLOSING: &[u8] = b"\n  ]\n}\n";

/// The manifest that a text is; none if it is written in another way, or can't be used. What is wrong
/// with it, and where, is found by reading it whole.
pub(super) fn read(text: impl Read + Send) -> io::Result<Option<Manifest>> {
    let mut pieces = Pieces { text, piece: vec![], ended: false };
    let Some(head) = pieces.head()? else { return Ok(None) };
    let mut shards = ShardTable::default();
    let mut lines = pieces.lines()?;
    while let Some(these) = &lines {
        let is_last = pieces.is_over();
        let tables = || shares(these).into_par_iter().map(ShardTable::of_lines).collect();
        // The next lines come meanwhile.
        let (tables, next) = rayon::join(tables, || pieces.lines());
        let tables: Option<Vec<_>> = tables;
        let Some(tables) = tables else { return Ok(None) };
        tables.iter().for_each(|table| shards.append(table));
        if is_last {
            return Ok(Manifest::of_head(head, shards).ok());
        }
        lines = next?;
    }
    Ok(None)
}

/// A text that comes piece by piece.
struct Pieces<R> {
    text: R,
    /// What was read and not yet taken.
    piece: Vec<u8>,
    ended: bool,
}

impl<R: Read> Pieces<R> {
    fn is_over(&self) -> bool {
        self.ended && self.piece.is_empty()
    }

    fn more(&mut self) -> io::Result<()> {
        let read = self.text.by_ref().take(PIECE as u64).read_to_end(&mut self.piece)?;
        self.ended = read < PIECE;
        Ok(())
    }

    /// Takes what comes before the first shard.
    fn head(&mut self) -> io::Result<Option<String>> {
        let mut looked = 0;
        loop {
            if let Some(at) = find(&self.piece[looked..], OPENING) {
                let rest = self.piece.split_off(looked + at + OPENING.len());
                return Ok(String::from_utf8(std::mem::replace(&mut self.piece, rest)).ok());
            }
            if self.ended {
                return Ok(None);
            }
            looked = self.piece.len().saturating_sub(OPENING.len());
            self.more()?;
        }
    }

    /// Takes the next lines, without what comes behind the last of them; none if there is no end where
    /// it should be.
    fn lines(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if !self.ended {
                self.more()?;
            }
            // Whether what comes last is the end is known when no more comes.
            let sure = self.piece.len().saturating_sub(CLOSING.len());
            let (until, behind) = match self.ended {
                true if self.piece.ends_with(CLOSING) => (sure, CLOSING),
                true => return Ok(None),
                false => {
                    let last = self.piece[..sure].windows(BETWEEN.len()).rposition(is(BETWEEN));
                    let Some(last) = last else { continue };
                    (last, BETWEEN)
                }
            };
            let rest = self.piece.split_off(until + behind.len());
            let mut lines = std::mem::replace(&mut self.piece, rest);
            lines.truncate(until);
            return Ok(Some(lines));
        }
    }
}

/// Lines in parts for the threads.
fn shares(lines: &[u8]) -> Vec<&[u8]> {
    let (mut shares, mut rest) = (vec![], lines);
    while let Some(at) = rest.get(SHARE..).and_then(|after| find(after, BETWEEN)) {
        shares.push(&rest[..SHARE + at]);
        rest = &rest[SHARE + at + BETWEEN.len()..];
    }
    shares.push(rest);
    shares
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(is(what))
}

fn is(what: &[u8]) -> impl Fn(&[u8]) -> bool {
    move |window| window == what
}

#[cfg(test)]
mod tests {
    use schemas::ShardEntry;

    use super::*;
    use crate::set::manifest::parse;

    const BEFORE: &str = include_str!("../../../tests/before/set/manifest.json");

    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let few = into.len().min(1000);
            self.0.read(&mut into[..few])
        }
    }

    fn as_written(text: &str) -> Option<Manifest> {
        read(Drops(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_manifest_is_read_by_its_lines() {
        let whole = Manifest::parse(BEFORE).unwrap();
        assert_eq!(as_written(BEFORE), Some(whole));
    }

    #[test]
    fn a_manifest_of_several_pieces_keeps_its_shards_in_order() {
        let mut manifest = Manifest::parse(BEFORE).unwrap();
        let shard = manifest.shards.at(0).entry();
        let shards = 3 * PIECE as u64 / 400;
        let named = |at| ShardEntry { file: format!("shard-{at:05}.parquet"), ..shard.clone() };
        manifest.shards = (0..shards).map(named).collect();
        manifest.parts.truncate(1);
        let part = &mut manifest.parts[0];
        part.accepted = shards * shard.rows;
        part.pictures = part.accepted + part.rejected.values().sum::<u64>();
        let manifest = Manifest { version: 1, ..manifest }.with_totals();
        let text = manifest.to_text();
        assert!(text.len() > 2 * PIECE);
        assert_eq!(as_written(&text), Some(manifest));
    }

    #[test]
    fn a_text_of_another_form_is_told_as_if_it_were_read_whole() {
        let lines = |from: &str, to: &str| BEFORE.replacen(from, to, 1);
        let others = [
            String::new(),
            lines("},\n    {\"file\"", "}\n    {\"file\""),
            lines("},\n    {\"file\"", "},{\"file\""),
            lines("}\n  ]\n}\n", "},\n  ]\n}\n"),
            lines("\n  ]\n}\n", "\n  ]\n}"),
            lines("\n  ]\n}\n", "\n  ], \"more\": 1\n}\n"),
            lines("\n  ]\n}\n", "\n  ]\n}\nmore"),
            lines("\n  ]\n}\n", "\n"),
            lines("\"blake3\":\"", "\"blake3\":\"x"),
            lines("\"rows\":", "\"rows\":1"),
            lines("\"schema_version\": 1", "\"schema_version\": 2"),
            lines("\"shards\": [\n", "\"shards\": [ \n"),
            lines("\"views\": ", "\"seen\": "),
        ];
        for text in others {
            match (parse(text.as_bytes()), Manifest::parse(&text)) {
                (Ok(by_lines), Ok(whole)) => assert_eq!(by_lines, whole, "{text}"),
                (by_lines, whole) => assert_eq!(
                    by_lines.unwrap_err().to_string(),
                    whole.unwrap_err().to_string(),
                    "{text}"
                ),
            }
        }
    }
}
