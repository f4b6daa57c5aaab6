//! What an address is: a finished set by its manifest, one in the making, or none.

use std::collections::HashMap;
use std::path::Path;

use schemas::{CLASSES_FILE, MANIFEST_FILE, Manifest, ManifestError, REJECTS_FILE};
use serde::de::Error;
use storage::{Address, Storage};

use crate::IngestError;
use crate::shard::file_name;
use crate::state::{self, FOLDER, PLAN};
use voice::terminal::counted;

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
    let manifest = parse_manifest(&bytes).map_err(|error| {
        let problem = match error {
            // No copy is of another version.
            ManifestError::Version(_) => error.to_string(),
            error => format!("{error}; `ingest repair {out}` brings back an undamaged copy"),
        };
        IngestError::Damaged { file: at.to_string(), problem }
    })?;
    Ok(Some(manifest))
}

/// The manifest in these bytes.
pub(crate) fn parse_manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    Manifest::parse(std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?)
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
    let found = storage.list(out).unwrap_or_default().into_iter().map(|found| found.relative);
    let mut copies: Vec<_> = found
        .filter_map(|name| match Numbered::of(&name)? {
            Numbered::Manifest(version) => Some((version, name)),
            Numbered::Rejects(_) | Numbered::Shard(_) => None,
        })
        .collect();
    copies.sort();
    copies.into_iter().map(|(_, name)| name).collect()
}

/// A file of a set that has a number in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Numbered {
    /// The manifest of a version.
    Manifest(u64),
    /// The rejects of the part that a version added.
    Rejects(u64),
    Shard(u64),
}

impl Numbered {
    fn of(name: &str) -> Option<Self> {
        let number = |before: &str, after: &str| -> Option<u64> {
            let digits = name.strip_prefix(before)?.strip_suffix(after)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        number("manifest-", ".json")
            .map(Self::Manifest)
            .or_else(|| number("rejects-", ".jsonl").map(Self::Rejects))
            .or_else(|| number("shard-", ".parquet").map(Self::Shard))
    }

    /// Whether a run that makes this version may have written it.
    pub fn is_of(self, version: u32) -> bool {
        match self {
            Self::Manifest(of) | Self::Rejects(of) => of == u64::from(version),
            Self::Shard(_) => true,
        }
    }
}

/// Which of these files are of later versions than a manifest, in order; all are, if there is none.
pub(crate) fn beyond<'a>(
    names: impl Iterator<Item = &'a str>,
    manifest: Option<&Manifest>,
) -> Vec<(Numbered, String)> {
    let version = manifest.map_or(0, |manifest| u64::from(manifest.version));
    let next_shard = next_shard(manifest);
    let is_beyond = |file: Numbered| match file {
        Numbered::Manifest(of) | Numbered::Rejects(of) => of > version,
        Numbered::Shard(number) => number >= next_shard,
    };
    let mut beyond: Vec<_> = names
        .filter_map(|name| Some((Numbered::of(name)?, name.to_owned())))
        .filter(|(file, _)| is_beyond(*file))
        .collect();
    beyond.sort();
    beyond
}

/// The number of the first shard that a set with this manifest does not have yet.
pub(crate) fn next_shard(manifest: Option<&Manifest>) -> u64 {
    let last = manifest.and_then(|manifest| manifest.parts.last());
    last.map_or(0, |part| part.first_shard + part.shards)
}

/// The files that show that a manifest later than this one is lost: they are of later versions, and
/// no unfinished run has made them.
pub(crate) fn lost_beyond(
    storage: &Storage,
    out: &Address,
    manifest: &Manifest,
) -> Result<Vec<String>, IngestError> {
    // What lies on a web server can't be listed.
    if out.is_web() {
        return Ok(vec![]);
    }
    // Before the plan: a run has that until all that it made is in the manifest.
    let found = storage.list(out)?;
    let begun = state::begun(storage, out)?.filter(|&version| version == manifest.version + 1);
    let beyond = beyond(found.iter().map(|found| &*found.relative), Some(manifest));
    let lost = beyond.into_iter().filter(|(file, _)| !begun.is_some_and(|begun| file.is_of(begun)));
    Ok(lost.map(|(_, name)| name).collect())
}

/// All files that [`beyond`] may find, for a sentence.
pub(crate) fn all_beyond(manifest: Option<&Manifest>) -> String {
    format!(
        "all manifests and lists of rejects of versions after {}, and shards from {} on,",
        manifest.map_or(0, |manifest| manifest.version),
        file_name(next_shard(manifest))
    )
}

/// The first of some files, for a sentence.
pub(crate) fn some_of(files: &[String]) -> String {
    const SHOWN: usize = 3;
    match files.len().saturating_sub(SHOWN) {
        0 => files.join(", "),
        more => format!("{} and {more} more", files[..SHOWN].join(", ")),
    }
}

fn is_shard(name: &str) -> bool {
    name.starts_with("shard-") && name.ends_with(".parquet")
}

/// Whether a path to be written is that of a file of a shard set, or of one in the making.
pub fn is_of_a_set(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let folder = path.parent().unwrap_or(path);
    let in_set = folder.join(MANIFEST_FILE).exists() || folder.join(FOLDER).exists();
    let is_list = name.starts_with("rejects") && name.ends_with(".jsonl");
    let is_manifest = name.starts_with("manifest") && name.ends_with(".json");
    in_set && (is_shard(name) || is_list || is_manifest || name == CLASSES_FILE)
}

/// Whether all shards are there and as long as they should be.
pub(crate) fn check_sizes(
    storage: &Storage,
    out: &Address,
    manifest: &Manifest,
) -> Result<(), IngestError> {
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
