//! Tar → its files, and those → members by WebDataset's convention.

mod header;
mod sample;

pub(super) use header::is_header;

use std::collections::VecDeque;

use bytes::Bytes;

use self::header::{File, Files, Link};
use self::sample::{Companion, Sample};
use super::stream::Stream;
use super::{ContainerError, Cursor, Limits, Member, fault, sniff, too_large};
use crate::picture::Fault;
use schemas::Reason;

/// Companions with a label are not longer than this; a longer one is passed over.
const COMPANION: u64 = 1 << 20;

/// The members of a tar from `from` on.
pub(super) fn members(
    stream: Stream,
    from: Cursor,
    limits: &Limits,
) -> impl Iterator<Item = Result<Member, ContainerError>> + use<> {
    Tar {
        files: Files::new(stream),
        limits: limits.clone(),
        sample: None,
        resume: Resume { offset: from.offset, members: from.members - from.skip },
        members: from.members - from.skip,
        skip: from.skip,
        ready: VecDeque::new(),
        end: None,
    }
}

/// A place at which another reader can begin: before a sample, where inflating can begin too.
#[derive(Clone, Copy)]
pub(super) struct Resume {
    pub(super) offset: u64,
    pub(super) members: u64,
}

impl Resume {
    /// The cursor after `members` members.
    pub(super) fn cursor(self, members: u64) -> Cursor {
        Cursor { members, offset: self.offset, skip: members - self.members }
    }
}

struct Tar {
    files: Files,
    limits: Limits,
    /// The sample whose files are being read.
    sample: Option<Sample>,
    /// The last place at or before the sample's first file.
    resume: Resume,
    /// Members before the sample.
    members: u64,
    /// Members that the caller has already.
    skip: u64,
    ready: VecDeque<Member>,
    /// What comes after `ready`: an error, or nothing.
    end: Option<Option<ContainerError>>,
}

impl Iterator for Tar {
    type Item = Result<Member, ContainerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(member) = self.ready.pop_front() {
                return Some(Ok(member));
            }
            if let Some(end) = &mut self.end {
                return end.take().map(Err);
            }
            if let Err(end) = self.read() {
                self.close(self.files.resume_point());
                self.end = Some(end);
            }
        }
    }
}

impl Tar {
    /// Reads one file. The error is the end: of the archive, or an error.
    fn read(&mut self) -> Result<(), Option<ContainerError>> {
        let file = self.files.next()?.ok_or(None)?;
        if file.is_hidden() {
            return self.files.skip_body(&file).map_err(Some);
        }
        let belongs = self.sample.as_ref().is_some_and(|sample| {
            sample.key() == file.key() && sample.has_room(file.bytes, self.limits.member_bytes)
        });
        if !belongs {
            self.close(file.resume_point);
            self.sample = Some(Sample::new(file.key()));
        }
        let found = self.load(&file).map_err(Some)?;
        let Some(sample) = &mut self.sample else { return Ok(()) };
        match found {
            Found::Picture(body) => sample.add_picture(file.name, body),
            Found::Other(body) => sample.add_other(file.name, body),
            Found::Companion(companion, bytes) => {
                sample.add_companion(file.name, companion, &bytes)
            }
            Found::Nothing => sample.add_nothing(),
        }
        Ok(())
    }

    fn load(&mut self, file: &File) -> Result<Found, ContainerError> {
        let named = sample::is_picture_name(&file.name);
        if let Some(link) = file.link {
            self.files.skip_body(file)?;
            return Ok(if named { Found::Picture(Err(linked(link))) } else { Found::Nothing });
        }
        if let Some(companion) = sample::companion(&file.name) {
            return Ok(if companion == Companion::Other || file.bytes > COMPANION {
                self.files.skip_body(file)?;
                Found::Nothing
            } else {
                Found::Companion(companion, self.files.body(file)?)
            });
        }
        let body = if file.is_sparse {
            self.files.skip_body(file)?;
            let message = "a sparse file of the tar, which is not read; write it as a plain one";
            Err(fault(Reason::Unsupported, message))
        } else if file.bytes > self.limits.member_bytes {
            self.files.skip_body(file)?;
            Err(too_large(file.bytes, &self.limits))
        } else {
            Ok(Bytes::from(self.files.body(file)?))
        };
        let is_picture = named || body.as_ref().is_ok_and(|bytes| sniff::is_picture(bytes));
        Ok(if is_picture { Found::Picture(body) } else { Found::Other(body) })
    }

    /// Makes members of the sample, behind which reading goes on at `next` if it can.
    fn close(&mut self, next: Option<u64>) {
        let Some(sample) = self.sample.take() else {
            // Files that belong to no sample lie before this place, hidden ones say.
            if let Some(offset) = next {
                self.resume = Resume { offset, members: self.members };
            }
            return;
        };
        let found = sample.members();
        let count = found.len() as u64;
        for (index, ((name, body), own_label)) in found.into_iter().enumerate() {
            let before = self.members + index as u64 + 1;
            let cursor = match next {
                Some(offset) if index as u64 + 1 == count => {
                    Cursor { members: before, offset, skip: 0 }
                }
                _ => self.resume.cursor(before),
            };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let label = own_label.or_else(|| sample::folder(&name));
            self.ready.push_back(Member { name, label, body, next: cursor });
        }
        self.members += count;
        if let Some(offset) = next {
            self.resume = Resume { offset, members: self.members };
        }
    }
}

fn linked(link: Link) -> Fault {
    let message = match link {
        Link::Hard => {
            "a hard link of the tar, which is not followed; write it with `--hard-dereference`"
        }
        Link::Symbolic => {
            "a symbolic link of the tar, which is not followed; write it with `--dereference`"
        }
    };
    fault(Reason::Unsupported, message)
}

/// What a file of the archive is.
enum Found {
    Picture(Result<Bytes, Fault>),
    /// A picture only if nothing else of its sample is one, so that it does not vanish.
    Other(Result<Bytes, Fault>),
    Companion(Companion, Vec<u8>),
    Nothing,
}
