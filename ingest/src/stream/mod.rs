//! The listing as one long stream of pictures, from any place in it.
//!
//! A thread of its own goes through the listing: loose local files are named only, and read by
//! whoever works on them; remote ones are fetched ahead, several at once; archives are read here,
//! one member after the other. The stream runs ahead of those who take from it by a bounded number
//! of pictures, and of bytes.

mod fetch;
mod label;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use crossbeam_channel::Sender;
use schemas::{Place, Reason};
use storage::{Address, Storage, StorageError};

use crate::IngestError;
use crate::classes::Classes;
use crate::container::addresses::{self, Entry, Form};
use crate::container::{self, ContainerError, Cursor, Limits, Passed};
use crate::picture::{Fault, MemoryBudget, Reserved};
use crate::source::{self, Listed, Listing, Stored};
use fetch::{Coming, Fetcher};
use label::Label;

/// Pictures that the stream is ahead at most.
const AHEAD: u64 = 256;
/// The same with those that are fetched from the web, of which some take long to come, or not to.
pub(crate) const AHEAD_ON_THE_WEB: usize = 4096;

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

/// Why there can be no picture of this class.
fn class_fault(classes: Option<&Classes>, label: Option<&str>) -> Option<Fault> {
    let classes = classes?;
    let label = label.filter(|label| !classes.has(label))?;
    let message = format!("class `{label}` is none of --classes");
    Some(Fault { reason: Reason::UnknownClass, message })
}

/// How the bytes of a picture are had.
#[derive(Debug)]
pub(crate) enum Body {
    /// They are still to be read; the file belongs to the source at `root`.
    File { path: PathBuf, root: Address, bytes: u64, taken: Option<Reserved> },
    /// They are here, or can't be had; `bytes` is the size of what they come from.
    Here { body: Result<Bytes, Fault>, bytes: u64, taken: Option<Reserved> },
    /// They are on their way.
    Coming { body: Coming, bytes: u64 },
}

/// The bytes of a picture, or why there are none.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub body: Result<Bytes, Fault>,
    /// Its size, whether it could be had or not.
    pub bytes: u64,
    /// What its bytes take of the room for those on their way, to be held as long as they are.
    pub taken: Option<Reserved>,
}

impl Body {
    /// Bytes of what it comes from, as far as they are known.
    fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } | Self::Here { bytes, .. } | Self::Coming { bytes, .. } => {
                *bytes
            }
        }
    }

    /// The bytes; waits for them if need be. Those of a file of more than `most` are not read.
    ///
    /// # Errors
    /// [`IngestError`] where it is not this picture that is at fault, but its source.
    pub fn load(self, most: u64) -> Result<Loaded, IngestError> {
        match self {
            Self::File { path, root, bytes, taken } => {
                let body = match read_file(&path, most) {
                    Ok(body) => body,
                    Err(error) => {
                        if root.local().is_some_and(|root| !root.exists()) {
                            let lost = path.display().to_string();
                            return Err(IngestError::Vanished { at: root.into(), lost });
                        }
                        Err(Fault { reason: Reason::Unreadable, message: error.to_string() })
                    }
                };
                Ok(Loaded { body, bytes, taken })
            }
            Self::Here { body, bytes, taken } => Ok(Loaded { body, bytes, taken }),
            Self::Coming { body, bytes } => {
                let (body, taken) = body.wait(most)?;
                let bytes = body.as_ref().map_or(bytes, |body| body.len() as u64);
                Ok(Loaded { body, bytes, taken })
            }
        }
    }
}

fn read_file(path: &Path, most: u64) -> io::Result<Result<Bytes, Fault>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > most {
        return Ok(Err(too_large(size, most)));
    }
    let mut bytes = Vec::new();
    bytes.reserve_exact(usize::try_from(size).unwrap_or(0));
    // A file that grows while it is read may be larger by now.
    file.by_ref().take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    let read = bytes.len() as u64;
    Ok(if read > most {
        Err(too_large(file.metadata()?.len().max(read), most))
    } else {
        Ok(bytes.into())
    })
}

fn too_large(bytes: u64, most: u64) -> Fault {
    let message = format!("{bytes} bytes, where a picture may have {most} at most (--max-bytes)");
    Fault { reason: Reason::TooLarge, message }
}

fn private(error: &io::Error) -> Option<web::Private> {
    match error.get_ref()?.downcast_ref()? {
        StorageError::Private { source, .. } => Some(*source),
        _ => None,
    }
}

fn is_of_a_bucket(at: &Address) -> bool {
    at.local().is_none() && !at.is_web()
}

/// Where an archive or a list is read from.
fn cursor(from: Place) -> Cursor {
    Cursor { members: from.members, offset: from.offset, skip: from.skip }
}

/// A place in an archive or a list.
fn place(unit: u64, next: Cursor) -> Place {
    Place { unit, members: next.members, offset: next.offset, skip: next.skip }
}

/// Room for so many bytes; what asks for more than there is in all has it to itself.
fn take(room: &MemoryBudget, bytes: u64) -> Option<Reserved> {
    room.acquire(bytes.min(room.limit()))
}

/// What a stream is made from.
pub(crate) struct Feed<'a> {
    pub storage: &'a Storage,
    pub web: &'a web::Options,
    pub listing: &'a Listing,
    /// Bounds the bytes that are held for pictures not yet taken.
    pub room: &'a MemoryBudget,
    pub limits: &'a Limits,
    /// Set when nobody wants more.
    pub over: &'a AtomicBool,
}

/// Nobody takes from the stream any more.
struct Gone;

type Sent = Result<(), Gone>;

impl Feed<'_> {
    /// Sends the pictures from `start` on, in order; an error is the last. Ends when nobody takes
    /// any more. What archives passed over behind the last picture is given back.
    pub fn run(&self, start: Place, items: &Sender<Result<Item, IngestError>>) -> Passed {
        std::thread::scope(|scope| {
            let fetcher = Fetcher::new(scope, self);
            let turns = MemoryBudget::new(AHEAD);
            let done = self.listing.weight_before(start.unit);
            let mut way = Way { feed: self, items, turns, done, passed: Passed::default() };
            // Whoever took is gone: there is nobody to tell.
            let _ = way.go(start, fetcher);
            way.passed
        })
    }
}

/// The stream on its way through the listing.
struct Way<'a> {
    feed: &'a Feed<'a>,
    items: &'a Sender<Result<Item, IngestError>>,
    /// How many pictures that are not fetched from the web may be ahead.
    turns: MemoryBudget,
    /// How much of the listing lies before this unit.
    done: u64,
    /// What archives passed over since the last picture.
    passed: Passed,
}

impl Way<'_> {
    fn go(&mut self, start: Place, mut fetcher: Fetcher<'_, '_>) -> Sent {
        let Feed { listing, .. } = *self.feed;
        let loose = listing.loose.len() as u64;
        for unit in start.unit..loose {
            let listed = &listing.loose[unit as usize];
            self.done += listed.weight();
            self.loose(unit, listed, &mut fetcher)?;
        }
        for unit in start.unit.max(loose)..loose + listing.archives.len() as u64 {
            let listed = &listing.archives[(unit - loose) as usize];
            let from = match unit == start.unit {
                true => start,
                false => Place { unit, ..Place::default() },
            };
            match listed.list() {
                Some(form) => self.list(listed, form, from, &mut fetcher)?,
                None => self.archive(listed, from)?,
            }
            self.done += listed.weight();
        }
        Ok(())
    }

    fn send(&mut self, mut item: Result<Item, IngestError>) -> Sent {
        if let Ok(item) = &mut item {
            item.passed = std::mem::take(&mut self.passed);
            if let Label::Known(label) = &item.label
                && let Some(fault) = self.class_fault(label.as_deref())
            {
                let bytes = item.body.bytes();
                item.body = Body::Here { body: Err(fault), bytes, taken: None };
            }
            if !matches!(item.body, Body::Coming { body: Coming::Web(_), .. }) {
                item._turn = take(&self.turns, 1);
            }
        }
        if self.feed.over.load(Ordering::Relaxed) {
            return Err(Gone);
        }
        self.items.send(item).map_err(|_| Gone)
    }

    /// Why there can be no picture of this class.
    fn class_fault(&self, label: Option<&str>) -> Option<Fault> {
        class_fault(self.feed.limits.classes.as_ref(), label)
    }

    fn loose(&mut self, unit: u64, listed: &Listed, fetcher: &mut Fetcher<'_, '_>) -> Sent {
        let Feed { listing, .. } = *self.feed;
        let most = self.feed.limits.member_bytes;
        let at = listing.address(listed);
        let bytes = listed.bytes;
        let here = |fault| Body::Here { body: Err(fault), bytes, taken: None };
        let label = listing.label(listed);
        let beside = listing.beside(listed);
        let body = if let Some(fault) = listed.fault() {
            here(fault.clone())
        } else if let Some(fault) = self.class_fault(label.as_deref())
            && beside.is_empty()
        {
            // It need not be fetched.
            here(fault)
        } else if let Some(path) = at.local() {
            self.file(path, listing.root(listed), bytes)
        } else if bytes > most {
            here(too_large(bytes, most))
        } else {
            match fetcher.fetch(at, bytes, beside.len()) {
                Ok(body) => Body::Coming { body, bytes },
                Err(error) => return self.send(Err(error)),
            }
        };
        let label = match beside.is_empty() || matches!(body, Body::Here { .. }) {
            true => Label::Known(label),
            false => Label::beside(beside, label, listing.root(listed), fetcher),
        };
        self.send(Ok(Item {
            name: listing.name(listed),
            label,
            body,
            passed: Passed::default(),
            after: Place { unit: unit + 1, ..Place::default() },
            done: self.done,
            _turn: None,
        }))
    }

    /// A local file, which takes its room; what is too large by its size is not read.
    fn file(&self, path: &Path, root: &Address, bytes: u64) -> Body {
        let Feed { room, limits, .. } = *self.feed;
        let taken = if bytes > limits.member_bytes { None } else { take(room, bytes) };
        Body::File { path: path.to_owned(), root: root.clone(), bytes, taken }
    }

    fn archive(&mut self, listed: &Listed, from: Place) -> Sent {
        let Feed { storage, listing, .. } = *self.feed;
        let Some(kind) = listed.kind() else { return Ok(()) };
        let at = listing.address(listed);
        let archive = listing.name(listed);
        let origin = Stored { storage: storage.clone(), at: at.clone(), bytes: listed.bytes };
        let mut members =
            match container::open(kind, Arc::new(origin), cursor(from), self.feed.limits) {
                Ok(members) => members,
                Err(error) => return self.archive_fault(listed, &at, from.unit, error),
            };
        let mut read = 0;
        while let Some(member) = members.next() {
            self.passed.merge(members.passed());
            let container::Member { name, label, body, next } = match member {
                Ok(member) => member,
                Err(error) => return self.archive_fault(listed, &at, from.unit, error),
            };
            let bytes = body.as_ref().map_or(0, |body| body.len() as u64);
            read += bytes;
            // Of these two the place is no byte.
            let by_number = matches!(kind, container::Kind::Parquet | container::Kind::Zip);
            let offset = if by_number { 0 } else { next.offset };
            let taken = take(self.feed.room, bytes);
            self.send(Ok(Item {
                name: format!("{archive}/{name}"),
                label: Label::Known(label),
                body: Body::Here { body, bytes, taken },
                passed: Passed::default(),
                after: place(from.unit, next),
                done: self.done + read.max(offset).min(listed.bytes),
                _turn: None,
            }))?;
        }
        self.passed.merge(members.passed());
        Ok(())
    }

    /// Sends the pictures whose addresses are in a list.
    fn list(
        &mut self,
        listed: &Listed,
        form: &Form,
        from: Place,
        fetcher: &mut Fetcher<'_, '_>,
    ) -> Sent {
        let Feed { storage, listing, limits, .. } = *self.feed;
        let at = listing.address(listed);
        let list = listing.name(listed);
        let origin = Stored { storage: storage.clone(), at: at.clone(), bytes: listed.bytes };
        let entries = match addresses::open(form, Arc::new(origin), cursor(from), limits) {
            Ok(entries) => entries,
            Err(error) => return self.archive_fault(listed, &at, from.unit, error),
        };
        // What an earlier run rejected, its user had named.
        let trusted = self.feed.web.private_addresses || matches!(form, Form::Rejects(..));
        for entry in entries {
            let Entry { rows, name, at: picture, label, next, read } = match entry {
                Ok(entry) => entry,
                Err(error) => return self.archive_fault(listed, &at, from.unit, error),
            };
            let here = |fault, bytes| Body::Here { body: Err(fault), bytes, taken: None };
            let body = match (picture, self.class_fault(label.as_deref())) {
                (Err(fault), _) | (Ok(_), Some(fault)) => here(fault, 0),
                (Ok(picture), None) if is_of_a_bucket(&picture) && !trusted => {
                    here(source::of_a_bucket(), 0)
                }
                (Ok(picture), None) => match picture.local() {
                    Some(path) => {
                        let bytes = path.metadata().map_or(0, |about| about.len());
                        self.file(path, &at, bytes)
                    }
                    None => match fetcher.fetch(picture, 0, 0) {
                        Ok(body) => Body::Coming { body, bytes: 0 },
                        Err(error) => return self.send(Err(error)),
                    },
                },
            };
            self.send(Ok(Item {
                name: name.unwrap_or_else(|| match rows.end - rows.start {
                    1 => format!("{list}/row {}", rows.start),
                    _ => format!("{list}/rows {} to {}", rows.start, rows.end - 1),
                }),
                label: Label::Known(label),
                body,
                passed: Passed::default(),
                after: place(from.unit, next),
                done: self.done + listed.weight_of(read),
                _turn: None,
            }))?;
        }
        Ok(())
    }

    /// An archive that is damaged is one reject, after what could be had of it. One that could not
    /// be read, though it may be sound, ends the run: what is in it would be lost.
    fn archive_fault(
        &mut self,
        listed: &Listed,
        at: &Address,
        unit: u64,
        error: ContainerError,
    ) -> Sent {
        let mut fault = Fault { reason: Reason::UnreadArchive, message: error.to_string() };
        match &error {
            // Its name led elsewhere when it was listed.
            ContainerError::Io { source, .. } if let Some(kind) = private(source) => {
                fault = source::private(kind);
            }
            ContainerError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                let lost = at.to_string();
                let at = self.feed.listing.root(listed).clone();
                return self.send(Err(IngestError::Vanished { at: at.into(), lost }));
            }
            ContainerError::Io { .. } | ContainerError::Cursor { .. } => {
                return self
                    .send(Err(IngestError::Archive { at: at.clone().into(), source: error }));
            }
            _ => {}
        }
        self.send(Ok(Item {
            name: self.feed.listing.name(listed),
            label: Label::Known(None),
            body: Body::Here { body: Err(fault), bytes: listed.bytes, taken: None },
            passed: Passed::default(),
            after: Place { unit: unit + 1, ..Place::default() },
            done: self.done + listed.weight(),
            _turn: None,
        }))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_beyond_what_is_taken_is_not_cut() {
        // It has no bytes when it is looked at, and does not end.
        let endless = Path::new("/dev/zero");
        let fault = read_file(endless, 1000).unwrap().unwrap_err();
        assert_eq!(fault.reason, Reason::TooLarge);
        assert!(fault.message.contains("--max-bytes"), "{}", fault.message);
    }
}
