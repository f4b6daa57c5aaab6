//! A picture that did not become rows, and why: one JSON line of `rejects.jsonl`.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// Why a picture was rejected. The codes are stable: programs may match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The file could not be read.
    Unreadable,
    /// An address of a list that is one of a private network, or leads to one.
    PrivateAddress,
    /// The server forbids to collect it, by its field `X-Robots-Tag`.
    Disallowed,
    /// The file has no bytes.
    Empty,
    /// The bytes are no picture of any known format (a web page saved as `.jpg`, say).
    NotAPicture,
    /// A picture of a known format, in a variant that the decoder does not know.
    Unsupported,
    /// The decoder found the data broken, or less of it there than the least share that was asked for.
    Corrupt,
    /// A side is shorter than the least that was asked for.
    TooSmall,
    /// More pixels than were allowed, more bytes than so many could need, or more memory to decode
    /// than there is; found from the header, before any was decoded.
    TooLarge,
    /// The longer side is more times the shorter than was allowed.
    BadAspect,
    /// Nearly every pixel has the same colour.
    OneColour,
    /// The class is none of those that there may be.
    UnknownClass,
    /// No picture, but an archive that can't be read, or from some place on: the pictures in it, or
    /// behind that place, are lost.
    UnreadArchive,
    /// No picture, but the label of one that does not stand beside it in its archive.
    StrayLabel,
    /// No picture, but a row of a list of addresses that has none, or none that can be fetched.
    NoAddress,
    /// The bytes are those of another picture.
    Duplicate,
    /// The picture looks like another one.
    NearDuplicate,
    /// Decoding took longer, or would take more work, than a picture may.
    OverTime,
    /// The decoder panicked; the picture is at fault, or the decoder.
    DecoderPanic,
}

impl Reason {
    /// The code as it stands in `rejects.jsonl`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::PrivateAddress => "private_address",
            Self::Disallowed => "disallowed",
            Self::Empty => "empty",
            Self::NotAPicture => "not_a_picture",
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
            Self::TooSmall => "too_small",
            Self::TooLarge => "too_large",
            Self::BadAspect => "bad_aspect",
            Self::OneColour => "one_colour",
            Self::UnknownClass => "unknown_class",
            Self::UnreadArchive => "unread_archive",
            Self::StrayLabel => "stray_label",
            Self::NoAddress => "no_address",
            Self::Duplicate => "duplicate",
            Self::NearDuplicate => "near_duplicate",
            Self::OverTime => "over_time",
            Self::DecoderPanic => "decoder_panic",
        }
    }

    /// Whether the bytes could not be had, so that it may be another time.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Unreadable)
    }
}

/// Why something gave no picture: what a [`Reject`] says of it.
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

    /// That the data is broken, in the words of who found it.
    pub fn corrupt(error: impl Display) -> Self {
        Self::new(Reason::Corrupt, error.to_string())
    }
}

/// One line of `rejects.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Where the picture lies, as in the shards' `source` column.
    pub source: String,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// The stable code.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
    /// The class, where the reason [may pass](Reason::may_pass) and the source tells one: who tries
    /// the picture anew has nothing else to know it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_what_serde_writes() {
        for reason in [
            Reason::Unreadable,
            Reason::PrivateAddress,
            Reason::Disallowed,
            Reason::Empty,
            Reason::NotAPicture,
            Reason::Unsupported,
            Reason::Corrupt,
            Reason::TooSmall,
            Reason::TooLarge,
            Reason::BadAspect,
            Reason::OneColour,
            Reason::UnknownClass,
            Reason::UnreadArchive,
            Reason::StrayLabel,
            Reason::NoAddress,
            Reason::Duplicate,
            Reason::NearDuplicate,
            Reason::OverTime,
            Reason::DecoderPanic,
        ] {
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.code()));
        }
    }
}
