//! The blocks of a tar → its regular files and links.

use schemas::{Fault, Reason};
use tar::{EntryType, Header};

use super::samples::{File, Files};
use super::stream::Stream;
use super::{ArchiveError, text};

const BLOCK: usize = 512;
/// Most bytes of a long name or of pax records; real ones have some hundred.
const EXTENSION: u64 = 1 << 20;
/// Blocks of zeros behind which another archive may follow, as `cat` puts it there: tars are
/// padded to 20 blocks, or to up to twice as many and some.
const PADDING: usize = 64;

/// Whether a block with the checksum of a tar's header stands at the start.
pub(super) fn is_header(head: &[u8]) -> bool {
    head.first_chunk::<BLOCK>().is_some_and(|block| checked(block).is_some())
}

/// The regular files and links of a tar. After each, its body must be taken or passed over.
pub(super) struct Tar {
    stream: Stream,
    resume_point: Option<u64>,
}

impl Files for Tar {
    fn resume_point(&self) -> Option<u64> {
        self.resume_point
    }

    /// Folders and devices are passed over.
    fn next(&mut self) -> Result<Option<File>, ArchiveError> {
        loop {
            self.resume_point = None;
            self.resume_point = self.stream.resume_point()?;
            let Some((file, is_file)) = self.entry()? else { return Ok(None) };
            // The oldest tars write a folder as a file whose name ends with a slash.
            if is_file && !file.name.ends_with('/') && !file.name.is_empty() {
                return Ok(Some(file));
            }
            self.skip_body(&file)?;
        }
    }

    fn body(&mut self, file: &File) -> Result<Result<Vec<u8>, Fault>, ArchiveError> {
        let body = self.stream.take_body(file.bytes, "a file")?;
        self.stream.skip(padding(file.bytes), "a file")?;
        Ok(Ok(body))
    }

    fn skip_body(&mut self, file: &File) -> Result<(), ArchiveError> {
        self.skip(file.bytes)
    }
}

impl Tar {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, resume_point: None }
    }

    /// The next entry with the extensions before it, and whether it is a file or a link.
    fn entry(&mut self) -> Result<Option<(File, bool)>, ArchiveError> {
        let (mut long_name, mut pax) = (None, Pax::default());
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|error| self.damaged(&error.to_string()))?;
            match header.entry_type() {
                EntryType::GNULongName => long_name = Some(self.long_name(size)?),
                EntryType::XHeader => {
                    let records = self.extension(size)?;
                    pax = Pax::parse(&records)
                        .ok_or_else(|| self.damaged("attributes that are no pax records"))?;
                }
                EntryType::GNULongLink | EntryType::XGlobalHeader => self.skip(size)?,
                kind => {
                    if kind == EntryType::GNUSparse {
                        self.sparse_map(&header)?;
                    }
                    let path = pax.path.or(long_name);
                    let mut name = text(&path.unwrap_or_else(|| header.path_bytes().into_owned()));
                    while let Some(rest) = name.strip_prefix("./") {
                        name = rest.to_owned();
                    }
                    let is_link = matches!(kind, EntryType::Link | EntryType::Symlink);
                    let is_sparse = kind == EntryType::GNUSparse || pax.sparse;
                    let file = File {
                        name,
                        bytes: pax.size.unwrap_or(size),
                        is_link,
                        fault: (is_link || is_sparse).then(|| not_read(kind)),
                        resume_point: self.resume_point,
                    };
                    let regular = matches!(
                        kind,
                        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
                    );
                    let is_file = regular || is_link;
                    return Ok(Some((file, is_file)));
                }
            }
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        self.stream.check(bytes, "a file")?;
        self.stream.skip(bytes.saturating_add(padding(bytes)), "a file")
    }

    /// The next header; none at the archive's end mark.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut zeros = 0;
        loop {
            if zeros > 0 && self.stream.fill()?.is_empty() {
                return Ok(None);
            }
            let mut block = [0; BLOCK];
            let within = "a header or before the end mark";
            block.copy_from_slice(&self.stream.take(BLOCK as u64, within)?);
            if block.iter().all(|&byte| byte == 0) {
                zeros += 1;
                if zeros > PADDING {
                    return Ok(None);
                }
                continue;
            }
            match checked(&block) {
                Some(header) => return Ok(Some(header)),
                // What lies behind the end mark and is no archive is let be, as by tar.
                None if zeros >= 2 => return Ok(None),
                None => return Err(self.damaged("a header with a wrong checksum")),
            }
        }
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut name = self.extension(size)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > EXTENSION {
            return Err(self.damaged(&format!("a file's name or attributes take {size} bytes")));
        }
        let bytes = self.stream.take(size, "a file's name or attributes")?;
        self.stream.skip(padding(size), "a file's name or attributes")?;
        Ok(bytes)
    }

    /// Passes over the blocks that say where a GNU sparse file has its data.
    fn sparse_map(&mut self, header: &Header) -> Result<(), ArchiveError> {
        let mut more = header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
        while more {
            let block = self.stream.take(BLOCK as u64, "a sparse file")?;
            more = block.get(504) == Some(&1);
        }
        Ok(())
    }

    fn damaged(&self, problem: &str) -> ArchiveError {
        ArchiveError::Damaged { offset: self.stream.at(), problem: problem.to_owned() }
    }
}

/// Why the bytes of an entry are not had that is no plain file.
fn not_read(kind: EntryType) -> Fault {
    let message = match kind {
        EntryType::Link => {
            "a hard link of the tar, which is not followed; write it with `--hard-dereference`"
        }
        EntryType::Symlink => {
            "a symbolic link of the tar, which is not followed; write it with `--dereference`"
        }
        _ => "a sparse file of the tar, which is not read; write it as a plain one",
    };
    Fault::new(Reason::Unsupported, message)
}

/// The header in a block whose checksum is right.
fn checked(block: &[u8; BLOCK]) -> Option<Header> {
    let header = Header::from_byte_slice(block);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, &byte)| u32::from(if (148..156).contains(&at) { b' ' } else { byte }))
        .sum();
    (header.cksum().ok()? == sum).then(|| header.clone())
}

/// Bytes from the end of `size` bytes to the next block.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// What of a pax header matters here.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Pax {
    /// Parses records of the form `LENGTH KEY=VALUE\n`.
    fn parse(mut records: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        while records.first().is_some_and(|&byte| byte != 0) {
            let space = records.iter().position(|&byte| byte == b' ')?;
            let length: usize = str::from_utf8(&records[..space]).ok()?.parse().ok()?;
            let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let value = &record[equals + 1..];
            match &record[..equals] {
                b"path" => pax.path = Some(value.to_owned()),
                b"size" => pax.size = Some(str::from_utf8(value).ok()?.parse().ok()?),
                b"GNU.sparse.name" => {
                    pax.path = Some(value.to_owned());
                    pax.sparse = true;
                }
                key if key.starts_with(b"GNU.sparse.") => pax.sparse = true,
                _ => {}
            }
            records = &records[length..];
        }
        Some(pax)
    }
}
