//! An HTTP response as it went over the wire → what it carries.

use std::io::Read;

use brotli_decompressor::Decompressor;
use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use formats::mark;
use schemas::{Fault, Reason};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::Limits;
use super::packed::is_bomb;

/// Header fields, in WARC and in HTTP.
#[derive(Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Takes a line up; one without a colon goes on from the line before it.
    pub(super) fn push(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = self.0.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            self.0.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The first field of this name, which is in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// The fields of this name alone.
    pub(super) fn only(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(key, _)| key == name).cloned().collect())
    }

    /// The media type of a field, in lower case and without its parameters.
    pub(super) fn media_type(&self, name: &str) -> Option<String> {
        self.media_types(name).next()
    }

    /// Whether a field of this name says that something is a picture.
    pub(super) fn says_image(&self, name: &str) -> bool {
        self.media_types(name).any(|media_type| media_type.starts_with("image/"))
    }

    /// The media types that all fields of the name give; servers send several, in one field or each
    /// in its own.
    fn media_types(&self, name: &str) -> impl Iterator<Item = String> {
        let fields = self.0.iter().filter(move |(key, _)| key == name);
        fields.flat_map(|(_, value)| value.split(',')).map(|value| {
            let media_type = value.split(';').next().unwrap_or(value);
            media_type.trim_matches([' ', '\t', '"', '\'']).to_ascii_lowercase()
        })
    }
}

/// The status code of a status line.
pub(super) fn status(line: &[u8]) -> Option<u16> {
    let line = str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

/// Whether a body that begins with `start`, as it is stored, is a picture by its first bytes.
pub(super) fn begins_like_picture(start: &[u8], fields: &Fields, limits: &Limits) -> bool {
    if formats::is_picture(start) {
        return true;
    }
    let start = decoded(Bytes::copy_from_slice(start), fields, limits);
    start.is_ok_and(|start| formats::is_picture(&start))
}

/// Undoes chunks and compression of a body.
///
/// Crawlers often keep the header fields of what they undid themselves, so that a body that is no
/// chunks, or a picture already, is taken as it is. What is cut short is undone as far as it goes.
pub(super) fn decoded(body: Bytes, fields: &Fields, limits: &Limits) -> Result<Bytes, Fault> {
    let says = |field: &str, what: &str| {
        fields.get(field).is_some_and(|value| value.to_ascii_lowercase().contains(what))
    };
    let mut body = body;
    // Some crawlers undo chunks but keep the field, others drop the field and keep the chunks.
    let in_chunks = || chunk_size(&body).is_some_and(|(_, chunk)| formats::is_picture(chunk));
    if !formats::is_picture(&body) && (says("transfer-encoding", "chunked") || in_chunks()) {
        body = without_chunks(&body).unwrap_or(body);
    }
    undone(body, fields.get("content-encoding").unwrap_or_default(), limits)
}

/// Undoes the codings of a `Content-Encoding`.
pub fn undone(body: Bytes, codings: &str, limits: &Limits) -> Result<Bytes, Fault> {
    let mut body = body;
    let codings = codings.to_ascii_lowercase();
    // The last coding is the outermost. More than two are a trap.
    for coding in codings.rsplit(',').map(str::trim).take(2) {
        if formats::is_picture(&body) {
            break;
        }
        body = match coding {
            "" | "identity" | "none" | "utf-8" => body,
            "gzip" | "x-gzip" if !body.starts_with(mark::GZIP) => body,
            "gzip" | "x-gzip" => inflated(MultiGzDecoder::new(&*body), &body, limits)?,
            "deflate" if is_zlib(&body) => inflated(ZlibDecoder::new(&*body), &body, limits)?,
            "deflate" => inflated(DeflateDecoder::new(&*body), &body, limits)?,
            // These first bits announce a window of up to 1 GiB, which HTTP does not allow.
            "br" if body.first().is_some_and(|first| first & 0x7f == 0x11) => {
                return Err(Fault::new(
                    Reason::Corrupt,
                    "the body's brotli has a forbidden window",
                ));
            }
            "br" => inflated(Decompressor::new(&*body, 4096), &body, limits)?,
            "zstd" if !body.starts_with(mark::ZSTD) => body,
            "zstd" => match ZstdDecoder::with_buffer(&*body) {
                Ok(decoder) => inflated(decoder, &body, limits)?,
                Err(error) => return Err(Fault::new(Reason::Corrupt, error.to_string())),
            },
            other => {
                let other: String = other.chars().take(40).collect();
                let message = format!(
                    "the body is encoded as {other:?}; gzip, deflate, br and zstd are undone"
                );
                return Err(Fault::new(Reason::Unsupported, message));
            }
        };
    }
    Ok(body)
}

fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..]
        if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31))
}

/// The chunks of a body put together, up to where it ends; none if it does not begin with one.
fn without_chunks(body: &Bytes) -> Option<Bytes> {
    let mut whole = Vec::new();
    let mut rest = &body[..];
    let mut begun = false;
    while let Some((size, after)) = chunk_size(rest) {
        begun = true;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size == 0 {
            break;
        }
        let chunk = &after[..size.min(after.len())];
        whole.extend_from_slice(chunk);
        rest = &after[chunk.len()..];
        rest = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")).unwrap_or(rest);
    }
    begun.then(|| whole.into())
}

/// The size that a chunk's first line tells, and what follows the line.
fn chunk_size(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(256).position(|&byte| byte == b'\n')?;
    let line = str::from_utf8(&bytes[..end]).ok()?;
    let size = line.split(';').next()?.trim();
    let is_hex = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
    let size = is_hex.then(|| u64::from_str_radix(size, 16))?.ok()?;
    Some((size, &bytes[end + 1..]))
}

/// What `decoder` gives for `stored`, if it is a picture. The first bytes tell that, so that data
/// that is none is not inflated further.
fn inflated(mut decoder: impl Read, stored: &[u8], limits: &Limits) -> Result<Bytes, Fault> {
    const STEP: u64 = 64 << 10;
    let mut bytes = Vec::new();
    let mut step = 512;
    loop {
        let before = bytes.len();
        let result = decoder.by_ref().take(step).read_to_end(&mut bytes);
        if before == 0 && !formats::is_picture(&bytes) {
            if let (Err(error), true) = (&result, bytes.is_empty()) {
                let message = format!("the body can't be inflated: {error}");
                return Err(Fault::new(Reason::Corrupt, message));
            }
            let start = bytes[..bytes.len().min(24)].escape_ascii();
            let message = format!("the inflated body begins with \"{start}\"");
            return Err(Fault::new(Reason::NotAPicture, message));
        }
        let most = limits.member_bytes;
        if bytes.len() as u64 > most || is_bomb(bytes.len() as u64, stored.len() as u64) {
            let message = format!(
                "{} bytes inflate to {} and more, where a picture may have {most} at most",
                stored.len(),
                bytes.len(),
            );
            return Err(Fault::new(Reason::TooLarge, message));
        }
        // Damage or an early end further in leaves what came before it.
        if result.is_err() || bytes.len() == before {
            return Ok(bytes.into());
        }
        step = STEP;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const PICTURE: &[u8] = b"GIF89a and so on, as long as it begins like one";

    fn fields(lines: &[&str]) -> Fields {
        let mut fields = Fields::default();
        lines.iter().for_each(|line| fields.push(line.as_bytes()));
        fields
    }

    fn decode(body: impl Into<Bytes>, lines: &[&str]) -> Result<Bytes, Fault> {
        decoded(
            body.into(),
            &fields(lines),
            &Limits { member_bytes: 100 << 20, ..Limits::default() },
        )
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn chunks_and_compression_are_undone_in_their_order() {
        let gzipped = gzip(PICTURE);
        let mut chunked = Vec::new();
        for chunk in gzipped.chunks(16) {
            chunked.extend(format!("{:x};name=value\r\n", chunk.len()).as_bytes());
            chunked.extend(chunk);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\n\r\n");
        let lines = ["Transfer-Encoding: chunked", "Content-Encoding: gzip"];
        assert_eq!(decode(chunked, &lines).unwrap(), PICTURE);
    }

    #[test]
    fn both_meanings_of_deflate_are_undone() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(PICTURE).unwrap();
        assert_eq!(
            decode(zlib.finish().unwrap(), &["Content-Encoding: deflate"]).unwrap(),
            PICTURE
        );
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(PICTURE).unwrap();
        assert_eq!(decode(raw.finish().unwrap(), &["Content-Encoding: deflate"]).unwrap(), PICTURE);
    }

    #[test]
    fn brotli_is_undone() {
        // An uncompressed meta-block of the picture's length (RFC 7932, 9.2), then an empty last.
        let length = PICTURE.len() as u32 - 1;
        let bits = length << 4 | 1 << 20;
        let mut body = bits.to_le_bytes()[..3].to_vec();
        body.extend(PICTURE);
        body.push(0b11);
        assert_eq!(decode(body, &["Content-Encoding: br"]).unwrap(), PICTURE);
    }

    #[test]
    fn a_body_that_the_crawler_decoded_is_taken_as_it_is() {
        let lines = ["Transfer-Encoding: chunked", "Content-Encoding: gzip"];
        assert_eq!(decode(PICTURE, &lines).unwrap(), PICTURE);
        assert_eq!(decode(&b"no picture"[..], &lines).unwrap(), &b"no picture"[..]);
    }

    #[test]
    fn a_chunk_that_claims_exabytes_gives_what_is_there() {
        let body = [b"ffffffffffffffff\r\n", PICTURE].concat();
        assert_eq!(decode(body, &["Transfer-Encoding: chunked"]).unwrap(), PICTURE);
    }

    #[test]
    fn a_body_cut_short_is_inflated_as_far_as_it_goes() {
        let gzipped = gzip(&[PICTURE, &vec![7; 100_000]].concat());
        let cut = gzipped[..gzipped.len() - 12].to_vec();
        assert!(decode(cut, &["Content-Encoding: gzip"]).unwrap().starts_with(PICTURE));
    }

    #[test]
    fn a_bomb_is_given_up() {
        let lines = ["Content-Encoding: gzip"];
        let zeros = vec![0; 90 << 20];
        let bomb = gzip(&zeros);
        let reason = |bomb| decode(bomb, &lines).err().map(|fault| fault.reason);
        assert_eq!(reason(bomb), Some(Reason::NotAPicture));
        let bomb = gzip(&[PICTURE, &zeros].concat());
        assert_eq!(reason(bomb), Some(Reason::TooLarge));
    }

    #[test]
    fn zstd_is_undone() {
        let packed = zstd::encode_all(PICTURE, 3).unwrap();
        assert_eq!(decode(packed, &["Content-Encoding: zstd"]).unwrap(), PICTURE);
        assert_eq!(decode(PICTURE, &["Content-Encoding: zstd"]).unwrap(), PICTURE);
    }

    #[test]
    fn a_coding_that_is_not_undone_is_named() {
        let fault = decode(&b"what?"[..], &["Content-Encoding: compress"]).unwrap_err();
        assert_eq!(fault.reason, Reason::Unsupported);
        assert!(fault.message.contains("compress"), "{}", fault.message);
    }

    #[test]
    fn chunks_that_no_field_tells_of_are_undone() {
        let body = [b"6\r\nGIF89a\r\n", &b"4\r\n1234\r\n0\r\n\r\n"[..]].concat();
        assert_eq!(decode(body, &[]).unwrap(), "GIF89a1234");
        assert_eq!(decode(&b"a\r\ntext"[..], &[]).unwrap(), "a\r\ntext");
    }

    #[test]
    fn a_picture_is_said_in_any_field_and_any_way() {
        let says = |lines: &[&str]| {
            let mut fields = Fields::default();
            lines.iter().for_each(|line| fields.push(line.as_bytes()));
            fields.says_image("content-type")
        };
        assert!(says(&["Content-Type: IMAGE/JPG;charset=utf-8"]));
        assert!(says(&["Content-Type: text/html", "content-type: image/png"]));
        assert!(says(&["Content-Type: text/plain, \"image/png\""]));
        assert!(says(&["Content-Type: text/html", "Content-Type:", "\timage/gif"]));
        assert!(!says(&["Content-Type: text/html; about=image/png", "X-Type: image/png"]));
        assert!(!says(&[]));
    }
}
