//! Which pictures are in the set already: duplicates are told, and named.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use schemas::{IngestSettings, Reason, Reject, ShardEntry, ShardTable};
use shards::ShardFile;
use shards::pictures::Fingerprint;
use storage::{Address, Storage};

use crate::IngestError;
use crate::duplicates::{DuplicateIndex, Verdict};
use crate::row::Cut;

/// Shards that are read at once to fill the index.
const AT_ONCE: usize = 64;
/// Finished shards whose names are kept once they were looked up.
const CACHED: usize = 32;
/// Shards whose names are kept because they may not be finished yet: one in work and those that
/// wait to be written, of which there are fewer.
const RECENT: usize = 8;

/// The pictures that became rows.
pub(crate) struct Known {
    /// None if duplicates are kept, or were told elsewhere.
    index: Option<DuplicateIndex>,
    /// The names of the others of pictures that were told to be duplicates, by their own numbers.
    told: BTreeMap<u64, String>,
}

/// Of what a picture is a duplicate.
#[derive(Debug)]
pub(crate) struct Twin {
    of: Other,
    /// In how many bits the perceptual hashes differ; none if the bytes are the same.
    distance: Option<u32>,
}

/// The picture that came before.
#[derive(Debug)]
enum Other {
    Number(u64),
    Name(String),
}

impl Known {
    /// Nothing is known yet.
    pub fn new(settings: &IngestSettings) -> Self {
        let index =
            (!settings.keep_duplicates).then(|| DuplicateIndex::new(settings.near_duplicates));
        Self { index, told: BTreeMap::new() }
    }

    /// All duplicates are told: these pictures, each with the name of the other.
    pub fn told(told: BTreeMap<u64, String>) -> Self {
        Self { index: None, told }
    }

    /// The reject of a picture that has the bytes of another.
    pub fn reject(cut: &Cut, other: &str) -> Reject {
        let message = format!("the same bytes as {other}");
        let (source, bytes) = (cut.name.clone(), cut.bytes);
        Reject { source, bytes, reason: Reason::Duplicate, message, label: None }
    }

    /// Learns the pictures of finished shards, in order.
    pub fn learn(
        &mut self,
        storage: &Storage,
        out: &Address,
        shards: &ShardTable,
        views: u32,
    ) -> Result<(), IngestError> {
        let Some(index) = &mut self.index else { return Ok(()) };
        for shards in shards.chunks(AT_ONCE) {
            let read: Vec<_> = shards
                .par_iter()
                .map(|at| ShardFile::new(storage, out, at.file, at.bytes).fingerprints(views))
                .collect::<Result<_, _>>()?;
            for Fingerprint { number, content, perceptual } in read.into_iter().flatten() {
                index.insert(number, content, perceptual);
            }
        }
        Ok(())
    }

    /// Whether the picture is a duplicate; if not, later ones may be duplicates of it.
    pub fn judge(&mut self, number: u64, cut: &Cut) -> Option<Twin> {
        if let Some(name) = self.told.remove(&number) {
            return Some(Twin { of: Other::Name(name), distance: None });
        }
        let index = self.index.as_mut()?;
        match index.insert(number, cut.content_hash, cut.perceptual_hash) {
            Verdict::New => None,
            Verdict::Exact { of } => Some(Twin { of: Other::Number(of), distance: None }),
            Verdict::Near { of, distance } => {
                Some(Twin { of: Other::Number(of), distance: Some(distance) })
            }
        }
    }
}

impl Twin {
    /// The reject of a picture, which names the other.
    pub fn reject(self, cut: &Cut, names: &Names<'_>) -> Result<Reject, IngestError> {
        let other = match self.of {
            Other::Number(number) => names.of(number)?,
            Other::Name(name) => name,
        };
        let Some(distance) = self.distance else { return Ok(Known::reject(cut, &other)) };
        let message =
            format!("looks like {other}: the perceptual hashes differ in {distance} bits");
        let (source, bytes) = (cut.name.clone(), cut.bytes);
        Ok(Reject { source, bytes, reason: Reason::NearDuplicate, message, label: None })
    }
}

type NamesOfShard = Arc<Vec<(u64, String)>>;

/// The sources of pictures by their numbers.
pub(crate) struct Names<'a> {
    storage: &'a Storage,
    out: &'a Address,
    views: u32,
    /// The finished shards, in order.
    finished: Mutex<ShardTable>,
    /// Names of shards that were begun last, the newest at the end.
    recent: VecDeque<Vec<(u64, String)>>,
    /// Names of finished shards by their first picture, those looked up last at the end.
    cache: Mutex<VecDeque<(u64, NamesOfShard)>>,
}

impl<'a> Names<'a> {
    pub fn new(storage: &'a Storage, out: &'a Address, views: u32, finished: ShardTable) -> Self {
        let (finished, cache) = (Mutex::new(finished), Mutex::default());
        Self { storage, out, views, finished, recent: VecDeque::new(), cache }
    }

    /// A shard begins.
    pub fn begin_shard(&mut self) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Vec::new());
    }

    /// A picture of the newest shard becomes rows; pictures come in order.
    pub fn add(&mut self, number: u64, name: &str) {
        if let Some(shard) = self.recent.back_mut() {
            shard.push((number, name.to_owned()));
        }
    }

    /// A shard is finished.
    pub fn finished(&self, entry: ShardEntry) {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).extend([entry]);
    }

    fn of(&self, number: u64) -> Result<String, IngestError> {
        if let Some(name) = self.recent.iter().rev().find_map(|shard| found(shard, number)) {
            return Ok(name);
        }
        let entry = {
            let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
            finished.holding(number).map(|shard| shard.entry())
        };
        let names = match &entry {
            Some(entry) => self.names(entry)?,
            None => NamesOfShard::default(),
        };
        found(&names, number).ok_or_else(|| IngestError::Damaged {
            file: entry.map_or_else(|| self.out.to_string(), |entry| entry.file),
            problem: format!(
                "picture {number} is not where it should be; `ingest verify {out}` tells what is damaged, `ingest repair {out}` makes it again",
                out = self.out
            ),
        })
    }

    fn names(&self, entry: &ShardEntry) -> Result<NamesOfShard, IngestError> {
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut cache = cache();
            if let Some(at) = cache.iter().position(|(first, _)| *first == entry.first)
                && let Some(hit) = cache.remove(at)
            {
                let names = hit.1.clone();
                cache.push_back(hit);
                return Ok(names);
            }
        }
        let file = ShardFile::new(self.storage, self.out, &entry.file, entry.bytes);
        let names = Arc::new(file.names(self.views)?);
        let mut cache = cache();
        if cache.len() == CACHED {
            cache.pop_front();
        }
        cache.push_back((entry.first, names.clone()));
        Ok(names)
    }
}

fn found(names: &[(u64, String)], number: u64) -> Option<String> {
    let at = names.binary_search_by_key(&number, |(number, _)| *number).ok()?;
    Some(names[at].1.clone())
}
