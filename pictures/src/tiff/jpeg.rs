//! Strips and tiles that are JPEGs: of today's kind, whose tables may stand in the directory
//! (TIFF Technical Note 2), and whole files of the old kind (TIFF 6.0, section 22).

use libjpeg_turbo_rs::{DecodeLimits, DecodeWarning, Decoder, JpegError, PixelFormat};
use schemas::{Fault, Reason};

use super::ifd::tag;
use super::page::Page;

const MOST_SCANS: usize = 100;

/// The JPEG's samples, one pixel after another, in rows as wide as the chunk. YCbCr becomes RGB.
pub(super) fn decode(page: &Page<'_>, stream: &[u8], rows: usize) -> Result<Vec<u8>, Fault> {
    let (width, height) = (page.chunks.width as usize, page.chunks.height as usize);
    let limits = DecodeLimits {
        max_width: width,
        max_height: height,
        max_pixels: (width as u64).saturating_mul(height as u64),
        max_scans: MOST_SCANS,
        max_memory: None,
    };
    let mut decoder = Decoder::new_with_limits(stream, limits).map_err(fault)?;
    let frame = decoder.header();
    let samples = page.samples_together();
    if frame.precision != 8 || frame.is_lossless || !matches!(samples, 1..=4) {
        let bits = frame.precision;
        return Err(Fault::new(
            Reason::Unsupported,
            format!("a JPEG of {samples} samples and {bits} bits in a TIFF, which is not read"),
        ));
    }
    if frame.components.len() != samples
        || usize::from(frame.width) != width
        || !(rows..=height).contains(&usize::from(frame.height))
    {
        return Err(Fault::corrupt(format!(
            "a JPEG of {}×{} pixels and {} samples in the TIFF, where {width}×{rows} and {samples} \
             belong",
            frame.width,
            frame.height,
            frame.components.len()
        )));
    }
    if samples == 2 {
        return pairs(decoder);
    }
    decoder.set_output_format(match samples {
        1 => PixelFormat::Grayscale,
        4 => PixelFormat::Cmyk,
        _ => PixelFormat::Rgb,
    });
    decoder.set_lenient(true);
    let picture = decoder.decode_image().map_err(fault)?;
    check(&picture.warnings)?;
    Ok(picture.data)
}

/// Two samples a pixel, which the library gives as planes alone.
fn pairs(mut decoder: Decoder<'_>) -> Result<Vec<u8>, Fault> {
    decoder.set_lenient(true);
    let (planes, warnings) = decoder.decode_raw_with_warnings().map_err(fault)?;
    check(&warnings)?;
    let ([one, other], [step, same]) = (&planes.planes[..], &planes.plane_widths[..]) else {
        return Err(Fault::corrupt("a JPEG of two samples in the TIFF has not two planes"));
    };
    if step != same || one.len() != other.len() {
        let message = "a JPEG of two samples, one of them finer, in a TIFF, which is not read";
        return Err(Fault::new(Reason::Unsupported, message));
    }
    let rows = one.chunks_exact(*step).zip(other.chunks_exact(*step)).take(planes.height);
    let pixels = rows.flat_map(|(one, other)| one.iter().zip(other).take(planes.width));
    Ok(pixels.flat_map(|(&one, &other)| [one, other]).collect())
}

fn check(warnings: &[DecodeWarning]) -> Result<(), Fault> {
    let broken = |it: &&DecodeWarning| !matches!(it, DecodeWarning::ExtraneousData { .. });
    match warnings.iter().find(broken) {
        Some(warning) => Err(Fault::corrupt(format!("a JPEG in the TIFF: {warning}"))),
        None => Ok(()),
    }
}

fn fault(error: JpegError) -> Fault {
    let reason = match &error {
        JpegError::Unsupported(_) => Reason::Unsupported,
        JpegError::LimitExceeded { what, .. } if what.contains("scan") => Reason::OverTime,
        _ => Reason::Corrupt,
    };
    Fault::new(reason, format!("a JPEG in the TIFF: {error}"))
}

/// A whole JPEG of a chunk's: with the tables of the directory, and saying what its colours are by
/// Adobe's segment alone, since the directory knows better than its own segments.
pub(super) fn stream(page: &Page<'_>, chunk: &[u8]) -> Vec<u8> {
    let mut out = start(page);
    if let Some(tables) = page.directory.get(tag::JPEG_TABLES) {
        copy_segments(tables.bytes, &mut out);
    }
    let scans = copy_segments(chunk, &mut out);
    out.extend(scans);
    out
}

/// A whole JPEG of the old kind.
pub(super) fn old_stream(page: &Page<'_>) -> Result<Vec<u8>, Fault> {
    let strip = page.chunks.offsets.uint(0).unwrap_or(0);
    let file = page.directory.uint(tag::JPEG_FILE).filter(|&at| at > 0);
    let length = page.directory.uint(tag::JPEG_FILE_LENGTH).filter(|&length| length > 0);
    let from = file.unwrap_or(strip);
    let mut bytes = page.file.part(from, length.unwrap_or(u64::MAX));
    if from == strip {
        // The strip's length is the better known one.
        bytes = page.file.part(from, u64::MAX);
    }
    if !bytes.starts_with(b"\xff\xd8") {
        return Err(Fault::new(
            Reason::Unsupported,
            "a TIFF with an old-style JPEG in pieces (6), which is not read",
        ));
    }
    let mut out = start(page);
    let scans = copy_segments(bytes, &mut out);
    out.extend(scans);
    Ok(out)
}

fn start(page: &Page<'_>) -> Vec<u8> {
    const YCBCR: u8 = 1;
    const AS_IT_IS: u8 = 0;
    let transform = if page.jpeg_is_ycbcr { YCBCR } else { AS_IT_IS };
    let mut out = b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0".to_vec();
    out.push(transform);
    out
}

/// Copies what stands before the first scan, but for what applications have put there; the rest.
fn copy_segments<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..).and_then(|rest| rest.first_chunk())
    {
        if marker == 0xff {
            at += 1;
            continue;
        }
        if matches!(marker, 0xd8 | 0xd9) {
            at += 2;
            continue;
        }
        if marker == 0xda {
            return &bytes[at..];
        }
        let end = at + 2 + usize::from(u16::from_be_bytes([high, low]));
        let Some(segment) = bytes.get(at..end) else { break };
        if !matches!(marker, 0xe0..=0xef | 0xfe) {
            out.extend(segment);
        }
        at = end;
    }
    &[]
}
