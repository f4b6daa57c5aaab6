//! Why bytes gave no picture.

use image::error::ImageError;
use schemas::Reason;

/// Why a file gave no picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The stable code.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

impl Fault {
    /// A fault of this reason, told in a sentence.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(super) fn corrupt(error: impl std::fmt::Display) -> Self {
        Self::new(Reason::Corrupt, error.to_string())
    }
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        let reason = match &error {
            ImageError::Unsupported(_) => Reason::Unsupported,
            ImageError::Limits(_) => Reason::TooLarge,
            _ => Reason::Corrupt,
        };
        Self::new(reason, error.to_string())
    }
}
