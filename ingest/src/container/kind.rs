//! Which archive a file is.

use std::io::Read;

use flate2::bufread::GzDecoder;

use super::tar;

/// The archives that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A tar: ustar, GNU, pax or the old form.
    Tar,
    /// A tar in gzip.
    TarGz,
    /// A Parquet file.
    Parquet,
    /// Records of a web crawl.
    Warc,
    /// The same in gzip, in one member or one a record.
    WarcGz,
}

impl Kind {
    /// Bytes of the head that [`Kind::of`] wants; fewer do if the file has no more.
    pub const HEAD: usize = 4096;

    /// Tells the archive by its first bytes, and by its name only where they can't: where a tar
    /// has no signature, or gzip gives nothing to look into. None if it is no archive.
    pub fn of(head: &[u8], name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let named = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if head.starts_with(&[0x1f, 0x8b]) {
            return match Self::plain(&inflated(head)) {
                Some(Self::Tar) => Some(Self::TarGz),
                Some(Self::Warc) => Some(Self::WarcGz),
                _ if named(&[".tar.gz", ".tgz"]) => Some(Self::TarGz),
                _ if named(&[".warc.gz"]) => Some(Self::WarcGz),
                _ => None,
            };
        }
        // An empty tar is zeros throughout, and one of no bytes at all was meant to be one.
        let blank = head.iter().all(|&byte| byte == 0);
        Self::plain(head).or_else(|| (blank && named(&[".tar"])).then_some(Self::Tar))
    }

    fn plain(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PAR1") || head.starts_with(b"PARE") {
            Some(Self::Parquet)
        } else if head.starts_with(b"WARC/") {
            Some(Self::Warc)
        } else if tar::is_header(head) {
            Some(Self::Tar)
        } else {
            None
        }
    }
}

/// What can be had of the first 512 bytes that the gzip stream stands for.
fn inflated(head: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The head is nearly always cut, so that an error at its end says nothing.
    let _ = GzDecoder::new(head).take(512).read_to_end(&mut bytes);
    bytes
}
