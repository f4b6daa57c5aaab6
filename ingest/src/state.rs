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

use rayon::prelude::*;
use schemas::{
    CLASSES_FILE, IngestSettings, MANIFEST_FILE, Manifest, ManifestError, Part, Place,
    REJECTS_FILE, Reject, ShardEntry,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::{Address, Lock, Storage};

use crate::shard::file_name;
use crate::terminal::counted;
use crate::{CREATED_BY, IngestError, default_pictures_per_shard};

const FOLDER: &str = ".ingest";
const PLAN: &str = "plan.json";
const LOCK: &str = "lock";
const PICTURES_FLAG: &str = "--shard-pictures";
/// States that are read or deleted at once.
const AT_ONCE: usize = 64;

/// What decides the bytes of a part of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub created_by: String,
    /// Which version of the manifest the part will make.
    pub version: u32,
    pub settings: IngestSettings,
    pub sources: Vec<String>,
    pub follow_links: bool,
    pub image_column: Option<String>,
    pub label_column: Option<String>,
    /// The listing's hash in hexadecimal.
    pub listing: String,
    /// Loose pictures and archives in the listing.
    pub units: u64,
}

impl Plan {
    /// A sentence for each thing in which this plan differs from that of an earlier run.
    fn differences(&self, earlier: &Self) -> Vec<String> {
        let mut differences = settings_differences(&earlier.settings, &self.settings);
        for (flag, then, now) in [
            ("--image-column", &earlier.image_column, &self.image_column),
            ("--label-column", &earlier.label_column, &self.label_column),
        ] {
            if then != now {
                let text = |value: &Option<String>| value.clone().unwrap_or("not given".into());
                differences.push(difference(flag, &text(then), &text(now)));
            }
        }
        if earlier.created_by != self.created_by {
            let (then, now) = (&earlier.created_by, &self.created_by);
            differences.push(format!("it was made by {then}, this is {now}"));
        }
        // The listing's order depends on the seed, so that it says something only with the same.
        if earlier.settings.seed == self.settings.seed && earlier.listing != self.listing {
            differences.push(format!(
                "the listed files are others: {} in the earlier run, {} now (compared by name and size)",
                earlier.units, self.units
            ));
        }
        differences
    }

    /// Whether a part of a finished set is what this plan would make.
    fn made(&self, manifest: &Manifest, part: &Part) -> bool {
        manifest.settings == self.settings
            && part.listing == self.listing
            && part.image_column == self.image_column
            && part.label_column == self.label_column
    }
}

fn difference(flag: &str, then: &str, now: &str) -> String {
    format!("{flag} was {then} in the earlier run, is {now} now")
}

/// A sentence for each setting that differs, which names its flag.
fn settings_differences(then: &IngestSettings, now: &IngestSettings) -> Vec<String> {
    // What was not given follows from views and layout, whose difference says enough.
    let derived = |settings: &IngestSettings| {
        let default = default_pictures_per_shard(&settings.layout, settings.views);
        settings.pictures_per_shard == default
    };
    let both_derived = derived(then) && derived(now);
    let (then, now) = (flags(then), flags(now));
    let text = |value: Option<&String>| value.map_or("not given", String::as_str).to_owned();
    now.iter()
        .filter(|(flag, value)| then.get(*flag) != Some(value))
        .filter(|(flag, _)| !(both_derived && *flag == PICTURES_FLAG))
        .map(|(flag, value)| difference(flag, &text(then.get(flag)), value))
        .collect()
}

/// Every setting by its flag: from their JSON, so that none is forgotten.
fn flags(settings: &IngestSettings) -> BTreeMap<String, String> {
    let mut flags = BTreeMap::new();
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(settings) else {
        return flags;
    };
    if let Some(serde_json::Value::Object(layout)) = fields.remove("layout") {
        fields.extend(layout);
    }
    for (field, value) in fields {
        let field = field.as_str();
        let flag = match field {
            "pictures_per_shard" => PICTURES_FLAG.to_owned(),
            _ => format!("--{}", field.replace('_', "-")),
        };
        let value = match value {
            serde_json::Value::Array(colour) if field == "background" => colour
                .iter()
                .map(|value| format!("{:02x}", value.as_u64().unwrap_or_default()))
                .collect(),
            serde_json::Value::Null => "not given".to_owned(),
            serde_json::Value::String(text) => text,
            value => value.to_string(),
        };
        flags.insert(flag, value);
    }
    flags
}

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
    append: bool,
) -> Result<Found, IngestError> {
    let base = find_manifest(storage, out)?;
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

    let folder = out.join(FOLDER);
    let plan_at = folder.join(PLAN);
    if base.is_none() && storage.stat(&plan_at)?.is_none() {
        refuse_foreign(storage, out)?;
    }
    let Some(lock) = storage.lock(&folder.join(LOCK))? else {
        return Err(IngestError::Locked(out.clone()));
    };
    // Another run may have finished since the look at the manifest.
    if find_manifest(storage, out)?.map(|manifest| manifest.version)
        != base.as_ref().map(|manifest| manifest.version)
    {
        drop(lock);
        return open(storage, out, plan, append);
    }
    storage.sweep(out)?;
    storage.sweep(&folder)?;
    let mut work = Work {
        storage: storage.clone(),
        out: out.clone(),
        base,
        plan,
        found: HashMap::new(),
        lock: Mutex::new(lock),
    };
    match read_json::<Plan>(storage, &plan_at)? {
        Some(earlier) if earlier.version == work.plan.version => {
            let differences = work.plan.differences(&earlier);
            if !differences.is_empty() {
                let hint = if append {
                    "Finish that one first, with its sources and settings."
                } else {
                    "Give another --out, repeat the earlier settings, or delete the folder."
                };
                return Err(IngestError::Differs { out: out.clone().into(), differences, hint });
            }
        }
        // Left behind by a run that ended between its last steps.
        Some(_) | None => {
            clear(storage, out)?;
            write_json(storage, &plan_at, &work.plan)?;
        }
    }
    for found in storage.list(out)? {
        work.found.insert(found.relative, found.bytes);
    }
    Ok(Found::Open(Box::new(work)))
}

/// Removes what a run left behind that ended between its last steps.
fn remove_leftovers(
    storage: &Storage,
    out: &Address,
    manifest: &Manifest,
) -> Result<(), IngestError> {
    let folder = out.join(FOLDER);
    if storage.list(&folder)?.is_empty() {
        return Ok(());
    }
    let Some(lock) = storage.lock(&folder.join(LOCK))? else { return Ok(()) };
    let plan: Option<Plan> = read_json(storage, &folder.join(PLAN))?;
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
    let folder = out.join(FOLDER);
    let found = storage.list(&folder)?;
    found
        .par_iter()
        .filter(|found| found.relative.starts_with("shard-"))
        .try_for_each(|found| storage.delete(&folder.join(&found.relative)))?;
    Ok(storage.delete(&folder.join(PLAN))?)
}

/// Refuses a finished set whose manifest is gone: to begin anew would write over its shards.
fn refuse_lost(storage: &Storage, out: &Address) -> Result<(), IngestError> {
    if !has_copy(storage, out) {
        return Ok(());
    }
    match read_json::<Plan>(storage, &out.join(FOLDER).join(PLAN))? {
        // A first run that ended between its last steps, and makes the manifest now.
        Some(plan) if plan.version == 1 => Ok(()),
        Some(_) | None => Err(IngestError::Damaged {
            file: out.join(MANIFEST_FILE).to_string(),
            problem: format!("it is gone; `ingest repair {out}` brings it back from its copy"),
        }),
    }
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

/// Whether all shards are there and as long as they should be.
fn check_sizes(storage: &Storage, out: &Address, manifest: &Manifest) -> Result<(), IngestError> {
    let found: HashMap<_, _> =
        storage.list(out)?.into_iter().map(|found| (found.relative, found.bytes)).collect();
    for shard in &manifest.shards {
        let problem = match found.get(&shard.file) {
            Some(&bytes) if bytes == shard.bytes => continue,
            Some(bytes) => format!("{bytes} bytes, but the manifest has {}", shard.bytes),
            None => "it is gone".to_owned(),
        };
        let problem = format!("{problem}; `ingest repair {out}` makes it again");
        return Err(IngestError::Damaged { file: out.join(&shard.file).to_string(), problem });
    }
    Ok(())
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
    let lock = storage.lock(&out.join(FOLDER).join(LOCK))?;
    lock.ok_or_else(|| IngestError::Locked(out.clone()))
}

/// Lets go of a set that was mended, and of the folder of the lock if it is for nothing else.
pub(crate) fn release(out: &Address, lock: Lock) {
    drop(lock);
    if let Some(folder) = out.join(FOLDER).local()
        && !folder.join(PLAN).exists()
    {
        // Another run may hold the lock by now; what is not empty stays.
        let _ = std::fs::remove_file(folder.join(LOCK));
        let _ = std::fs::remove_dir(folder);
    }
}

/// The manifest of a set, if it has one.
pub(crate) fn find_manifest(
    storage: &Storage,
    out: &Address,
) -> Result<Option<Manifest>, IngestError> {
    let at = out.join(MANIFEST_FILE);
    let bytes = match storage.read(&at) {
        Err(error) if error.is_missing() => return Ok(None),
        bytes => bytes?,
    };
    parse_manifest(&at, &bytes).map(Some)
}

/// The manifest in these bytes.
pub(crate) fn parse_manifest(at: &Address, bytes: &[u8]) -> Result<Manifest, IngestError> {
    let wrong = |problem: String| IngestError::Damaged { file: at.to_string(), problem };
    let damaged = |problem: String| {
        let file = at.to_string();
        let out = file.rsplit_once('/').map_or(".", |(out, _)| out);
        wrong(format!("{problem}; `ingest repair {out}` brings back an undamaged copy"))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
    Manifest::parse(text).map_err(|error| match error {
        // No copy is of another version.
        ManifestError::Version(_) => wrong(error.to_string()),
        error => damaged(error.to_string()),
    })
}

/// What an address is that has no manifest, and the way out.
pub(crate) fn no_manifest(storage: &Storage, out: &Address) -> String {
    if has_copy(storage, out) {
        return format!(
            "its {MANIFEST_FILE} is gone; `ingest repair {out}` brings it back from its copy"
        );
    }
    let begun = storage.list(&out.join(FOLDER)).unwrap_or_default();
    if !begun.iter().any(|found| found.relative == PLAN) {
        return format!(
            "no shard set (there is no {MANIFEST_FILE}); make one with `ingest PICTURES --out FOLDER`"
        );
    }
    let found = storage.list(out).unwrap_or_default();
    let is_there = |is: fn(&str) -> bool| found.iter().any(|found| is(&found.relative));
    // The list comes after the last shard.
    if is_there(|name| name == REJECTS_FILE) && !is_there(is_shard) {
        return format!(
            "no set, since every picture was rejected; {} says why for each. Give other pictures or filters and another --out, or delete the folder",
            out.join(REJECTS_FILE)
        );
    }
    let shards = begun.iter().filter(|found| found.relative.starts_with("shard-")).count();
    let shards = counted(shards as u64, "shard");
    format!("an unfinished set ({shards} done); run the same ingest again to finish it")
}

/// Whether a numbered manifest is there, so that the set was finished once.
pub(crate) fn has_copy(storage: &Storage, out: &Address) -> bool {
    let first = out.join(&Manifest::file_of_version(1));
    storage.stat(&first).is_ok_and(|found| found.is_some()) || !copies(storage, out).is_empty()
}

/// The names of the numbered manifests, the oldest first; none where nothing can be listed.
pub(crate) fn copies(storage: &Storage, out: &Address) -> Vec<String> {
    let is_copy = |name: &str| {
        let version = name.strip_prefix("manifest-").and_then(|name| name.strip_suffix(".json"));
        version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let found = storage.list(out).unwrap_or_default().into_iter().map(|found| found.relative);
    let mut copies: Vec<_> = found.filter(|name| is_copy(name)).collect();
    copies.sort_by_key(|name| (name.len(), name.clone()));
    copies
}

fn is_shard(name: &str) -> bool {
    name.starts_with("shard-") && name.ends_with(".parquet")
}

/// Whether a path to be written is that of a file of a shard set, or of one in the making.
pub fn is_of_a_set(path: &std::path::Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let folder = path.parent().unwrap_or(path);
    let in_set = folder.join(MANIFEST_FILE).exists() || folder.join(FOLDER).exists();
    let is_list = name.starts_with("rejects") && name.ends_with(".jsonl");
    let is_manifest = name.starts_with("manifest") && name.ends_with(".json");
    in_set && (is_shard(name) || is_list || is_manifest || name == CLASSES_FILE)
}

impl Work {
    /// The number of the part's first shard.
    pub fn first_shard(&self) -> u64 {
        let last = self.base.as_ref().and_then(|base| base.parts.last());
        last.map_or(0, |part| part.first_shard + part.shards)
    }

    /// The number of the part's first picture.
    pub fn first_picture(&self) -> u64 {
        let last = self.base.as_ref().and_then(|base| base.parts.last());
        last.map_or(0, |part| part.first + part.pictures)
    }

    /// The name of the part's list of rejects.
    pub fn rejects_file(&self) -> String {
        match self.plan.version {
            1 => REJECTS_FILE.to_owned(),
            version => format!("rejects-{version:05}.jsonl"),
        }
    }

    /// Tells `each` what became of the part's shards that are finished, in order, and of their
    /// files whether they are there.
    pub fn finished(
        &self,
        mut each: impl FnMut(ShardState) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        let numbers: Vec<_> = (self.first_shard()..)
            .take_while(|&number| self.found.contains_key(&format!("{FOLDER}/{}", state(number))))
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
        self.out.join(FOLDER).join(&state(number))
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
    file_name(number).replace(".parquet", ".json")
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
