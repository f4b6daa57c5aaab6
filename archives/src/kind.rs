//! Which archive a file is.

use super::packed::{self, Packing};
use super::{records, tar, zip};

/// The archives that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A tar: ustar, GNU, pax or the old form; packed as a whole or not.
    Tar(Packing),
    /// Records of a web crawl; packed as a whole, one by one, or not.
    Warc(Packing),
    /// A Parquet file.
    Parquet,
    /// A ZIP.
    Zip,
    /// One that is not read, so that it is told of by its own name; and what it is.
    Unread(&'static str),
}

/// Names of packed archives, whose content may tell nothing before much of it is unpacked. What
/// `.lzma` and `.lz` stand for is unpacked as xz is.
const NAMED: [(&str, Kind); 16] = [
    (".tar.gz", Kind::Tar(Packing::Gzip)),
    (".tgz", Kind::Tar(Packing::Gzip)),
    (".tar.zst", Kind::Tar(Packing::Zstd)),
    (".tar.zstd", Kind::Tar(Packing::Zstd)),
    (".tzst", Kind::Tar(Packing::Zstd)),
    (".tar.xz", Kind::Tar(Packing::Xz)),
    (".txz", Kind::Tar(Packing::Xz)),
    (".tar.lzma", Kind::Tar(Packing::Xz)),
    (".tar.lz", Kind::Tar(Packing::Xz)),
    (".tar.bz2", Kind::Tar(Packing::Bzip2)),
    (".tbz2", Kind::Tar(Packing::Bzip2)),
    (".tbz", Kind::Tar(Packing::Bzip2)),
    (".warc.gz", Kind::Warc(Packing::Gzip)),
    (".warc.zst", Kind::Warc(Packing::Zstd)),
    (".warc.xz", Kind::Warc(Packing::Xz)),
    (".warc.bz2", Kind::Warc(Packing::Bzip2)),
];

/// Endings by which those that are not read are looked into in folders.
const UNREAD_ENDINGS: [&str; 10] = [
    ".rar",
    ".7z",
    ".tar.lz4",
    ".tar.z",
    ".taz",
    ".arc",
    ".arc.gz",
    ".warc.lz4",
    ".tfrecord",
    ".tfrecords",
];

impl Kind {
    /// Bytes of the head that [`Kind::of`] wants; fewer do if the file has no more.
    pub const HEAD: usize = 4096;

    /// Whether the name is that of an archive, by which a file in a folder is looked into.
    pub fn is_name(name: &str) -> bool {
        let plain = [".tar", ".parquet", ".warc", ".wet.gz", ".zip"];
        let packed = NAMED.iter().map(|(ending, _)| ending);
        plain.iter().chain(packed).chain(&UNREAD_ENDINGS).any(|ending| ends_with(name, ending))
    }

    /// Tells the archive by its first bytes, and by its name only where they can't: where a tar
    /// has no signature, or what is packed gives nothing to look into. None if it is no archive.
    pub fn of(head: &[u8], name: &str) -> Option<Self> {
        if let Some(packing) = Packing::of(head) {
            return match Self::plain(&packed::head(packing, head)) {
                Some(Self::Tar(_)) => Some(Self::Tar(packing)),
                Some(Self::Warc(_)) => Some(Self::Warc(packing)),
                Some(unread @ Self::Unread(_)) => Some(unread),
                // What it is packed with is told by content.
                _ => match Self::named(name) {
                    Some(Self::Warc(_)) => Some(Self::Warc(packing)),
                    Some(_) => Some(Self::Tar(packing)),
                    None => packed::has_dictionary(head).then_some(Self::Warc(packing)),
                },
            };
        }
        // An empty tar is zeros throughout, and one of no bytes at all was meant to be one.
        let blank = head.iter().all(|&byte| byte == 0);
        // The directory of a ZIP is at its end, so that anything may stand before it.
        let is_zip = !blank && ends_with(name, ".zip") && !formats::is_picture(head);
        Self::plain(head)
            .or_else(|| (blank && ends_with(name, ".tar")).then_some(Self::Tar(Packing::Plain)))
            .or_else(|| is_zip.then_some(Self::Zip))
    }

    fn named(name: &str) -> Option<Self> {
        NAMED.iter().find(|(ending, _)| ends_with(name, ending)).map(|&(_, kind)| kind)
    }

    fn plain(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PAR1") || head.starts_with(b"PARE") {
            Some(Self::Parquet)
        } else if head.starts_with(b"WARC/") {
            Some(Self::Warc(Packing::Plain))
        } else if zip::begins(head) {
            Some(Self::Zip)
        } else if tar::is_header(head) {
            Some(Self::Tar(Packing::Plain))
        } else if records::is_records(head) {
            Some(Self::Unread("a file of TensorFlow's records"))
        } else {
            formats::unread_archive(head).map(Self::Unread)
        }
    }
}

/// Whether a name has such an ending and something before it.
fn ends_with(name: &str, ending: &str) -> bool {
    let (name, ending) = (name.as_bytes(), ending.as_bytes());
    name.len() > ending.len() && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending)
}
