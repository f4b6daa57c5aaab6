//! A run's settings → what is asked of a picture, and how one file is decoded by them.

use std::path::Path;

use pictures::{DecodeOptions, Picture};
use schemas::{Fault, IngestSettings, Reason};

use crate::stream::read_file;

/// What a run with these settings asks of a picture.
pub fn options(settings: &IngestSettings) -> DecodeOptions {
    DecodeOptions {
        min_side: settings.min_side,
        max_pixels: settings.max_pixels,
        max_bytes: settings.max_bytes,
        max_aspect: settings.max_aspect,
        one_colour: settings.one_colour,
        min_decoded: settings.min_decoded,
        strict: settings.strict,
        background: settings.background,
    }
}

/// Reads and decodes the file at `path` as a run with these settings would, without limits of memory.
///
/// # Errors
/// The [`Fault`] of the file; no content makes this panic.
pub fn read(path: &Path, settings: &IngestSettings) -> Result<Picture, Fault> {
    let options = options(settings);
    let bytes = read_file(path, options.most_bytes())
        .map_err(|error| Fault::new(Reason::Unreadable, error.to_string()))??;
    pictures::decode(&bytes, &options)
}
