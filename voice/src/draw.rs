//! Draws HOG as glyphs, and panels side by side, into a PNG.
//!
//! A cell's glyph has one stroke a bin, along the edge that the bin's gradients cross. It is as
//! bright as the square of the bin's value: the squares of a channel add up to 1, so that a cell
//! with one orientation shows one bright stroke, and one with all a dim star. Each channel is drawn
//! in its own colour, so that an edge between greys is white.

use std::f32::consts::PI;
use std::io::Cursor;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::error::{ParameterError, ParameterErrorKind};
use image::{ExtendedColorType, ImageEncoder, ImageError, ImageResult, RgbImage};

/// An RGB picture of 8 bits to draw on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// A canvas of one colour.
    pub fn new(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, rgb: colour.repeat(width * height) }
    }

    /// A square picture of `side`×`side` pixels, ordered (row, column, channel), brought to
    /// `panel`×`panel` pixels by repeating or dropping its own.
    ///
    /// # Panics
    /// If `rgb` has not side·side·3 bytes.
    pub fn picture(rgb: &[u8], side: usize, panel: usize) -> Self {
        assert_eq!(rgb.len(), side * side * 3, "a picture of {side}×{side} RGB pixels");
        let mut canvas = Self::new(panel, panel, [0; 3]);
        for y in 0..panel {
            for x in 0..panel {
                let from = (y * side / panel * side + x * side / panel) * 3;
                canvas.pixel(x, y).copy_from_slice(&rgb[from..from + 3]);
            }
        }
        canvas
    }

    /// The glyphs of a HOG: `values` is `[grid², 3·bins]`, ordered (channel, bin) within a cell,
    /// its values in 0..=1 (others are cut off there). The panel is `panel`×`panel` pixels.
    ///
    /// # Panics
    /// If `values` has not grid²·3·bins numbers.
    pub fn hog(values: &[f32], grid: usize, bins: usize, panel: usize) -> Self {
        assert_eq!(values.len(), grid * grid * 3 * bins, "{grid}×{grid} cells of 3·{bins} values");
        let strokes = Strokes::new(bins, panel as f32 / grid as f32);
        let mut canvas = Self::new(panel, panel, [0; 3]);
        for y in 0..panel {
            for x in 0..panel {
                let cell = (y * grid / panel) * grid + x * grid / panel;
                let values = &values[cell * 3 * bins..][..3 * bins];
                let middle = |at: usize| (at * grid / panel) as f32 + 0.5;
                let dx = x as f32 + 0.5 - middle(x) * strokes.side;
                let dy = y as f32 + 0.5 - middle(y) * strokes.side;
                let pixel = canvas.pixel(x, y);
                for (channel, values) in values.chunks_exact(bins).enumerate() {
                    let ink = strokes.ink(dx, dy, values);
                    pixel[channel] = (ink * 255.0 + 0.5) as u8;
                }
            }
        }
        canvas
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The pixels, ordered (row, column, channel).
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Lays `other` over this canvas with its upper left corner at (x, y); what would lie outside
    /// is left off.
    pub fn paste(&mut self, other: &Self, x: usize, y: usize) {
        let width = other.width.min(self.width.saturating_sub(x));
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let from = row * other.width * 3;
            let to = ((y + row) * self.width + x) * 3;
            self.rgb[to..to + width * 3].copy_from_slice(&other.rgb[from..from + width * 3]);
        }
    }

    /// Panels in rows and columns with `gap` pixels of `colour` around each. The panels must be
    /// of one size; rows may differ in length.
    pub fn sheet(rows: &[Vec<Self>], gap: usize, colour: [u8; 3]) -> Self {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let first = rows.iter().flatten().next();
        let (width, height) = first.map_or((0, 0), |panel| (panel.width, panel.height));
        let (width, height) = (width + gap, height + gap);
        let mut sheet = Self::new(columns * width + gap, rows.len() * height + gap, colour);
        for (y, row) in rows.iter().enumerate() {
            for (x, panel) in row.iter().enumerate() {
                sheet.paste(panel, gap + x * width, gap + y * height);
            }
        }
        sheet
    }

    /// The canvas as a PNG file.
    ///
    /// # Errors
    /// If the canvas has no pixels or is too large for a PNG.
    pub fn png(&self) -> ImageResult<Vec<u8>> {
        png(&self.rgb, self.width as u32, self.height as u32)
    }

    fn pixel(&mut self, x: usize, y: usize) -> &mut [u8] {
        let at = (y * self.width + x) * 3;
        &mut self.rgb[at..at + 3]
    }
}

/// Encodes `width`·`height`·3 bytes, ordered (row, column, channel), as a PNG file.
///
/// # Errors
/// If the bytes are not that many, or none.
pub fn png(rgb: &[u8], width: u32, height: u32) -> ImageResult<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    PngEncoder::new(&mut file).write_image(rgb, width, height, ExtendedColorType::Rgb8)?;
    Ok(file.into_inner())
}

/// A square picture of `side`×`side` pixels, ordered (row, column, channel), as a JPEG file of at
/// most `most`×`most` pixels.
///
/// # Errors
/// If the bytes are not that many, or none.
pub fn thumbnail(rgb: &[u8], side: u32, most: u32) -> ImageResult<Vec<u8>> {
    let mismatch = || {
        let kind = ParameterErrorKind::DimensionMismatch;
        ImageError::Parameter(ParameterError::from_kind(kind))
    };
    let mut picture = RgbImage::from_raw(side, side, rgb.to_vec()).ok_or_else(mismatch)?;
    if side > most {
        let whole =
            ImageRef::new(side, side, picture.as_raw(), PixelType::U8x3).map_err(|_| mismatch())?;
        let mut small = Image::new(most, most, PixelType::U8x3);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
            .use_alpha(false);
        Resizer::new().resize(&whole, &mut small, &options).map_err(|_| mismatch())?;
        picture = RgbImage::from_raw(most, most, small.into_vec()).ok_or_else(mismatch)?;
    }
    let mut file = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut file, 85).encode_image(&picture)?;
    Ok(file.into_inner())
}

/// The strokes of a glyph: for each bin a line through the cell's middle.
struct Strokes {
    side: f32,
    /// The unit vector of a bin's gradients, which its stroke crosses at a right angle.
    gradients: Vec<(f32, f32)>,
}

impl Strokes {
    fn new(bins: usize, side: f32) -> Self {
        // The angle is atan2(gx, gy), so that gx is its sine and gy its cosine. Both gradients are
        // turned about against the axes alike, which a line does not show.
        let gradients =
            (0..bins).map(|bin| ((bin as f32 + 0.5) * PI / bins as f32).sin_cos()).collect();
        Self { side, gradients }
    }

    /// How bright the point (dx, dy) from the cell's middle is, 0..=1.
    fn ink(&self, dx: f32, dy: f32, values: &[f32]) -> f32 {
        let half_length = self.side * 0.46;
        let half_width = (self.side / 32.0).max(0.6);
        let mut ink = 0.0f32;
        for (&(gx, gy), &value) in self.gradients.iter().zip(values) {
            let across = (dx * gx + dy * gy).abs();
            let along = (dx * gy - dy * gx).abs();
            let cover = (half_width + 0.5 - across).clamp(0.0, 1.0)
                * (half_length + 0.5 - along).clamp(0.0, 1.0);
            ink = ink.max(value.clamp(0.0, 1.0).powi(2) * cover);
        }
        ink
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The brightest row or column tells how the stroke lies.
    fn brightest(canvas: &Canvas, across: bool) -> usize {
        let side = canvas.width();
        let sum = |line: usize| -> u32 {
            (0..side)
                .map(|at| {
                    let (x, y) = if across { (at, line) } else { (line, at) };
                    u32::from(canvas.rgb()[(y * side + x) * 3])
                })
                .sum()
        };
        (0..side).max_by_key(|&line| sum(line)).unwrap()
    }

    fn one_bin(bin: usize, bins: usize) -> Canvas {
        let mut values = vec![0.0; 3 * bins];
        values[bin] = 1.0;
        Canvas::hog(&values, 1, bins, 41)
    }

    #[test]
    fn a_stroke_lies_along_its_edge() {
        // Of 2 bins the middles are at 45° and 135°; of 3, bin 1 has its middle at 90°: gx alone,
        // as at an upright edge.
        let canvas = one_bin(1, 3);
        let column = brightest(&canvas, false);
        assert_eq!(column, 20);
        let at = |x: usize, y: usize| canvas.rgb()[(y * 41 + x) * 3];
        assert!(at(20, 5) > 200 && at(5, 20) == 0);
        // gx and gy alike: an edge from lower left to upper right.
        let canvas = one_bin(0, 2);
        let at = |x: usize, y: usize| canvas.rgb()[(y * 41 + x) * 3];
        assert!(at(30, 10) > 200 && at(10, 10) == 0);
    }

    #[test]
    fn what_is_pasted_over_the_edge_is_left_off() {
        let mut canvas = Canvas::new(4, 4, [0; 3]);
        canvas.paste(&Canvas::new(3, 3, [9; 3]), 2, 3);
        assert_eq!(canvas.rgb().iter().filter(|&&value| value == 9).count(), 2 * 3);
    }

    #[test]
    fn a_png_decodes_to_what_was_drawn() {
        let canvas = Canvas::picture(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 2, 4);
        let decoded = image::load_from_memory(&canvas.png().unwrap()).unwrap().into_rgb8();
        assert_eq!(decoded.as_raw(), canvas.rgb());
        assert_eq!(&decoded.get_pixel(3, 3).0, &[10, 11, 12]);
    }
}
