//! Bytes of an object, as many as they should be.

use std::ops::Range;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, GetRange, GetResult};

use super::{Remote, Version};
use crate::StorageError;
use crate::answer::Answer;
use crate::retry::{Trouble, persist, within};

impl Remote {
    /// The whole object; a large one in ranges. Even the first answer is one to a range: only then
    /// does it tell the object's size beside its own length.
    pub async fn read(&self) -> Result<Bytes, StorageError> {
        if !self.client.knows_ranges.load(Ordering::Relaxed) {
            return self.read_whole().await;
        }
        let most = self.limits.range_bytes.saturating_mul(2);
        let start = persist("read", &self.at, &self.limits, |_| async {
            let range = Some(GetRange::Bounded(0..most));
            let got = self.get(GetOptions { range, ..GetOptions::default() }).await?;
            let version = Version::of(&got.meta);
            Ok((self.body(got, most.min(version.bytes)).await?, version))
        });
        match start.await {
            // An empty object has no range, and some servers know none.
            Err(error) if Answer::is_beyond(&error) => self.read_whole().await,
            Err(error) if Answer::is_whole(&error) => {
                self.client.knows_ranges.store(false, Ordering::Relaxed);
                self.read_whole().await
            }
            Err(error) => Err(error),
            Ok((start, version)) if version.bytes <= most => Ok(start),
            Ok((start, version)) => self.read_long(0..version.bytes, Some((start, version))).await,
        }
    }

    async fn read_whole(&self) -> Result<Bytes, StorageError> {
        persist("read", &self.at, &self.limits, |_| async {
            let got = self.get(GetOptions::default()).await?;
            let bytes = got.meta.size;
            self.body(got, bytes).await
        })
        .await
    }

    /// Exactly these bytes.
    pub async fn read_range(&self, range: Range<u64>) -> Result<Bytes, StorageError> {
        if range.end - range.start > self.limits.range_bytes.saturating_mul(2) {
            return self.read_long(range, None).await;
        }
        match self.range(range.clone(), None).await {
            Err(error) if Answer::is_whole(&error) => self.read_part_of_whole(range).await,
            result => Ok(result?.0),
        }
    }

    /// A range from a server that knows none.
    async fn read_part_of_whole(&self, range: Range<u64>) -> Result<Bytes, StorageError> {
        let whole = self.read_whole().await?;
        let bytes = whole.len() as u64;
        if range.end > bytes {
            return Err(StorageError::Beyond { address: self.at.to_string(), bytes, range });
        }
        // Both lie within what fits into memory.
        Ok(whole.slice(range.start as usize..range.end as usize))
    }

    /// A long range as several at once, all of the same object; its start may be there already.
    async fn read_long(
        &self,
        range: Range<u64>,
        start: Option<(Bytes, Version)>,
    ) -> Result<Bytes, StorageError> {
        let step = self.limits.range_bytes;
        let (start, version) = match start {
            Some(start) => start,
            None => match self.range(range.start..range.end.min(range.start + step), None).await {
                Err(error) if Answer::is_whole(&error) => {
                    return self.read_part_of_whole(range).await;
                }
                result => result?,
            },
        };
        let mut all = BytesMut::new();
        all.reserve(room(range.end - range.start));
        all.extend_from_slice(&start);
        let rest = range.start + start.len() as u64..range.end;
        let rest = rest.step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let mut parts = stream::iter(rest)
            .map(|start| self.range(start..range.end.min(start + step), Some(&version)))
            .buffered(self.limits.ahead.max(1));
        while let Some((bytes, _)) = parts.try_next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// A range of the object, which must be of that version if one is given.
    pub async fn range(
        &self,
        range: Range<u64>,
        version: Option<&Version>,
    ) -> Result<(Bytes, Version), StorageError> {
        persist("read", &self.at, &self.limits, |_| async {
            let bounds = Some(GetRange::Bounded(range.clone()));
            let got = self.get(GetOptions { range: bounds, ..GetOptions::default() }).await?;
            let found = Version::of(&got.meta);
            if version.is_some_and(|version| version.differs(&found)) {
                return Err(Trouble::Changed);
            }
            if found.bytes < range.end {
                return Err(Trouble::Beyond { bytes: found.bytes, range: range.clone() });
            }
            Ok((self.body(got, range.end - range.start).await?, found))
        })
        .await
    }

    /// A body, which must have that length.
    async fn body(&self, got: GetResult, expected: u64) -> Result<Bytes, Trouble> {
        let mut bytes = BytesMut::with_capacity(room(expected));
        let mut body = got.into_stream();
        while let Some(part) =
            within(self.limits.stall, async { body.next().await.transpose() }).await?
        {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > expected {
                break;
            }
        }
        let got = bytes.len() as u64;
        if got != expected {
            return Err(Trouble::Length { expected, got });
        }
        Ok(bytes.freeze())
    }
}

/// What is set aside for so many bytes; a server that promises more than it has costs no memory.
fn room(bytes: u64) -> usize {
    const MOST: u64 = 64 << 20;
    bytes.min(MOST) as usize
}
