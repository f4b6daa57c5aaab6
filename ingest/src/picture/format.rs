//! The first bytes → the format, or what the file is instead of a picture.

use image::ImageFormat;
use schemas::Reason;

use super::Fault;
use super::brands::{self, Media};

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    Avif,
    WebP,
    Tiff,
    /// What the crate `image` decodes: PNG, GIF and BMP.
    Other(ImageFormat),
}

/// What is known by its first bytes and not read: where they stand, the bytes, what they mean.
const KNOWN: [(usize, &[u8], Reason, &str); 22] = [
    (0, b"\xff\x0a", Reason::Unsupported, "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", Reason::Unsupported, "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", Reason::Unsupported, "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", Reason::Unsupported, "JPEG 2000"),
    (0, b"8BPS", Reason::Unsupported, "Photoshop"),
    (0, b"\0\0\x01\0", Reason::Unsupported, "ICO"),
    (0, b"qoif", Reason::Unsupported, "QOI"),
    (0, b"DDS ", Reason::Unsupported, "DDS"),
    (0, b"v/1\x01", Reason::Unsupported, "OpenEXR"),
    (0, b"#?RADIANCE", Reason::Unsupported, "Radiance HDR"),
    (0, b"farbfeld", Reason::Unsupported, "farbfeld"),
    (0, b"\x1aE\xdf\xa3", Reason::NotAPicture, "a Matroska or WebM film"),
    (0, b"%PDF", Reason::NotAPicture, "a PDF document"),
    (0, b"PK\x03\x04", Reason::NotAPicture, "a ZIP archive"),
    (0, b"Rar!\x1a\x07", Reason::NotAPicture, "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", Reason::NotAPicture, "a 7z archive"),
    (0, b"\x1f\x8b", Reason::NotAPicture, "a gzip stream"),
    (0, b"\x28\xb5\x2f\xfd", Reason::NotAPicture, "a zstd stream"),
    (0, b"\xfd7zXZ\0", Reason::NotAPicture, "an xz stream"),
    (0, b"BZh", Reason::NotAPicture, "a bzip2 stream"),
    (0, b"version https://git-lfs", Reason::NotAPicture, "a Git LFS pointer"),
    (0, b"\x7fELF", Reason::NotAPicture, "a program"),
];

/// How text begins (in lower case, after white space) and what it is then.
const TEXTS: [(&str, &str); 7] = [
    ("<!doctype html", "a web page (HTML)"),
    ("<html", "a web page (HTML)"),
    ("<head", "a web page (HTML)"),
    ("<svg", "an SVG drawing"),
    ("<?xml", "an XML document"),
    ("{", "JSON or other text"),
    ("[", "JSON or other text"),
];

/// Tells the format by the first bytes.
pub(super) fn tell(head: &[u8]) -> Result<Format, Fault> {
    if head.is_empty() {
        return Err(Fault::new(Reason::Empty, "the file has no bytes"));
    }
    match brands::tell(head) {
        Some(Media::Avif) => return Ok(Format::Avif),
        Some(Media::Picture(name)) => return Err(unsupported(name)),
        Some(Media::Film) => {
            return Err(Fault::new(Reason::NotAPicture, "the file is an MP4 or QuickTime film"));
        }
        None => {}
    }
    // BigTIFF counts 43.
    if matches!(head, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]) {
        return Ok(Format::Tiff);
    }
    match image::guess_format(head) {
        Ok(ImageFormat::Jpeg) => return Ok(Format::Jpeg),
        Ok(ImageFormat::WebP) => return Ok(Format::WebP),
        Ok(format @ (ImageFormat::Png | ImageFormat::Gif | ImageFormat::Bmp)) => {
            return Ok(Format::Other(format));
        }
        _ => {}
    }
    let known = KNOWN
        .iter()
        .find(|(at, bytes, ..)| head.get(*at..).is_some_and(|rest| rest.starts_with(bytes)));
    Err(match known {
        Some((.., Reason::Unsupported, name)) => unsupported(name),
        Some((.., name)) => Fault::new(Reason::NotAPicture, format!("the file is {name}")),
        None => not_a_picture(head),
    })
}

fn unsupported(name: &str) -> Fault {
    Fault::new(
        Reason::Unsupported,
        format!("a {name} file; JPEG, PNG, WebP, AVIF, GIF, BMP and TIFF are read"),
    )
}

fn not_a_picture(head: &[u8]) -> Fault {
    let start = head[..head.len().min(24)].escape_ascii();
    let text = String::from_utf8_lossy(&head[..head.len().min(512)]).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    // A page may begin with a comment, and an SVG with the XML declaration.
    let kind = TEXTS
        .iter()
        .find(|(begin, _)| text.starts_with(begin))
        .map(|&(_, kind)| match kind {
            "an XML document" if text.contains("<svg") => "an SVG drawing",
            kind => kind,
        })
        .or_else(|| text.contains("<html").then_some("a web page (HTML)"))
        .or_else(|| head.iter().all(|&byte| byte == 0).then_some("zeros"))
        .or_else(|| {
            let printable =
                |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n' | 0x80..);
            (std::str::from_utf8(&head[..head.len().min(64)]).is_ok_and(|text| !text.is_empty())
                && head.iter().take(64).all(printable))
            .then_some("text")
        });
    Fault::new(
        Reason::NotAPicture,
        match kind {
            Some(kind) => format!("the file looks like {kind}; it begins with \"{start}\""),
            None => format!("the file begins with \"{start}\""),
        },
    )
}
