//! A picture of the stream, as whoever takes it has it.

use archives::Passed;
use bytes::Bytes;
use pictures::Reserved;
use schemas::{Fault, Place};

use super::label::{Label, class_fault};
use super::{Body, too_large};
use crate::IngestError;
use crate::classes::Classes;

/// One picture of the stream.
#[derive(Debug)]
pub(crate) struct Item {
    /// The text of the `source` column.
    pub name: String,
    /// The class, if the source tells one.
    pub label: Label,
    pub body: Body,
    /// What archives passed over between the picture before and this one.
    pub passed: Passed,
    /// Where the stream goes on after it.
    pub after: Place,
    /// How much of the listing, in [`Listed::weight`]s, lies before that place.
    pub done: u64,
    /// Its part of [`AHEAD`], for as long as nobody took it from the stream.
    pub _turn: Option<Reserved>,
}

impl Item {
    /// A picture that is here, or can't be had, unless its file has more bytes than `most`.
    pub fn here(
        name: String,
        label: Option<String>,
        body: Result<Bytes, Fault>,
        most: u64,
        after: Place,
    ) -> Self {
        let bytes = body.as_ref().map_or(0, |body| body.len() as u64);
        let body = if bytes > most { Err(too_large(bytes, most)) } else { body };
        let body = Body::Here { body, bytes, taken: None };
        let label = Label::Known(label);
        Self { name, label, body, passed: Passed::default(), after, done: 0, _turn: None }
    }

    /// Its name, its class, and its body, which is a fault where there can be no picture of that
    /// class; waits for the class if need be.
    ///
    /// # Errors
    /// [`IngestError`] where it is not this picture that is at fault, but its source.
    pub fn labelled(
        self,
        classes: Option<&Classes>,
    ) -> Result<(String, Option<String>, Body), IngestError> {
        let Self { name, label, body, .. } = self;
        let (label, fault) = match label.load()? {
            Ok(label) => {
                let fault = class_fault(classes, label.as_deref());
                (label, fault)
            }
            Err(fault) => (None, Some(fault)),
        };
        let body = match fault {
            Some(fault) => Body::Here { bytes: body.bytes(), body: Err(fault), taken: None },
            None => body,
        };
        Ok((name, label, body))
    }
}
