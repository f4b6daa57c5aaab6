//! Pictures that are given one by one, by their bytes or by where they lie → the stream.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use crossbeam_channel::Sender;
use schemas::{Fault, Place, Reason};
use storage::{Address, Storage};

use super::fetch::{self, Fetcher, Reach};
use super::label::Label;
use super::{Body, Item, Owner, read_file};
use crate::IngestError;
use archives::Passed;

/// A picture that an engine brings.
#[derive(Debug, Clone)]
pub struct Given {
    /// The text of the `source` column, by which the picture is known: no two have the same.
    pub name: String,
    /// Its class, if it has one.
    pub label: Option<String>,
    /// Its file.
    pub file: Brought,
    /// The picture that has the same bytes and comes before it, if the engine found one.
    pub twin: Option<String>,
}

/// The file of a picture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Brought {
    /// Its bytes.
    Here(Bytes),
    /// Where it lies: in a folder that all processes see, or in a bucket.
    At(Named),
}

/// A picture that is named by where it lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Where that is.
    pub at: Address,
    /// Whether one of the engine's processes saw it there, so that it is not just a name.
    pub seen: bool,
}

impl Named {
    /// What came of reading it from a folder. It is a reject if there is no such file, as far as
    /// that can be told: a node to whom others' files are missing must not make rejects of them.
    ///
    /// # Errors
    /// [`IngestError::NotSeen`] where this process may be at fault.
    pub(super) fn read(&self, path: &Path, most: u64) -> Result<Result<Bytes, Fault>, IngestError> {
        let is_none = |error: &Error| {
            use ErrorKind::{InvalidFilename, IsADirectory, NotADirectory, NotFound};
            matches!(error.kind(), NotFound | NotADirectory | IsADirectory | InvalidFilename)
        };
        match read_file(path, most) {
            Ok(body) => Ok(body),
            Err(error)
                if !self.seen && is_none(&error) && path.parent().is_some_and(Path::exists) =>
            {
                Ok(Err(Fault { reason: Reason::Unreadable, message: error.to_string() }))
            }
            Err(error) => Err(self.not_seen(error)),
        }
    }

    /// What came of fetching it from a bucket; one that is not there is a reject.
    ///
    /// # Errors
    /// [`IngestError::NotSeen`] if it was there.
    pub(super) fn fetched(
        &self,
        body: Result<Bytes, Fault>,
    ) -> Result<Result<Bytes, Fault>, IngestError> {
        match body {
            Err(Fault { reason: Reason::Unreadable, message }) if self.seen => {
                Err(self.not_seen(Error::new(ErrorKind::NotFound, message)))
            }
            body => Ok(body),
        }
    }

    fn not_seen(&self, source: Error) -> IngestError {
        IngestError::NotSeen { at: self.at.clone().into(), source }
    }
}

impl Brought {
    /// Whether its bytes are far away.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::At(named) if named.at.local().is_none())
    }

    /// Its bytes, or why there are none.
    ///
    /// # Errors
    /// [`IngestError`] where it is not this picture that is at fault, but its store.
    pub(crate) fn read(
        &self,
        storage: &Storage,
        most: u64,
    ) -> Result<Result<Bytes, Fault>, IngestError> {
        match self {
            Self::Here(body) => Ok(Ok(body.clone())),
            Self::At(named) => match named.at.local() {
                Some(path) => named.read(path, most),
                None => named.fetched(fetch::read(storage, &named.at, most)?),
            },
        }
    }
}

impl Reach<'_> {
    /// Sends the pictures, in order, until nobody wants more: remote ones are fetched ahead. They are
    /// the units of the stream from `first` on.
    pub fn send(
        &self,
        given: Vec<Given>,
        first: u64,
        items: &Sender<Result<Item, IngestError>>,
        over: &AtomicBool,
    ) -> Passed {
        std::thread::scope(|scope| {
            let mut fetcher = Fetcher::new(scope, self);
            for (unit, given) in (first + 1..).zip(given) {
                let item = self.item(given, Place { unit, ..Place::default() }, &mut fetcher);
                let failed = item.is_err();
                if over.load(Ordering::Relaxed) || items.send(item).is_err() || failed {
                    break;
                }
            }
        });
        Passed::default()
    }

    fn item(
        &self,
        given: Given,
        after: Place,
        fetcher: &mut Fetcher<'_, '_>,
    ) -> Result<Item, IngestError> {
        let Given { name, label, file: brought, .. } = given;
        let named = match brought {
            Brought::Here(body) => return Ok(Item::here(name, label, Ok(body), self.most, after)),
            Brought::At(named) => named,
        };
        let body = match fetcher.body(named.at.clone(), &named.at)? {
            Body::File { path, bytes, taken, .. } => {
                Body::File { path, owner: Owner::Engine(named), bytes, taken }
            }
            Body::Coming { body, bytes, .. } => Body::Coming { body, bytes, named: Some(named) },
            here @ Body::Here { .. } => here,
        };
        let (label, passed) = (Label::Known(label), Passed::default());
        Ok(Item { name, label, body, passed, after, done: 0, _turn: None })
    }
}
