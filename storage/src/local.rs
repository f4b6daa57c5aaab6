//! Files and folders of this machine.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use walkdir::WalkDir;

use crate::file::{FileWriter, UNFINISHED, folder_of, write_file};
use crate::{Address, Listed, Stat, StorageError};

fn path(at: &Address) -> &Path {
    at.local().unwrap_or(Path::new(""))
}

fn version(metadata: &Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{}-{}", metadata.len(), modified.unwrap_or_default().as_nanos())
}

pub(crate) fn stat(at: &Address) -> Result<Option<Stat>, StorageError> {
    match fs::metadata(path(at)) {
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(StorageError::local("look at", at)(error)),
        Ok(metadata) if metadata.is_dir() => {
            Ok(Some(Stat { bytes: 0, version: String::new(), folder: true }))
        }
        Ok(metadata) => {
            Ok(Some(Stat { bytes: metadata.len(), version: version(&metadata), folder: false }))
        }
    }
}

/// Nothing lies below a file either, as in a bucket.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(crate) fn list(folder: &Address) -> Result<Vec<Listed>, StorageError> {
    let root = path(folder);
    let mut found = Vec::new();
    for entry in WalkDir::new(root).min_depth(1) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let at = error.path().map_or_else(|| folder.clone(), Address::from);
                let is_root = at.local() == Some(root);
                let error =
                    error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links"));
                // Files and folders come and go while others are listed.
                if is_absent(&error) {
                    if is_root {
                        return Ok(Vec::new());
                    }
                    continue;
                }
                return Err(StorageError::local("list", &at)(error));
            }
        };
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        let metadata = match fs::metadata(entry.path()) {
            Err(error) if is_absent(&error) => continue,
            Err(error) => {
                return Err(StorageError::local("look at", &Address::from(entry.path()))(error));
            }
            Ok(metadata) => metadata,
        };
        if !metadata.is_file() {
            continue;
        }
        let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let Some(relative) = relative.to_str() else {
            return Err(StorageError::Name { address: entry.path().display().to_string() });
        };
        found.push(Listed { relative: relative.to_owned(), bytes: metadata.len() });
    }
    Ok(found)
}

pub(crate) fn read(at: &Address) -> Result<Bytes, StorageError> {
    fs::read(path(at)).map(Bytes::from).map_err(StorageError::local("read", at))
}

pub(crate) fn read_range(at: &Address, range: Range<u64>) -> Result<Bytes, StorageError> {
    let io = |error| StorageError::local("read", at)(error);
    let mut file = File::open(path(at)).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    if range.end > size {
        return Err(StorageError::Beyond { address: at.to_string(), bytes: size, range });
    }
    file.seek(SeekFrom::Start(range.start)).map_err(io)?;
    let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes).map_err(io)?;
    Ok(bytes.into())
}

pub(crate) fn delete(at: &Address) -> Result<(), StorageError> {
    match fs::remove_file(path(at)) {
        Err(error) if !is_absent(&error) => Err(StorageError::local("delete", at)(error)),
        _ => Ok(()),
    }
}

pub(crate) fn put(at: &Address, bytes: &[u8]) -> Result<(), StorageError> {
    write_file(path(at), bytes).map_err(StorageError::local("write", at))
}

pub(crate) fn writer(at: &Address) -> Result<FileWriter, StorageError> {
    FileWriter::create(path(at)).map_err(StorageError::local("write", at))
}

pub(crate) fn sweep(folder: &Address) -> Result<usize, StorageError> {
    let Some(folder_path) = folder.local() else { return Ok(0) };
    let io = |error| StorageError::local("look at", folder)(error);
    let entries = match fs::read_dir(folder_path) {
        Err(error) if is_absent(&error) => return Ok(0),
        entries => entries.map_err(io)?,
    };
    let mut swept = 0;
    for entry in entries {
        let entry = entry.map_err(io)?;
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
            && fs::remove_file(entry.path()).is_ok()
        {
            swept += 1;
        }
    }
    Ok(swept)
}

/// A file read in order.
#[derive(Debug)]
pub(crate) struct LocalReader {
    file: File,
    at: Address,
    version: String,
    position: u64,
    size: u64,
}

impl LocalReader {
    pub fn open(at: &Address, from: u64) -> Result<Self, StorageError> {
        let io = |error| StorageError::local("read", at)(error);
        let mut file = File::open(path(at)).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if metadata.is_dir() {
            return Err(io(io::ErrorKind::IsADirectory.into()));
        }
        let size = metadata.len();
        if from > size {
            let (address, range) = (at.to_string(), from..from);
            return Err(StorageError::Beyond { address, bytes: size, range });
        }
        file.seek(SeekFrom::Start(from)).map_err(io)?;
        Ok(Self { file, at: at.clone(), version: version(&metadata), position: from, size })
    }

    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for LocalReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let got = match self.file.read(&mut into[..wanted]) {
            // Callers try again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            got => got.map_err(StorageError::local("read", &self.at))?,
        };
        self.position += got as u64;
        // At the end, and where the file ends before its size, it must be what it was.
        if !into.is_empty()
            && got == 0
            && (self.position < self.size || version(&self.file.metadata()?) != self.version)
        {
            return Err(StorageError::Changed { address: self.at.to_string() }.into());
        }
        Ok(got)
    }
}

/// A lock of the operating system, which ends with the program at the latest.
pub(crate) fn lock(at: &Address) -> Result<Option<File>, StorageError> {
    let io = |error| StorageError::local("lock", at)(error);
    fs::create_dir_all(folder_of(path(at))).map_err(io)?;
    let file =
        File::options().create(true).truncate(false).write(true).open(path(at)).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}
