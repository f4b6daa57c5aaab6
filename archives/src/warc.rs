//! WARC (ISO 28500) → the pictures among its records.
//!
//! What a body is, its first bytes tell, whatever its type says: taken are `response` records with a
//! status of success (2xx) or without any HTTP header, and `resource` and `conversion` records, if
//! they begin like a picture, or if what they say they are is one (`image/…` in any field, or as the
//! type that the crawler found); what says so and is none becomes a reject. All others are passed
//! over without being held, and counted: pages, other statuses (a picture there stands for one that
//! was not to be had), revisits, whose bytes are elsewhere. Requests and metadata belong to them. A
//! record that the crawler cut short (`WARC-Truncated`) is taken as it is.
//!
//! Records follow one another with two empty lines between; any number of them is let pass. Behind a
//! record that is not as long as it says, reading goes on where the next one begins.

use bytes::Bytes;
use schemas::{Fault, Reason};

use super::http::{self, Fields, decoded, status};
use super::samples::Resume;
use super::stream::Stream;
use super::{ArchiveError, Cursor, Limits, Member, Passed, Reader, too_large};

/// Most bytes of a record's header, or an HTTP response's.
const HEADER: u64 = 1 << 20;
/// Bytes of a body by which it is told what it is, and of what is read of a header at once.
const START: u64 = 4096;
const WITHIN: &str = "a record";
/// How the first line of a record begins.
const MARK: &[u8] = b"WARC/";

/// The members of a WARC from `from` on.
pub(super) fn members(stream: Stream, from: Cursor, limits: &Limits) -> impl Reader + use<> {
    let members = from.members - from.skip;
    Warc {
        stream,
        limits: limits.clone(),
        resume: Resume { offset: from.offset, members },
        members,
        skip: from.skip,
        passed: Passed::default(),
        is_in_record: false,
        is_cut: false,
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
    /// What was passed over since the last member.
    passed: Passed,
    /// Behind the mark of a record, which was found where none should begin.
    is_in_record: bool,
    /// The record that was read last claims more bytes than there are.
    is_cut: bool,
    /// What comes next: an error, or nothing.
    end: Option<Option<ArchiveError>>,
}

impl Reader for Warc {
    fn passed(&mut self) -> Passed {
        std::mem::take(&mut self.passed)
    }
}

impl Iterator for Warc {
    type Item = Result<Member, ArchiveError>;

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
                // What lies before it was counted with it.
                self.skip -= 1;
                self.passed = Passed::default();
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
    fn pass_the_end(&mut self) -> Result<(), ArchiveError> {
        if self.is_in_record {
            // Everywhere in a plain archive reading can begin.
            if let Stream::Plain(source) = &self.stream {
                let offset = source.at() - MARK.len() as u64;
                self.resume = Resume { offset, members: self.members };
            }
            return Ok(());
        }
        self.pass_empty_lines()?;
        if let Some(offset) = self.stream.resume_point()? {
            self.resume = Resume { offset, members: self.members };
        }
        Ok(())
    }

    fn pass_empty_lines(&mut self) -> Result<(), ArchiveError> {
        loop {
            let next = self.stream.fill()?;
            let blank = next.iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
            let ends = blank < next.len() || next.is_empty();
            self.stream.consume(blank);
            if ends {
                return Ok(());
            }
        }
    }

    /// Passes over the mark with which the next record begins; how many bytes lay before it. None at
    /// the end.
    fn find(&mut self) -> Result<Option<u64>, ArchiveError> {
        if std::mem::take(&mut self.is_in_record) {
            return Ok(Some(0));
        }
        self.pass_empty_lines()?;
        let offset = self.stream.at();
        // How much of the mark stands at the start of this line, if that begins like it.
        let mut matched = Some(0);
        let mut before = 0;
        loop {
            let next = self.stream.fill()?;
            let mut taken = 0;
            for &byte in next {
                taken += 1;
                matched = match matched {
                    Some(count) if byte == MARK[count] => Some(count + 1),
                    _ => (byte == b'\n').then_some(0),
                };
                if matched == Some(MARK.len()) {
                    self.stream.consume(taken);
                    self.is_cut = false;
                    return Ok(Some(before + taken as u64 - MARK.len() as u64));
                }
            }
            self.stream.consume(taken);
            before += taken as u64;
            if taken > 0 {
                continue;
            }
            return match before {
                _ if self.is_cut => {
                    Err(ArchiveError::Cut { offset: self.stream.at(), within: WITHIN })
                }
                0 => Ok(None),
                _ => {
                    let problem = "no record begins here, nor further on".to_owned();
                    Err(ArchiveError::Damaged { offset, problem })
                }
            };
        }
    }

    /// Reads one record; inside is the picture, if it has one. None at the end.
    fn record(&mut self) -> Result<Option<Option<Found>>, ArchiveError> {
        let Some(before) = self.find()? else { return Ok(None) };
        if before > 0 {
            self.is_in_record = true;
            let message = format!(
                "{before} bytes where a record should begin, which the one before leaves over or did \
                 not tell of; reading goes on behind them"
            );
            let name = format!("behind picture {}", self.members);
            return Ok(Some(Some((name, Err(Fault::new(Reason::Corrupt, message))))));
        }
        let (fields, _) = self.fields(HEADER)?;
        let length = fields.get("content-length").and_then(|length| length.parse().ok());
        // Without a length, or one that can't be, the next record is looked for.
        let Some(length) = length else { return Ok(Some(None)) };
        if self.stream.check(length, WITHIN).is_err() {
            self.is_cut = true;
            return Ok(Some(None));
        }
        let kind = fields.get("warc-type").unwrap_or_default().to_ascii_lowercase();
        let body = match &*kind {
            "response" => self.response(&fields, length)?,
            "resource" | "conversion" => self.resource(&fields, length)?,
            _ => {
                if kind == "revisit" || kind == "continuation" {
                    self.passed.add(if kind == "revisit" { "revisits" } else { "continuations" });
                }
                self.stream.skip(length, WITHIN)?;
                None
            }
        };
        let name = fields.get("warc-target-uri").or(fields.get("warc-record-id"));
        let name = name.unwrap_or("a record without a target URI");
        let name = name.trim_start_matches('<').trim_end_matches('>').to_owned();
        Ok(Some(body.map(|body| (name, body))))
    }

    /// Header lines up to the empty one, and how many bytes they take.
    fn fields(&mut self, most: u64) -> Result<(Fields, u64), ArchiveError> {
        let (mut fields, mut taken) = (Fields::default(), 0);
        loop {
            let Some((line, bytes)) = self.stream.line(most - taken, "a header")? else {
                return Err(ArchiveError::Cut { offset: self.stream.at(), within: "a header" });
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
    ) -> Result<Option<Result<Bytes, Fault>>, ArchiveError> {
        let mut left = length;
        let Some((head, start)) = self.response_head(record, &mut left)? else {
            self.stream.skip(left, WITHIN)?;
            self.passed.add("cut short within the header");
            return Ok(None);
        };
        if let Some(status) = head.status.filter(|status| !(200..300).contains(status)) {
            self.stream.skip(left, WITHIN)?;
            self.passed.add_status(status);
            return Ok(None);
        }
        self.picture(record, &head.fields, start, left)
    }

    fn resource(
        &mut self,
        record: &Fields,
        length: u64,
    ) -> Result<Option<Result<Bytes, Fault>>, ArchiveError> {
        let start = self.stream.take(length.min(START), WITHIN)?;
        let left = length - start.len() as u64;
        // What is stored is the thing itself: nothing is to be undone.
        let said = record.only("content-type");
        self.picture(record, &said, start, left)
    }

    /// The body that begins with `start` and goes on for `left` bytes, if it is a picture or says so;
    /// else it is passed over and counted.
    fn picture(
        &mut self,
        record: &Fields,
        fields: &Fields,
        start: Vec<u8>,
        left: u64,
    ) -> Result<Option<Result<Bytes, Fault>>, ArchiveError> {
        let says_so =
            fields.says_image("content-type") || record.says_image("warc-identified-payload-type");
        if !says_so && !http::begins_like_picture(&start, fields, &self.limits) {
            self.stream.skip(left, WITHIN)?;
            self.passed.add_type(fields.media_type("content-type").as_deref());
            return Ok(None);
        }
        let length = start.len() as u64 + left;
        if length > self.limits.member_bytes {
            self.stream.skip(left, WITHIN)?;
            return Ok(Some(Err(too_large(length, &self.limits))));
        }
        let mut body = start;
        self.stream.take_body_onto(&mut body, left, WITHIN)?;
        Ok(Some(decoded(body.into(), fields, &self.limits)))
    }

    /// The header of the HTTP response in the next `left` bytes, and the first bytes of its body;
    /// both are taken from `left`. Where there is no header, all is body. None if it does not end.
    fn response_head(
        &mut self,
        record: &Fields,
        left: &mut u64,
    ) -> Result<Option<(Head, Vec<u8>)>, ArchiveError> {
        let mut block = Vec::new();
        self.more(&mut block, left)?;
        if !block.starts_with(b"HTTP/") {
            let head = Head { status: None, fields: record.only("content-type") };
            return Ok(Some((head, block)));
        }
        let mut from = 0;
        loop {
            let Some(end) = end_of_header(&block[from..]) else {
                // A header may be as long as the record, which may be cut short within it.
                if *left == 0 || block.len() as u64 >= HEADER {
                    return Ok(None);
                }
                self.more(&mut block, left)?;
                continue;
            };
            let head = Head::parse(&block[from..from + end]);
            from += end;
            // An answer may follow one that only says that it will.
            let is_interim = head.status.is_some_and(|status| (100..200).contains(&status));
            if is_interim && block[from..].starts_with(b"HTTP/") {
                continue;
            }
            block.drain(..from);
            if (block.len() as u64) < START {
                self.more(&mut block, left)?;
            }
            return Ok(Some((head, block)));
        }
    }

    /// Takes some of the next `left` bytes onto what is held.
    fn more(&mut self, held: &mut Vec<u8>, left: &mut u64) -> Result<(), ArchiveError> {
        let bytes = START.min(*left);
        self.stream.take_onto(held, bytes, WITHIN)?;
        *left -= bytes;
        Ok(())
    }
}

/// Where the body begins that follows a header, behind its empty line.
fn end_of_header(block: &[u8]) -> Option<usize> {
    let mut start = 0;
    for line in block.split_inclusive(|&byte| byte == b'\n') {
        let end = start + line.len();
        if line.ends_with(b"\n") && line.trim_ascii().is_empty() {
            return Some(end);
        }
        start = end;
    }
    None
}

/// The header of an HTTP response.
#[derive(Default)]
struct Head {
    status: Option<u16>,
    fields: Fields,
}

impl Head {
    fn parse(header: &[u8]) -> Self {
        let mut lines = header.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
        let mut head = Self { status: lines.next().and_then(status), ..Self::default() };
        lines.filter(|line| !line.is_empty()).for_each(|line| head.fields.push(line));
        head
    }
}
