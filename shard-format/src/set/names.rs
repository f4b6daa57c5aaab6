//! The names of a set's files. Nothing here opens one.

use schemas::{CLASSES_FILE, Manifest, REJECTS_FILE};

/// The folder inside a set's in which an unfinished run keeps what it has done so far.
pub const UNFINISHED_FOLDER: &str = ".ingest";
/// The file in [`UNFINISHED_FOLDER`] that says what the run makes.
pub const PLAN_FILE: &str = "plan.json";

/// The name of shard `number`.
pub fn shard_file(number: u64) -> String {
    format!("shard-{number:05}.parquet")
}

/// The name of the list of rejects of the part that a version added.
pub fn rejects_file(version: u32) -> String {
    match version {
        1 => REJECTS_FILE.to_owned(),
        version => format!("rejects-{version:05}.jsonl"),
    }
}

/// Whether a name is that of a shard.
pub fn is_shard(name: &str) -> bool {
    name.starts_with("shard-") && name.ends_with(".parquet")
}

/// Whether a file in a set's folder belongs to the set by its name.
pub fn is_of_set(name: &str) -> bool {
    let is_list = name.starts_with("rejects") && name.ends_with(".jsonl");
    let is_manifest = name.starts_with("manifest") && name.ends_with(".json");
    is_shard(name) || is_list || is_manifest || name == CLASSES_FILE
}

/// A file of a set that has a number in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Numbered {
    /// The manifest of a version.
    Manifest(u64),
    /// The rejects of the part that a version added.
    Rejects(u64),
    /// A shard.
    Shard(u64),
}

impl Numbered {
    /// What a name says; none if it has no number, or not where a set's files have it.
    pub fn of(name: &str) -> Option<Self> {
        let number = |before: &str, after: &str| -> Option<u64> {
            let digits = name.strip_prefix(before)?.strip_suffix(after)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        number("manifest-", ".json")
            .map(Self::Manifest)
            .or_else(|| number("rejects-", ".jsonl").map(Self::Rejects))
            .or_else(|| number("shard-", ".parquet").map(Self::Shard))
    }

    /// Whether a run that makes this version may have written it.
    pub fn is_of(self, version: u32) -> bool {
        match self {
            Self::Manifest(of) | Self::Rejects(of) => of == u64::from(version),
            Self::Shard(_) => true,
        }
    }
}

/// Which of these files are of later versions than a manifest, in order; all are, if there is none.
pub fn beyond<'a>(
    names: impl Iterator<Item = &'a str>,
    manifest: Option<&Manifest>,
) -> Vec<(Numbered, String)> {
    let version = manifest.map_or(0, |manifest| u64::from(manifest.version));
    let next_shard = next_shard(manifest);
    let is_beyond = |file: Numbered| match file {
        Numbered::Manifest(of) | Numbered::Rejects(of) => of > version,
        Numbered::Shard(number) => number >= next_shard,
    };
    let mut beyond: Vec<_> = names
        .filter_map(|name| Some((Numbered::of(name)?, name.to_owned())))
        .filter(|(file, _)| is_beyond(*file))
        .collect();
    beyond.sort();
    beyond
}

/// The number of the first shard that a set with this manifest does not have yet.
pub fn next_shard(manifest: Option<&Manifest>) -> u64 {
    let last = manifest.and_then(|manifest| manifest.parts.last());
    last.map_or(0, |part| part.first_shard + part.shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_where_the_name_has_it() {
        assert_eq!(Numbered::of(&shard_file(7)), Some(Numbered::Shard(7)));
        assert_eq!(Numbered::of(&shard_file(123_456)), Some(Numbered::Shard(123_456)));
        assert_eq!(Numbered::of(&rejects_file(2)), Some(Numbered::Rejects(2)));
        assert_eq!(Numbered::of(&Manifest::file_of_version(3)), Some(Numbered::Manifest(3)));
        for other in ["manifest.json", "rejects.jsonl", "shard-.parquet", "shard-+1.parquet", "x"] {
            assert_eq!(Numbered::of(other), None, "{other}");
        }
    }
}
