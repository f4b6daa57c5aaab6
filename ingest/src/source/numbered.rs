//! Folders and files that are called by the number of a shard.

use std::path::{Path, PathBuf};

/// A place by its source and its path in it.
pub(super) type Place = (u32, PathBuf);

/// Whether a folder or a file is called by a number alone.
pub(super) fn is_number(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}

/// The folder in which a remote object lies, if it is called by a number.
pub(super) fn folder(input: u32, relative: &str) -> Option<Place> {
    let (folder, _) = relative.rsplit_once('/')?;
    let name = folder.rsplit('/').next()?;
    is_number(name.as_bytes()).then(|| (input, Path::new(folder).to_owned()))
}
