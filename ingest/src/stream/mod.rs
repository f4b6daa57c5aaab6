//! The listing as one long stream of pictures, from any place in it.
//!
//! A thread of its own goes through the listing: loose local files are named only, and read by
//! whoever works on them; remote ones are fetched ahead, several at once; archives are read here,
//! one member after the other. The stream runs ahead of those who take from it by a bounded number
//! of pictures, and of bytes.

mod fetch;
pub(crate) mod given;
mod item;
mod label;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use archives::{ArchiveError, Cursor, Kind, Limits, Member, Passed};
use bytes::Bytes;
use crossbeam_channel::Sender;
use pictures::{MemoryBudget, Reserved};
use schemas::{Fault, Place, Reason};
use storage::{Address, Storage, StorageError};

use crate::IngestError;
use crate::classes::Classes;
use crate::source::{self, List, Listed, Listing, Row, Stored};
use fetch::{Coming, Fetcher};
pub(crate) use fetch::{FETCHES, Reach};
use given::Named;
pub(crate) use item::Item;
use label::{Label, class_fault};

/// Pictures that the stream is ahead at most.
const AHEAD: u64 = 256;
/// The same with those that are fetched from the web, of which some take long to come, or not to.
pub(crate) const AHEAD_ON_THE_WEB: usize = 4096;

/// What is taken of what the sources hold.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// How much of an archive is held at once, and which of its columns are looked at.
    pub limits: Limits,
    /// The only classes that a picture may have; none allows all.
    pub classes: Option<Classes>,
}

/// A picture that was found on the way through the listing.
struct Found {
    name: String,
    label: Label,
    body: Body,
    after: Place,
    done: u64,
}

/// How the bytes of a picture are had.
#[derive(Debug)]
pub(crate) enum Body {
    /// They are still to be read.
    File { path: PathBuf, owner: Owner, bytes: u64, taken: Option<Reserved> },
    /// They are here, or can't be had; `bytes` is the size of what they come from.
    Here { body: Result<Bytes, Fault>, bytes: u64, taken: Option<Reserved> },
    /// They are on their way; an engine may have named them.
    Coming { body: Coming, bytes: u64, named: Option<Named> },
}

/// To whom a local file belongs, by which it is told what it means that it can't be read.
#[derive(Debug)]
pub(crate) enum Owner {
    /// The source that lies there.
    Source(Address),
    /// An engine.
    Engine(Named),
}

impl Owner {
    /// The bytes of its file.
    fn read(&self, path: &Path, most: u64) -> Result<Result<Bytes, Fault>, IngestError> {
        let root = match self {
            Self::Source(root) => root,
            Self::Engine(named) => return named.read(path, most),
        };
        read_file(path, most).or_else(|error| {
            if root.local().is_some_and(|root| !root.exists()) {
                let lost = path.display().to_string();
                return Err(IngestError::Vanished { at: root.clone().into(), lost });
            }
            Ok(Err(Fault { reason: Reason::Unreadable, message: error.to_string() }))
        })
    }
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
            Self::File { path, owner, bytes, taken } => {
                Ok(Loaded { body: owner.read(&path, most)?, bytes, taken })
            }
            Self::Here { body, bytes, taken } => Ok(Loaded { body, bytes, taken }),
            Self::Coming { body, bytes, named } => {
                let (body, taken) = body.wait(most)?;
                let body = match named {
                    Some(named) => named.fetched(body)?,
                    None => body,
                };
                let bytes = body.as_ref().map_or(bytes, |body| body.len() as u64);
                Ok(Loaded { body, bytes, taken })
            }
        }
    }
}

/// The bytes of a file, or why it is not read: it has more than `most`.
pub(crate) fn read_file(path: &Path, most: u64) -> io::Result<Result<Bytes, Fault>> {
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
    pub wanted: &'a Wanted,
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
        let Self { storage, web, room, wanted, .. } = *self;
        let reach = Reach { storage, web, room, most: wanted.limits.member_bytes };
        std::thread::scope(|scope| {
            let fetcher = Fetcher::new(scope, &reach);
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
                Some(list) => self.list(listed, list, from, &mut fetcher)?,
                None => self.archive(listed, from)?,
            }
            self.done += listed.weight();
        }
        Ok(())
    }

    /// Sends a picture, with what was passed over before it, as soon as it may be ahead.
    fn send(&mut self, found: Found) -> Sent {
        let Found { name, label, mut body, after, done } = found;
        if let Label::Known(label) = &label
            && let Some(fault) = self.class_fault(label.as_deref())
        {
            let bytes = body.bytes();
            body = Body::Here { body: Err(fault), bytes, taken: None };
        }
        let passed = std::mem::take(&mut self.passed);
        let is_of_web = matches!(body, Body::Coming { body: Coming::Web(_), .. });
        let turn = if is_of_web { None } else { take(&self.turns, 1) };
        self.give(Ok(Item { name, label, body, passed, after, done, _turn: turn }))
    }

    /// Sends what ends the stream.
    fn fail(&self, error: IngestError) -> Sent {
        self.give(Err(error))
    }

    fn give(&self, item: Result<Item, IngestError>) -> Sent {
        if self.feed.over.load(Ordering::Relaxed) {
            return Err(Gone);
        }
        self.items.send(item).map_err(|_| Gone)
    }

    /// Why there can be no picture of this class.
    fn class_fault(&self, label: Option<&str>) -> Option<Fault> {
        class_fault(self.feed.wanted.classes.as_ref(), label)
    }

    fn loose(&mut self, unit: u64, listed: &Listed, fetcher: &mut Fetcher<'_, '_>) -> Sent {
        let Feed { listing, .. } = *self.feed;
        let most = self.feed.wanted.limits.member_bytes;
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
            fetcher.file(path, listing.root(listed), bytes)
        } else if bytes > most {
            here(too_large(bytes, most))
        } else {
            match fetcher.fetch(at, bytes, beside.len()) {
                Ok(body) => Body::Coming { body, bytes, named: None },
                Err(error) => return self.fail(error),
            }
        };
        let label = match beside.is_empty() || matches!(body, Body::Here { .. }) {
            true => Label::Known(label),
            false => Label::beside(beside, label, listing.root(listed), fetcher),
        };
        self.send(Found {
            name: listing.name(listed),
            label,
            body,
            after: Place { unit: unit + 1, ..Place::default() },
            done: self.done,
        })
    }

    fn archive(&mut self, listed: &Listed, from: Place) -> Sent {
        let Feed { storage, listing, .. } = *self.feed;
        let Some(kind) = listed.kind() else { return Ok(()) };
        let at = listing.address(listed);
        let archive = listing.name(listed);
        let origin = Stored { storage: storage.clone(), at: at.clone(), bytes: listed.bytes };
        let mut members =
            match archives::open(kind, Arc::new(origin), cursor(from), &self.feed.wanted.limits) {
                Ok(members) => members,
                Err(error) => return self.archive_fault(listed, &at, from.unit, error),
            };
        let mut read = 0;
        while let Some(member) = members.next() {
            self.passed.merge(members.passed());
            let Member { name, label, body, next } = match member {
                Ok(member) => member,
                Err(error) => return self.archive_fault(listed, &at, from.unit, error),
            };
            let bytes = body.as_ref().map_or(0, |body| body.len() as u64);
            read += bytes;
            // Of these two the place is no byte.
            let by_number = matches!(kind, Kind::Parquet | Kind::Zip);
            let offset = if by_number { 0 } else { next.offset };
            let taken = take(self.feed.room, bytes);
            self.send(Found {
                name: format!("{archive}/{name}"),
                label: Label::Known(label),
                body: Body::Here { body, bytes, taken },
                after: place(from.unit, next),
                done: self.done + read.max(offset).min(listed.bytes),
            })?;
        }
        self.passed.merge(members.passed());
        Ok(())
    }

    /// Sends the pictures whose addresses are in a list.
    fn list(
        &mut self,
        listed: &Listed,
        list: &List,
        from: Place,
        fetcher: &mut Fetcher<'_, '_>,
    ) -> Sent {
        let Feed { storage, listing, wanted, .. } = *self.feed;
        let at = listing.address(listed);
        let named = listing.name(listed);
        let origin = Stored { storage: storage.clone(), at: at.clone(), bytes: listed.bytes };
        let rows = match list.rows(Arc::new(origin), cursor(from), &wanted.limits) {
            Ok(rows) => rows,
            Err(error) => return self.archive_fault(listed, &at, from.unit, error),
        };
        // What an earlier run rejected, its user had named.
        let trusted = self.feed.web.private_addresses || list.is_of_rejects();
        for row in rows {
            let Row { rows, name, at: picture, label, next, read } = match row {
                Ok(row) => row,
                Err(error) => return self.archive_fault(listed, &at, from.unit, error),
            };
            let here = |fault, bytes| Body::Here { body: Err(fault), bytes, taken: None };
            let body = match (picture, self.class_fault(label.as_deref())) {
                (Err(fault), _) | (Ok(_), Some(fault)) => here(fault, 0),
                (Ok(picture), None) if is_of_a_bucket(&picture) && !trusted => {
                    here(source::of_a_bucket(), 0)
                }
                (Ok(picture), None) => match fetcher.body(picture, &at) {
                    Ok(body) => body,
                    Err(error) => return self.fail(error),
                },
            };
            self.send(Found {
                name: name.unwrap_or_else(|| match rows.end - rows.start {
                    1 => format!("{named}/row {}", rows.start),
                    _ => format!("{named}/rows {} to {}", rows.start, rows.end - 1),
                }),
                label: Label::Known(label),
                body,
                after: place(from.unit, next),
                done: self.done + listed.weight_of(read),
            })?;
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
        error: ArchiveError,
    ) -> Sent {
        let mut fault = Fault { reason: Reason::UnreadArchive, message: error.to_string() };
        match &error {
            // Its name led elsewhere when it was listed.
            ArchiveError::Io { source, .. } if let Some(kind) = private(source) => {
                fault = source::private(kind);
            }
            ArchiveError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                let lost = at.to_string();
                let at = self.feed.listing.root(listed).clone();
                return self.fail(IngestError::Vanished { at: at.into(), lost });
            }
            ArchiveError::Io { .. } | ArchiveError::Cursor { .. } => {
                return self.fail(IngestError::Archive { at: at.clone().into(), source: error });
            }
            _ => {}
        }
        self.send(Found {
            name: self.feed.listing.name(listed),
            label: Label::Known(None),
            body: Body::Here { body: Err(fault), bytes: listed.bytes, taken: None },
            after: Place { unit: unit + 1, ..Place::default() },
            done: self.done + listed.weight(),
        })
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
