//! Damaged files of a set, made again as they were.
//!
//! A shard follows from the settings, its pictures, and which pictures were known before it. The
//! manifest says where in the sources its pictures begin and how many there are; what was known is
//! read from the sound shards before it. What is made is published only if its bytes are those that
//! the manifest tells. A list of rejects is made by looking at all pictures of its part again; the
//! rest follows from manifest and shards.

mod derived;
mod rejects;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::{CodebookLayout, IngestSettings, MANIFEST_FILE, Manifest, Part, ShardEntry};
use storage::{Address, Lock, Storage};

use crate::classes::Classes;
use crate::codebook::Codebook;
use crate::container::Limits;
use crate::known::{Known, Names};
use crate::make::{Maker, Start};
use crate::run::limits;
use crate::set;
use crate::shard::ClosedShard;
use crate::source::{self, Listing, Request, Source};
use crate::state::{self, ShardState};
use crate::terminal::counted;
use crate::verify::{Damage, verify};
use crate::{IngestError, Progress};

/// What a repair needs to know.
#[derive(Debug, Clone)]
pub struct Repair {
    /// The folder of the set.
    pub out: Address,
    /// Where the sources lie now, in the order in which the manifest tells those of the parts that
    /// have damaged shards or lists of rejects; empty if they lie where they were.
    pub from: Vec<Address>,
    /// The codebooks with which the set was made; needed where shards of such a set are damaged.
    pub codebooks: Vec<Codebook>,
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
    /// The other files that were.
    pub files: Vec<String>,
}

/// Finds damaged files and makes them again, shards and lists of rejects byte for byte.
///
/// # Errors
/// [`IngestError::Repair`] if a source is gone or is not what it was, in which case the file is
/// left as it is; what was repaired before stays so.
pub fn repair(
    storage: &Storage,
    repair: &Repair,
    progress: &dyn Progress,
) -> Result<Repaired, IngestError> {
    let out = &repair.out;
    // A lock in a folder that is no set would only look like one in the making.
    let is_none = matches!(set::find_manifest(storage, out), Ok(None));
    if is_none && !set::has_copy(storage, out) {
        let problem = set::no_manifest(storage, out);
        return Err(IngestError::NoSet { at: out.clone().into(), problem });
    }
    let lock = state::hold(storage, out)?;
    let repaired = mend(storage, repair, &lock, progress);
    state::release(out, lock);
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
    let Damaged { shards: damaged, lists, derived } = Damaged::of(&manifest, damages);
    let derive = |repaired: &mut Repaired| {
        for file in &derived {
            derived::write(storage, out, &manifest, file)?;
            repaired.files.push(file.clone());
        }
        Ok::<_, IngestError>(())
    };
    if damaged.is_empty() && lists.is_empty() {
        derive(&mut repaired)?;
        return Ok(repaired);
    }
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(repair.threads)
        .build()
        .map_err(|error| IngestError::Threads(error.to_string()))?;
    let (settings, shards) = (&manifest.settings, &manifest.shards);
    let counted = Counted { progress, done: AtomicU64::new(0) };
    if let Some(&first) = damaged.first() {
        refuse_other_codebooks(settings, &repair.codebooks, &shards[first].file)?;
    }
    let codebooks = &repair.codebooks;
    let maker = Maker::new(storage, out, (settings, codebooks), repair.memory, &threads, &counted)?;
    let of_shards = damaged
        .iter()
        .map(|&index| part_index(&manifest, &shards[index]))
        .collect::<Result<Vec<_>, _>>()?;
    let parts: BTreeSet<_> = of_shards.into_iter().chain(lists.iter().copied()).collect();
    let mut sources = Sources::new(storage, repair, &manifest, parts)?;
    let mut known = Known::new(settings);
    let of_shards: u64 = damaged.iter().map(|&index| shards[index].pictures).sum();
    let of_lists: u64 = lists.iter().map(|&part| manifest.parts[part].pictures).sum();
    progress.begin(of_shards + of_lists, 0);
    let mut learnt = 0;
    for index in damaged {
        let entry = &shards[index];
        // What was made again just now is sound.
        threads.install(|| known.learn(storage, out, &shards[learnt..index], settings.views))?;
        // Its own pictures become known while it is made.
        learnt = index + 1;
        let (part, listing) = sources.listing(part_index(&manifest, entry)?, &entry.file)?;
        let mut names = Names::new(storage, out, settings.views, shards[..index].to_vec());
        let start = Start {
            shard: number(entry)?,
            number: entry.first,
            place: entry.start,
            most: entry.pictures,
        };
        let limits = limits_of(&manifest, part);
        let mut finish = |_, closed: Option<ClosedShard>, state: ShardState| {
            publish(entry, closed, &state)?;
            Ok(None)
        };
        maker.make(listing, &limits, start, (&mut known, &mut names), &mut finish)?;
        lock.check()?;
        repaired.shards.push(entry.file.clone());
    }
    // Of sound shards; before what may fail where the sources are gone.
    derive(&mut repaired)?;
    for part in lists {
        let list = &manifest.parts[part];
        refuse_other_codebooks(settings, codebooks, &list.rejects.file)
            .map_err(|error| rejects::with_loss(list, error))?;
        let (_, listing) = sources
            .listing(part, &list.rejects.file)
            .map_err(|error| rejects::with_loss(list, error))?;
        let remake = rejects::Remake {
            storage,
            out,
            manifest: &manifest,
            codebooks,
            threads: &threads,
            progress: &counted,
        };
        remake
            .list(part, listing, repair.memory)
            .map_err(|error| rejects::with_loss(list, error))?;
        lock.check()?;
        repaired.files.push(list.rejects.file.clone());
    }
    Ok(repaired)
}

/// Refuses codebooks that are not those with which the set, of which `file` is to be made again,
/// was made.
fn refuse_other_codebooks(
    settings: &IngestSettings,
    codebooks: &[Codebook],
    file: &str,
) -> Result<(), IngestError> {
    let made_with = &settings.layout.codebooks;
    if codebooks.iter().map(Codebook::layout).eq(made_with) {
        return Ok(());
    }
    let needed: Vec<_> = made_with
        .iter()
        .map(|CodebookLayout { cell, codes, blake3 }| {
            format!("{codes} codes for patches of {cell} pixels, BLAKE3 {blake3}")
        })
        .collect();
    let problem = if needed.is_empty() {
        "was made without a codebook; leave out --codebook".to_owned()
    } else {
        format!("was made with codebooks; give their files with --codebook: {}", needed.join("; "))
    };
    Err(IngestError::Repair { file: file.to_owned(), problem })
}

/// Damaged files, by what they are made of.
struct Damaged {
    /// Places of shards in the manifest.
    shards: Vec<usize>,
    /// Places of the parts whose lists of rejects are meant.
    lists: Vec<usize>,
    /// Names of files that follow from manifest and shards.
    derived: Vec<String>,
}

impl Damaged {
    fn of(manifest: &Manifest, damages: Vec<Damage>) -> Self {
        let mut damaged = Self { shards: vec![], lists: vec![], derived: vec![] };
        for Damage { file, shard, .. } in damages {
            let list = manifest.parts.iter().position(|part| part.rejects.file == file);
            match (shard, list) {
                (Some(shard), _) => damaged.shards.push(shard),
                (None, Some(part)) => damaged.lists.push(part),
                (None, None) => damaged.derived.push(file),
            }
        }
        damaged
    }
}

/// What the readers of archives may take in where a part is made again.
fn limits_of(manifest: &Manifest, part: &Part) -> Limits {
    let given = manifest.settings.classes.as_ref();
    let classes = given.map(|_| Classes::of_names(manifest.classes.clone()));
    let columns = (part.image_column.clone(), part.label_column.clone());
    limits(&manifest.settings, columns, classes)
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
    let found = match set::find_manifest(storage, out) {
        Ok(Some(manifest)) => return Ok((manifest, false)),
        Ok(None) => None,
        Err(error @ IngestError::Damaged { .. }) => Some(error),
        Err(error) => return Err(error),
    };
    for name in set::copies(storage, out).iter().rev() {
        let at = out.join(name);
        let bytes = storage.read(&at)?;
        if let Ok(manifest) = set::parse_manifest(&at, &bytes) {
            storage.put(&out.join(MANIFEST_FILE), bytes)?;
            return Ok((manifest, true));
        }
    }
    Err(found.unwrap_or_else(|| IngestError::NoSet {
        at: out.clone().into(),
        problem: set::no_manifest(storage, out),
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

/// The listings of the parts that have damaged files.
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
        parts: BTreeSet<usize>,
    ) -> Result<Self, IngestError> {
        let mut of_part: BTreeMap<_, _> = parts.into_iter().map(|part| (part, vec![])).collect();
        let given: Vec<_> =
            of_part.keys().flat_map(|&part| &manifest.parts[part].sources).collect();
        if !repair.from.is_empty() && repair.from.len() != given.len() {
            let given: Vec<_> = given.iter().map(|source| source.as_str()).collect();
            let problem = format!(
                "{}, but the damaged files were made from {}: {}; give that many, in this order",
                counted(repair.from.len() as u64, "source"),
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

    /// A part, and the listing from which it was made, for `file` to be made again.
    fn listing(&mut self, index: usize, file: &str) -> Result<(&'a Part, &Listing), IngestError> {
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
                    file: file.to_owned(),
                    problem: format!(
                        "{at} is gone; bring it back, or say with --from where its copy lies"
                    ),
                },
                error => error,
            })?;
            if listing.hash.to_hex().as_str() != part.listing {
                let given: Vec<_> = sources.iter().map(|source| source.at.to_string()).collect();
                return Err(IngestError::Repair {
                    file: file.to_owned(),
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
