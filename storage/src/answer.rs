//! What a server answered when it did not do as asked, as a value: `object_store` makes texts of
//! most answers, which can't be told apart.

use std::error::Error;

use object_store::client::{HttpError, HttpErrorKind};

use crate::error::chain;

/// An answer that is an error.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server answered {status}{}{}{body}",
    if *whole { " with the whole object in place of a range" } else { "" },
    if body.is_empty() { "" } else { ": " }
)]
pub(crate) struct Answer {
    status: u16,
    /// Its first bytes.
    body: String,
    /// A whole object in answer to a request for a range.
    whole: bool,
}

impl Answer {
    /// One that says no, with the start of its body.
    pub fn refusal(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), whole: false }
    }

    /// One with everything where a part was asked for.
    pub fn whole(status: u16) -> Self {
        Self { status, body: String::new(), whole: true }
    }

    /// The answer that a library's error came from.
    pub fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        chain(error).find_map(|error| error.downcast_ref())
    }

    /// Whether the same request may be answered otherwise later.
    pub fn passes(&self) -> bool {
        // S3's codes for a request that was cut short or garbled on its way.
        const GARBLED: [&str; 4] =
            ["RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"];
        // Azure's for a state that only its user ends; its other conflicts pass, as those of S3 do.
        const LASTING: [&str; 3] =
            ["BlobArchived", "BlobBeingRehydrated", "BlobImmutableDueToPolicy"];
        let says = |codes: &[&str]| codes.iter().any(|code| self.body.contains(code));
        match self.status {
            400 => says(&GARBLED),
            409 => !says(&LASTING),
            408 | 425 | 429 => true,
            501 | 505 => false,
            status => status >= 500,
        }
    }

    /// Whether nothing is there.
    pub fn is_missing(&self) -> bool {
        self.status == 404
    }

    /// Whether the parts of an upload are not there, or no more. Azure says so of its blocks.
    pub fn is_upload_missing(&self) -> bool {
        self.status == 400 && self.body.contains("InvalidBlockList")
    }

    /// Whether the user may not do that.
    pub fn is_denied(&self) -> bool {
        matches!(self.status, 401 | 403)
    }

    /// Whether an error comes from a server that knows no ranges.
    pub fn is_whole(error: &(dyn Error + 'static)) -> bool {
        Self::behind(error).is_some_and(|answer| answer.whole)
    }

    /// Whether an error says that the object ends before the range.
    pub fn is_beyond(error: &(dyn Error + 'static)) -> bool {
        Self::behind(error).is_some_and(|answer| answer.status == 416)
    }

    /// Whether the server knows no such method here, or it tells nothing.
    pub fn is_method_unknown(&self) -> bool {
        matches!(self.status, 405 | 501)
    }
}

impl From<Answer> for HttpError {
    fn from(answer: Answer) -> Self {
        Self::new(HttpErrorKind::Unknown, answer)
    }
}
