//! WARC (ISO 28500) → the pictures among its records.
//!
//! Taken are `response` records with HTTP status 200 and `resource` records, if a picture is what
//! they say they hold (`image/…` as the type, or as the one that the crawler found). If they say
//! nothing, or `application/octet-stream`, the first bytes decide. All other records are passed
//! over without being held: pages, other statuses, requests, metadata, and revisits, whose bytes
//! are elsewhere. A record that the crawler cut short (`WARC-Truncated`) is taken as it is.

use bytes::Bytes;

use super::http::{Fields, decoded, status};
use super::stream::Stream;
use super::tar::Resume;
use super::{ContainerError, Cursor, Limits, Member, sniff, too_large};
use crate::picture::Fault;
use schemas::Reason;

/// Most bytes of a record's header, or an HTTP response's.
const HEADER: u64 = 1 << 20;
const WITHIN: &str = "a record";

/// The members of a WARC from `from` on.
pub(super) fn members(
    stream: Stream,
    from: Cursor,
    limits: &Limits,
) -> impl Iterator<Item = Result<Member, ContainerError>> + use<> {
    let members = from.members - from.skip;
    Warc {
        stream,
        limits: limits.clone(),
        resume: Resume { offset: from.offset, members },
        members,
        skip: from.skip,
        end: None,
    }
}

struct Warc {
    stream: Stream,
    limits: Limits,
    /// The last place at which another reader can begin.
    resume: Resume,
    members: u64,
    /// Members that the caller has already.
    skip: u64,
    /// What comes next: an error, or nothing.
    end: Option<Option<ContainerError>>,
}

impl Iterator for Warc {
    type Item = Result<Member, ContainerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(end) = &mut self.end {
                return end.take().map(Err);
            }
            let found = match self.record() {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.end = Some(None);
                    continue;
                }
                Err(error) => {
                    self.end = Some(Some(error));
                    continue;
                }
            };
            // Where the next record begins must be known before this one is given; an error on
            // the way comes after it.
            self.members += u64::from(found.is_some());
            if let Err(error) = self.pass_the_end() {
                self.end = Some(Some(error));
            }
            let Some((name, body)) = found else { continue };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let next = self.resume.cursor(self.members);
            return Some(Ok(Member { name, label: None, body, next }));
        }
    }
}

type Found = (String, Result<Bytes, Fault>);

impl Warc {
    /// Passes over the empty lines behind a record.
    fn pass_the_end(&mut self) -> Result<(), ContainerError> {
        let mut lines = 0;
        loop {
            let next = self.stream.fill()?;
            let blank = next.iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
            lines += next[..blank].iter().filter(|&&byte| byte == b'\n').count();
            let ends = blank < next.len() || next.is_empty();
            self.stream.consume(blank);
            if ends {
                break;
            }
        }
        if lines < 2 {
            let at_end = self.stream.fill()?.is_empty();
            let offset = self.stream.at();
            return Err(if at_end {
                ContainerError::Cut { offset, within: "the end of a record" }
            } else {
                let problem = "no empty lines follow a record".to_owned();
                ContainerError::Damaged { offset, problem }
            });
        }
        if let Some(offset) = self.stream.resume_point()? {
            self.resume = Resume { offset, members: self.members };
        }
        Ok(())
    }

    /// Reads one record; inside is the picture, if it has one. None at the end.
    fn record(&mut self) -> Result<Option<Option<Found>>, ContainerError> {
        let Some((version, _)) = self.stream.line(HEADER, "a record's first line")? else {
            return Ok(None);
        };
        let offset = self.stream.at();
        let damaged = |problem: &str| ContainerError::Damaged { offset, problem: problem.into() };
        if !version.starts_with(b"WARC/") {
            return Err(damaged("no record begins here"));
        }
        let (fields, _) = self.fields(HEADER)?;
        let length = fields.get("content-length").and_then(|length| length.parse().ok());
        let length: u64 = length.ok_or_else(|| damaged("a record does not say how long it is"))?;
        self.stream.check(length, WITHIN)?;
        let body = match fields.get("warc-type") {
            Some("response") => self.response(&fields, length)?,
            Some("resource") => self.resource(&fields, length)?,
            _ => {
                self.stream.skip(length, WITHIN)?;
                None
            }
        };
        let name = fields.get("warc-target-uri").unwrap_or("a record without a target URI");
        let name = name.trim_start_matches('<').trim_end_matches('>').to_owned();
        Ok(Some(body.map(|body| (name, body))))
    }

    /// Header lines up to the empty one, and how many bytes they take.
    fn fields(&mut self, most: u64) -> Result<(Fields, u64), ContainerError> {
        let (mut fields, mut taken) = (Fields::default(), 0);
        loop {
            let Some((line, bytes)) = self.stream.line(most - taken, "a header")? else {
                return Err(ContainerError::Cut { offset: self.stream.at(), within: "a header" });
            };
            taken += bytes;
            if line.is_empty() {
                return Ok((fields, taken));
            }
            // Of the names in it nothing is lost, whatever bytes a crawler wrote.
            fields.push(super::text(&line).as_bytes());
        }
    }

    fn response(
        &mut self,
        record: &Fields,
        length: u64,
    ) -> Result<Option<Result<Bytes, Fault>>, ContainerError> {
        let Some((head, left)) = self.response_head(length)? else { return Ok(None) };
        let said = head.fields.media_type("content-type");
        let found = record.media_type("warc-identified-payload-type");
        if head.status != Some(200) {
            self.stream.skip(left, WITHIN)?;
            return Ok(None);
        }
        let Some(body) = self.picture(said.as_deref(), found.as_deref(), left)? else {
            return Ok(None);
        };
        let body = body.and_then(|bytes| decoded(bytes, &head.fields, &self.limits));
        // Without a word on what it is, only a picture is one.
        let told = [&said, &found].into_iter().flatten().any(|kind| kind.starts_with("image/"));
        let is_picture = body.as_ref().is_ok_and(|bytes| sniff::is_picture(bytes));
        Ok((told || is_picture || body.as_ref().is_err_and(is_too_large)).then_some(body))
    }

    fn resource(
        &mut self,
        record: &Fields,
        length: u64,
    ) -> Result<Option<Result<Bytes, Fault>>, ContainerError> {
        let said = record.media_type("content-type");
        let found = record.media_type("warc-identified-payload-type");
        let told = [&said, &found].into_iter().flatten().any(|kind| kind.starts_with("image/"));
        let body = self.picture(said.as_deref(), found.as_deref(), length)?;
        Ok(body.filter(|body| {
            told || body.as_ref().map_or_else(is_too_large, |bytes| sniff::is_picture(bytes))
        }))
    }

    /// The next `length` bytes as they are stored, if by the types they may be a picture; else
    /// they are passed over.
    fn picture(
        &mut self,
        said: Option<&str>,
        found: Option<&str>,
        length: u64,
    ) -> Result<Option<Result<Bytes, Fault>>, ContainerError> {
        let told = [said, found].into_iter().flatten().any(|kind| kind.starts_with("image/"));
        let untold = matches!(
            said,
            None | Some(
                "" | "application/octet-stream" | "binary/octet-stream" | "unknown/unknown"
            )
        );
        if length > self.limits.member_bytes {
            let is_one = told || untold && sniff::is_picture(self.stream.fill()?);
            self.stream.skip(length, WITHIN)?;
            return Ok(is_one.then(|| Err(too_large(length, &self.limits))));
        }
        if !told && !untold {
            self.stream.skip(length, WITHIN)?;
            return Ok(None);
        }
        Ok(Some(Ok(self.stream.take_body(length, WITHIN)?.into())))
    }

    /// The header of the HTTP response in a record of `length` bytes, and the bytes left of it;
    /// none, and the record passed over, if it has none.
    fn response_head(&mut self, length: u64) -> Result<Option<(Head, u64)>, ContainerError> {
        let mut head = Head::default();
        let mut left = length;
        let mut first = true;
        while left > 0 {
            // A header may be as long as the record, which may be cut short within it.
            let window = left.min(HEADER - (length - left).min(HEADER));
            let Some(line) = self.line_within(window)? else {
                self.stream.skip(left - window, WITHIN)?;
                return Ok(None);
            };
            left -= line.len() as u64;
            let line = line.trim_ascii_end();
            if first {
                head.status = status(line);
                first = false;
            } else if line.is_empty() {
                return Ok(Some((head, left)));
            } else {
                head.fields.push(line);
            }
        }
        Ok(None)
    }

    /// A line with its end, if it lies within the next `window` bytes; else these are passed over.
    fn line_within(&mut self, window: u64) -> Result<Option<Vec<u8>>, ContainerError> {
        let mut line = Vec::new();
        let mut left = window;
        while left > 0 {
            let next = self.stream.fill()?;
            if next.is_empty() {
                return Err(ContainerError::Cut { offset: self.stream.at(), within: WITHIN });
            }
            let next = &next[..next.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            let end = next.iter().position(|&byte| byte == b'\n');
            let count = end.map_or(next.len(), |end| end + 1);
            line.extend_from_slice(&next[..count]);
            self.stream.consume(count);
            left -= count as u64;
            if end.is_some() {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }
}

fn is_too_large(fault: &Fault) -> bool {
    fault.reason == Reason::TooLarge
}

/// The header of an HTTP response.
#[derive(Default)]
struct Head {
    status: Option<u16>,
    fields: Fields,
}
