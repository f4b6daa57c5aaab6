//! The listing: every loose picture and every archive of the sources, in an order that mixes them.
//!
//! A source is a folder, an archive, a picture, a list of addresses with a row for each, or a text
//! file that lists any of these; each is local or remote. Lists of addresses are read row by row and
//! stand among the archives; in a folder a file is never taken for one, for it may be no more than
//! what is known of the pictures beside it. What a file is, is told by its content where that costs
//! one look at it: for files named on the command line or in a list, and in folders for those whose
//! names end like an archive's. Everything else in a folder is taken for a picture, until it is read,
//! but for files that only say something of a picture beside them, and of a shard.

mod beside;
mod companions;
mod find;
mod list;
mod listing;
mod metadata;
mod numbered;
mod origin;
mod rows;

use std::path::{Path, PathBuf};

use archives::Limits;
use schemas::{Fault, Reason};
use storage::{Address, Storage};

use self::companions::Companions;
pub use self::listing::{Listed, Listing};
pub(crate) use self::origin::Stored;
pub(crate) use self::rows::{List, Row};
use crate::IngestError;

/// What was given, and where to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The text by which names and order go.
    pub given: String,
    /// Where it lies now.
    pub at: Address,
}

impl From<Address> for Source {
    fn from(at: Address) -> Self {
        Self { given: at.to_string(), at }
    }
}

/// What is to be listed.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The sources, in any order.
    pub sources: &'a [Source],
    /// Names carry the source as it was given in front; without it, they are paths below the only
    /// source.
    pub prefixed: bool,
    /// What lies in there is no picture.
    pub out: &'a Address,
    /// The seed of the order.
    pub seed: u64,
    /// Symbolic links are followed instead of passed over.
    pub follow_links: bool,
    /// Which columns hold pictures and addresses of them.
    pub limits: &'a Limits,
    /// Lists may name addresses of private networks.
    pub private_addresses: bool,
}

/// Lists the sources.
///
/// Loose pictures come first, archives after them. Both are ordered by BLAKE3 of seed and name, so
/// that any run of neighbours is a random sample of them, whatever the folders are called; the
/// order depends on nothing else.
///
/// # Errors
/// [`IngestError`] if a source is not there or can't be listed, if it is the output itself, or if
/// a line of a list is no address.
pub fn list(storage: &Storage, request: &Request<'_>) -> Result<Listing, IngestError> {
    let mut found = find::Found::new(storage, request);
    for source in request.sources {
        found.source(source)?;
    }
    metadata::pass(&mut found)?;
    let find::Found { inputs, mut loose, mut archives, companions, folders, .. } = found;
    let mut companions = Companions::new(companions);
    loose.iter_mut().for_each(|picture| companions.tell(picture));
    loose.extend(companions.take_strays());

    let name = |listed: &Listed| inputs[listed.input as usize].name(&listed.relative);
    loose.sort_by_cached_key(|listed| order(request.seed, &name(listed)));
    archives.sort_by_cached_key(|listed| order(request.seed, &name(listed)));
    let mut shards: Vec<_> = folders.into_iter().collect();
    shards.sort_unstable();

    let mut hasher = blake3::Hasher::new();
    hasher.update(&(loose.len() as u64).to_le_bytes());
    let mut add = |name: &str, bytes: u64| {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&bytes.to_le_bytes());
    };
    for listed in loose.iter().chain(&archives) {
        add(&name(listed), listed.bytes);
        companions.sizes(listed).for_each(|(form, bytes)| add(&format!("\0{form}"), bytes));
    }
    for (input, folder) in &shards {
        add(&format!("\0{}", inputs[*input as usize].name(folder)), 0);
    }
    Ok(Listing {
        hash: hasher.finalize(),
        beside: companions.used(),
        metadata: found.metadata,
        hidden: found.hidden,
        irregular: found.irregular,
        not_tried: found.not_tried,
        inputs,
        loose,
        archives,
        shards,
    })
}

/// Paths of the loose pictures in a local folder, in the order of the seed.
///
/// # Errors
/// As [`list`].
pub fn pictures(folder: &Path, seed: u64) -> Result<Vec<PathBuf>, IngestError> {
    let request = Request {
        sources: &[Address::from(folder).into()],
        prefixed: false,
        out: &Address::from(Path::new("")),
        seed,
        follow_links: false,
        limits: &Limits::default(),
        private_addresses: false,
    };
    let listing = list(&Storage::local(), &request)?;
    let paths = listing.loose.iter().map(|listed| listing.address(listed));
    Ok(paths.filter_map(|at| at.local().map(Path::to_owned)).collect())
}

/// That a list leads to a private network.
pub(crate) fn private(kind: web::Private) -> Fault {
    let message = format!("it leads to {kind} (--private-addresses allows it)");
    Fault::new(Reason::PrivateAddress, message)
}

/// That a stranger's list names an object of a bucket.
pub(crate) fn of_a_bucket() -> Fault {
    let message = "it is an object of a bucket, which this machine's credentials would be asked for (--private-addresses allows it)";
    Fault::new(Reason::PrivateAddress, message)
}

/// Where a name stands in the listing: BLAKE3 of seed and name, the lowest first.
pub fn order(seed: u64, name: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("ingest: order of the listing");
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            put(folder.path(), file, file);
        }
        folder
    }

    fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    struct Asked {
        sources: Vec<PathBuf>,
        out: PathBuf,
        seed: u64,
        follow_links: bool,
    }

    impl Asked {
        fn of(root: &Path) -> Self {
            let out = PathBuf::from("/nowhere");
            Self { sources: vec![root.into()], out, seed: 0, follow_links: false }
        }

        fn list(&self) -> Result<Listing, IngestError> {
            let sources: Vec<_> =
                self.sources.iter().map(|path| Address::from(path.clone()).into()).collect();
            let request = Request {
                sources: &sources,
                prefixed: sources.len() > 1,
                out: &self.out.clone().into(),
                seed: self.seed,
                follow_links: self.follow_links,
                limits: &Limits::default(),
                private_addresses: false,
            };
            list(&Storage::local(), &request)
        }
    }

    fn names(listing: &Listing) -> Vec<String> {
        let mut names: Vec<_> =
            listing.loose.iter().chain(&listing.archives).map(|l| listing.name(l)).collect();
        names.sort();
        names
    }

    /// The beginning of a tar: a header of an empty file.
    fn tar() -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_path("a.jpg").unwrap();
        header.set_size(0);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    #[test]
    fn files_of_every_depth_are_listed_but_for_hidden_ones_and_the_output() {
        let root = folder(&["a.jpg", "x/b c.png", "x/y/ü.gif", ".git/d", "x/.e", "out/s.parquet"]);
        let asked = Asked { out: root.path().join("out"), ..Asked::of(root.path()) };
        let listing = asked.list().unwrap();
        assert_eq!(names(&listing), ["a.jpg", "x/b c.png", "x/y/ü.gif"]);
        assert_eq!(listing.hidden, 2);
    }

    #[test]
    fn the_class_is_the_folder_in_which_a_file_lies() {
        let root = folder(&["a.jpg", "train/cat/b.jpg"]);
        put(root.path(), "train/list", "cat/b.jpg\n");
        let label = |listing: &Listing, name: &str| {
            let listed = listing.loose.iter().find(|listed| listing.name(listed) == name).unwrap();
            listing.label(listed)
        };
        let listing = Asked::of(root.path()).list().unwrap();
        assert_eq!(label(&listing, "a.jpg"), None);
        assert_eq!(label(&listing, "train/cat/b.jpg").as_deref(), Some("cat"));
        let listing = Asked::of(&root.path().join("train/list")).list().unwrap();
        assert_eq!(label(&listing, "cat/b.jpg").as_deref(), Some("cat"));
    }

    #[test]
    fn the_order_follows_from_the_seed_and_mixes_the_folders() {
        let files: Vec<_> =
            (0..64).map(|i| format!("{}/{i}", if i < 32 { "a" } else { "b" })).collect();
        let root = folder(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let listed = |seed| {
            let listing = Asked { seed, ..Asked::of(root.path()) }.list().unwrap();
            listing.loose.iter().map(|listed| listing.name(listed)).collect::<Vec<_>>()
        };
        assert_eq!(listed(1), listed(1));
        assert_ne!(listed(1), listed(2));
        let first = listed(1)[..32].iter().filter(|name| name.starts_with('a')).count();
        assert!((6..=26).contains(&first), "{first} of the first 32 are from one folder");
    }

    #[test]
    fn a_changed_size_changes_the_hash() {
        let root = folder(&["a", "b"]);
        let hash = || Asked::of(root.path()).list().unwrap().hash;
        let before = hash();
        fs::write(root.path().join("a"), "longer").unwrap();
        assert_ne!(before, hash());
    }

    #[test]
    fn an_archive_is_told_by_what_is_in_it() {
        let root = folder(&["a.jpg", "no.tar"]);
        put(root.path(), "part.tar", tar());
        put(root.path(), "hidden-in-a.jpg", tar());
        let listing = Asked::of(root.path()).list().unwrap();
        let archives: Vec<_> = listing.archives.iter().map(|l| listing.name(l)).collect();
        assert_eq!(archives, ["part.tar"]);
        // Named by itself it is looked into, whatever it is called.
        let listing = Asked::of(&root.path().join("hidden-in-a.jpg")).list().unwrap();
        assert_eq!((listing.archives.len(), listing.loose.len()), (1, 0));
    }

    #[test]
    fn several_sources_are_named_in_front() {
        let root = folder(&["x/a.jpg", "y/a.jpg"]);
        let (x, y) = (root.path().join("x"), root.path().join("y"));
        let listing = Asked { sources: vec![x.clone(), y.clone()], ..Asked::of(&x) };
        let expected = [x, y].map(|folder| format!("{}/a.jpg", folder.display()));
        assert_eq!(names(&listing.list().unwrap()), expected);
    }

    #[test]
    fn a_list_names_files_archives_and_folders_beside_it() {
        let root = folder(&["b/c.jpg", "b/d.jpg", "e.jpg"]);
        put(root.path(), "part.tar", tar());
        put(root.path(), "list.txt", "# what there is\n\nb\ne.jpg\npart.tar\ngone.jpg\n");
        let listing = Asked::of(&root.path().join("list.txt")).list().unwrap();
        assert_eq!(names(&listing), ["b/c.jpg", "b/d.jpg", "e.jpg", "gone.jpg", "part.tar"]);
        let faults: Vec<_> = listing.loose.iter().filter_map(|listed| listed.fault()).collect();
        assert_eq!(faults.len(), 1, "a line that names nothing is a reject");

        put(root.path(), "twice.txt", "e.jpg\nlist.txt\n");
        let error = Asked::of(&root.path().join("twice.txt")).list().unwrap_err().to_string();
        assert!(error.contains("twice.txt, line 2"), "{error}");
        put(root.path(), "wrong.txt", "ftp://host/a.jpg\n");
        let error = Asked::of(&root.path().join("wrong.txt")).list().unwrap_err().to_string();
        assert!(error.contains("wrong.txt, line 1"), "{error}");
    }

    #[test]
    fn a_source_must_be_there_and_other_than_the_output() {
        let root = folder(&["a"]);
        let gone = Asked::of(&root.path().join("gone")).list();
        assert!(matches!(gone, Err(IngestError::NoSource(_))), "{gone:?}");
        let same = Asked { out: root.path().into(), ..Asked::of(root.path()) }.list();
        assert!(matches!(same, Err(IngestError::OutIsSource(_))));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_only_if_asked_for() {
        let root = folder(&["a/one"]);
        std::os::unix::fs::symlink(root.path().join("a"), root.path().join("b")).unwrap();
        let listed =
            |follow_links| Asked { follow_links, ..Asked::of(root.path()) }.list().unwrap();
        assert_eq!(names(&listed(false)), ["a/one"]);
        assert_eq!(listed(false).irregular, 1);
        assert_eq!(names(&listed(true)), ["a/one", "b/one"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn bytes_that_are_not_utf_8_are_written_out() {
        use std::os::unix::ffi::OsStringExt;
        let root = folder(&[]);
        let name = PathBuf::from(std::ffi::OsString::from_vec(b"f\xffo/\xfe.png".to_vec()));
        fs::create_dir(root.path().join(name.parent().unwrap())).unwrap();
        fs::write(root.path().join(&name), "").unwrap();
        let listing = Asked::of(root.path()).list().unwrap();
        assert_eq!(names(&listing), ["f\\xffo/\\xfe.png"]);
        assert_eq!(listing.label(&listing.loose[0]).as_deref(), Some("f\\xffo"));
        assert!(listing.address(&listing.loose[0]).local().unwrap().exists());
    }
}
