//! The first bytes of those formats that somebody reads, or that more than one place asks for.

/// JPEG.
pub const JPEG: &[u8] = b"\xff\xd8\xff";
/// PNG.
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// GIF of 1987.
pub const GIF_87: &[u8] = b"GIF87a";
/// GIF of 1989.
pub const GIF_89: &[u8] = b"GIF89a";
/// BMP; text may begin with it.
pub const BMP: &[u8] = b"BM";
/// TIFF whose numbers have their lowest byte first.
pub const TIFF: &[u8] = b"II*\0";
/// TIFF whose numbers have their highest byte first.
pub const TIFF_BIG: &[u8] = b"MM\0*";
/// JPEG XL without boxes.
pub const JPEG_XL: &[u8] = b"\xff\x0a";
/// JPEG XL in boxes.
pub const JPEG_XL_BOXES: &[u8] = b"\0\0\0\x0cJXL ";

/// A file of a ZIP.
pub const ZIP: &[u8] = b"PK\x03\x04";
/// gzip.
pub const GZIP: &[u8] = b"\x1f\x8b";
/// A frame of zstd.
pub const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// xz.
pub const XZ: &[u8] = b"\xfd7zXZ\0";
/// bzip2; behind it stands a digit.
pub const BZIP2: &[u8] = b"BZh";

/// Whether a file is WebP, which says its size before it says what it is.
pub fn is_webp(head: &[u8]) -> bool {
    head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP")
}
