//! What a stranger's file is by its first bytes, and how the libraries that read it are called.
//!
//! All signatures stand here: [`mark`] has the bytes, a table what those mean that are only known by
//! name. Who reads pictures asks [`tell`]; who reads archives asks [`is_picture`] of what is in
//! them, and [`unread_archive`] of what they can't open.

#![forbid(unsafe_code)]

mod brands;
mod caught;
pub mod mark;

use self::brands::Media;
pub use self::caught::caught;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A picture that is read.
    Picture(Picture),
    /// A picture of a format that is not read, by its name.
    Unread(&'static str),
    /// No picture, but this.
    Other(&'static str),
}

/// The formats of pictures that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Picture {
    Jpeg,
    Png,
    WebP,
    Avif,
    Gif,
    Bmp,
    /// BigTIFF, too.
    Tiff,
}

/// Who knows a signature, of those that are only known by name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// A format of pictures.
    Picture,
    /// No format of pictures.
    Other,
    /// Archives that are not read.
    Archive,
    /// The same, told of where an archive is asked for, and among pictures by their bytes alone.
    ArchiveAlone,
}

/// What is known by its first bytes and not read as a picture.
const TABLE: [(&[u8], Known, &str); 25] = [
    (mark::JPEG_XL, Known::Picture, "JPEG XL"),
    (mark::JPEG_XL_BOXES, Known::Picture, "JPEG XL"),
    (b"\0\0\0\x0cjP  ", Known::Picture, "JPEG 2000"),
    (b"\xff\x4f\xff\x51", Known::Picture, "JPEG 2000"),
    (b"8BPS", Known::Picture, "Photoshop"),
    (b"\0\0\x01\0", Known::Picture, "ICO"),
    (b"qoif", Known::Picture, "QOI"),
    (b"DDS ", Known::Picture, "DDS"),
    (b"v/1\x01", Known::Picture, "OpenEXR"),
    (b"#?RADIANCE", Known::Picture, "Radiance HDR"),
    (b"farbfeld", Known::Picture, "farbfeld"),
    (b"\x1aE\xdf\xa3", Known::Other, "a Matroska or WebM film"),
    (b"%PDF", Known::Other, "a PDF document"),
    (mark::ZIP, Known::Other, "a ZIP archive"),
    (b"Rar!\x1a\x07", Known::Archive, "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", Known::Archive, "a 7z archive"),
    (mark::GZIP, Known::Other, "a gzip stream"),
    (mark::ZSTD, Known::Other, "a zstd stream"),
    (mark::XZ, Known::Other, "an xz stream"),
    (mark::BZIP2, Known::Other, "a bzip2 stream"),
    (b"version https://git-lfs", Known::Other, "a Git LFS pointer"),
    (b"\x7fELF", Known::Other, "a program"),
    (b"\x04\x22\x4d\x18", Known::ArchiveAlone, "packed with lz4"),
    (b"filedesc://", Known::ArchiveAlone, "an ARC file, the form of crawls before WARC"),
    (b"\x1f\x9d", Known::ArchiveAlone, "packed with compress"),
];

/// Tells what a file is by its first bytes, of which 4096 are enough; none where they are nothing
/// known.
pub fn tell(head: &[u8]) -> Option<Format> {
    match brands::tell(head) {
        Some(Media::Avif) => return Some(Format::Picture(Picture::Avif)),
        Some(Media::Picture(name)) => return Some(Format::Unread(name)),
        Some(Media::Film) => return Some(Format::Other("an MP4 or QuickTime film")),
        None => {}
    }
    if let Some(picture) = read(head) {
        return Some(Format::Picture(picture));
    }
    let mut table = TABLE.iter().filter(|(_, known, _)| *known != Known::ArchiveAlone);
    table.find(|(mark, ..)| head.starts_with(mark)).map(|&(_, known, name)| match known {
        Known::Picture => Format::Unread(name),
        _ => Format::Other(name),
    })
}

/// The format of a picture that is read and does not begin with a box.
fn read(head: &[u8]) -> Option<Picture> {
    // BigTIFF counts 43.
    if matches!(head, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]) {
        return Some(Picture::Tiff);
    }
    if mark::is_webp(head) {
        return Some(Picture::WebP);
    }
    let marks = [
        (mark::JPEG, Picture::Jpeg),
        (mark::PNG, Picture::Png),
        (mark::GIF_87, Picture::Gif),
        (mark::GIF_89, Picture::Gif),
        (mark::BMP, Picture::Bmp),
    ];
    marks.into_iter().find(|(mark, _)| head.starts_with(mark)).map(|(_, picture)| picture)
}

/// Whether `head` begins like a picture of a format that the web uses, read or not.
///
/// Signatures so short that text may begin with them count only with what follows them.
pub fn is_picture(head: &[u8]) -> bool {
    if [mark::JPEG, mark::JPEG_XL].iter().any(|mark| head.starts_with(mark)) {
        return true;
    }
    if head.starts_with(mark::BMP) {
        return is_bmp(head);
    }
    if mark::is_webp(head) {
        return true;
    }
    if head.get(4..8) == Some(b"ftyp") {
        return matches!(brands::tell(head), Some(Media::Avif | Media::Picture(_)));
    }
    let marks =
        [mark::PNG, mark::GIF_87, mark::GIF_89, mark::TIFF, mark::TIFF_BIG, mark::JPEG_XL_BOXES];
    marks.iter().any(|mark| head.starts_with(mark))
}

/// `BM`, four reserved zeros, and a header of a size that some version of the format has.
fn is_bmp(head: &[u8]) -> bool {
    head.get(6..10) == Some(&[0; 4])
        && matches!(head.get(14..18), Some(&[12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]))
}

/// What an archive is that begins with `head` and is not read, or what it is packed with; none where
/// it may be one that is read.
pub fn unread_archive(head: &[u8]) -> Option<&'static str> {
    let is_archive = |known| matches!(known, Known::Archive | Known::ArchiveAlone);
    let mut table = TABLE.iter().filter(|(_, known, _)| is_archive(*known));
    table.find(|(mark, ..)| head.starts_with(mark)).map(|&(.., name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_from_text_and_from_pages() {
        for picture in [
            &b"\xff\xd8\xff\xe0\0\x10JFIF"[..],
            b"\x89PNG\r\n\x1a\n\0\0",
            b"GIF89a\x01\0",
            b"RIFF\x10\0\0\0WEBPVP8 ",
            b"\0\0\0\x20ftypavif",
            b"\0\0\0\x18ftypmif1\0\0\0\0miafavif",
            b"II*\0\x08\0\0\0",
            b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
        ] {
            assert!(is_picture(picture), "{}", picture.escape_ascii());
        }
        for other in [
            &b""[..],
            b"BMW 3 series, 2019",
            b"<!doctype html>",
            b"{\"label\": 3}",
            b"P1",
            b"II*",
            b"\0\0\0\x18ftypisom\0\0\0\0mp42avc1",
        ] {
            assert!(!is_picture(other), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn a_signature_has_one_meaning() {
        for (at, (mark, _, name)) in TABLE.iter().enumerate() {
            let same = TABLE[..at].iter().find(|(other, ..)| mark.starts_with(other));
            assert!(same.is_none(), "{name}: {}", mark.escape_ascii());
            assert_eq!(read(mark), None, "{name}");
        }
    }

    #[test]
    fn what_is_not_read_is_told_by_its_name() {
        assert_eq!(tell(b"\xff\x0a\0\0"), Some(Format::Unread("JPEG XL")));
        assert_eq!(tell(b"\x1f\x8b\x08\0"), Some(Format::Other("a gzip stream")));
        assert_eq!(tell(b"\x04\x22\x4d\x18\0"), None);
        assert_eq!(unread_archive(b"\x04\x22\x4d\x18\0"), Some("packed with lz4"));
        assert_eq!(unread_archive(b"Rar!\x1a\x07\0"), Some("a RAR archive"));
        assert_eq!(unread_archive(b"\x1f\x8b\x08\0"), None);
    }
}
