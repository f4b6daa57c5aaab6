//! Pictures that are given one by one, by their bytes or by where they lie → the stream.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use crossbeam_channel::Sender;
use schemas::{Fault, Place, Reason};
use storage::{Address, Storage};

use super::fetch::{self, Fetcher, Reach};
use super::label::Label;
use super::{Item, read_file};
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
    At(Address),
}

impl Brought {
    /// Whether its bytes are far away.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::At(at) if at.local().is_none())
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
            Self::At(at) => match at.local() {
                Some(path) => Ok(read_file(path, most).unwrap_or_else(|error| {
                    Err(Fault { reason: Reason::Unreadable, message: error.to_string() })
                })),
                None => fetch::read(storage, at, most),
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
        let at = match brought {
            Brought::Here(body) => return Ok(Item::here(name, label, Ok(body), self.most, after)),
            Brought::At(at) => at,
        };
        let folder = at.local().map(|path| Address::from(path.parent().unwrap_or(path)));
        let root = folder.unwrap_or_else(|| at.clone());
        let body = fetcher.body(at, &root)?;
        let (label, passed) = (Label::Known(label), Passed::default());
        Ok(Item { name, label, body, passed, after, done: 0, _turn: None })
    }
}
