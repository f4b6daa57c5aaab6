//! Every byte of a set against its checksums.

use std::fmt;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rayon::prelude::*;
use schemas::{CLASSES_FILE, FileEntry, GroupHash, MANIFEST_FILE, Manifest, Shard, ShardHash};
use storage::{Address, Storage, StorageError};

use crate::ShardsError;
use crate::set::manifest::{lost_beyond, parse};

/// Bytes that are read and hashed at once.
const CHUNK: usize = 1 << 20;
/// The bytes with which a Parquet file begins; the first row group comes after them.
const MAGIC: u64 = 4;

/// What is wrong with one file of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's name, relative to the manifest.
    pub file: String,
    /// Its place among the manifest's shards; none if it is another file.
    pub shard: Option<usize>,
    /// What is wrong with it.
    pub what: What,
}

/// How a file differs from what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// It is not there.
    Missing,
    /// The system can't read it.
    Unreadable(String),
    /// Its bytes are others.
    Changed {
        /// How many it has.
        bytes: u64,
        /// How many it should have.
        expected: u64,
        /// The row groups that are not as they were written, by their place.
        row_groups: Vec<usize>,
        /// What comes before and after the row groups, or the whole of a file that has none, is
        /// not as it was written.
        rest: bool,
    },
    /// It can be read, but does not fit the rest of the set.
    Wrong(String),
    /// It is of a later version than the manifest, and no unfinished run has made it: a newer
    /// manifest is lost.
    Beyond {
        /// The manifest's version.
        version: u32,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        match &self.what {
            What::Missing => write!(f, "missing"),
            What::Unreadable(problem) => write!(f, "can't be read: {problem}"),
            What::Wrong(problem) => write!(f, "damaged: {problem}"),
            What::Beyond { version } => write!(
                f,
                "lies beyond {MANIFEST_FILE}, which is version {version}: a newer one is lost"
            ),
            What::Changed { bytes, expected, row_groups, rest } => {
                let mut parts = Vec::new();
                match &row_groups[..] {
                    [] => {}
                    [group] => parts.push(format!("row group {group}")),
                    groups => {
                        let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
                        parts.push(format!("row groups {}", groups.join(", ")));
                    }
                }
                match (rest, self.shard) {
                    (true, Some(_)) => parts.push("footer".into()),
                    (true, None) => parts.push("contents".into()),
                    (false, _) => {}
                }
                write!(f, "damaged: {}", parts.join(" and "))?;
                if bytes != expected {
                    write!(f, " ({bytes} bytes instead of {expected})")?;
                }
                Ok(())
            }
        }
    }
}

/// How many bytes [`verify`] reads of a sound set.
pub fn bytes(manifest: &Manifest) -> u64 {
    manifest.bytes + manifest.parts.iter().map(|part| part.rejects.bytes).sum::<u64>()
}

/// Reads every file of the manifest's set, some at once, and tells those that are damaged: shards in
/// the manifest's order, then lists of rejects, classes, and the numbered manifests. Files of later
/// versions come last, if they show that a newer manifest is lost; those of a run that is not
/// finished are none. `read` is told how many bytes were read so far.
///
/// # Errors
/// [`ShardsError::Storage`] if a remote store could not be asked to the end, so that nothing is
/// known of a file. A local file that can't be read is damaged.
pub fn verify(
    storage: &Storage,
    out: &Address,
    manifest: &Manifest,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Damage>, ShardsError> {
    let lists = manifest.parts.iter().map(|part| &part.rejects);
    let reading = Reading { storage, out, read, done: AtomicU64::new(0), turn: Mutex::new(()) };
    let shard = |index| {
        let entry = manifest.shards.at(index);
        let what = reading.shard(entry).transpose()?;
        let damage = |what| Damage { file: entry.file.to_owned(), shard: Some(index), what };
        Some(what.map(damage))
    };
    let all = (0..manifest.shards.len()).into_par_iter();
    let mut damages: Vec<_> = all.filter_map(shard).collect::<Result<_, ShardsError>>()?;
    for list in lists {
        let what = reading.list(list)?;
        damages.extend(what.map(|what| Damage { file: list.file.clone(), shard: None, what }));
    }
    let mut other = |file: String, what: Option<What>| {
        damages.extend(what.map(|what| Damage { file, shard: None, what }));
    };
    other(CLASSES_FILE.to_owned(), reading.text(CLASSES_FILE, manifest.classes_text().as_bytes())?);
    for version in 1..manifest.version {
        let file = Manifest::file_of_version(version);
        let what = reading.earlier(&file, version, manifest)?;
        other(file, what);
    }
    // The newest has the bytes of the manifest itself.
    let newest = Manifest::file_of_version(manifest.version);
    let beyond = match lost_beyond(storage, out, manifest) {
        // Who may only read can't know; what there is to read is sound all the same.
        Err(StorageError::Denied { .. }) => vec![],
        beyond => beyond?,
    };
    let text = storage.read(&out.join(MANIFEST_FILE))?;
    // Another run may have added to the set meanwhile.
    let grown =
        parse(&text).is_ok_and(|now| now.version > manifest.version && now.grew_from(manifest));
    if grown {
        let what = reading.earlier(&newest, manifest.version, manifest)?;
        other(newest, what);
        return Ok(damages);
    }
    let what = reading.text(&newest, &text)?;
    other(newest, what);
    for file in beyond {
        other(file, Some(What::Beyond { version: manifest.version }));
    }
    Ok(damages)
}

struct Reading<'a> {
    storage: &'a Storage,
    out: &'a Address,
    read: &'a (dyn Fn(u64) + Sync),
    done: AtomicU64,
    /// What was read is told in order.
    turn: Mutex<()>,
}

impl Reading<'_> {
    fn shard(&self, entry: Shard<'_>) -> Result<Option<What>, ShardsError> {
        let mut ends = vec![MAGIC];
        ends.extend(entry.row_group_ends());
        let read = match self.hash(entry.file, &ends)? {
            Ok(read) => read,
            Err(what) => return Ok(Some(what)),
        };
        if ShardHash::from(&read.whole) == entry.blake3 && read.bytes == entry.bytes {
            return Ok(None);
        }
        let is_sound = |group: usize| {
            read.parts
                .get(group + 1)
                .is_some_and(|hash| GroupHash::from(hash) == entry.row_group_hashes()[group])
        };
        let row_groups: Vec<_> =
            (0..entry.row_groups().len()).filter(|&group| !is_sound(group)).collect();
        // Of what is around the row groups there is no hash of its own.
        let rest = row_groups.is_empty() || read.bytes != entry.bytes;
        Ok(Some(What::Changed { bytes: read.bytes, expected: entry.bytes, row_groups, rest }))
    }

    fn list(&self, list: &FileEntry) -> Result<Option<What>, ShardsError> {
        let read = match self.hash(&list.file, &[])? {
            Ok(read) => read,
            Err(what) => return Ok(Some(what)),
        };
        let sound = read.whole.to_hex().as_str() == list.blake3;
        Ok((!sound).then_some(What::Changed {
            bytes: read.bytes,
            expected: list.bytes,
            row_groups: vec![],
            rest: true,
        }))
    }

    /// A small file whole.
    fn whole(&self, file: &str) -> Result<Result<Bytes, What>, ShardsError> {
        match self.storage.read(&self.out.join(file)) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(error) if error.is_missing() => Ok(Err(What::Missing)),
            Err(StorageError::Local { source, .. }) => {
                Ok(Err(What::Unreadable(source.to_string())))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A file of which the bytes are known.
    fn text(&self, file: &str, expected: &[u8]) -> Result<Option<What>, ShardsError> {
        Ok(match self.whole(file)? {
            Err(what) => Some(what),
            Ok(bytes) if bytes == expected => None,
            Ok(bytes) => Some(What::Changed {
                bytes: bytes.len() as u64,
                expected: expected.len() as u64,
                row_groups: vec![],
                rest: true,
            }),
        })
    }

    /// The numbered manifest of an earlier version.
    fn earlier(
        &self,
        file: &str,
        version: u32,
        manifest: &Manifest,
    ) -> Result<Option<What>, ShardsError> {
        let bytes = match self.whole(file)? {
            Err(what) => return Ok(Some(what)),
            Ok(bytes) => bytes,
        };
        Ok(match parse(&bytes) {
            Ok(earlier) if earlier.version == version && manifest.grew_from(&earlier) => None,
            Ok(_) => Some(What::Wrong(format!("{MANIFEST_FILE} did not grow from it"))),
            Err(error) => Some(What::Wrong(error.to_string())),
        })
    }

    /// Hashes a file, and each of its parts up to one of `ends`.
    fn hash(&self, file: &str, ends: &[u64]) -> Result<Result<Hashes, What>, ShardsError> {
        let at = self.out.join(file);
        let mut reader = match self.storage.reader(&at, 0) {
            Ok(reader) => reader,
            Err(error) if error.is_missing() => return Ok(Err(What::Missing)),
            Err(StorageError::Local { source, .. }) => {
                return Ok(Err(What::Unreadable(source.to_string())));
            }
            Err(error) => return Err(error.into()),
        };
        let mut hashes = Hashes { bytes: 0, whole: blake3::hash(&[]), parts: vec![] };
        let (mut whole, mut part) = (blake3::Hasher::new(), blake3::Hasher::new());
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) if at.local().is_some() => {
                    return Ok(Err(What::Unreadable(error.to_string())));
                }
                Err(error) => return Err(ShardsError::Read { at, source: error }),
            };
            if read == 0 {
                break;
            }
            let mut chunk = &buffer[..read];
            whole.update(chunk);
            while let Some(&end) = ends.get(hashes.parts.len())
                && end <= hashes.bytes + chunk.len() as u64
            {
                let (of_part, after) = chunk.split_at((end - hashes.bytes) as usize);
                part.update(of_part);
                hashes.parts.push(part.finalize());
                part.reset();
                hashes.bytes = end;
                chunk = after;
            }
            part.update(chunk);
            hashes.bytes += chunk.len() as u64;
            self.tell(read as u64);
        }
        hashes.whole = whole.finalize();
        Ok(Ok(hashes))
    }

    fn tell(&self, bytes: u64) {
        let _turn = self.turn.lock();
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.read)(done);
    }
}

struct Hashes {
    bytes: u64,
    whole: blake3::Hash,
    parts: Vec<blake3::Hash>,
}
