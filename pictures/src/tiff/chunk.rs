//! A strip or tile of the file → its samples as the file's own kind has them: decompressed,
//! prediction undone, chroma spread out.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder};
use schemas::{Fault, Reason};

use super::super::webp;
use super::codec::{self, Compression};
use super::ifd::{Endian, tag};
use super::page::{Colour, Page, Predictor, YCbCr};
use super::{fax, jpeg};

/// So many rows of a chunk, the first ones, each from a byte on.
pub(super) fn read(page: &Page<'_>, index: usize, rows: usize) -> Result<Vec<u8>, Fault> {
    let needed = usize::try_from(page.chunk_bytes(rows as u64)).unwrap_or(usize::MAX);
    let stored = stored(page, index, needed)?;
    let mut bytes = match page.compression {
        // Tiles that hold nothing are left out by some programs.
        _ if stored.is_empty() => vec![0; needed],
        Compression::Jpeg => jpeg::decode(page, &jpeg::stream(page, &stored), rows)?,
        Compression::OldJpeg => jpeg::decode(page, &jpeg::old_stream(page)?, rows)?,
        Compression::WebP => webp_picture(page, &stored, rows)?,
        compression if compression.is_fax() => {
            if page.bits != 1 || page.samples_together() != 1 {
                return Err(Fault::corrupt("a fax in the TIFF that is not of one bit a pixel"));
            }
            let options = page.directory.uint(tag::T4_OPTIONS).unwrap_or(0);
            let mut bytes = vec![0; needed];
            let width = page.chunks.width as usize;
            fax::unpack(compression, options, &stored, width, &mut bytes)?;
            bytes
        }
        compression => {
            let mut bytes = vec![0; needed];
            let found = codec::unpack(compression, page.window, &stored, &mut bytes)?;
            if found < needed {
                return Err(Fault::corrupt(format!(
                    "strip or tile {index} of the TIFF has {found} bytes of {needed}"
                )));
            }
            bytes
        }
    };
    if let Colour::YCbCr(YCbCr { shared, .. }) = page.colour
        && shared != (1, 1)
    {
        return Ok(spread_chroma(&bytes, page.chunks.width as usize, rows, shared));
    }
    let row = usize::try_from(page.row_bytes(page.chunks.width.into())).unwrap_or(usize::MAX);
    bytes.truncate(row.saturating_mul(rows));
    for row in bytes.chunks_exact_mut(row) {
        match page.predictor {
            Predictor::None => {}
            Predictor::Horizontal => add_up(row, page.bits / 8, page),
            Predictor::Float => add_up_bytes(row, page),
        }
    }
    Ok(bytes)
}

/// A chunk's bytes in the file; none where it is said to be nowhere.
fn stored<'a>(page: &Page<'a>, index: usize, needed: usize) -> Result<Cow<'a, [u8]>, Fault> {
    let missing =
        || Fault::corrupt(format!("the TIFF does not tell where strip or tile {index} is"));
    let at = page.chunks.offsets.uint(index).ok_or_else(missing)?;
    let told = page.chunks.counts.and_then(|counts| counts.uint(index));
    let length = match told {
        Some(0) if at == 0 => return Ok(Cow::Borrowed(&[])),
        // What is not compressed needs no count, which some programs get wrong.
        _ if page.compression == Compression::None => needed as u64,
        Some(length) if length > 0 => length,
        _ => u64::MAX,
    };
    let bytes = page.file.part(at, length);
    if bytes.is_empty() {
        return Err(Fault::corrupt(format!("strip or tile {index} of the TIFF lies past its end")));
    }
    // JPEGs have an order of their own.
    if page.reversed && !matches!(page.compression, Compression::Jpeg | Compression::OldJpeg) {
        return Ok(bytes.iter().map(|byte| byte.reverse_bits()).collect());
    }
    Ok(Cow::Borrowed(bytes))
}

fn webp_picture(page: &Page<'_>, stored: &[u8], rows: usize) -> Result<Vec<u8>, Fault> {
    let broken = |error| Fault::corrupt(format!("a WebP in the TIFF: {error}"));
    let decoder = WebPDecoder::new(Cursor::new(stored)).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let samples = page.samples_together();
    let found = match decoder.color_type() {
        ColorType::Rgb8 => 3,
        _ => 4,
    };
    if width != page.chunks.width || height > page.chunks.height || (height as usize) < rows {
        return Err(Fault::corrupt(format!("a WebP of {width}×{height} pixels in the TIFF")));
    }
    if !matches!(samples, 3 | 4) {
        let message = format!("a TIFF of {samples} samples in WebP, which is not read");
        return Err(Fault::new(Reason::Unsupported, message));
    }
    webp::check_frames(stored, (width, height))?;
    let mut bytes = vec![0; width as usize * height as usize * found];
    decoder.read_image(&mut bytes).map_err(broken)?;
    // A tile that is nowhere clear may be stored without transparency.
    Ok(match (found, samples) {
        (3, 4) => bytes.chunks_exact(3).flat_map(|rgb| [rgb[0], rgb[1], rgb[2], 255]).collect(),
        (4, 3) => bytes.chunks_exact(4).flat_map(|rgba| [rgba[0], rgba[1], rgba[2]]).collect(),
        _ => bytes,
    })
}

/// Units of some luma samples and the two chroma samples that they share → whole pixels.
fn spread_chroma(
    units: &[u8],
    width: usize,
    rows: usize,
    (across, down): (usize, usize),
) -> Vec<u8> {
    let mut out = vec![0; width * rows * 3];
    let mut units = units.chunks_exact(across * down + 2);
    for top in (0..rows).step_by(down) {
        for left in (0..width).step_by(across) {
            let Some((luma, chroma)) = units.next().map(|unit| unit.split_at(across * down)) else {
                return out;
            };
            for y in top..rows.min(top + down) {
                for x in left..width.min(left + across) {
                    let to = &mut out[(y * width + x) * 3..][..3];
                    to[0] = luma[(y - top) * across + x - left];
                    to[1..].copy_from_slice(chroma);
                }
            }
        }
    }
    out
}

/// Numbers of whole bytes, each stored as the difference to that of the pixel before.
fn add_up(row: &mut [u8], size: usize, page: &Page<'_>) {
    let step = size * page.samples_together();
    if size == 1 {
        for at in step..row.len() {
            row[at] = row[at].wrapping_add(row[at - step]);
        }
        return;
    }
    let endian = page.file.endian;
    for at in (step..row.len()).step_by(size) {
        let before = endian.uint(&row[at - step..][..size]);
        let sum = endian.uint(&row[at..][..size]).wrapping_add(before);
        let to = &mut row[at..at + size];
        match endian {
            Endian::Little => to.copy_from_slice(&sum.to_le_bytes()[..size]),
            Endian::Big => to.copy_from_slice(&sum.to_be_bytes()[8 - size..]),
        }
    }
}

/// Floating point: bytes of a row sorted by weight, the highest first, each stored as the
/// difference to the one a pixel before.
fn add_up_bytes(row: &mut [u8], page: &Page<'_>) {
    let step = page.samples_together();
    for at in step..row.len() {
        row[at] = row[at].wrapping_add(row[at - step]);
    }
    let size = page.bits / 8;
    let sorted = row.to_vec();
    let count = row.len() / size;
    for (index, to) in row.chunks_exact_mut(size).enumerate() {
        for (weight, to) in to.iter_mut().enumerate() {
            *to = sorted[weight * count + index];
        }
    }
}
