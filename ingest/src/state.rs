//! What a run keeps in its output folder until it is finished, so that the next can go on.
//!
//! ```text
//! shards/shard-00000.parquet         finished
//! shards/.ingest/lock                held while a run is at work
//! shards/.ingest/plan.json           the settings and the listing's hash
//! shards/.ingest/shard-00000.json    what became of shard 0's pictures, and where shard 1 begins
//! shards/rejects.jsonl, shards/classes.json, shards/manifest-00001.json, shards/manifest.json
//!                                    last, in this order; then .ingest goes
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use archives::Passed;
use rayon::prelude::*;
use schemas::{MANIFEST_FILE, Manifest, Place, Reject, ShardEntry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shards::ShardFile;
use shards::set::manifest::{self, check_sizes, has_copy};
use shards::set::names::{
    Numbered, PLAN_FILE, UNFINISHED_FOLDER, beyond, next_shard, rejects_file, shard_file,
};
use storage::{Address, Lock, Storage};

use crate::plan::{Plan, other_files, settings_differences};
use crate::set;
use crate::source::Listing;
use crate::{CREATED_BY, IngestError};

const LOCK: &str = "lock";
/// States that are read or deleted at once.
const AT_ONCE: usize = 64;

/// What became of one shard's pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardState {
    /// The file; none if every picture was rejected.
    pub entry: Option<ShardEntry>,
    /// The number of its first picture in the set.
    pub first: u64,
    /// Pictures that it took from the stream.
    pub pictures: u64,
    /// Where in the stream the first of them lies.
    pub start: Place,
    /// Where the stream goes on after the last.
    pub next: Place,
    pub accepted: u64,
    pub cut_short: u64,
    /// Pictures that became rows, of each class.
    pub classes: BTreeMap<String, u64>,
    pub rejects: Vec<Reject>,
    /// What archives passed over between the picture before its first and its last.
    #[serde(default)]
    pub passed: Passed,
}

/// What an output holds.
pub(crate) enum Found {
    /// A finished set, to which the plan's part belongs: its place among the parts.
    Finished(Box<Manifest>, usize),
    /// Nothing, or the beginnings of the same plan, or a set to append to; locked for this run.
    Open(Box<Work>),
}

/// An output that is held by this run.
pub(crate) struct Work {
    storage: Storage,
    out: Address,
    /// The manifest of the set that is appended to.
    pub base: Option<Manifest>,
    pub plan: Plan,
    /// Sizes of what was there when the run began, by their names.
    found: HashMap<String, u64>,
    lock: Mutex<Lock>,
}

/// Looks at an output and takes hold of it.
pub(crate) fn open(
    storage: &Storage,
    out: &Address,
    mut plan: Plan,
    listing: &Listing,
    append: bool,
) -> Result<Found, IngestError> {
    let base = manifest::find(storage, out)?;
    if base.is_none() {
        refuse_lost(storage, out)?;
    }
    if let Some(manifest) = &base {
        if let Some(part) = manifest.parts.iter().position(|part| plan.made(manifest, part)) {
            check_sizes(storage, out, manifest)?;
            // Whatever is left is in nobody's way: that it can't be removed is no error.
            let _ = remove_leftovers(storage, out, manifest);
            return Ok(Found::Finished(Box::new(manifest.clone()), part));
        }
        refuse_other(out, &plan, manifest, append)?;
    } else if append {
        let problem = format!("there is no finished set in {out}; leave it out to make one");
        return Err(IngestError::Setting { flag: "--append", problem });
    }
    plan.version = base.as_ref().map_or(1, |manifest| manifest.version + 1);

    let folder = out.join(UNFINISHED_FOLDER);
    let plan_at = folder.join(PLAN_FILE);
    if base.is_none() && storage.stat(&plan_at)?.is_none() {
        refuse_foreign(storage, out)?;
    }
    let Some(lock) = storage.lock(&folder.join(LOCK))? else {
        return Err(IngestError::Locked(out.clone()));
    };
    // Another run may have finished since the look at the manifest.
    if manifest::find(storage, out)?.map(|manifest| manifest.version)
        != base.as_ref().map(|manifest| manifest.version)
    {
        drop(lock);
        return open(storage, out, plan, listing, append);
    }
    storage.sweep(out)?;
    storage.sweep(&folder)?;
    let found = storage.list(out)?.into_iter().map(|found| (found.relative, found.bytes));
    let found: HashMap<_, _> = found.collect();
    let earlier: Option<Plan> = read_json(storage, &plan_at)?;
    let goes_on = earlier.filter(|earlier| earlier.version == plan.version);
    if let Err(error) = refuse_beyond(out, base.as_ref(), goes_on.as_ref(), &found) {
        release(out, lock);
        return Err(error);
    }
    let mut work = Work {
        storage: storage.clone(),
        out: out.clone(),
        base,
        plan,
        found,
        lock: Mutex::new(lock),
    };
    match goes_on {
        Some(earlier) => {
            let mut differences = work.plan.differences(&earlier);
            if !differences.is_empty() {
                if earlier.settings.seed == work.plan.settings.seed
                    && earlier.listing != work.plan.listing
                    && let Ok(done) = work.done(earlier.settings.views)
                {
                    differences.extend(other_files(listing, &done));
                }
                let hint = if append {
                    "Finish that one first, with its sources and settings."
                } else {
                    "Give another --out, repeat the earlier settings, or delete the folder."
                };
                return Err(IngestError::Differs { out: out.clone().into(), differences, hint });
            }
        }
        None => {
            // What a run left behind that ended between its last steps.
            clear(storage, out)?;
            work.found.retain(|name, _| !name.starts_with(UNFINISHED_FOLDER));
            write_json(storage, &plan_at, &work.plan)?;
        }
    }
    Ok(Found::Open(Box::new(work)))
}

/// Removes what a run left behind that ended between its last steps.
fn remove_leftovers(
    storage: &Storage,
    out: &Address,
    manifest: &Manifest,
) -> Result<(), IngestError> {
    let folder = out.join(UNFINISHED_FOLDER);
    if storage.list(&folder)?.is_empty() {
        return Ok(());
    }
    let Some(lock) = storage.lock(&folder.join(LOCK))? else { return Ok(()) };
    let plan: Option<Plan> = read_json(storage, &folder.join(PLAN_FILE))?;
    if plan.is_none_or(|plan| plan.version <= manifest.version) {
        clear(storage, out)?;
        storage.sweep(&folder)?;
        storage.sweep(out)?;
    }
    release(out, lock);
    Ok(())
}

/// Removes all states but the lock, the plan last: without it, what is left has no meaning.
fn clear(storage: &Storage, out: &Address) -> Result<(), IngestError> {
    let folder = out.join(UNFINISHED_FOLDER);
    let found = storage.list(&folder)?;
    found
        .par_iter()
        .filter(|found| found.relative.starts_with("shard-"))
        .try_for_each(|found| storage.delete(&folder.join(&found.relative)))?;
    Ok(storage.delete(&folder.join(PLAN_FILE))?)
}

/// Refuses a finished set whose manifest is gone: to begin anew would write over its shards.
fn refuse_lost(storage: &Storage, out: &Address) -> Result<(), IngestError> {
    if !has_copy(storage, out) {
        return Ok(());
    }
    match read_json::<Plan>(storage, &out.join(UNFINISHED_FOLDER).join(PLAN_FILE))? {
        // A first run that ended between its last steps, and makes the manifest now.
        Some(plan) if plan.version == 1 => Ok(()),
        Some(_) | None => Err(manifest::gone(out).into()),
    }
}

/// Refuses to write over files of later versions than the set's manifest, which only a manifest that
/// was lost can have named; but for those of the run that `goes_on`.
fn refuse_beyond(
    out: &Address,
    base: Option<&Manifest>,
    goes_on: Option<&Plan>,
    found: &HashMap<String, u64>,
) -> Result<(), IngestError> {
    let mut beyond = beyond(found.keys().map(String::as_str), base);
    if let Some(plan) = goes_on {
        let states = found.keys().filter_map(|name| number_of_state(name));
        // Killed at the right moment, a run leaves its last shard without a state.
        let last = states.max().map_or(next_shard(base), |last| last + 1);
        beyond.retain(|(file, _)| match *file {
            Numbered::Shard(number) => number > last,
            file => !file.is_of(plan.version),
        });
    }
    let Some((_, first)) = beyond.first() else { return Ok(()) };
    let file = out.join(first).to_string();
    let names: Vec<_> = beyond.into_iter().map(|(_, name)| name).collect();
    let version = match base {
        Some(base) => format!("{MANIFEST_FILE}, which is version {}", base.version),
        None => format!("the set, which has no {MANIFEST_FILE}"),
    };
    let problem = format!(
        "it lies beyond {version}, and no unfinished run has made it: a newer manifest is lost, and adding to the set would write over what that named ({}). `ingest repair {out}` brings the newer manifest back or says what is missing for that; if that is of no use, move {} out of {out}",
        set::some_of(&names),
        set::all_beyond(base)
    );
    Err(IngestError::Damaged { file, problem })
}

/// Refuses what a finished set can't take.
fn refuse_other(
    out: &Address,
    plan: &Plan,
    manifest: &Manifest,
    append: bool,
) -> Result<(), IngestError> {
    let mut differences = settings_differences(&manifest.settings, &plan.settings);
    if append {
        if differences.is_empty() {
            return Ok(());
        }
        let hint = "All shards of a set are made alike: repeat the earlier settings to append.";
        return Err(IngestError::Differs { out: out.clone().into(), differences, hint });
    }
    if differences.is_empty() {
        let sources: Vec<_> =
            manifest.parts.iter().flat_map(|part| &part.sources).map(String::as_str).collect();
        differences.push(format!(
            "the listed files are others than those of {} (compared by name and size)",
            sources.join(", ")
        ));
        return Err(IngestError::Finished { out: out.clone().into(), differences });
    }
    let hint = "Give another --out, repeat the earlier settings, or delete the folder.";
    Err(IngestError::Differs { out: out.clone().into(), differences, hint })
}

/// Refuses a folder in which something visible lies that ingest did not put there.
fn refuse_foreign(storage: &Storage, out: &Address) -> Result<(), IngestError> {
    // A folder is not walked to its end to find out whether it is empty.
    let first = match out.local() {
        Some(path) => match std::fs::read_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            entries => {
                let entries = entries.map_err(IngestError::io("read the folder", path))?;
                entries
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .find(|name| !name.starts_with('.'))
            }
        },
        None => storage
            .list(out)?
            .into_iter()
            .map(|found| found.relative)
            .find(|name| !name.starts_with('.')),
    };
    match first {
        Some(found) => Err(IngestError::Foreign { out: out.clone().into(), found }),
        None => Ok(()),
    }
}

/// Takes hold of a finished set, to mend it.
pub(crate) fn hold(storage: &Storage, out: &Address) -> Result<Lock, IngestError> {
    let lock = storage.lock(&out.join(UNFINISHED_FOLDER).join(LOCK))?;
    lock.ok_or_else(|| IngestError::Locked(out.clone()))
}

/// Lets go of a set that was mended, and of the folder of the lock if it is for nothing else.
pub(crate) fn release(out: &Address, lock: Lock) {
    drop(lock);
    if let Some(folder) = out.join(UNFINISHED_FOLDER).local()
        && !folder.join(PLAN_FILE).exists()
    {
        // Another run may hold the lock by now; what is not empty stays.
        let _ = std::fs::remove_file(folder.join(LOCK));
        let _ = std::fs::remove_dir(folder);
    }
}

impl Work {
    /// The number of the part's first shard.
    pub fn first_shard(&self) -> u64 {
        next_shard(self.base.as_ref())
    }

    /// The number of the part's first picture.
    pub fn first_picture(&self) -> u64 {
        let last = self.base.as_ref().and_then(|base| base.parts.last());
        last.map_or(0, |part| part.first + part.pictures)
    }

    /// The name of the part's list of rejects.
    pub fn rejects_file(&self) -> String {
        rejects_file(self.plan.version)
    }

    /// Tells `each` what became of the part's shards that are finished, in order, and of their
    /// files whether they are there.
    pub fn finished(
        &self,
        mut each: impl FnMut(ShardState) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        let numbers: Vec<_> = (self.first_shard()..)
            .take_while(|&number| {
                self.found.contains_key(&format!("{UNFINISHED_FOLDER}/{}", state(number)))
            })
            .collect();
        for numbers in numbers.chunks(AT_ONCE) {
            let states: Vec<_> = numbers
                .par_iter()
                .map(|&number| read_json::<ShardState>(&self.storage, &self.state_at(number)))
                .collect::<Result<_, _>>()?;
            for state in states {
                let whole = state.filter(|state| {
                    state.entry.as_ref().is_none_or(|entry| {
                        self.found.get(&entry.file).is_some_and(|&bytes| bytes == entry.bytes)
                    })
                });
                match whole {
                    Some(state) => each(state)?,
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// The names of the pictures in the part's finished shards, and the sizes of those rejected.
    fn done(&self, views: u32) -> Result<HashMap<String, Option<u64>>, IngestError> {
        let mut done = HashMap::new();
        self.finished(|state| {
            if let Some(entry) = &state.entry {
                let file = ShardFile::new(&self.storage, &self.out, entry);
                done.extend(file.names(views)?.into_iter().map(|(_, name)| (name, None)));
            }
            let rejects = state.rejects.into_iter();
            done.extend(rejects.map(|reject| (reject.source, Some(reject.bytes))));
            Ok(())
        })?;
        Ok(done)
    }

    /// Keeps what became of shard `number`.
    pub fn keep(&self, number: u64, state: &ShardState) -> Result<(), IngestError> {
        self.still_held()?;
        write_json(&self.storage, &self.state_at(number), state)
    }

    /// Writes the rejects of shards `first_shard()..end`; the file's size and hash.
    pub fn write_rejects(&self, end: u64) -> Result<schemas::FileEntry, IngestError> {
        let file = self.rejects_file();
        let at = self.out.join(&file);
        let mut writer = self.storage.writer(&at)?;
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
        let numbers: Vec<_> = (self.first_shard()..end).collect();
        for numbers in numbers.chunks(AT_ONCE) {
            let states: Vec<_> = numbers
                .par_iter()
                .map(|&number| {
                    let at = self.state_at(number);
                    read_json::<ShardState>(&self.storage, &at)?.ok_or_else(|| {
                        let problem = "it is gone; run the same again".to_owned();
                        IngestError::Damaged { file: at.to_string(), problem }
                    })
                })
                .collect::<Result<_, IngestError>>()?;
            for reject in states.iter().flat_map(|state| &state.rejects) {
                let line = reject_line(&at, reject)?;
                hasher.update(line.as_bytes());
                bytes += line.len() as u64;
                writer
                    .write_all(line.as_bytes())
                    .map_err(|error| IngestError::Write { at: at.clone(), source: error })?;
            }
        }
        writer.finish()?;
        Ok(schemas::FileEntry { file, bytes, blake3: hasher.finalize().to_hex().to_string() })
    }

    /// Writes a file of the finished set.
    pub fn publish(&self, name: &str, text: String) -> Result<(), IngestError> {
        self.still_held()?;
        Ok(self.storage.put(&self.out.join(name), text)?)
    }

    /// Removes the state: the manifest is there and says everything.
    pub fn remove(self) -> Result<(), IngestError> {
        let Self { storage, out, lock, .. } = self;
        clear(&storage, &out)?;
        release(&out, lock.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// Whether the lock was not lost to another run, as one on a remote output can be.
    fn still_held(&self) -> Result<(), IngestError> {
        Ok(self.lock.lock().unwrap_or_else(PoisonError::into_inner).check()?)
    }

    fn state_at(&self, number: u64) -> Address {
        self.out.join(UNFINISHED_FOLDER).join(&state(number))
    }
}

/// A line of the list of rejects `at`.
pub(crate) fn reject_line(at: &Address, reject: &Reject) -> Result<String, IngestError> {
    let mut line = json(at, reject)?;
    line.push('\n');
    Ok(line)
}

/// The name of a shard's state.
fn state(number: u64) -> String {
    shard_file(number).replace(".parquet", ".json")
}

/// The number of the shard that a file below the output is the state of.
fn number_of_state(name: &str) -> Option<u64> {
    name.strip_prefix(UNFINISHED_FOLDER)?
        .strip_prefix("/shard-")?
        .strip_suffix(".json")?
        .parse()
        .ok()
}

fn read_json<T: DeserializeOwned>(
    storage: &Storage,
    at: &Address,
) -> Result<Option<T>, IngestError> {
    let bytes = match storage.read(at) {
        Err(error) if error.is_missing() => return Ok(None),
        bytes => bytes?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| IngestError::Damaged {
        file: at.to_string(),
        problem: format!("{error}; delete it and run ingest again"),
    })
}

fn json<T: Serialize>(at: &Address, value: &T) -> Result<String, IngestError> {
    serde_json::to_string(value).map_err(|error| IngestError::Damaged {
        file: at.to_string(),
        problem: format!("it can't be written as JSON: {error}"),
    })
}

fn write_json<T: Serialize>(storage: &Storage, at: &Address, value: &T) -> Result<(), IngestError> {
    Ok(storage.put(at, json(at, value)?)?)
}

/// Who makes shards, as plans and manifests name it.
pub(crate) fn created_by() -> String {
    CREATED_BY.to_owned()
}
