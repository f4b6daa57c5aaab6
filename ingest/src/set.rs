//! Files of a set in sentences.

use schemas::Manifest;
use shards::set::names::{next_shard, shard_file};

/// All files that [`shards::set::names::beyond`] may find, for a sentence.
pub(crate) fn all_beyond(manifest: Option<&Manifest>) -> String {
    format!(
        "all manifests and lists of rejects of versions after {}, and shards from {} on,",
        manifest.map_or(0, |manifest| manifest.version),
        shard_file(next_shard(manifest))
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
