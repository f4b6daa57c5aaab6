//! The files of an archive → members by WebDataset's convention.

mod sample;

use std::collections::VecDeque;

use bytes::Bytes;
use schemas::Fault;

use self::sample::Sample;
use super::{ArchiveError, Cursor, Limits, Member, Reader, too_large};
pub use sample::{Companion, companion};
pub(super) use sample::{key, whole_number};

/// A regular file or a link of an archive.
pub(super) struct File {
    /// The path, without `./` before it.
    pub(super) name: String,
    pub(super) bytes: u64,
    /// It is a name for what another file, of the archive or elsewhere, holds.
    pub(super) is_link: bool,
    /// Why its bytes can't be had.
    pub(super) fault: Option<Fault>,
    /// Where it begins, if a reader can begin there.
    pub(super) resume_point: Option<u64>,
}

impl File {
    fn key(&self) -> &str {
        key(&self.name)
    }

    /// Whether a part of the path begins with a dot.
    pub(super) fn is_hidden(&self) -> bool {
        self.name.split('/').any(|part| part.starts_with('.') && part != "." && part != "..")
    }
}

/// The files of an archive. After each, its body must be taken or passed over.
pub(super) trait Files {
    /// The next file or link; none at the end.
    fn next(&mut self) -> Result<Option<File>, ArchiveError>;

    /// Where the file begins that was read last or could not be read.
    fn resume_point(&self) -> Option<u64>;

    /// The body of `file`, which the caller found to be within the limits.
    fn body(&mut self, file: &File) -> Result<Result<Vec<u8>, Fault>, ArchiveError>;

    fn skip_body(&mut self, file: &File) -> Result<(), ArchiveError>;
}

/// Companions with a label are not longer than this; a longer one is passed over.
pub const COMPANION: u64 = 1 << 20;

/// The members of an archive of files, of which the first lies at `from`.
pub(super) fn members<F: Files + Send>(files: F, from: Cursor, limits: &Limits) -> Samples<F> {
    Samples {
        files,
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

pub(super) struct Samples<F> {
    files: F,
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
    end: Option<Option<ArchiveError>>,
}

impl<F: Files + Send> Reader for Samples<F> {}

impl<F: Files> Iterator for Samples<F> {
    type Item = Result<Member, ArchiveError>;

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

impl<F: Files> Samples<F> {
    /// Reads one file. The error is the end: of the archive, or an error.
    fn read(&mut self) -> Result<(), Option<ArchiveError>> {
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

    fn load(&mut self, file: &File) -> Result<Found, ArchiveError> {
        let named = sample::is_picture_name(&file.name);
        let companion = companion(&file.name);
        let body = if let Some(fault) = &file.fault {
            self.files.skip_body(file)?;
            if file.is_link && !named {
                return Ok(Found::Nothing);
            }
            Err(fault.clone())
        } else if companion == Some(Companion::Other)
            || companion.is_some() && file.bytes > COMPANION
        {
            self.files.skip_body(file)?;
            return Ok(Found::Nothing);
        } else if file.bytes > self.limits.member_bytes {
            self.files.skip_body(file)?;
            Err(too_large(file.bytes, &self.limits))
        } else {
            self.files.body(file)?
        };
        if let Some(companion) = companion {
            return Ok(body.map_or(Found::Nothing, |bytes| Found::Companion(companion, bytes)));
        }
        let body = body.map(Bytes::from);
        let is_picture = named || body.as_ref().is_ok_and(|bytes| formats::is_picture(bytes));
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

/// What a file of the archive is.
enum Found {
    Picture(Result<Bytes, Fault>),
    /// A picture only if nothing else of its sample is one, so that it does not vanish.
    Other(Result<Bytes, Fault>),
    Companion(Companion, Vec<u8>),
    Nothing,
}
