//! Files that follow from the manifest, or from it and sound shards.

use std::collections::BTreeMap;

use rayon::prelude::*;
use schemas::{CLASSES_FILE, MANIFEST_FILE, Manifest, ShardTable};
use shards::ShardFile;
use storage::{Address, Storage};

use crate::IngestError;

/// Shards that are read at once.
const AT_ONCE: usize = 64;

/// Writes the classes or a numbered manifest of the set anew.
pub(super) fn write(
    storage: &Storage,
    out: &Address,
    manifest: &Manifest,
    file: &str,
) -> Result<(), IngestError> {
    let at = out.join(file);
    if file == CLASSES_FILE {
        return Ok(storage.put(&at, manifest.classes_text())?);
    }
    if file == Manifest::file_of_version(manifest.version) {
        let bytes = storage.read(&out.join(MANIFEST_FILE))?;
        return Ok(storage.put(&at, bytes)?);
    }
    let version = (1..manifest.version).find(|&v| file == Manifest::file_of_version(v));
    let version = version.ok_or_else(|| IngestError::Repair {
        file: file.to_owned(),
        problem: "it is no file of the set".into(),
    })?;
    Ok(storage.put(&at, earlier(storage, out, manifest, version)?.to_text())?)
}

/// The manifest as it was at an earlier version. Its bytes are what they were unless another release
/// of the program made it.
fn earlier(
    storage: &Storage,
    out: &Address,
    manifest: &Manifest,
    version: u32,
) -> Result<Manifest, IngestError> {
    let shards: ShardTable = manifest.shards_of(version).collect();
    let parts = manifest.parts[..version as usize].to_vec();
    let views = manifest.settings.views;
    let mut counts = BTreeMap::<String, u64>::new();
    for shards in shards.chunks(AT_ONCE) {
        let found: Vec<_> = shards
            .par_iter()
            .map(|shard| ShardFile::new(storage, out, shard.file, shard.bytes).classes(views))
            .collect::<Result<_, _>>()?;
        for (class, pictures) in found.into_iter().flatten() {
            *counts.entry(class).or_default() += pictures;
        }
    }
    let all = manifest.settings.classes.is_some();
    let classes = manifest.classes.iter().filter(|class| all || counts.contains_key(*class));
    let (classes, class_pictures) =
        classes.map(|class| (class.clone(), counts.get(class).copied().unwrap_or(0))).unzip();
    let earlier = Manifest { version, parts, classes, class_pictures, shards, ..manifest.clone() };
    Ok(earlier.with_totals())
}
