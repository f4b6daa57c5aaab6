//! Damaged shards, made again as they were.
//!
//! A shard follows from the settings, its pictures, and which pictures were known before it. The
//! manifest says where in the sources its pictures begin and how many there are; what was known is
//! read from the sound shards before it. What is made is published only if its bytes are those that
//! the manifest tells.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::{MANIFEST_FILE, Manifest, Part, ShardEntry};
use storage::{Address, Lock, Storage};

use crate::known::{Known, Names};
use crate::make::{Maker, Start};
use crate::run::limits;
use crate::shard::ClosedShard;
use crate::source::{self, Listing, Request, Source};
use crate::state::{self, ShardState};
use crate::verify::{Damage, verify};
use crate::{IngestError, Progress};

/// What a repair needs to know.
#[derive(Debug, Clone)]
pub struct Repair {
    /// The folder of the set.
    pub out: Address,
    /// Where the sources lie now, in the order in which the manifest tells those of the parts that
    /// have damaged shards; empty if they lie where they were.
    pub from: Vec<Address>,
    /// Worker threads; 0 takes one a core.
    pub threads: usize,
    /// About how many bytes pictures and rows in work may take.
    pub memory: u64,
}

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The manifest itself was brought back from its numbered copy.
    pub manifest: bool,
    /// The shards that were made again.
    pub shards: Vec<String>,
    /// Damaged files that only a new run of ingest can make: lists of rejects.
    pub left: Vec<Damage>,
}

/// Finds damaged shards and makes them again, byte for byte.
///
/// # Errors
/// [`IngestError::Repair`] if a source is gone or is not what it was, in which case the shard is
/// left as it is; what was repaired before stays so.
pub fn repair(
    storage: &Storage,
    repair: &Repair,
    progress: &dyn Progress,
) -> Result<Repaired, IngestError> {
    let lock = state::hold(storage, &repair.out)?;
    let repaired = mend(storage, repair, &lock, progress);
    state::release(&repair.out, lock);
    repaired
}

fn mend(
    storage: &Storage,
    repair: &Repair,
    lock: &Lock,
    progress: &dyn Progress,
) -> Result<Repaired, IngestError> {
    let out = &repair.out;
    let (manifest, restored) = manifest(storage, out)?;
    let damages = verify(storage, out, &manifest, &crate::Silent)?;
    let mut repaired = Repaired { manifest: restored, ..Repaired::default() };
    let mut damaged = Vec::new();
    for damage in damages {
        match damage.shard {
            Some(shard) => damaged.push(shard),
            None => repaired.left.push(damage),
        }
    }
    if damaged.is_empty() {
        return Ok(repaired);
    }

    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(repair.threads)
        .build()
        .map_err(|error| IngestError::Threads(error.to_string()))?;
    let (settings, shards) = (&manifest.settings, &manifest.shards);
    let counted = Counted { progress, done: AtomicU64::new(0) };
    let maker = Maker::new(storage, out, settings, repair.memory, &threads, &counted)?;
    let mut sources = Sources::new(storage, repair, &manifest, &damaged)?;
    let mut known = Known::new(settings);
    let all: u64 = damaged.iter().map(|&index| shards[index].pictures).sum();
    progress.begin(all, 0);
    let mut learnt = 0;
    for index in damaged {
        let entry = &shards[index];
        // What was made again just now is sound.
        threads.install(|| known.learn(storage, out, &shards[learnt..index], settings.views))?;
        // Its own pictures become known while it is made.
        learnt = index + 1;
        let (part, listing) = sources.listing(entry)?;
        let mut names = Names::new(storage, out, settings.views, shards[..index].to_vec());
        let start = Start {
            shard: number(entry)?,
            number: entry.first,
            place: entry.start,
            most: entry.pictures,
        };
        let limits = limits(settings, (part.image_column.clone(), part.label_column.clone()));
        let mut finish = |_, closed: Option<ClosedShard>, state: ShardState| {
            publish(entry, closed, &state)?;
            Ok(None)
        };
        maker.make(listing, &limits, start, (&mut known, &mut names), &mut finish)?;
        lock.check()?;
        repaired.shards.push(entry.file.clone());
    }
    Ok(repaired)
}

/// Tells how far a repair is by pictures: of the sources it reads only some.
struct Counted<'a> {
    progress: &'a dyn Progress,
    done: AtomicU64,
}

impl Progress for Counted<'_> {
    fn picture(&self, rejected: bool) {
        self.progress.picture(rejected);
        self.progress.read(self.done.fetch_add(1, Ordering::Relaxed) + 1);
    }
}

/// Publishes a shard that was made again, if it is what it was.
fn publish(
    entry: &ShardEntry,
    closed: Option<ClosedShard>,
    state: &ShardState,
) -> Result<(), IngestError> {
    let differs = |problem: String| {
        Err(IngestError::Repair {
            file: entry.file.clone(),
            problem: format!(
                "{problem}; its pictures are not what they were when it was made, or this is another release of ingest. The shard is left as it is"
            ),
        })
    };
    if state.pictures != entry.pictures {
        return differs(format!(
            "the sources give {} pictures for it instead of {}",
            state.pictures, entry.pictures
        ));
    }
    match closed {
        Some(closed) if closed.entry.blake3 == entry.blake3 => closed.publish().map(drop),
        Some(closed) => differs(format!(
            "made again it has {} rows in {} bytes with other contents, instead of {} in {}",
            closed.entry.rows, closed.entry.bytes, entry.rows, entry.bytes
        )),
        None => differs("none of its pictures can be used any more".into()),
    }
}

/// The set's manifest; if it is damaged or gone, the newest numbered copy takes its place.
fn manifest(storage: &Storage, out: &Address) -> Result<(Manifest, bool), IngestError> {
    let found = match state::find_manifest(storage, out) {
        Ok(Some(manifest)) => return Ok((manifest, false)),
        Ok(None) => None,
        Err(error @ IngestError::Damaged { .. }) => Some(error),
        Err(error) => return Err(error),
    };
    let mut copies: Vec<_> = storage
        .list(out)?
        .into_iter()
        .map(|found| found.relative)
        .filter(|name| {
            let version = name.strip_prefix("manifest-").and_then(|n| n.strip_suffix(".json"));
            version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .collect();
    copies.sort_by_key(|name| (name.len(), name.clone()));
    for name in copies.iter().rev() {
        let at = out.join(name);
        let bytes = storage.read(&at)?;
        if let Ok(manifest) = state::parse_manifest(&at, &bytes) {
            storage.put(&out.join(MANIFEST_FILE), bytes)?;
            return Ok((manifest, true));
        }
    }
    Err(found.unwrap_or_else(|| IngestError::NoSet {
        at: out.clone().into(),
        problem: "no finished set (there is no manifest.json); run the ingest that makes it".into(),
    }))
}

/// The number in a shard's name.
fn number(entry: &ShardEntry) -> Result<u64, IngestError> {
    let digits = entry.file.strip_prefix("shard-").and_then(|name| name.strip_suffix(".parquet"));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| IngestError::Repair {
        file: entry.file.clone(),
        problem: "its name is none that ingest gives".into(),
    })
}

/// The listings of the parts that have damaged shards.
struct Sources<'a> {
    storage: &'a Storage,
    manifest: &'a Manifest,
    out: &'a Address,
    /// Where the sources of each part lie, by its place.
    of_part: BTreeMap<usize, Vec<Source>>,
    listings: BTreeMap<usize, Listing>,
}

impl<'a> Sources<'a> {
    fn new(
        storage: &'a Storage,
        repair: &'a Repair,
        manifest: &'a Manifest,
        damaged: &[usize],
    ) -> Result<Self, IngestError> {
        let mut of_part = BTreeMap::new();
        for &index in damaged {
            let part = part_index(manifest, &manifest.shards[index])?;
            of_part.entry(part).or_insert_with(Vec::new);
        }
        let given: Vec<_> =
            of_part.keys().flat_map(|&part| &manifest.parts[part].sources).collect();
        if !repair.from.is_empty() && repair.from.len() != given.len() {
            let given: Vec<_> = given.iter().map(|source| source.as_str()).collect();
            let problem = format!(
                "{} sources, but the damaged shards were made from {}: {}; give that many, in this order",
                repair.from.len(),
                given.len(),
                given.join(", ")
            );
            return Err(IngestError::Setting { flag: "--from", problem });
        }
        let mut from = repair.from.iter();
        for (&part, sources) in &mut of_part {
            for given in &manifest.parts[part].sources {
                let at = match from.next() {
                    Some(at) => at.clone(),
                    None => Address::parse(given)?,
                };
                sources.push(Source { given: given.clone(), at });
            }
        }
        let listings = BTreeMap::new();
        Ok(Self { storage, manifest, out: &repair.out, of_part, listings })
    }

    /// The part that made a shard, and the listing from which it was made.
    fn listing(&mut self, entry: &ShardEntry) -> Result<(&Part, &Listing), IngestError> {
        let index = part_index(self.manifest, entry)?;
        let part = &self.manifest.parts[index];
        if !self.listings.contains_key(&index) {
            let sources = &self.of_part[&index];
            let request = Request {
                sources,
                prefixed: sources.len() > 1 || index > 0,
                out: self.out,
                seed: self.manifest.settings.seed,
                follow_links: part.follow_links,
            };
            let listing = source::list(self.storage, &request).map_err(|error| match error {
                IngestError::NoSource(at) => IngestError::Repair {
                    file: entry.file.clone(),
                    problem: format!(
                        "{at} is gone; bring it back, or say with --from where its copy lies"
                    ),
                },
                error => error,
            })?;
            if listing.hash.to_hex().as_str() != part.listing {
                let given: Vec<_> = sources.iter().map(|source| source.at.to_string()).collect();
                return Err(IngestError::Repair {
                    file: entry.file.clone(),
                    problem: format!(
                        "the files of {} are not those of which the set was made (compared by name and size); bring them back, or say with --from where a copy of them lies",
                        given.join(", ")
                    ),
                });
            }
            self.listings.insert(index, listing);
        }
        Ok((part, &self.listings[&index]))
    }
}

fn part_index(manifest: &Manifest, entry: &ShardEntry) -> Result<usize, IngestError> {
    let part = manifest
        .parts
        .iter()
        .position(|part| (part.first..part.first + part.pictures).contains(&entry.first));
    part.ok_or_else(|| IngestError::Repair {
        file: entry.file.clone(),
        problem: "no part of the manifest has made it".into(),
    })
}
