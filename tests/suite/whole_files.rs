//! Files appear complete or not at all: `storage` writes them, and nothing else does.

use std::fs;
use std::path::{Path, PathBuf};

/// What writes files past `storage`.
const WRITES: [&str; 9] = [
    "fs::write(",
    "fs::rename(",
    "fs::copy(",
    "File::create(",
    "File::options()",
    "OpenOptions",
    "NamedTempFile",
    ".persist(",
    "serialize_to_file(",
];

/// The files that do, and why they may.
const MAY: [(&str, &str); 8] = [
    ("ingest/src/sample.rs", "pictures to try the programs with, drawn anew in a moment"),
    (
        "shard-format/src/source/cache.rs",
        "what is read is held against its hash, and fetched again",
    ),
    ("storage/src/file.rs", "the writer itself"),
    ("storage/src/local.rs", "a lock is held on a file that is open"),
    ("storage/src/testing/s3.rs", "objects of a server for tests"),
    (
        "trainer/src/checkpoint/mod.rs",
        "the library writes by name, under that of a file unfinished",
    ),
    ("trainer/src/metrics/mod.rs", "lines are added to a file as they come"),
    ("trainer/src/metrics/tensorboard.rs", "events are added to a file as they come"),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = vec![];
    for path in entries.map(|entry| entry.path()) {
        match path.extension() {
            _ if path.is_dir() => found.extend(sources(&path)),
            Some(extension) if extension == "rs" => found.push(path),
            _ => {}
        }
    }
    found
}

/// Whether a file's code, without comments and unit tests, writes files.
fn writes(file: &Path) -> bool {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut lines = code.lines().filter_map(|line| line.split("//").next());
    lines.any(|line| WRITES.iter().any(|write| line.contains(write)))
}

#[test]
fn nothing_but_storage_writes_whole_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let members = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path().join("src"));
    let mut found: Vec<_> = members
        .filter(|folder| !folder.starts_with(root.join("target")))
        .flat_map(|folder| sources(&folder))
        .filter(|file| writes(file))
        .map(|file| file.strip_prefix(root).unwrap().display().to_string())
        .collect();
    found.sort();
    let may: Vec<_> = MAY.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(found, may, "files that write past storage, and those that may");
}
