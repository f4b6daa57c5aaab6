//! Parts of a shard that were fetched, as the Parquet library reads them.

use std::ops::Range;

use bytes::Bytes;
use bytes::buf::{Buf, Reader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

/// Rising ranges, with those that touch joined.
pub fn joined(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut ranges: Vec<_> = ranges.into_iter().collect();
    ranges.sort_by_key(|range| range.start);
    let mut all: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}

/// Parts of a shard.
#[derive(Debug, Clone)]
pub struct Fetched {
    bytes: u64,
    held: Vec<(u64, Bytes)>,
}

impl Fetched {
    /// Nothing yet of a shard of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { bytes, held: vec![] }
    }

    /// Adds what lies in the shard from `from` on.
    pub fn hold(&mut self, bytes: Bytes, from: u64) {
        self.held.push((from, bytes));
    }

    /// Bytes that are held.
    pub fn in_memory(&self) -> usize {
        self.held.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// What is held from `start` on.
    fn from(&self, start: u64) -> ParquetResult<Bytes> {
        self.held
            .iter()
            .filter_map(|(from, bytes)| {
                let skip = usize::try_from(start.checked_sub(*from)?).ok()?;
                (skip < bytes.len()).then(|| bytes.slice(skip..))
            })
            .max_by_key(Bytes::len)
            .ok_or_else(|| ParquetError::General(format!("byte {start} was not fetched")))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Fetched {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.from(start)?;
        if bytes.len() < length {
            return Err(ParquetError::General(format!(
                "byte {} was not fetched",
                start + bytes.len() as u64
            )));
        }
        Ok(bytes.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_fetched_as_one() {
        assert_eq!(joined([5..9, 0..3, 3..5, 12..14]), [0..9, 12..14]);
    }

    #[test]
    fn what_was_not_fetched_is_an_error() {
        let mut fetched = Fetched::new(100);
        fetched.hold(Bytes::from_static(b"abcdef"), 10);
        assert_eq!(fetched.get_bytes(12, 3).unwrap(), "cde");
        for (start, length) in [(9, 1), (16, 1), (12, 5), (90, 1)] {
            assert!(fetched.get_bytes(start, length).is_err(), "{start} {length}");
        }
    }
}
