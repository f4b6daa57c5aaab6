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

use rayon::prelude::*;
use schemas::{Manifest, Place, Reject, ShardEntry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shards::ShardFile;
use shards::set::files::Files;
use shards::set::names::{PLAN_FILE, UNFINISHED_FOLDER, next_shard};
use storage::{Address, Storage};

use super::plan::Plan;
use crate::IngestError;
use archives::Passed;

/// The name of what an unfinished run makes, below the output.
pub(super) fn plan_file() -> String {
    format!("{UNFINISHED_FOLDER}/{PLAN_FILE}")
}

/// States that are read or deleted at once.
pub(super) const AT_ONCE: usize = 64;

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

/// The name of a shard's state below the output.
pub(super) fn state_file(number: u64) -> String {
    format!("{UNFINISHED_FOLDER}/shard-{number:05}.json")
}

/// The number of the shard that a file below the output is the state of.
pub(super) fn number_of_state(name: &str) -> Option<u64> {
    let name = name.strip_prefix(UNFINISHED_FOLDER)?;
    name.strip_prefix("/shard-")?.strip_suffix(".json")?.parse().ok()
}

/// Tells `each` what became of the shards that an unfinished run has made on top of a set, in order,
/// up to one whose file is not there as it was written.
pub(super) fn done(
    storage: &Storage,
    out: &Address,
    files: &Files,
    base: Option<&Manifest>,
    mut each: impl FnMut(ShardState) -> Result<(), IngestError>,
) -> Result<(), IngestError> {
    let is_there = |number: &u64| files.contains_key(&state_file(*number));
    let numbers: Vec<_> = (next_shard(base)..).take_while(is_there).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        for state in states(storage, out, numbers)? {
            let whole = state.filter(|state| {
                let mut entry = state.entry.iter();
                entry.all(|entry| files.get(&entry.file) == Some(&entry.bytes))
            });
            match whole {
                Some(state) => each(state)?,
                None => return Ok(()),
            }
        }
    }
    Ok(())
}

/// Which of the part's first `shards` shards are there with what became of them, by their place in
/// the part: those of a run that makes them in any order.
pub(super) fn done_in_any_order(
    storage: &Storage,
    out: &Address,
    files: &Files,
    (base, shards): (Option<&Manifest>, u64),
) -> Result<Vec<u64>, IngestError> {
    let first = next_shard(base);
    let numbers: Vec<_> =
        (first..first + shards).filter(|&at| files.contains_key(&state_file(at))).collect();
    let mut whole = vec![];
    for numbers in numbers.chunks(AT_ONCE) {
        let states = states(storage, out, numbers)?;
        whole.extend(numbers.iter().zip(states).filter_map(|(number, state)| {
            let entry = state?.entry;
            let is_there = entry.is_none_or(|of| files.get(&of.file) == Some(&of.bytes));
            is_there.then_some(number - first)
        }));
    }
    Ok(whole)
}

/// Keeps what became of shard `number`, whose file is there.
pub(crate) fn keep(
    storage: &Storage,
    out: &Address,
    number: u64,
    state: &ShardState,
) -> Result<(), IngestError> {
    write_json(storage, &out.join(&state_file(number)), state)
}

/// The names of the pictures in these shards, and the sizes of those rejected.
pub(super) fn pictures_done(
    storage: &Storage,
    out: &Address,
    files: &Files,
    base: Option<&Manifest>,
    views: u32,
) -> Result<HashMap<String, Option<u64>>, IngestError> {
    let mut pictures = HashMap::new();
    done(storage, out, files, base, |state| {
        if let Some(entry) = &state.entry {
            let names =
                ShardFile::new(storage, out, &entry.file, entry.bytes).names(views)?.into_iter();
            pictures.extend(names.map(|(_, name)| (name, None)));
        }
        let rejects = state.rejects.into_iter();
        pictures.extend(rejects.map(|reject| (reject.source, Some(reject.bytes))));
        Ok(())
    })?;
    Ok(pictures)
}

/// The states of some shards.
pub(super) fn states(
    storage: &Storage,
    out: &Address,
    numbers: &[u64],
) -> Result<Vec<Option<ShardState>>, IngestError> {
    let read = |&number: &u64| read_json(storage, &out.join(&state_file(number)));
    numbers.par_iter().map(read).collect()
}

/// What an unfinished run makes; none if there is no such run.
pub(crate) fn read_plan(storage: &Storage, out: &Address) -> Result<Option<Plan>, IngestError> {
    read_json(storage, &plan_at(out))
}

pub(super) fn plan_at(out: &Address) -> Address {
    out.join(&plan_file())
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

pub(super) fn write_json<T: Serialize>(
    storage: &Storage,
    at: &Address,
    value: &T,
) -> Result<(), IngestError> {
    Ok(storage.put(at, json(at, value)?)?)
}

pub(super) fn json<T: Serialize>(at: &Address, value: &T) -> Result<String, IngestError> {
    serde_json::to_string(value).map_err(|error| IngestError::Damaged {
        file: at.to_string(),
        problem: format!("it can't be written as JSON: {error}"),
    })
}
