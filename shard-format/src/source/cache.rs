//! Bytes of remote shards, kept on a local disk up to a bound.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use crate::ShardsError;

const EXTENSION: &str = "range";
/// BLAKE3 of the bytes stands before them, so that a file cut short by a crash is not taken.
const HASH: usize = 32;

/// A folder of byte ranges; the longest unused go first when it is full.
///
/// Programs may share a folder: a file that another one removes is fetched again.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
    state: Mutex<State>,
    trouble: OnceLock<String>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<String, Entry>,
    bytes: u64,
    clock: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    bytes: u64,
    used: u64,
}

impl Cache {
    /// A cache of at most `limit` bytes in `folder`, with what an earlier one left there.
    ///
    /// # Errors
    /// [`ShardsError::Cache`] if the folder can't be made or read.
    pub fn open(folder: &Path, limit: u64) -> Result<Self, ShardsError> {
        let fault = |error: io::Error| ShardsError::Cache {
            path: folder.to_owned(),
            reason: error.to_string(),
        };
        fs::create_dir_all(folder).map_err(fault)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let path = entry.path();
            // Other files are not ours; one that vanishes meanwhile is another program's business.
            let (Some(name), Ok(metadata)) = (name_of(&path), entry.metadata()) else { continue };
            found.push((
                metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                name,
                metadata.len(),
            ));
        }
        found.sort();
        let cache = Self {
            folder: folder.to_owned(),
            limit,
            state: Mutex::default(),
            trouble: OnceLock::new(),
        };
        for (_, name, bytes) in found {
            cache.count(name, bytes);
        }
        Ok(cache)
    }

    /// The bytes of `range` of the shard whose checksum is `shard`, if they are here and whole.
    pub fn get(&self, shard: &str, range: &Range<u64>) -> Option<Bytes> {
        let name = name(shard, range);
        let file = fs::read(self.path(&name)).ok();
        let whole = file.and_then(|file| {
            let bytes = Bytes::from(file);
            let (hash, body) = bytes.split_at_checked(HASH)?;
            let whole = body.len() as u64 == range.end - range.start
                && blake3::hash(body).as_bytes() == hash;
            whole.then(|| bytes.slice(HASH..))
        });
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if whole.is_none() {
            state.forget(&name);
            return None;
        }
        state.clock += 1;
        let used = state.clock;
        if let Some(entry) = state.entries.get_mut(&name) {
            entry.used = used;
        }
        whole
    }

    /// Keeps the bytes of a range, and makes room for them.
    ///
    /// A disk that refuses is no reason to stop: the bytes are there. The cache then takes nothing
    /// more, and [`trouble`](Self::trouble) says why.
    pub fn put(&self, shard: &str, range: &Range<u64>, bytes: &[u8]) {
        let size = (HASH + bytes.len()) as u64;
        if size > self.limit || self.trouble.get().is_some() {
            return;
        }
        let name = name(shard, range);
        match self.write(&name, bytes) {
            Ok(()) => self.count(name, size),
            Err(error) => {
                let _ = self.trouble.set(format!(
                    "the cache {} takes nothing more: {error}",
                    self.folder.display()
                ));
            }
        }
    }

    /// Why nothing more is kept, if so.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join(format!(".{name}.{}.tmp", std::process::id()));
        let mut file = Vec::with_capacity(HASH + bytes.len());
        file.extend_from_slice(blake3::hash(bytes).as_bytes());
        file.extend_from_slice(bytes);
        fs::write(&temporary, file)
            .and_then(|()| fs::rename(&temporary, self.path(name)))
            .inspect_err(|_| {
                let _ = fs::remove_file(&temporary);
            })
    }

    /// Counts a file, and removes the longest unused until the rest fits.
    fn count(&self, name: String, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(&name);
        state.clock += 1;
        let used = state.clock;
        state.bytes += bytes;
        state.entries.insert(name, Entry { bytes, used });
        while state.bytes > self.limit {
            let Some(oldest) = state
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(name, _)| name.clone())
            else {
                return;
            };
            state.forget(&oldest);
            // One that is gone already takes no room either.
            let _ = fs::remove_file(self.path(&oldest));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl State {
    fn forget(&mut self, name: &str) {
        if let Some(entry) = self.entries.remove(name) {
            self.bytes -= entry.bytes;
        }
    }
}

/// A file name for a range of a shard.
fn name(shard: &str, range: &Range<u64>) -> String {
    // The checksum is hexadecimal; sixteen digits of it part the shards of any number of sets.
    let shard: String = shard.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    format!("{shard}-{}-{}.{EXTENSION}", range.start, range.end)
}

/// The name of one of our files.
fn name_of(path: &Path) -> Option<String> {
    let ours = path.extension().is_some_and(|extension| extension == EXTENSION);
    let name = path.file_name()?.to_str()?;
    (ours && !name.starts_with('.')).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_was_put_comes_back_and_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), 1000).unwrap();
        assert_eq!(cache.get("ab", &(3..8)), None);
        cache.put("ab", &(3..8), b"bytes");
        assert_eq!(cache.get("ab", &(3..8)).as_deref(), Some(b"bytes".as_slice()));
        assert_eq!(cache.get("cd", &(3..8)), None, "another shard's are others");
        let again = Cache::open(folder.path(), 1000).unwrap();
        assert_eq!(again.get("ab", &(3..8)).as_deref(), Some(b"bytes".as_slice()));
    }

    #[test]
    fn the_longest_unused_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let size = 100 - HASH;
        let cache = Cache::open(folder.path(), 300).unwrap();
        let range = |i: u64| i * 1000..i * 1000 + size as u64;
        for i in 0..3 {
            cache.put("ab", &range(i), &vec![i as u8; size]);
        }
        assert!(cache.get("ab", &range(0)).is_some());
        cache.put("ab", &range(3), &vec![3; size]);
        assert_eq!(cache.get("ab", &range(1)), None, "it was used longest ago");
        for i in [0, 2, 3] {
            assert!(cache.get("ab", &range(i)).is_some(), "{i}");
        }
        assert_eq!(files(folder.path()), 3);
        let smaller = Cache::open(folder.path(), 100).unwrap();
        assert_eq!(files(folder.path()), 1, "a smaller bound holds from the start");
        smaller.put("ab", &(0..200), &[0; 200]);
        assert_eq!(smaller.get("ab", &(0..200)), None, "what can't fit is not kept");
    }

    #[test]
    fn a_file_that_is_not_whole_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), 1000).unwrap();
        cache.put("ab", &(0..5), b"bytes");
        let path = folder.path().join(name("ab", &(0..5)));
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(cache.get("ab", &(0..5)), None, "{cut} bytes");
        }
        let mut wrong = whole;
        *wrong.last_mut().unwrap() ^= 1;
        fs::write(&path, wrong).unwrap();
        assert_eq!(cache.get("ab", &(0..5)), None);
    }
}
