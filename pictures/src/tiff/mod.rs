//! TIFF and BigTIFF: every kind of sample, strips and tiles, chunky and planar, in the codecs that
//! are met.
//!
//! Of several pages the first in full size is taken. Each chunk is decompressed by itself and
//! brought to 8 bits of grey, RGB or CMYK, of which profiles then make sRGB.

mod chunk;
mod codec;
mod colour;
mod fax;
mod fill;
mod ifd;
mod jpeg;
mod lzma;
mod page;
mod pages;
mod samples;

use image::{GrayImage, Rgb, RgbImage};
use schemas::Fault;

use self::colour::{Converter, Planes};
use self::ifd::File;
use self::page::{Colour, Page};
use super::{Decoded, Job, canvas, colour as profiles};

/// A chunk may be so many times as large as the picture, besides what a small one may have anyway.
const CHUNK_SHARE: u64 = 4;
const SMALL_CHUNK: u64 = 64 << 20;

pub(super) fn decode(job: &Job<'_>) -> Result<Decoded, Fault> {
    let (file, first) = File::open(job.bytes)?;
    let page = Page::read(file, pages::choose(&file, first)?)?;
    let pixels = job.check_sides(page.size)?;
    let memory = job.reserve(needed(&page, pixels)?)?;
    let (colours, alpha) = assemble(&page, job)?;
    let mut rgb = to_srgb(&page, colours)?;
    for (pixel, alpha) in rgb.pixels_mut().zip(alpha) {
        canvas::lay_over(pixel, alpha, job.options.background);
    }
    Ok(Decoded { rgb, orientation: page.orientation, cut_short: false, memory })
}

/// The memory that decoding takes.
fn needed(page: &Page<'_>, pixels: u64) -> Result<u64, Fault> {
    let rows = page.chunks.height.min(page.size.1);
    let planes = if page.planar { Converter::samples(page).count() as u64 } else { 1 };
    let whole = page.row_bytes(page.size.0.into()).saturating_mul(page.size.1.into());
    let chunk = page.chunk_bytes(rows.into());
    if chunk > whole.saturating_mul(CHUNK_SHARE).saturating_add(SMALL_CHUNK) {
        return Err(Fault::corrupt(format!(
            "strips or tiles of {}×{} pixels in a TIFF of {}×{}",
            page.chunks.width, page.chunks.height, page.size.0, page.size.1
        )));
    }
    let mut needed = chunk.saturating_mul(planes);
    // Its other forms while it is unpacked and put in order, and a row of samples.
    needed += 3 * chunk + 16 * u64::from(page.size.0) * page.samples as u64;
    if page.compression.holds_pictures() {
        // Planes, spread out and as they are, and coefficients, where scans refine one another;
        // of frames that may be as large as a whole chunk.
        let area = u64::from(page.chunks.width).saturating_mul(page.chunks.height.into());
        needed = needed.saturating_add(area.saturating_mul(4 * page.samples as u64));
    }
    // Colours and transparency, then RGB, and RGB again while it is turned upright.
    needed = needed.saturating_add(pixels * (page.colour.channels() as u64 + 1 + 6));
    // A chunk's bytes as they are stored, put in order, and what codecs take for themselves.
    Ok(needed.saturating_add(page.file.bytes.len() as u64 + page.window + (2 << 20)))
}

/// Puts the chunks together: colours of 8 bits, and transparency, if there is any.
fn assemble(page: &Page<'_>, job: &Job<'_>) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let (width, height) = (page.size.0 as usize, page.size.1 as usize);
    let channels = page.colour.channels();
    let mut colours = vec![0; width * height * channels];
    let mut alpha = vec![0; if page.alpha.is_some() { width * height } else { 0 }];
    let mut converter = Converter::new(page);
    let chunks = &page.chunks;
    let (chunk_width, chunk_height) = (chunks.width as usize, chunks.height as usize);
    let (across, down) = (chunks.across as usize, chunks.down as usize);
    let row_bytes = page.row_bytes(chunks.width.into()) as usize;
    for index in 0..across * down {
        let (left, top) = (index % across * chunk_width, index / across * chunk_height);
        let rows = chunk_height.min(height - top);
        let columns = chunk_width.min(width - left);
        let samples = if page.planar { Converter::samples(page).collect() } else { vec![0] };
        let mut planes = Vec::with_capacity(samples.len());
        for sample in samples {
            if job.deadline.is_past() {
                return Err(job.deadline.fault());
            }
            planes.push(chunk::read(page, sample * across * down + index, rows)?);
        }
        for y in 0..rows {
            let at = (top + y) * width + left;
            let colours = &mut colours[at * channels..][..columns * channels];
            let alpha = match page.alpha {
                Some(_) => &mut alpha[at..at + columns],
                None => &mut [],
            };
            let planes = match page.planar {
                true => Planes::Apart(
                    planes.iter().map(|plane| &plane[y * row_bytes..][..row_bytes]).collect(),
                ),
                false => Planes::Together(&planes[0][y * row_bytes..][..row_bytes]),
            };
            converter.row(&planes, colours, alpha);
        }
    }
    Ok((colours, alpha))
}

fn to_srgb(page: &Page<'_>, colours: Vec<u8>) -> Result<RgbImage, Fault> {
    let (width, height) = page.size;
    let mismatch = || Fault::corrupt("the TIFF has another number of pixels than it says");
    if matches!(page.colour, Colour::Cmyk) {
        let rgb = profiles::from_cmyk(&colours, page.profile);
        return RgbImage::from_raw(width, height, rgb).ok_or_else(mismatch);
    }
    if page.colour.channels() == 1 {
        let grey = GrayImage::from_raw(width, height, colours).ok_or_else(mismatch)?;
        let mut rgb = RgbImage::new(width, height);
        for (to, from) in rgb.pixels_mut().zip(grey.pixels()) {
            *to = Rgb([from.0[0]; 3]);
        }
        profiles::to_srgb(&mut rgb, page.profile, true);
        return Ok(rgb);
    }
    let mut rgb = RgbImage::from_raw(width, height, colours).ok_or_else(mismatch)?;
    // Lab has become sRGB already.
    if !matches!(page.colour, Colour::Lab(_)) {
        profiles::to_srgb(&mut rgb, page.profile, false);
    }
    Ok(rgb)
}
