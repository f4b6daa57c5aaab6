//! Files appear complete or not at all: `storage` writes them, and nothing else does.

use std::path::Path;

use crate::house::{code, members, root, sources};

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

/// Whether a file's code, without comments and unit tests, writes files.
fn writes(file: &Path) -> bool {
    let code = code(file);
    WRITES.iter().any(|write| code.contains(write))
}

#[test]
fn nothing_but_storage_writes_whole_files() {
    let root = root();
    let mut found: Vec<_> = members()
        .iter()
        .flat_map(|member| sources(&member.join("src")))
        .filter(|file| writes(file))
        .map(|file| file.strip_prefix(&root).unwrap().display().to_string())
        .collect();
    found.sort();
    let may: Vec<_> = MAY.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(found, may, "files that write past storage, and those that may");
}
