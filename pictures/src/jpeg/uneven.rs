//! JPEGs whose components are sampled as no camera does it, such as chroma finer than luma: their
//! planes, spread out as libjpeg does it, → interleaved samples.

use libjpeg_turbo_rs::{ColorSpace, DecodeWarning, Decoder, FrameHeader, RawImage};
use schemas::{Fault, Reason};

use super::fault;

/// Samples across and down of each component in a unit of the frame.
fn factors(frame: &FrameHeader) -> Vec<(u8, u8)> {
    let factors =
        |it: &libjpeg_turbo_rs::ComponentInfo| (it.horizontal_sampling, it.vertical_sampling);
    frame.components.iter().map(factors).collect()
}

/// Samples of the finest component in each direction.
fn finest(factors: &[(u8, u8)]) -> (u8, u8) {
    let most = |side: fn(&(u8, u8)) -> u8| factors.iter().map(side).max().unwrap_or(1);
    (most(|it| it.0), most(|it| it.1))
}

/// Whether the frame is of a kind that the decoder's own way to pixels does not know: there the
/// first component is the finest, and so is the fourth.
pub(super) fn is_uneven(frame: &FrameHeader) -> bool {
    let factors = factors(frame);
    match factors[..] {
        [first, _, _] => first != finest(&factors),
        [first, second, third, fourth] => {
            first != finest(&factors) || second != third || fourth != first
        }
        _ => false,
    }
}

/// Refuses components of which some have no whole number of pixels a sample.
pub(super) fn check_ratios(frame: &FrameHeader) -> Result<(), Fault> {
    let factors = factors(frame);
    let (across, down) = finest(&factors);
    let whole =
        |&(h, v): &(u8, u8)| across.checked_rem(h) == Some(0) && down.checked_rem(v) == Some(0);
    if factors.len() > 1 && !factors.iter().all(whole) {
        return Err(Fault::new(
            Reason::Unsupported,
            format!("a JPEG whose components are sampled in fractions, {factors:?}"),
        ));
    }
    Ok(())
}

/// RGB, or CMYK as it is stored, and what the decoder had to warn of.
pub(super) fn decode(decoder: Decoder<'_>) -> Result<(Vec<u8>, Vec<DecodeWarning>), Fault> {
    let factors = factors(decoder.header());
    let coding = decoder.jpeg_color_space();
    let (raw, warnings) = decoder.decode_raw_with_warnings().map_err(fault)?;
    let (across, down) = finest(&factors);
    let planes: Vec<Plane<'_>> = factors
        .iter()
        .enumerate()
        .map(|(index, &(h, v))| Plane::new(&raw, index, (across / h).into(), (down / v).into()))
        .collect::<Option<_>>()
        .ok_or_else(|| {
            Fault::corrupt("the JPEG decoder gave planes of another size than it said")
        })?;
    let count = planes.len();
    let mut samples = vec![0; raw.width * raw.height * count];
    let mut row = vec![0; raw.width];
    for (y, pixels) in samples.chunks_exact_mut(raw.width * count).enumerate() {
        for (index, plane) in planes.iter().enumerate() {
            plane.spread(y, &mut row);
            for (pixel, &value) in pixels.chunks_exact_mut(count).zip(&row) {
                pixel[index] = value;
            }
        }
        for pixel in pixels.chunks_exact_mut(count) {
            match coding {
                ColorSpace::YCbCr => to_rgb(pixel),
                ColorSpace::Ycck => {
                    to_rgb(pixel);
                    pixel[..3].iter_mut().for_each(|value| *value = 255 - *value);
                }
                _ => {}
            }
        }
    }
    Ok((samples, warnings))
}

/// A component's samples.
struct Plane<'a> {
    samples: &'a [u8],
    stride: usize,
    /// Samples that belong to the picture.
    sides: (usize, usize),
    /// Pixels that a sample stands for.
    pixels: (usize, usize),
}

impl<'a> Plane<'a> {
    fn new(raw: &'a RawImage, index: usize, across: usize, down: usize) -> Option<Self> {
        let plane = Self {
            samples: raw.planes.get(index)?,
            stride: *raw.plane_widths.get(index)?,
            sides: (raw.width.div_ceil(across), raw.height.div_ceil(down)),
            pixels: (across, down),
        };
        let enough =
            plane.stride >= plane.sides.0 && plane.samples.len() >= plane.stride * plane.sides.1;
        enough.then_some(plane)
    }

    /// The samples of a row of pixels. Where a sample stands for two pixels, those between are
    /// weighted by how near they are; where for more, it is repeated.
    fn spread(&self, y: usize, row: &mut [u8]) {
        let (across, down) = self.pixels;
        let smooth = across <= 2 && down <= 2 && self.sides.0 > 2;
        let near = |at: usize, pixels: usize, side: usize| {
            let near = at / pixels;
            let far = match smooth && pixels == 2 {
                true if at.is_multiple_of(2) => near.saturating_sub(1),
                true => (near + 1).min(side - 1),
                false => near,
            };
            (near, far)
        };
        let (y0, y1) = near(y, down, self.sides.1);
        let at = |x: usize, y: usize| u32::from(self.samples[y * self.stride + x]);
        for (x, value) in row.iter_mut().enumerate() {
            let (x0, x1) = near(x, across, self.sides.0);
            let column = |x: usize| 3 * at(x, y0) + at(x, y1);
            *value = ((3 * column(x0) + column(x1) + 8) / 16) as u8;
        }
    }
}

/// YCbCr → RGB, in place (ITU-T T.871).
fn to_rgb(pixel: &mut [u8]) {
    let [y, cb, cr, ..] = *pixel else {
        return;
    };
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
    for (value, share) in pixel.iter_mut().zip(rgb) {
        *value = (share + 0.5) as u8;
    }
}
