//! A set: its files' [`names`], and the [`manifest`] that alone decides which belong to it.

pub mod manifest;
pub mod names;

use std::path::Path;

use schemas::MANIFEST_FILE;

/// Whether a local folder is that of a set, or of one in the making.
pub fn is_set(folder: &Path) -> bool {
    folder.join(MANIFEST_FILE).exists() || folder.join(names::UNFINISHED_FOLDER).exists()
}

/// Whether a path to be written is that of a file of a shard set, or of one in the making.
pub fn is_of_a_set(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    names::is_of_set(name) && is_set(path.parent().unwrap_or(path))
}
