//! A shard set as one self-contained HTML page.
//!
//! In the order in which data flows: `gather` (a set → some of its pictures, rows and rejects),
//! `page` (what is shown of them).

mod gather;
mod page;

use shards::ShardSet;

use crate::IngestError;

/// How much of a set is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Rows of which sizes, names, classes and hashes are read, at most; whole shards are, spread
    /// evenly over the set.
    pub rows: u64,
    /// Rows that are drawn and of whose HOG the mean is taken.
    pub views: usize,
    /// Seed of what is drawn.
    pub seed: u64,
}

impl Default for Scope {
    fn default() -> Self {
        Self { rows: 50_000, views: 72, seed: 0 }
    }
}

/// The page of a set, with everything it shows inside it.
///
/// # Errors
/// [`IngestError`] if the set can't be read. Sources of rejects that are gone are passed over.
pub fn page(set: &ShardSet, scope: Scope) -> Result<String, IngestError> {
    let gathered = gather::gather(set, scope)?;
    page::page(set.manifest(), &gathered)
}
