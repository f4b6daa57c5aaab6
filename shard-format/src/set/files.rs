//! What lies in the folder of a set.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use schemas::Manifest;
use storage::{Address, Storage, StorageError};

use super::names::UNFINISHED_FOLDER;

/// Sizes in bytes by names, `/` between folders. Of a folder within there is no more than its name,
/// which ends in `/`: what lies in it is no part of a set.
pub type Files = BTreeMap<String, u64>;

/// What lies in the folder of a set, and in that of an unfinished run within. Hidden files aside from
/// the run's need not be told; of a web server, which can't be asked for more, no more than the first
/// numbered manifest is.
///
/// # Errors
/// [`StorageError`] if that can't be found out.
pub fn list(storage: &Storage, out: &Address) -> Result<Files, StorageError> {
    if out.is_web() {
        let first = Manifest::file_of_version(1);
        let found = storage.stat(&out.join(&first))?;
        return Ok(found.map(|found| (first, found.bytes)).into_iter().collect());
    }
    if out.local().is_none() {
        let found = storage.list(out)?.into_iter();
        return Ok(found.map(|found| (found.relative, found.bytes)).collect());
    }
    // A folder that was named by mistake may be a whole disk, and is not walked to its end. The run's
    // comes last: it says of every shard that was seen what is known of it.
    let mut files = entries(out)?;
    for found in storage.list(&out.join(UNFINISHED_FOLDER))? {
        files.insert(format!("{UNFINISHED_FOLDER}/{}", found.relative), found.bytes);
    }
    Ok(files)
}

/// What lies in a local folder, hidden files aside; nothing if there is no such folder.
fn entries(out: &Address) -> Result<Files, StorageError> {
    let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    let failed = |source| StorageError::Local { action: "list", address: out.to_string(), source };
    let mut files = Files::new();
    let Some(folder) = out.local() else { return Ok(files) };
    let entries = match fs::read_dir(folder) {
        Err(error) if absent.contains(&error.kind()) => return Ok(files),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        match fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_file() => files.insert(name, metadata.len()),
            // A link that leads nowhere is no file, either.
            _ => files.insert(name + "/", 0),
        };
    }
    Ok(files)
}
