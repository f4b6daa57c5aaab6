//! WebP (RFC 9649): the chunks of the file → its one picture, or the first of an animation.
//!
//! Many files hold other chunks than their header announces: metadata were dropped and its flags
//! were not, sizes were not set anew, what was appended belongs to nothing. Browsers look for the
//! picture; so what makes it up is found here and handed to the decoder in a file of its own.

use image::codecs::webp::WebPDecoder;
use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, GenericImage, RgbaImage};
use schemas::Fault;

use super::guard::Timed;
use super::still::orientation;
use super::{Decoded, Job, canvas, fault};

/// Chunks of a name that is known.
const NAMES: [&[u8; 4]; 10] =
    [b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ", b"RIFF"];
/// What an extended header's flags announce. Browsers pass over what is there without its flag.
const ALPHA: u8 = 0x10;
const EXIF: u8 = 0x08;
const PROFILE: u8 = 0x20;

/// Decodes the picture.
pub(super) fn decode(job: &Job<'_>) -> Result<Decoded, Fault> {
    let file = job.bytes.get(12..).unwrap_or_default();
    let found = |name: &[u8; 4]| chunks(file).find(|chunk| chunk.name == name);
    let extended = found(b"VP8X").and_then(|chunk| chunk.content.first_chunk::<10>());
    let frame = Frame::find(file)?;
    let size = extended.map_or(frame.size, |header| (side(&header[4..]), side(&header[7..])));
    let pixels = job.check_sides(size)?;
    frame.check_place(size)?;
    // The file for the decoder and its picture twice, in four channels; the whole; then RGB, and RGB
    // again while it is turned upright.
    let frame_pixels = u64::from(frame.size.0) * u64::from(frame.size.1);
    let needed = job.bytes.len() as u64 + 8 * frame_pixels + (4 + 6) * pixels;
    let memory = job.reserve(needed + (1 << 20))?;

    let mut picture = frame.decode(job)?;
    if let Some((left, top)) = frame.corner.filter(|_| frame.size != size) {
        // What an animation's first picture does not cover is transparent.
        let mut whole = RgbaImage::new(size.0, size.1);
        whole.copy_from(&picture.into_rgba8(), left, top).map_err(fault::of)?;
        picture = whole.into();
    }
    let announced = |flag: u8| extended.is_some_and(|header| header[0] & flag != 0);
    // A lossless picture tells by itself whether it has transparency, and so does a file of one.
    let tells = extended.is_none() || frame.picture.name == b"VP8L" && frame.corner.is_none();
    if !tells && !announced(ALPHA) {
        picture = picture.into_rgb8().into();
    }
    // A broken EXIF block or profile says nothing about the picture.
    let exif = found(b"EXIF").filter(|_| announced(EXIF)).map(|chunk| chunk.content);
    let profile = found(b"ICCP").filter(|_| announced(PROFILE)).map(|chunk| chunk.content);
    Ok(Decoded {
        rgb: canvas::flatten(picture, profile, job.options.background),
        orientation: exif.map_or(Orientation::NoTransforms, orientation),
        cut_short: false,
        memory,
    })
}

/// Checks that the first frame of a whole file lies within a picture of this size, on which the
/// decoder relies.
pub(super) fn check_frames(file: &[u8], size: (u32, u32)) -> Result<(), Fault> {
    Frame::find(file.get(12..).unwrap_or_default())?.check_place(size)
}

#[derive(Debug, Clone, Copy)]
struct Chunk<'a> {
    name: &'a [u8; 4],
    content: &'a [u8],
    /// The file has all of it.
    whole: bool,
}

/// The chunks that lie one after another. The byte that fills up one of an odd length may be
/// missing.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        let (name, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let content = &rest[..rest.len().min(length)];
        let begins = |at: usize| {
            let name = rest.get(at..).and_then(|rest| rest.first_chunk::<4>());
            name.is_some_and(|name| NAMES.contains(&name))
        };
        let filled = length.saturating_add(length & 1);
        let next = if begins(length) && !begins(filled) { length } else { filled };
        bytes = rest.get(next..).unwrap_or_default();
        Some(Chunk { name, content, whole: content.len() == length })
    })
}

/// A side less one, in three bytes.
fn side(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |&[a, b, c]| u32::from_le_bytes([a, b, c, 0]) + 1)
}

/// A picture and its transparency.
struct Frame<'a> {
    alpha: Option<Chunk<'a>>,
    picture: Chunk<'a>,
    size: (u32, u32),
    /// Where it lies, if it is one of an animation.
    corner: Option<(u32, u32)>,
}

impl<'a> Frame<'a> {
    /// The still picture of a file, or else the first one of its animation.
    fn find(file: &'a [u8]) -> Result<Self, Fault> {
        if let Some(still) = Self::among(file, None)? {
            return Ok(still);
        }
        let none = || Fault::corrupt("the WebP has no chunk that holds a picture");
        let first = chunks(file).find(|chunk| chunk.name == b"ANMF").ok_or_else(none)?.content;
        let (place, content) = first.split_first_chunk::<16>().ok_or_else(none)?;
        let corner = (2 * (side(place) - 1), 2 * (side(&place[3..]) - 1));
        Self::among(content, Some(corner))?.ok_or_else(none)
    }

    fn among(bytes: &'a [u8], corner: Option<(u32, u32)>) -> Result<Option<Self>, Fault> {
        let Some(picture) = chunks(bytes).find(|it| matches!(it.name, b"VP8 " | b"VP8L")) else {
            return Ok(None);
        };
        let alpha = chunks(bytes).find(|it| it.name == b"ALPH" && picture.name == b"VP8 ");
        let cut = || Fault::corrupt("the WebP ends before its picture does");
        if !picture.whole || alpha.is_some_and(|alpha| !alpha.whole) {
            return Err(cut());
        }
        let size = sides(picture).ok_or_else(cut)?;
        Ok(Some(Self { alpha, picture, size, corner }))
    }

    /// Checks that it is the whole picture, or lies in it if there is more than one.
    fn check_place(&self, (width, height): (u32, u32)) -> Result<(), Fault> {
        let (left, top) = self.corner.unwrap_or_default();
        let fits =
            left.saturating_add(self.size.0) <= width && top.saturating_add(self.size.1) <= height;
        if !fits {
            return Err(Fault::corrupt("a frame is larger than the WebP picture"));
        }
        if self.corner.is_none() && self.size != (width, height) {
            return Err(Fault::corrupt("the WebP's header tells another size than its picture"));
        }
        Ok(())
    }

    fn decode(&self, job: &Job<'_>) -> Result<DynamicImage, Fault> {
        let file = self.file();
        let fault = |error: ImageError| match job.deadline.is_past() {
            true => job.deadline.fault(),
            false => fault::of(error),
        };
        let decoder = WebPDecoder::new(Timed::new(&file, job.deadline)).map_err(fault)?;
        DynamicImage::from_decoder(decoder).map_err(fault)
    }

    /// A file of this picture alone.
    fn file(&self) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
        let mut put = |name: &[u8; 4], content: &[u8]| {
            file.extend(name);
            file.extend((content.len() as u32).to_le_bytes());
            file.extend(content);
            file.extend(&[0][..content.len() & 1]);
        };
        if let Some(alpha) = self.alpha {
            let [w, h] = [self.size.0, self.size.1].map(|side| (side - 1).to_le_bytes());
            put(b"VP8X", &[ALPHA, 0, 0, 0, w[0], w[1], w[2], h[0], h[1], h[2]]);
            put(alpha.name, alpha.content);
        }
        put(self.picture.name, self.picture.content);
        let length = file.len() as u32 - 8;
        file[4..8].copy_from_slice(&length.to_le_bytes());
        file
    }
}

/// The sides that a picture's own header tells; none if it ends too early or says 0.
fn sides(picture: Chunk<'_>) -> Option<(u32, u32)> {
    let sides = if picture.name == b"VP8L" {
        // A signature, then the sides less one in 14 bits each.
        let bits = u32::from_le_bytes(*picture.content.get(1..)?.first_chunk()?);
        ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)
    } else {
        // Three bytes of tag, three of start code, then the sides in 14 bits each.
        let &[w0, w1, h0, h1] = picture.content.get(6..)?.first_chunk()?;
        let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
        (side(w0, w1), side(h0, h1))
    };
    (sides.0 > 0 && sides.1 > 0).then_some(sides)
}
