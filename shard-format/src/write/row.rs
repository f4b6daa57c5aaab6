//! What a row is given as.

use schemas::Crop;

/// One row of a shard; the fields are its columns, in the order of the schema.
#[derive(Debug, Clone)]
pub struct Row {
    /// The row's number: that of its picture · views + view.
    pub id: u64,
    /// Where the picture lies in the sources.
    pub source: String,
    /// BLAKE3 of the picture file.
    pub content_hash: [u8; 32],
    /// The picture's perceptual hash, if it has one.
    pub perceptual_hash: Option<u64>,
    /// The class, if the picture has one.
    pub label: Option<String>,
    /// Which view of its picture, from 0.
    pub view: u32,
    /// Width and height of the upright picture in pixels.
    pub source_size: (u32, u32),
    /// The view's crop of it.
    pub crop: Crop,
    /// The wide columns: the picture, then HOG and ties of each cell size, then the mean and the
    /// inverse deviation of each, then the codes of each codebook and those of the mirrored view;
    /// each as long as the layout says.
    pub wide: Vec<Vec<u8>>,
}
