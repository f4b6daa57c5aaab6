//! What a manifest says of one shard.

use serde::{Deserialize, Serialize};

use crate::{GroupHash, ShardHash};

/// Where in the stream of a part's pictures something begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// How many units of the listing lie before it; a unit is a loose picture or an archive.
    pub unit: u64,
    /// How many pictures of that archive lie before it.
    pub members: u64,
    /// The byte or row of that archive at which reading can begin.
    pub offset: u64,
    /// Pictures to pass over from there.
    pub skip: u64,
}

/// One shard of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// The file's name, relative to the manifest.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Rows of each of its row groups, in order.
    pub row_groups: Vec<u32>,
    /// The byte at which each of its row groups ends. The first begins after the 4 bytes with which
    /// every Parquet file begins; what follows the last is the footer.
    pub row_group_ends: Vec<u64>,
    /// The beginning of the BLAKE3 of each of its row groups' bytes.
    pub row_group_hashes: Vec<GroupHash>,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub blake3: ShardHash,
    /// The number of its first picture, counted over all pictures of the set.
    pub first: u64,
    /// Pictures that it took from its part's stream, rejected ones among them.
    pub pictures: u64,
    /// Where in its part's stream the first of them lies.
    pub start: Place,
}
