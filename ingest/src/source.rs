//! The listing: every file under the root, in an order that mixes the folders.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::IngestError;

/// One file that may be a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it lies below the root.
    pub relative: PathBuf,
    /// Its size in bytes when it was listed.
    pub bytes: u64,
    /// Why it can't be read, if the walk found that already (a folder that may not be entered).
    pub fault: Option<String>,
}

impl Source {
    /// The text of the `source` column: the parts of the path below the root with `/` between,
    /// and bytes that are not UTF-8 written as `\xNN`.
    pub fn name(&self) -> String {
        let parts: Vec<_> =
            self.relative.iter().map(|part| text(part.as_encoded_bytes())).collect();
        parts.join("/")
    }

    /// The class: the folder in which the file lies; none in the root.
    pub fn label(&self) -> Option<String> {
        let folder = self.relative.parent()?.file_name()?;
        Some(text(folder.as_encoded_bytes()))
    }
}

/// All files under a root.
#[derive(Debug)]
pub struct Listing {
    /// The files, in the order in which shards take them.
    pub sources: Vec<Source>,
    /// BLAKE3 of names and sizes in that order.
    pub hash: blake3::Hash,
    /// Hidden files and folders that were passed over.
    pub hidden: u64,
    /// Symbolic links that were not followed, sockets, pipes and devices.
    pub irregular: u64,
}

/// Lists the files under `root`, at any depth, but for hidden ones and what lies in `out`.
///
/// They are ordered by BLAKE3 of seed and name, so that any run of neighbours is a random sample
/// of the set, whatever the folders are called; the order depends on nothing else.
///
/// # Errors
/// [`IngestError::Root`] if the root is no folder, [`IngestError::OutIsRoot`] if it is `out`.
pub fn list(
    root: &Path,
    out: &Path,
    seed: u64,
    follow_links: bool,
) -> Result<Listing, IngestError> {
    let not_a_folder = |_| IngestError::Root(root.to_owned());
    let entered = fs::canonicalize(root).map_err(not_a_folder)?;
    fs::read_dir(&entered).map_err(IngestError::io("read the folder", root))?;
    let out = fs::canonicalize(out).ok();
    if out.as_ref() == Some(&entered) {
        return Err(IngestError::OutIsRoot(root.to_owned()));
    }

    let (mut sources, mut hidden, mut irregular) = (Vec::new(), 0, 0);
    let mut walk = WalkDir::new(&entered).min_depth(1).follow_links(follow_links).into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(&entered);
                let relative = path.strip_prefix(&entered).unwrap_or(path).to_owned();
                sources.push(Source { relative, bytes: 0, fault: Some(error.to_string()) });
                continue;
            }
        };
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            hidden += 1;
            skip(&mut walk, &entry);
        } else if entry.file_type().is_dir() {
            if out.as_deref() == Some(entry.path()) {
                skip(&mut walk, &entry);
            }
        } else if entry.file_type().is_file() {
            sources.push(source(&entry, &entered));
        } else {
            irregular += 1;
        }
    }

    sources.sort_by_cached_key(|source| (order(seed, &source.name()), source.relative.clone()));
    let mut hasher = blake3::Hasher::new();
    for source in &sources {
        let name = source.name();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&source.bytes.to_le_bytes());
    }
    Ok(Listing { sources, hash: hasher.finalize(), hidden, irregular })
}

fn skip(walk: &mut walkdir::IntoIter, entry: &DirEntry) {
    if entry.file_type().is_dir() {
        walk.skip_current_dir();
    }
}

fn source(entry: &DirEntry, root: &Path) -> Source {
    let relative = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_owned();
    match entry.metadata() {
        Ok(metadata) => Source { relative, bytes: metadata.len(), fault: None },
        Err(error) => Source { relative, bytes: 0, fault: Some(error.to_string()) },
    }
}

/// Where a name stands in the listing.
fn order(seed: u64, name: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("ingest: order of the listing");
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    *hasher.finalize().as_bytes()
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn names(listing: &Listing) -> Vec<String> {
        let mut names: Vec<_> = listing.sources.iter().map(Source::name).collect();
        names.sort();
        names
    }

    #[test]
    fn files_of_every_depth_are_listed_but_for_hidden_ones_and_the_output() {
        let root = folder(&["a.jpg", "x/b c.png", "x/y/ü.gif", ".git/d", "x/.e", "out/s.parquet"]);
        let listing = list(root.path(), &root.path().join("out"), 0, false).unwrap();
        assert_eq!(names(&listing), ["a.jpg", "x/b c.png", "x/y/ü.gif"]);
        assert_eq!(listing.hidden, 2);
    }

    #[test]
    fn the_class_is_the_folder_in_which_a_file_lies() {
        let source = |path: &str| Source { relative: path.into(), bytes: 0, fault: None }.label();
        assert_eq!(source("a.jpg"), None);
        assert_eq!(source("train/cat/a.jpg").as_deref(), Some("cat"));
    }

    #[test]
    fn the_order_follows_from_the_seed_and_mixes_the_folders() {
        let files: Vec<_> =
            (0..64).map(|i| format!("{}/{i}", if i < 32 { "a" } else { "b" })).collect();
        let root = folder(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let listed = |seed| list(root.path(), Path::new("/nowhere"), seed, false).unwrap();
        assert_eq!(listed(1).sources, listed(1).sources);
        assert_ne!(listed(1).sources, listed(2).sources);
        let first = listed(1).sources[..32].iter().filter(|s| s.name().starts_with('a')).count();
        assert!((6..=26).contains(&first), "{first} of the first 32 are from one folder");
    }

    #[test]
    fn a_changed_size_changes_the_hash() {
        let root = folder(&["a", "b"]);
        let hash = || list(root.path(), Path::new("/nowhere"), 0, false).unwrap().hash;
        let before = hash();
        fs::write(root.path().join("a"), "longer").unwrap();
        assert_ne!(before, hash());
    }

    #[test]
    fn the_root_must_be_a_folder_other_than_the_output() {
        let root = folder(&["a"]);
        let file = root.path().join("a");
        assert!(list(&file, Path::new("/nowhere"), 0, false).is_err());
        let same = list(root.path(), root.path(), 0, false);
        assert!(matches!(same, Err(IngestError::OutIsRoot(_))));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_only_if_asked_for() {
        let root = folder(&["a/one"]);
        std::os::unix::fs::symlink(root.path().join("a"), root.path().join("b")).unwrap();
        let listed = |follow| list(root.path(), Path::new("/nowhere"), 0, follow).unwrap();
        assert_eq!(names(&listed(false)), ["a/one"]);
        assert_eq!(listed(false).irregular, 1);
        assert_eq!(names(&listed(true)), ["a/one", "b/one"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn bytes_that_are_not_utf_8_are_written_out() {
        use std::os::unix::ffi::OsStringExt;
        let relative = PathBuf::from(std::ffi::OsString::from_vec(b"f\xffo/\xfe.png".to_vec()));
        let source = Source { relative, bytes: 0, fault: None };
        assert_eq!(source.name(), "f\\xffo/\\xfe.png");
        assert_eq!(source.label().as_deref(), Some("f\\xffo"));
    }
}
