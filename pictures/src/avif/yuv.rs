//! Decoded planes → RGB of 8 bits (ITU-T H.273).
//!
//! In floats, and of our own: the fixed-point numbers of a library such as `yuv` round otherwise,
//! and views that are other bytes than those stored can't be told from damage when a set is
//! repaired.

use image::{Rgb, RgbImage};
use re_rav1d::dav1d::PixelLayout;

use super::planes::Planes;
use super::properties::Coding;

/// One plane, whose samples are read as shares: 0 to 1, or −½ to ½ about the middle.
struct Samples<'a> {
    plane: &'a [u8],
    stride: usize,
    width: usize,
    height: usize,
    deep: bool,
    zero: f32,
    step: f32,
}

impl<'a> Samples<'a> {
    fn new(picture: &'a Planes, plane: usize, full_range: bool, centred: bool) -> Self {
        let unit = (1u32 << (picture.bits - 8)) as f32;
        let most = (1u32 << picture.bits) as f32 - 1.0;
        let (zero, span) = match (full_range, centred) {
            (true, false) => (0.0, most),
            (true, true) => (128.0 * unit, most),
            (false, false) => (16.0 * unit, 219.0 * unit),
            (false, true) => (128.0 * unit, 224.0 * unit),
        };
        let (width, height) = picture.sides(plane);
        let deep = picture.sample_bytes() > 1;
        let (plane, stride) = picture.plane(plane);
        Self { plane, stride, width, height, deep, zero, step: 1.0 / span }
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
pub(super) fn to_rgb(picture: &Planes, coding: Option<Coding>) -> RgbImage {
    let full_range = coding.map_or(picture.full_range, |coding| coding.full_range);
    let matrix = coding.map_or(picture.matrix, |coding| coding.matrix);
    let luma = Samples::new(picture, 0, full_range, false);
    let mut rgb = RgbImage::new(picture.size.0, picture.size.1);
    if picture.layout == PixelLayout::I400 {
        for (x, y, pixel) in rgb.enumerate_pixels_mut() {
            *pixel = Rgb([byte(luma.at(x as usize, y as usize)); 3]);
        }
        return rgb;
    }
    let identity = matrix == 0;
    let first = Samples::new(picture, 1, full_range, !identity);
    let second = Samples::new(picture, 2, full_range, !identity);
    let (half_width, half_height) = picture.halved();
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
    rgb
}

/// The first plane alone, as transparency is stored.
pub(super) fn first_plane(picture: &Planes) -> Vec<u8> {
    let luma = Samples::new(picture, 0, picture.full_range, false);
    let rows = (0..luma.height).flat_map(|y| (0..luma.width).map(move |x| (x, y)));
    rows.map(|(x, y)| byte(luma.at(x, y))).collect()
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
