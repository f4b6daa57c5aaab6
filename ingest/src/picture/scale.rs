//! How far a JPEG may be reduced while it is decoded, and where its pixels then lie.
//!
//! A JPEG can be decoded at 1/2, 1/4 or 1/8 from the lower frequencies of its blocks alone, which
//! takes a fraction of the memory. What is lost are frequencies that a view's resizing would take
//! out anyway, as long as the reduced crop is still [`SPARE`] times as large as the view. The time
//! is hardly less with the decoder at hand, so that it is off unless asked for.

use image::metadata::Orientation;
use schemas::IngestSettings;

use crate::view;

/// How many times larger than the view a reduced crop must still be, in width and in height. At 2 a
/// view's values differ from those of the whole picture by less than one level of 256 on average,
/// at 1 by up to 2.5; `examples/jpeg.rs` measures it.
pub(super) const SPARE: u32 = 2;

/// A decoded picture's pixels, seen from the whole picture: each covers `scale`×`scale` of its
/// pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduced {
    /// 1, 2, 4 or 8.
    pub scale: u32,
    /// How many of the whole picture's pixels the first column reaches beyond its left edge.
    pub left: u32,
    /// The same of the first row and the upper edge.
    pub top: u32,
}

impl Reduced {
    /// A picture decoded whole.
    pub const NOT: Self = Self { scale: 1, left: 0, top: 0 };

    /// Where the pixels of a picture stored with these sides lie once it is turned upright.
    pub(super) fn new(scale: u32, (width, height): (u32, u32), turned: Orientation) -> Self {
        // The last column and row reach beyond the edge where a side is no multiple of the scale.
        let over = |side: u32| side.next_multiple_of(scale) - side;
        let (right, bottom) = (over(width), over(height));
        let (left, top) = match turned {
            Orientation::NoTransforms | Orientation::Rotate90FlipH => (0, 0),
            Orientation::FlipHorizontal => (right, 0),
            Orientation::FlipVertical => (0, bottom),
            Orientation::Rotate180 => (right, bottom),
            Orientation::Rotate90 => (bottom, 0),
            Orientation::Rotate270 => (0, right),
            Orientation::Rotate270FlipH => (bottom, right),
        };
        Self { scale, left, top }
    }
}

/// The largest reduction that serves every view of a picture; it follows from the picture's size
/// and crops alone.
pub(super) fn choose(content_hash: &[u8; 32], size: (u32, u32), settings: &IngestSettings) -> u32 {
    let need = settings.layout.size.saturating_mul(SPARE);
    // Most pictures are too small for any crop to be large enough.
    if !settings.scaled_decode || size.0.min(size.1) / 2 < need {
        return 1;
    }
    let least = (0..settings.views)
        .map(|view| view::crop(settings, content_hash, view, size))
        .map(|crop| crop.width.min(crop.height))
        .min()
        .unwrap_or(0);
    [8, 4, 2].into_iter().find(|scale| least / scale >= need).unwrap_or(1)
}
