//! What a picture must be like: size and shape by its header, colours once it is decoded.

use image::RgbImage;
use schemas::{Fault, Reason};

use super::DecodeOptions;

/// Of a thousand pixels, how many must share a colour for the picture to be of one.
const NEARLY_ALL: u64 = 999;

impl DecodeOptions {
    /// The most bytes that a file is looked at with, unless they are given: no uncompressed picture
    /// that is allowed takes more; a film with a picture's first bytes does.
    pub fn most_bytes(&self) -> u64 {
        let needed = self.max_pixels.saturating_mul(8).saturating_add(1 << 20);
        self.max_bytes.unwrap_or(needed)
    }
}

pub(super) fn bytes(bytes: u64, options: &DecodeOptions) -> Result<(), Fault> {
    let most = options.most_bytes();
    if bytes > most {
        let pixels = options.max_pixels;
        let message = match options.max_bytes {
            Some(most) => format!("the file has {bytes} bytes, more than --max-bytes {most}"),
            None => format!(
                "the file has {bytes} bytes; no picture of {pixels} pixels needs {most} (--max-bytes)"
            ),
        };
        return Err(Fault::new(Reason::TooLarge, message));
    }
    Ok(())
}

/// Checks a picture's size, upright or not.
pub(super) fn sides((width, height): (u32, u32), options: &DecodeOptions) -> Result<(), Fault> {
    let DecodeOptions { min_side, max_pixels, max_aspect, .. } = *options;
    let (short, long) = (width.min(height), width.max(height));
    if short < min_side.max(1) {
        return Err(Fault::new(
            Reason::TooSmall,
            format!("{width}×{height} pixels, a side under --min-side {min_side}"),
        ));
    }
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(Fault::new(
            Reason::TooLarge,
            format!("{width}×{height} pixels, more than --max-pixels {max_pixels}"),
        ));
    }
    if max_aspect > 0 && u64::from(long) > u64::from(short) * u64::from(max_aspect) {
        return Err(Fault::new(
            Reason::BadAspect,
            format!(
                "{width}×{height} pixels, a side more than --max-aspect {max_aspect} times the other"
            ),
        ));
    }
    Ok(())
}

/// Refuses a picture that is nearly of one colour: in each channel some `levels` neighbouring
/// levels hold 99.9 % of the pixels.
pub(super) fn colours(picture: &RgbImage, levels: u8) -> Result<(), Fault> {
    if levels == 0 {
        return Ok(());
    }
    let pixels = u64::from(picture.width()) * u64::from(picture.height());
    let spare = pixels * (1000 - NEARLY_ALL) / 1000;
    let mut counts = [[0u64; 256]; 3];
    let mut done = 0;
    // Most pictures show within their first pixels that no window can hold enough of them.
    for part in picture.as_raw().chunks(3 * 4096) {
        for pixel in part.chunks_exact(3) {
            for (count, &value) in counts.iter_mut().zip(pixel) {
                count[usize::from(value)] += 1;
            }
        }
        done += part.len() as u64 / 3;
        if counts.iter().any(|count| done - widest(count, levels) > spare) {
            return Ok(());
        }
    }
    let [r, g, b] = counts.map(|count| {
        (0..=255u8).max_by_key(|&value| count[usize::from(value)]).unwrap_or_default()
    });
    Err(Fault::new(
        Reason::OneColour,
        format!(
            "nearly every pixel is #{r:02x}{g:02x}{b:02x}, within --one-colour {levels} levels"
        ),
    ))
}

/// The most pixels that lie in a window of so many levels.
fn widest(count: &[u64; 256], levels: u8) -> u64 {
    count.windows(usize::from(levels)).map(|window| window.iter().sum()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// Grey of 100 with this many pixels of another value, first in the picture.
    fn spotted(spots: u32, value: u8) -> RgbImage {
        RgbImage::from_fn(100, 100, |x, y| {
            Rgb([if y * 100 + x < spots { value } else { 100 }, 100, 100])
        })
    }

    #[test]
    fn a_picture_is_of_one_colour_up_to_a_thousandth_of_its_pixels() {
        for spots in [0, 1, 10] {
            assert_eq!(colours(&spotted(spots, 0), 4).unwrap_err().reason, Reason::OneColour);
        }
        for spots in [11, 5_000, 9_989] {
            colours(&spotted(spots, 0), 4).unwrap();
        }
        assert!(colours(&spotted(9_990, 0), 4).is_err());
    }

    #[test]
    fn levels_close_by_are_one_colour_and_zero_keeps_everything() {
        assert!(colours(&spotted(5_000, 103), 4).is_err());
        colours(&spotted(5_000, 104), 4).unwrap();
        colours(&spotted(5_000, 101), 1).unwrap();
        colours(&spotted(0, 0), 0).unwrap();
    }
}
