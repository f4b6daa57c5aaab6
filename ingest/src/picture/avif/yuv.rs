//! Decoded planes → RGB of 8 bits (ITU-T H.273).

use image::{Rgb, RgbImage};
use re_rav1d::dav1d::pixel::{MatrixCoefficients, YUVRange};
use re_rav1d::dav1d::{Picture, PixelLayout};
use schemas::Reason;

use super::properties::Coding;
use super::{Fault, PLANES};

/// One plane, whose samples are read as shares: 0 to 1, or −½ to ½ about the middle.
struct Samples {
    plane: re_rav1d::dav1d::Plane,
    stride: usize,
    width: usize,
    height: usize,
    deep: bool,
    zero: f32,
    step: f32,
}

impl Samples {
    fn new(frame: &Picture, plane: usize, full_range: bool, centred: bool) -> Result<Self, Fault> {
        let bits = frame
            .bits_per_component()
            .ok_or_else(|| Fault::new(Reason::Unsupported, "an AVIF of unknown depth"))?
            .0;
        let halved = |side: u32, half: bool| if half { side.div_ceil(2) } else { side } as usize;
        let layout = frame.pixel_layout();
        let half_width = plane > 0 && layout != PixelLayout::I444;
        let half_height = plane > 0 && layout == PixelLayout::I420;
        let unit = (1u32 << (bits - 8)) as f32;
        let (zero, span) = match (full_range, centred) {
            (true, false) => (0.0, (1u32 << bits) as f32 - 1.0),
            (true, true) => (128.0 * unit, (1u32 << bits) as f32 - 1.0),
            (false, false) => (16.0 * unit, 219.0 * unit),
            (false, true) => (128.0 * unit, 224.0 * unit),
        };
        let samples = Self {
            plane: frame.plane(PLANES[plane]),
            stride: frame.stride(PLANES[plane]) as usize,
            width: halved(frame.width(), half_width),
            height: halved(frame.height(), half_height),
            deep: bits > 8,
            zero,
            step: 1.0 / span,
        };
        let row = samples.width * if samples.deep { 2 } else { 1 };
        let enough = samples.stride * (samples.height - 1) + row;
        if samples.plane.len() < enough {
            return Err(Fault::corrupt("a plane of the AVIF is smaller than its picture"));
        }
        Ok(samples)
    }

    fn at(&self, x: usize, y: usize) -> f32 {
        let row = y * self.stride;
        let value = if self.deep {
            let at = row + 2 * x;
            f32::from(u16::from_ne_bytes([self.plane[at], self.plane[at + 1]]))
        } else {
            f32::from(self.plane[row + x])
        };
        (value - self.zero) * self.step
    }

    /// The sample at a pixel of the whole picture; between samples, what lies between them.
    fn spread(&self, x: usize, y: usize, half_width: bool, half_height: bool) -> f32 {
        let ends = |at: usize, half: bool, side: usize| {
            if !half {
                return (at, at, 0.0);
            }
            // Samples lie in the middle of the two pixels that they stand for.
            let near = at / 2;
            let far = if at.is_multiple_of(2) {
                near.saturating_sub(1)
            } else {
                (near + 1).min(side - 1)
            };
            (near, far, 0.25)
        };
        let (x0, x1, across) = ends(x, half_width, self.width);
        let (y0, y1, down) = ends(y, half_height, self.height);
        if across == 0.0 && down == 0.0 {
            return self.at(x0, y0);
        }
        let row = |y| self.at(x0, y) * (1.0 - across) + self.at(x1, y) * across;
        row(y0) * (1.0 - down) + row(y1) * down
    }
}

fn byte(share: f32) -> u8 {
    (share * 255.0 + 0.5) as u8
}

/// The picture in RGB, by the coding that the container tells, or else the frame itself.
pub(super) fn to_rgb(frame: &Picture, coding: Option<Coding>) -> Result<RgbImage, Fault> {
    let full_range = match coding {
        Some(coding) => coding.full_range,
        None => frame.color_range() == YUVRange::Full,
    };
    let matrix = coding.map_or_else(|| matrix(frame), |coding| coding.matrix);
    let luma = Samples::new(frame, 0, full_range, false)?;
    let mut rgb = RgbImage::new(frame.width(), frame.height());
    let layout = frame.pixel_layout();
    if layout == PixelLayout::I400 {
        for (x, y, pixel) in rgb.enumerate_pixels_mut() {
            *pixel = Rgb([byte(luma.at(x as usize, y as usize)); 3]);
        }
        return Ok(rgb);
    }
    let identity = matrix == 0;
    let first = Samples::new(frame, 1, full_range, !identity)?;
    let second = Samples::new(frame, 2, full_range, !identity)?;
    let half_width = layout != PixelLayout::I444;
    let half_height = layout == PixelLayout::I420;
    let (red, blue) = weights(matrix);
    let green = 1.0 - red - blue;
    for (x, y, pixel) in rgb.enumerate_pixels_mut() {
        let (x, y) = (x as usize, y as usize);
        let l = luma.at(x, y);
        let u = first.spread(x, y, half_width, half_height);
        let v = second.spread(x, y, half_width, half_height);
        let colours = match matrix {
            // The planes are green, blue and red.
            0 => [v, l, u],
            // YCgCo.
            8 => [l - u + v, l + u, l - u - v],
            _ => {
                let r = l + 2.0 * (1.0 - red) * v;
                let b = l + 2.0 * (1.0 - blue) * u;
                [r, (l - red * r - blue * b) / green, b]
            }
        };
        *pixel = Rgb(colours.map(byte));
    }
    Ok(rgb)
}

/// The first plane alone, as transparency is stored.
pub(super) fn first_plane(frame: &Picture) -> Result<Vec<u8>, Fault> {
    let luma = Samples::new(frame, 0, frame.color_range() == YUVRange::Full, false)?;
    let rows = (0..luma.height).flat_map(|y| (0..luma.width).map(move |x| (x, y)));
    Ok(rows.map(|(x, y)| byte(luma.at(x, y))).collect())
}

/// The code point of the matrix that the frame's own header names.
fn matrix(frame: &Picture) -> u8 {
    match frame.matrix_coefficients() {
        MatrixCoefficients::Identity => 0,
        MatrixCoefficients::BT709 => 1,
        MatrixCoefficients::BT470M => 4,
        MatrixCoefficients::ST240M => 7,
        MatrixCoefficients::YCgCo => 8,
        MatrixCoefficients::BT2020NonConstantLuminance
        | MatrixCoefficients::BT2020ConstantLuminance => 9,
        _ => 6,
    }
}

/// The shares of red and blue in luma.
fn weights(matrix: u8) -> (f32, f32) {
    match matrix {
        1 => (0.2126, 0.0722),
        4 => (0.30, 0.11),
        7 => (0.212, 0.087),
        9 | 10 => (0.2627, 0.0593),
        // Of BT.601, which decoders take where none is named.
        _ => (0.299, 0.114),
    }
}
