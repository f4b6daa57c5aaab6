//! How the pixels of a view are stored: as they are, or as differences, of which fewer bytes are
//! left after compression.

use std::borrow::Cow;
use std::fmt;

use multiversion::multiversion;
use serde::{Deserialize, Serialize};

/// What is done to a view's pixels before they are compressed. It can be undone exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PictureFilter {
    /// Nothing: RGB, ordered (row, column, channel).
    #[default]
    None,
    /// Three planes, ordered (plane, row, column): green, red − green, blue − green; of each row
    /// but the first the difference to the row above. All modulo 256.
    ///
    /// Both steps are those of lossless formats: WebP's "subtract green transform" (RFC 9649,
    /// section 4.3) and PNG's filter type 2, "Up" (section 9.2).
    GreenUp,
}

impl fmt::Display for PictureFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::GreenUp => "green-up",
        })
    }
}

impl PictureFilter {
    /// The bytes to store for a view of `size`·`size`·3 bytes.
    ///
    /// # Panics
    /// If there are more or fewer.
    pub fn apply(self, rgb: Vec<u8>, size: usize) -> Vec<u8> {
        assert_eq!(rgb.len(), size * size * 3, "the bytes of a view of {size} pixels");
        match self {
            Self::None => rgb,
            Self::GreenUp => {
                let mut stored = vec![0; rgb.len()];
                green_up(&rgb, size, &mut stored);
                stored
            }
        }
    }

    /// The view for which these bytes, of [`Self::apply`], are stored.
    ///
    /// # Panics
    /// If they are not `size`·`size`·3.
    pub fn undo(self, stored: &[u8], size: usize) -> Cow<'_, [u8]> {
        assert_eq!(stored.len(), size * size * 3, "the bytes of a view of {size} pixels");
        match self {
            Self::None => Cow::Borrowed(stored),
            Self::GreenUp => {
                let mut rgb = vec![0; stored.len()];
                undo_green_up(stored, size, &mut rgb);
                Cow::Owned(rgb)
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn green_up(rgb: &[u8], size: usize, stored: &mut [u8]) {
    let (green, rest) = stored.split_at_mut(rgb.len() / 3);
    let (red, blue) = rest.split_at_mut(rgb.len() / 3);
    let pixels = rgb.as_chunks::<3>().0.iter();
    for (((&[r, g, b], green), red), blue) in pixels.zip(&mut *green).zip(&mut *red).zip(&mut *blue)
    {
        (*green, *red, *blue) = (g, r.wrapping_sub(g), b.wrapping_sub(g));
    }
    for plane in [green, red, blue] {
        // From below, so that the row above is still as it was.
        for y in (1..size).rev() {
            let (before, from_here) = plane.split_at_mut(y * size);
            let row = from_here[..size].iter_mut();
            row.zip(&before[(y - 1) * size..])
                .for_each(|(here, above)| *here = here.wrapping_sub(*above));
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn undo_green_up(stored: &[u8], size: usize, rgb: &mut [u8]) {
    let (green, rest) = stored.split_at(rgb.len() / 3);
    let (red, blue) = rest.split_at(rgb.len() / 3);
    let mut sums = [(); 3].map(|()| vec![0_u8; size]);
    let planes = green.chunks_exact(size).zip(red.chunks_exact(size)).zip(blue.chunks_exact(size));
    for (((green, red), blue), out) in planes.zip(rgb.chunks_exact_mut(3 * size)) {
        for (sums, row) in sums.iter_mut().zip([green, red, blue]) {
            sums.iter_mut().zip(row).for_each(|(sum, row)| *sum = sum.wrapping_add(*row));
        }
        let [green, red, blue] = &sums;
        let pixels = out.as_chunks_mut::<3>().0.iter_mut();
        for (((out, &g), &r), &b) in pixels.zip(green).zip(red).zip(blue) {
            *out = [r.wrapping_add(g), g, b.wrapping_add(g)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_comes_back_as_it_was() {
        for size in [1, 2, 3, 31, 64, 224] {
            let mut state = 1u32;
            let mut noise = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            let rgb: Vec<u8> = (0..size * size * 3).map(|_| noise()).collect();
            for filter in [PictureFilter::None, PictureFilter::GreenUp] {
                let stored = filter.apply(rgb.clone(), size);
                assert!(filter.undo(&stored, size) == rgb, "{filter:?} of {size} pixels");
            }
        }
    }

    #[test]
    fn planes_hold_what_their_names_say() {
        // Two rows of two pixels.
        let rgb = vec![10, 20, 5, 0, 1, 255, 12, 21, 9, 255, 0, 3];
        let green = [20, 1, 1, 255];
        let red = [246, 255, 1, 0];
        let blue = [241, 254, 3, 5];
        let planes = [green, red, blue].concat();
        assert_eq!(PictureFilter::GreenUp.apply(rgb, 2), planes);
    }
}
