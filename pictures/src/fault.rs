//! What the crate `image` has against a file → why it gave no picture.

use image::error::ImageError;
use schemas::{Fault, Reason};

pub(super) fn of(error: ImageError) -> Fault {
    let reason = match &error {
        ImageError::Unsupported(_) => Reason::Unsupported,
        ImageError::Limits(_) => Reason::TooLarge,
        _ => Reason::Corrupt,
    };
    Fault::new(reason, error.to_string())
}
