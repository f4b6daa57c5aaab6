//! What an address is: a finished set by its manifest, one in the making, or none.

use std::collections::HashMap;
use std::path::Path;

use schemas::{CLASSES_FILE, MANIFEST_FILE, Manifest, ManifestError, REJECTS_FILE};
use storage::{Address, Storage};

use crate::IngestError;
use crate::state::{FOLDER, PLAN};
use crate::terminal::counted;

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
