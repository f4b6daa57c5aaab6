//! Whether bytes begin like a picture, or like TensorFlow's records.

use crate::picture::{Media, tell_media};

/// Whether `head` begins like a picture of a format that the web uses, read or not.
///
/// Signatures so short that text may begin with them count only with what follows them.
pub(super) fn is_picture(head: &[u8]) -> bool {
    match head {
        [0xff, 0xd8, 0xff, ..] | [0xff, 0x0a, ..] => true,
        [b'B', b'M', ..] => is_bmp(head),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => true,
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => {
            matches!(tell_media(head), Some(Media::Avif | Media::Picture(_)))
        }
        _ => {
            let signatures: [&[u8]; 6] =
                [b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\0\x0cJXL "];
            signatures.iter().any(|signature| head.starts_with(signature))
        }
    }
}

/// `BM`, four reserved zeros, and a header of a size that some version of the format has.
fn is_bmp(head: &[u8]) -> bool {
    head.get(6..10) == Some(&[0; 4])
        && matches!(head.get(14..18), Some(&[12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]))
}

/// Whether `head` begins like a file of TensorFlow's records: a length, and the checksum of that.
pub(super) fn is_records(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
    let masked = crc32c::crc32c(length).rotate_right(15).wrapping_add(0xa282_ead8);
    rest.first_chunk().is_some_and(|sum| u32::from_le_bytes(*sum) == masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_by_the_checksum_of_their_length() {
        // The beginning of one that the Python package `tfrecord` wrote.
        let record = b"\x0e\0\0\0\0\0\0\0\xc5\xe5\x69\x3f\x0a\x0c\x0a\x0a";
        assert!(is_records(record));
        assert!(!is_records(&record[1..]));
        assert!(!is_records(&record[..11]));
        assert!(!is_records(&[0; 16]));
    }

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
}
