//! How a shard set was made.

use serde::{Deserialize, Serialize};

use crate::ShardLayout;

/// Everything that decides a shard set's bytes, besides the pictures. By default nothing is set, which
/// no set can be made with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestSettings {
    /// View size, cells and bins.
    pub layout: ShardLayout,
    /// Views cut from each picture.
    pub views: u32,
    /// The seed from which, with the picture's content, every crop follows.
    pub seed: u64,
    /// The view is the largest central square, not a random crop: for sets to evaluate on.
    #[serde(default)]
    pub central: bool,
    /// Every JPEG that is cut short is rejected, however little is missing.
    pub strict: bool,
    /// The least share of a JPEG that must decode, in per cent, for it to be kept.
    pub min_decoded: u8,
    /// The shortest side a picture may have, in pixels.
    pub min_side: u32,
    /// The most pixels a picture may have.
    pub max_pixels: u64,
    /// The most bytes that a picture's file may have; none allows what so many pixels can need.
    pub max_bytes: Option<u64>,
    /// The most times that a picture's longer side may be its shorter; 0 allows any.
    pub max_aspect: u32,
    /// A picture is of one colour if, in each channel, nearly all pixels lie within so many
    /// neighbouring levels of 256; 0 keeps such pictures.
    pub one_colour: u8,
    /// The colour (RGB) over which transparent pictures are laid.
    pub background: [u8; 3],
    /// JPEGs are decoded at 1/2, 1/4 or 1/8 where their crops are that much larger than a view.
    pub scaled_decode: bool,
    /// Listed pictures a shard; a shard holds at most this many · views rows.
    pub pictures_per_shard: u32,
    /// Most rows of a Parquet row group. A group has its own run of pictures, so that it has fewer
    /// rows where some were rejected.
    pub rows_per_group: u32,
    /// The zstd level of the Parquet pages.
    pub zstd_level: i32,
    /// A picture whose bytes are those of an earlier one is kept rather than rejected.
    pub keep_duplicates: bool,
    /// A picture whose perceptual hash lies within so many bits of an earlier one's is rejected;
    /// none looks at no near duplicates.
    pub near_duplicates: Option<u32>,
    /// [`code_of_classes`] of the only classes that there may be; none where all are taken as they
    /// come.
    pub classes: Option<String>,
}

/// What tells a list of classes from every other: BLAKE3, in hexadecimal, of the names in the order
/// of their indices, each with a newline after it.
pub fn code_of_classes(names: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        hasher.update(name.as_bytes()).update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}
