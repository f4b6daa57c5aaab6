//! Where the bytes of a shard set come from: a local folder, or a store behind a cache.
//!
//! Whatever is read of a shard is read as ranges, and then looks to Parquet as if it were the file:
//! a row group's columns are fetched at once and held against their checksums (`group`), columns
//! of few bytes a row through a window (`window`).

mod cache;
mod fetched;
mod group;
mod window;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::file::reader::ChunkReader;
use schemas::{Shard, ShardHash};
use storage::{Address, Storage, StorageError};

pub use cache::Cache;
use fetched::{Fetched, joined};
pub use window::ShardFile;

/// The end of a shard that is fetched for its footer; a longer footer is fetched again.
const TAIL: u64 = 64 << 10;

/// Bytes of remote shards' ends that are kept in memory.
const TAILS: usize = 64 << 20;

/// An address of shards, how it is reached, and what is kept of it.
#[derive(Debug, Clone)]
pub struct ShardSource {
    storage: Storage,
    folder: Address,
    cache: Option<Arc<Cache>>,
    tails: Arc<Mutex<Tails>>,
}

impl From<&Path> for ShardSource {
    fn from(folder: &Path) -> Self {
        Self::local(folder)
    }
}

impl From<&PathBuf> for ShardSource {
    fn from(folder: &PathBuf) -> Self {
        Self::local(folder.as_path())
    }
}

/// The ends of shards, which every row group needs; those that came first go first.
#[derive(Debug, Default)]
struct Tails {
    held: HashMap<ShardHash, Fetched>,
    order: VecDeque<ShardHash>,
    bytes: usize,
}

impl Tails {
    fn keep(&mut self, shard: ShardHash, tail: &Fetched) {
        if self.held.insert(shard, tail.clone()).is_some() {
            return;
        }
        self.order.push_back(shard);
        self.bytes += tail.in_memory();
        while self.bytes > TAILS
            && let Some(gone) = self.order.pop_front().and_then(|first| self.held.remove(&first))
        {
            self.bytes -= gone.in_memory();
        }
    }
}

impl ShardSource {
    /// The shards in `folder`; ranges of remote ones are kept in `cache`.
    pub fn new(storage: Storage, folder: Address, cache: Option<Cache>) -> Self {
        Self { storage, folder, cache: cache.map(Arc::new), tails: Arc::default() }
    }

    /// The shards in a local folder.
    pub fn local(folder: impl Into<Address>) -> Self {
        Self::new(Storage::local(), folder.into(), None)
    }

    /// The folder.
    pub fn folder(&self) -> &Address {
        &self.folder
    }

    /// The storage that reaches it.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Whether reading goes over a network, so that many reads should be under way at once.
    pub fn is_remote(&self) -> bool {
        self.folder.local().is_none()
    }

    /// Why the cache keeps nothing more, if so.
    pub fn trouble(&self) -> Option<&str> {
        self.cache.as_ref().and_then(|cache| cache.trouble())
    }

    /// The footer of a shard and what else stands at its end. A remote one is fetched once for all
    /// row groups, as far as memory for that goes.
    fn tail(&self, shard: Shard<'_>) -> Result<Fetched, StorageError> {
        if !self.is_remote() {
            return self.fetch_tail(shard);
        }
        let tails = || self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails().held.get(&shard.blake3) {
            return Ok(tail.clone());
        }
        let tail = self.fetch_tail(shard)?;
        tails().keep(shard.blake3, &tail);
        Ok(tail)
    }

    fn fetch_tail(&self, shard: Shard<'_>) -> Result<Fetched, StorageError> {
        let mut fetched = Fetched::new(shard.bytes);
        fetched.hold(
            self.range(shard, shard.bytes.saturating_sub(TAIL)..shard.bytes)?,
            shard.bytes.saturating_sub(TAIL),
        );
        // The last eight bytes are the metadata's length and a magic number.
        if let Ok(end) = fetched.get_bytes(shard.bytes.saturating_sub(8), 8) {
            let length = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
            let from = shard.bytes.saturating_sub(length + 8);
            if length + 8 > TAIL {
                fetched.hold(self.range(shard, from..shard.bytes)?, from);
            }
        }
        Ok(fetched)
    }

    /// Adds ranges of a shard to what is held of it; those that touch are fetched as one.
    fn fetch(
        &self,
        shard: Shard<'_>,
        ranges: impl IntoIterator<Item = Range<u64>>,
        fetched: &mut Fetched,
    ) -> Result<(), StorageError> {
        for range in joined(ranges) {
            fetched.hold(self.range(shard, range.clone())?, range.start);
        }
        Ok(())
    }

    fn range(&self, shard: Shard<'_>, range: Range<u64>) -> Result<Bytes, StorageError> {
        if !self.is_remote() {
            return self.storage.read_range(&self.folder.join(shard.file), range);
        }
        let hash = shard.blake3.to_string();
        let kept = self.cache.as_ref().and_then(|cache| cache.get(&hash, &range));
        if let Some(bytes) = kept {
            return Ok(bytes);
        }
        let bytes = self.storage.read_range(&self.folder.join(shard.file), range.clone())?;
        if let Some(cache) = &self.cache {
            cache.put(&hash, &range, &bytes);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_shards_are_kept_up_to_a_bound() {
        let mut tails = Tails::default();
        let mut tail = Fetched::new(1 << 30);
        tail.hold(vec![0; TAILS / 4].into(), 0);
        let shards: Vec<ShardHash> = (0..9).map(|at| (&blake3::hash(&[at])).into()).collect();
        for &shard in &shards {
            tails.keep(shard, &tail);
            tails.keep(shard, &tail);
        }
        assert!(shards[5..].iter().all(|shard| tails.held.contains_key(shard)));
        assert_eq!(tails.held.len(), 4);
        assert_eq!((tails.order.len(), tails.bytes), (4, TAILS));
    }
}
