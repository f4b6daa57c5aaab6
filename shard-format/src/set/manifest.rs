//! A set's manifest, its numbered copies, and what a folder without one is.

use std::collections::HashMap;

use schemas::{MANIFEST_FILE, Manifest, ManifestError, REJECTS_FILE};
use serde::Deserialize;
use serde::de::Error;
use storage::{Address, Storage, StorageError};

use super::files;
use super::lines;
use super::names::{Numbered, PLAN_FILE, UNFINISHED_FOLDER, beyond, is_shard};
use crate::ShardsError;

/// The manifest of a set, if it has one.
///
/// # Errors
/// [`ShardsError::Damaged`] if it can't be used, [`ShardsError::Storage`] if the address can't be
/// reached.
pub fn find(storage: &Storage, out: &Address) -> Result<Option<Manifest>, ShardsError> {
    read(storage, out, MANIFEST_FILE)
}

/// The manifest of a version of a set, which lies beside the newest.
///
/// # Errors
/// As [`find`], and [`ShardsError::Damaged`] if it is not there.
pub fn of_version(storage: &Storage, out: &Address, version: u32) -> Result<Manifest, ShardsError> {
    let file = Manifest::file_of_version(version);
    let manifest = read(storage, out, &file)?;
    manifest.ok_or_else(|| ShardsError::Damaged {
        file: out.join(&file).to_string(),
        problem: format!("it is gone; `ingest repair {out}` makes it again"),
    })
}

/// A manifest of a set by its file's name; none if it is not there.
fn read(storage: &Storage, out: &Address, file: &str) -> Result<Option<Manifest>, ShardsError> {
    let at = out.join(file);
    match storage.reader(&at, 0).map(lines::read) {
        Ok(Ok(Some(manifest))) => return Ok(Some(manifest)),
        Err(error) if error.is_missing() => return Ok(None),
        // Whatever it was, it shows when all is read.
        _ => {}
    }
    let bytes = match storage.read(&at) {
        Err(error) if error.is_missing() => return Ok(None),
        bytes => bytes?,
    };
    let manifest = parse_whole(&bytes).map_err(|error| {
        let problem = match error {
            // No copy is of another version.
            ManifestError::Version(_) => error.to_string(),
            error => format!("{error}; `ingest repair {out}` brings back an undamaged copy"),
        };
        ShardsError::Damaged { file: at.to_string(), problem }
    })?;
    Ok(Some(manifest))
}

/// The manifest in these bytes.
///
/// # Errors
/// [`ManifestError`] if it is none, or none that can be used.
pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    match lines::read(bytes) {
        Ok(Some(manifest)) => Ok(manifest),
        _ => parse_whole(bytes),
    }
}

fn parse_whole(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    Manifest::parse(std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?)
}

/// What an address is at which [`find`] finds no manifest, and the way out; or why that can't be
/// told.
pub fn missing(storage: &Storage, out: &Address) -> ShardsError {
    without(storage, out).unwrap_or_else(ShardsError::Storage)
}

fn without(storage: &Storage, out: &Address) -> Result<ShardsError, StorageError> {
    // By its name first: not everybody who may read may list.
    let first = storage.stat(&out.join(&Manifest::file_of_version(1)))?;
    if first.is_some() {
        return Ok(gone(out));
    }
    let files = files::list(storage, out)?;
    if files.keys().any(|name| matches!(Numbered::of(name), Some(Numbered::Manifest(_)))) {
        return Ok(gone(out));
    }
    let no_set = |at: Address, problem| Ok(ShardsError::NoSet { at: at.into(), problem });
    if out.local().is_some_and(|path| !path.is_dir()) {
        let problem =
            "no shard set, for there is no such folder; give the folder that ingest wrote";
        return no_set(out.clone(), problem.to_owned());
    }
    let of_run = |name: &str| files.contains_key(&format!("{UNFINISHED_FOLDER}/{name}"));
    if !of_run(PLAN_FILE) {
        let problem = "it is not there, so this is no shard set; make one with `ingest PICTURES --out FOLDER`";
        return no_set(out.join(MANIFEST_FILE), problem.to_owned());
    }
    // The list comes after the last shard.
    if files.contains_key(REJECTS_FILE) && !files.keys().any(|name| is_shard(name)) {
        let problem = format!(
            "no set, since every picture was rejected; {} says why for each. Give other pictures or filters and another --out, or delete the folder",
            out.join(REJECTS_FILE)
        );
        return no_set(out.clone(), problem);
    }
    let states = format!("{UNFINISHED_FOLDER}/shard-");
    let shards = match files.keys().filter(|name| name.starts_with(&states)).count() {
        1 => "1 shard".to_owned(),
        shards => format!("{shards} shards"),
    };
    let problem =
        format!("an unfinished set ({shards} done); run the same ingest again to finish it");
    no_set(out.clone(), problem)
}

/// That the manifest of a finished set is gone, and the way out.
pub fn gone(out: &Address) -> ShardsError {
    ShardsError::Damaged {
        file: out.join(MANIFEST_FILE).to_string(),
        problem: format!("it is gone; `ingest repair {out}` brings it back from its copy"),
    }
}

/// Which version an unfinished run makes; none if there is none, or no telling.
fn begun(storage: &Storage, out: &Address) -> Result<Option<u32>, StorageError> {
    #[derive(Deserialize)]
    struct Plan {
        version: u32,
    }
    match storage.read(&out.join(UNFINISHED_FOLDER).join(PLAN_FILE)) {
        Err(error) if error.is_missing() => Ok(None),
        plan => Ok(serde_json::from_slice(&plan?).ok().map(|Plan { version }| version)),
    }
}

/// The files that show that a manifest later than this one is lost: they are of later versions, and
/// no unfinished run has made them.
///
/// # Errors
/// If the set's folder can't be listed; what lies on a web server never can, and is taken as it is.
pub fn lost_beyond(
    storage: &Storage,
    out: &Address,
    manifest: &Manifest,
) -> Result<Vec<String>, StorageError> {
    if out.is_web() {
        return Ok(vec![]);
    }
    // Before the plan: a run has that until all that it made is in the manifest.
    let found = files::list(storage, out)?;
    let begun = begun(storage, out)?.filter(|&version| version == manifest.version + 1);
    let beyond = beyond(found.keys().map(String::as_str), Some(manifest));
    let lost = beyond.into_iter().filter(|(file, _)| !begun.is_some_and(|begun| file.is_of(begun)));
    Ok(lost.map(|(_, name)| name).collect())
}

/// Whether all shards are there and as long as they should be. Where a store does not let them be
/// listed, a wrong size shows when the shard is read.
///
/// # Errors
/// [`ShardsError::Shard`] of the first that is not, [`ShardsError::Storage`] if that can't be found
/// out.
pub fn check_sizes(
    storage: &Storage,
    out: &Address,
    manifest: &Manifest,
) -> Result<(), ShardsError> {
    if out.is_web() {
        return Ok(());
    }
    let listed = match out.local() {
        Some(_) => None,
        None => match storage.list(out) {
            Err(StorageError::Denied { .. }) => return Ok(()),
            listed => {
                let listed = listed?.into_iter().map(|found| (found.relative, found.bytes));
                Some(listed.collect::<HashMap<_, _>>())
            }
        },
    };
    for entry in &manifest.shards {
        let at = out.join(entry.file);
        let found = match &listed {
            Some(listed) => listed.get(entry.file).copied(),
            None => storage.stat(&at)?.map(|stat| stat.bytes),
        };
        match found {
            Some(bytes) if bytes == entry.bytes => {}
            Some(bytes) => {
                let reason = format!("has {bytes} bytes, but {} by the manifest", entry.bytes);
                return Err(ShardsError::shard(&at, reason));
            }
            None => return Err(ShardsError::shard(&at, "is not there")),
        }
    }
    Ok(())
}
