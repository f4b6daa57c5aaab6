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

use schemas::{
    CodebookLayout, IngestSettings, MANIFEST_FILE, Manifest, ManifestError, Part, Reject,
    ShardEntry,
};
use shards::set::manifest::{self as manifests, copies, lost_beyond};
use shards::verify::{Damage, What, verify};
use shards::write::ClosedShard;
use storage::{Address, Lock, Storage};
use voice::terminal::{self, counted};

use crate::classes::Classes;
use crate::codebook::Codebook;
use crate::known::{Known, Names};
use crate::make::{Maker, Start};
use crate::run::{Columns, wanted};
use crate::set;
use crate::source::{self, Listing, Request, Source};
use crate::state::{self, ShardState};
use crate::stream::Wanted;
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
    /// How addresses of lists are fetched.
    pub web: web::Options,
    /// Worker threads; 0 takes one a core.
    pub threads: usize,
    /// About how many bytes pictures and rows in work may take.
    pub memory: u64,
}

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The manifest itself was brought back from its newest numbered copy.
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
/// left as it is; what was repaired before stays so. [`IngestError::Damaged`] if no manifest is
/// undamaged, or files of later versions show that the newest is lost; then nothing is written.
pub fn repair(
    storage: &Storage,
    repair: &Repair,
    progress: &dyn Progress,
) -> Result<Repaired, IngestError> {
    let out = &repair.out;
    // A lock in a folder that is no set would only look like one in the making.
    let is_none = matches!(manifests::find(storage, out), Ok(None));
    if is_none && !manifests::has_copy(storage, out) {
        return Err(manifests::missing(storage, out).into());
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
    let damages = verify(storage, out, &manifest, &|_| ())?;
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
    if manifest.settings.scaled_decode {
        return Err(IngestError::ScaledDecode(out.clone().into()));
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
    let maker = Maker::new(
        (storage, &repair.web),
        out,
        (settings, codebooks),
        repair.memory,
        &threads,
        &counted,
    )?;
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
    let (mut learnt, mut failed) = (0, None);
    for index in damaged {
        let entry = &shards[index];
        // What was made again just now is sound.
        threads.install(|| known.learn(storage, out, &shards[learnt..index], settings.views))?;
        // Its own pictures become known while it is made.
        learnt = index + 1;
        let (part, listing, other) = sources.listing(part_index(&manifest, entry)?, &entry.file)?;
        let mut names = Names::new(storage, out, settings.views, shards[..index].to_vec());
        let start = Start {
            shard: number(entry)?,
            number: entry.first,
            place: entry.start,
            most: entry.pictures,
        };
        let wanted = wanted_of(&manifest, part);
        let mut finish = |_, closed: Option<ClosedShard>, state: ShardState| {
            publish(entry, closed, &state)?;
            Ok(None)
        };
        let made = maker.make(listing, &wanted, start, (&mut known, &mut names), &mut finish);
        lock.check()?;
        match (made, other) {
            (Ok(_), _) => repaired.shards.push(entry.file.clone()),
            (Err(IngestError::Repair { .. } | IngestError::Archive { .. }), Some(other)) => {
                failed.get_or_insert((entry.file.clone(), other.to_owned()));
            }
            (Err(error), _) => return Err(error),
        }
    }
    if let Some((file, other)) = failed {
        let made = match &repaired.shards[..] {
            [] => String::new(),
            shards => format!(". Made again in spite of it: {}", set::some_of(shards)),
        };
        return Err(IngestError::Repair { file, problem: format!("{other}{made}") });
    }
    // Of sound shards; before what may fail where the sources are gone.
    derive(&mut repaired)?;
    for part in lists {
        let list = &manifest.parts[part];
        refuse_other_codebooks(settings, codebooks, &list.rejects.file)
            .map_err(|error| rejects::with_loss(list, error))?;
        let (_, listing, other) = sources
            .listing(part, &list.rejects.file)
            .map_err(|error| rejects::with_loss(list, error))?;
        if let Some(other) = other {
            let (file, problem) = (list.rejects.file.clone(), other.to_owned());
            return Err(rejects::with_loss(list, IngestError::Repair { file, problem }));
        }
        let remake = rejects::Remake {
            storage,
            web: &repair.web,
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
        for Damage { file, shard, what } in damages {
            // Nothing makes that again.
            if let What::Beyond { .. } = what {
                continue;
            }
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
fn wanted_of(manifest: &Manifest, part: &Part) -> Wanted {
    let given = manifest.settings.classes.as_ref();
    let classes = given.map(|_| Classes::of_names(manifest.classes.clone()));
    let Part { image_column, label_column, url_column, .. } = part.clone();
    let columns = Columns { image: image_column, label: label_column, url: url_column };
    wanted(&manifest.settings, columns, classes)
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
        let for_memory = state.rejects.iter().find(|reject| pictures::is_for_memory(reject));
        let cause = match for_memory {
            Some(reject) => want_of_memory(reject),
            None => "its pictures are not what they were when it was made, or --memory-limit or --private-addresses are not, or this is another release of ingest".to_owned(),
        };
        Err(IngestError::Repair {
            file: entry.file.clone(),
            problem: format!("{problem}; {cause}. The shard is left as it is"),
        })
    };
    if state.pictures != entry.pictures {
        return differs(format!(
            "the sources give {} pictures for it instead of {}",
            state.pictures, entry.pictures
        ));
    }
    match closed {
        Some(closed) if closed.entry.blake3 == entry.blake3 => Ok(closed.publish().map(drop)?),
        Some(closed) => differs(format!(
            "made again it has {} rows in {} bytes with other contents, instead of {} in {}",
            closed.entry.rows, closed.entry.bytes, entry.rows, entry.bytes
        )),
        None => differs("none of its pictures can be used any more".into()),
    }
}

/// Why what was made again is not what it was, where a picture was rejected for want of memory.
fn want_of_memory(Reject { source, message, .. }: &Reject) -> String {
    format!(
        "{} was rejected for want of memory ({message}); give a larger --memory-limit",
        terminal::name(source)
    )
}

/// The set's manifest; if it is damaged or gone, the newest numbered copy takes its place.
fn manifest(storage: &Storage, out: &Address) -> Result<(Manifest, bool), IngestError> {
    let at = out.join(MANIFEST_FILE);
    let damaged = |problem: String| IngestError::Damaged { file: at.to_string(), problem };
    let found = match storage.read(&at) {
        Err(error) if error.is_missing() => Err("it is gone".to_owned()),
        bytes => match manifests::parse(&bytes?) {
            Ok(manifest) => Ok(manifest),
            // No copy is of another version.
            Err(error @ ManifestError::Version(_)) => return Err(damaged(error.to_string())),
            Err(error) => Err(format!("it is damaged ({error})")),
        },
    };
    let copies = copies(storage, out);
    let mut newest = None;
    for name in copies.iter().rev() {
        let bytes = storage.read(&out.join(name))?;
        let copy = manifests::parse(&bytes).ok();
        if let Some(copy) = copy.filter(|copy| *name == Manifest::file_of_version(copy.version)) {
            newest = Some((copy, bytes));
            break;
        }
    }
    let begun = manifests::begun(storage, out)?;
    let (manifest, bytes, is) = match (found, newest) {
        (Ok(found), Some((copy, bytes)))
            if copy.version > found.version
                && copy.grew_from(&found)
                // A run that is not finished puts it in its place itself.
                && begun != Some(copy.version) =>
        {
            let is = format!("it is version {}, version {} is", found.version, copy.version);
            (copy, Some(bytes), is)
        }
        (Ok(found), _) => {
            let is = format!("it is version {},", found.version);
            (found, None, is)
        }
        (Err(problem), Some((copy, bytes))) => {
            let is = format!("{problem}, version {} is", copy.version);
            (copy, Some(bytes), is)
        }
        (Err(problem), None) => {
            return Err(damaged(format!(
                "{problem}, and there is no undamaged copy of it ({}). Bring one back from a backup, or make the set anew with another --out: which shards there were, and from what, stands nowhere else",
                if copies.is_empty() {
                    "no numbered one at all".into()
                } else {
                    set::some_of(&copies)
                }
            )));
        }
    };
    let lost = lost_beyond(storage, out, &manifest)?;
    if !lost.is_empty() {
        let is = match bytes {
            Some(_) => format!("{is} the newest of which there is an undamaged copy,"),
            None => is,
        };
        return Err(damaged(format!(
            "{is} but there is more that only a newer manifest can name, which is lost: {}. Nothing is changed. Bring that manifest back from a backup and repair again; or, to give up what it named, move {} out of {out} and repair again",
            set::some_of(&lost),
            set::all_beyond(Some(&manifest))
        )));
    }
    let restored = bytes.is_some();
    if let Some(bytes) = bytes {
        storage.put(&at, bytes)?;
    }
    Ok((manifest, restored))
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
    private_addresses: bool,
    manifest: &'a Manifest,
    out: &'a Address,
    /// Where the sources of each part lie, by its place.
    of_part: BTreeMap<usize, Vec<Source>>,
    /// With what is to be said if what they list is not what it was.
    listings: BTreeMap<usize, (Listing, Option<String>)>,
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
        Ok(Self {
            storage,
            private_addresses: repair.web.private_addresses,
            manifest,
            out: &repair.out,
            of_part,
            listings,
        })
    }

    /// A part, and its listing, for `file` to be made again. If it is not the listing from which the
    /// part was made, it comes with a sentence on that: a shard may be none of what is other.
    fn listing(
        &mut self,
        index: usize,
        file: &str,
    ) -> Result<(&'a Part, &Listing, Option<&str>), IngestError> {
        let part = &self.manifest.parts[index];
        if !self.listings.contains_key(&index) {
            let sources = &self.of_part[&index];
            let request = Request {
                sources,
                prefixed: sources.len() > 1 || index > 0,
                out: self.out,
                seed: self.manifest.settings.seed,
                follow_links: part.follow_links,
                limits: &wanted_of(self.manifest, part).limits,
                private_addresses: self.private_addresses,
            };
            let listing = source::list(self.storage, &request).map_err(|error| match error {
                IngestError::NoSource(at) => {
                    IngestError::Repair { file: file.to_owned(), problem: gone(&at) }
                }
                error => error,
            })?;
            let other = (listing.hash.to_hex().as_str() != part.listing).then(|| {
                let given: Vec<_> = sources.iter().map(|source| source.at.to_string()).collect();
                format!(
                    "the files of {} are not those of which the set was made (compared by name and size); bring them back, or say with --from where a copy of them lies",
                    given.join(", ")
                )
            });
            self.listings.insert(index, (listing, other));
        }
        let (listing, other) = &self.listings[&index];
        Ok((part, listing, other.as_deref()))
    }
}

/// That a source is gone, and the way out.
fn gone(at: &Address) -> String {
    let relative = at.local().filter(|path| path.is_relative());
    match relative.and_then(|path| std::path::absolute(path).ok()) {
        None => format!("{at} is gone; bring it back, or say with --from where its copy lies"),
        Some(path) => format!(
            "{at} is gone: there is no {}, for a relative source is looked for from the current directory; repair from where the set was made, bring it back, or say with --from where it lies now",
            path.display()
        ),
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
