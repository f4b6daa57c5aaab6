//! AVIF: a still picture, whole or in cells, or the still picture of an animation.

mod av1;
mod boxes;
mod cells;
mod items;
mod planes;
mod properties;
mod tracks;
mod yuv;

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{GrayImage, Rgb, RgbImage, imageops};
use schemas::{Fault, Reason};

use self::av1::Header;
use self::cells::Cells;
use self::items::Items;
use self::planes::Planes;
use self::properties::{Change, Colours};
use super::{Decoded, Job, canvas, colour};

/// What the decoder takes for itself besides the frames.
const ROOM: u64 = 16 << 20;

pub(super) fn decode(job: &Job<'_>) -> Result<Decoded, Fault> {
    let items = Items::find(job.bytes)?;
    let picture = Source::find(job, &items, Cells::of(&items, items.primary)?)?;
    let alpha = picture.cells.alpha(&items)?;
    let alpha = alpha.map(|cells| Source::find(job, &items, cells)).transpose()?;
    let pixels = job.check_sides(picture.size)?;
    let mut size = picture.size;
    // What lies deeper is changed first.
    let path = picture.cells.path.iter().rev();
    let changes = Change::list(path.flat_map(|&id| items.properties(id)), &mut size);
    job.check_sides(size)?;
    // The planes, then RGB and its copies.
    let mut needed = picture.memory + pixels * 9 + ROOM;
    needed += job.resizing(picture.decoded(), picture.size)?;
    if let Some(alpha) = &alpha {
        needed += alpha.memory + job.resizing(alpha.decoded(), picture.size)?;
    }
    let memory = job.reserve(needed)?;

    let colours = picture.colours();
    let mut rgb = yuv::to_rgb(&picture.planes(job)?, colours.coding);
    match (colours.profile, colours.coding) {
        (Some(profile), _) => colour::to_srgb(&mut rgb, Some(profile), false),
        (None, Some(coding)) => colour::primaries_to_srgb(&mut rgb, coding.primaries),
        (None, None) => {}
    }
    if rgb.dimensions() != picture.size {
        rgb = imageops::resize(&rgb, picture.size.0, picture.size.1, FilterType::Triangle);
    }
    if let Some(source) = &alpha {
        let premultiplied = picture.cells.is_premultiplied(&items, &source.cells);
        let alpha = source.transparency(job, picture.size)?;
        lay(&mut rgb, &alpha, premultiplied, job.options.background);
    }
    let rgb = changes.into_iter().fold(rgb, |rgb, change| change.apply(rgb));
    let orientation = Orientation::NoTransforms;
    Ok(Decoded { rgb, orientation, cut_short: false, memory })
}

/// A picture of the file, not decoded yet.
struct Source<'a> {
    items: &'a Items<'a>,
    cells: Cells,
    /// What its first cell's data tell.
    header: Header,
    size: (u32, u32),
    /// What decoding it takes.
    memory: u64,
}

impl Job<'_> {
    /// The memory that it takes to bring decoded pixels to another size.
    fn resizing(&self, from: (u32, u32), to: (u32, u32)) -> Result<u64, Fault> {
        if from == to {
            return Ok(0);
        }
        // Rows come first, with sixteen bytes a pixel.
        let between = u64::from(from.0) * u64::from(to.1);
        self.check_pixels(between)?;
        Ok(16 * between + 3 * u64::from(to.0) * u64::from(to.1))
    }

    fn check_pixels(&self, pixels: u64) -> Result<(), Fault> {
        let most = self.options.max_pixels;
        if pixels > most {
            let message = format!("{pixels} pixels to decode, more than --max-pixels {most}");
            return Err(Fault::new(Reason::TooLarge, message));
        }
        Ok(())
    }
}

impl<'a> Source<'a> {
    fn find(job: &Job<'_>, items: &'a Items<'a>, cells: Cells) -> Result<Self, Fault> {
        let header = Header::read(&items.content(cells.ids[0])?)?;
        let size = match cells.size {
            Some(_) => cells.covered(header.size)?,
            // Where these differ, the picture is shown in the size that the properties tell.
            None => properties::sides(items.properties(cells.ids[0])).unwrap_or(header.size),
        };
        let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        job.check_pixels(pixels(size).max(pixels(header.size)))?;
        // Frame and reference of a cell, and the planes that cells are put into.
        let grid = if cells.size.is_some() { header.bytes_of(pixels(size)) } else { 0 };
        let memory = 2 * header.frame_bytes() + grid;
        Ok(Self { items, cells, header, size, memory })
    }

    /// The size in which it is decoded.
    fn decoded(&self) -> (u32, u32) {
        self.cells.size.unwrap_or(self.header.size)
    }

    fn colours(&self) -> Colours<'a> {
        let mut colours = Colours::default();
        for &id in self.cells.path.iter().chain(self.cells.ids.first()) {
            colours.add(self.items.properties(id));
        }
        colours
    }

    fn planes(&self, job: &Job<'_>) -> Result<Planes, Fault> {
        let (width, height) = self.header.size;
        let most = u64::from(width) * u64::from(height);
        let cell = |id: u32| Planes::of(&av1::decode(&self.items.content(id)?, most)?);
        let first = cell(self.cells.ids[0])?;
        if first.size != self.header.size {
            return Err(Fault::corrupt("a frame of the AVIF has another size than its header"));
        }
        if self.cells.size.is_none() {
            return Ok(first);
        }
        let mut whole = Planes::of_grid(self.size, &first);
        whole.put(&first, (0, 0));
        for (place, &id) in (0..).zip(&self.cells.ids).skip(1) {
            if job.deadline.is_past() {
                return Err(job.deadline.fault());
            }
            let next = cell(id)?;
            if !first.is_like(&next) {
                return Err(Fault::corrupt("the cells of the AVIF's grid differ in kind or size"));
            }
            let (column, row) = (place % self.cells.columns, place / self.cells.columns);
            whole.put(&next, (column * first.size.0, row * first.size.1));
        }
        Ok(whole)
    }

    /// The transparency of a picture of this size.
    fn transparency(&self, job: &Job<'_>, size: (u32, u32)) -> Result<Vec<u8>, Fault> {
        let planes = self.planes(job)?;
        let alpha = yuv::first_plane(&planes);
        if planes.size == size {
            return Ok(alpha);
        }
        let mismatch = || Fault::corrupt("the transparency has another size than it says");
        let (width, height) = planes.size;
        let alpha = GrayImage::from_raw(width, height, alpha).ok_or_else(mismatch)?;
        Ok(imageops::resize(&alpha, size.0, size.1, FilterType::Triangle).into_raw())
    }
}

fn lay(rgb: &mut RgbImage, alpha: &[u8], premultiplied: bool, background: [u8; 3]) {
    for (pixel, &alpha) in rgb.pixels_mut().zip(alpha) {
        if premultiplied {
            let mut under = Rgb([0; 3]);
            canvas::lay_over(&mut under, alpha, background);
            for (value, under) in pixel.0.iter_mut().zip(under.0) {
                *value = value.saturating_add(under);
            }
        } else {
            canvas::lay_over(pixel, alpha, background);
        }
    }
}
