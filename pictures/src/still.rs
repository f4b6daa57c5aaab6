//! PNG, GIF and BMP, through the crate `image`.

use std::borrow::Cow;

use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, Limits};
use schemas::Fault;

use super::guard::Timed;
use super::{Decoded, Job, bmp, canvas, fault};

/// What a decoder may take for itself besides the picture: tables, a row, compressed chunks.
const ROOM: u64 = 32 << 20;

/// The formats that are decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Still {
    Png,
    Gif,
    Bmp,
}

/// Decodes the first frame.
pub(super) fn decode(job: &Job<'_>, format: Still) -> Result<Decoded, Fault> {
    let bytes = match format {
        Still::Bmp => bmp::with_a_known_header(job.bytes),
        _ => Cow::Borrowed(job.bytes),
    };
    let bytes = Timed::new(&bytes, job.deadline);
    let fault = |error: ImageError| match job.deadline.is_past() {
        true => job.deadline.fault(),
        false => fault::of(error),
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(ROOM);
    let mut decoder: Box<dyn ImageDecoder + '_> = match format {
        Still::Png => Box::new(PngDecoder::with_limits(bytes, limits).map_err(fault)?),
        Still::Gif => Box::new(GifDecoder::new(bytes).map_err(fault)?),
        Still::Bmp => Box::new(BmpDecoder::new(bytes).map_err(fault)?),
    };
    let (width, height) = decoder.dimensions();
    let pixels = job.check_sides((width, height))?;
    // The decoder's copy and ours, then RGB, and RGB again while it is turned upright.
    let needed = decoder.total_bytes().saturating_mul(2).saturating_add(6 * pixels);
    let memory = job.reserve(needed.saturating_add(1 << 20))?;

    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(decoder.total_bytes().saturating_mul(2).saturating_add(2 * ROOM));
    decoder.set_limits(limits).map_err(fault)?;
    // A broken EXIF block or profile says nothing about the picture.
    let orientation = match format {
        Still::Png => {
            let exif = decoder.exif_metadata().ok().flatten();
            exif.map_or(Orientation::NoTransforms, |exif| orientation(&exif))
        }
        _ => decoder.orientation().unwrap_or(Orientation::NoTransforms),
    };
    let profile = decoder.icc_profile().ok().flatten();
    let picture = DynamicImage::from_decoder(decoder).map_err(fault)?;
    let rgb = canvas::flatten(picture, profile.as_deref(), job.options.background);
    Ok(Decoded { rgb, orientation, cut_short: false, memory })
}

/// The orientation that an EXIF block tells, with or without the name that JPEG puts before it.
pub(super) fn orientation(exif: &[u8]) -> Orientation {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms)
}
