//! A picture → 64 bits that stay nearly the same when it is stored again, resized or lit a little
//! differently.
//!
//! It is the field's pHash in whole numbers: luma averaged down to 32×32 cells, a cosine transform
//! of them, and of 64 low frequencies one bit each, set where it lies over their median. Sums of
//! whole numbers do not depend on their order, so every machine finds the same bits.
//!
//! Colour alone does not tell two pictures apart, nor does what is smaller than a cell; a mirrored
//! or turned picture, or one cropped by more than a few per cent, is another picture.

use image::RgbImage;
use multiversion::multiversion;

/// Cells across and down.
const CELLS: usize = 32;
/// Frequencies across and down that are looked at.
const WAVES: usize = 9;
/// The bits of the hash.
const BITS: usize = 64;
/// Fraction bits of a cell's luma.
const LUMA_BITS: u32 = 8;
/// Fraction bits of the table of cosines.
const COSINE_BITS: u32 = 14;
/// ITU-R BT.601, in thousandths.
const LUMA: [u64; 3] = [299, 587, 114];

/// cos(πk/64) for k from 0 to 32, rounded to [`COSINE_BITS`]: written down, as libraries differ in
/// the last bit of a cosine.
const COSINES: [i64; 33] = [
    16384, 16364, 16305, 16207, 16069, 15893, 15679, 15426, 15137, 14811, 14449, 14053, 13623,
    13160, 12665, 12140, 11585, 11003, 10394, 9760, 9102, 8423, 7723, 7005, 6270, 5520, 4756, 3981,
    3196, 2404, 1606, 804, 0,
];

/// A frequency counts as there if its wave's amplitude is more than this part of a grey level.
/// Storing a picture as a JPEG again moves amplitudes by less.
const FLOOR: f64 = 1.0 / 16.0;

/// The 64-bit perceptual hash; two pictures are compared by the number of bits in which theirs
/// differ.
///
/// None where most of the bits would be noise, as in a picture of one colour, an even shade or one
/// row of stripes: less than half of the frequencies are there. Such pictures would otherwise all
/// look alike. Of a photo, all but a few are there.
pub fn perceptual_hash(picture: &RgbImage) -> Option<u64> {
    let waves = waves(&cells(picture)?);
    let there = waves.iter().filter(|wave| wave.unsigned_abs() > floor()).count();
    if there < BITS / 2 {
        return None;
    }
    let mut ordered = waves;
    ordered.sort_unstable();
    let twice_the_median = ordered[BITS / 2 - 1] + ordered[BITS / 2];
    Some((0..BITS).fold(0, |hash, bit| hash | u64::from(2 * waves[bit] > twice_the_median) << bit))
}

/// [`FLOOR`] in the unit of [`waves`], where a wave of amplitude a across both axes sums to
/// a·(32/2)².
fn floor() -> u64 {
    let unit = 1u64 << (LUMA_BITS + 2 * COSINE_BITS);
    (FLOOR * (CELLS * CELLS / 4) as f64) as u64 * unit
}

/// The mean luma of each cell, in 256ths of a level; a pixel on the edge between cells belongs to
/// each by its share. None if there are no pixels.
fn cells(picture: &RgbImage) -> Option<[[i64; CELLS]; CELLS]> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    // What a column adds up to must fit 32 bits.
    if width == 0 || height == 0 || height > u32::MAX as usize / 255 {
        return None;
    }
    let whole = LUMA.iter().sum::<u64>() * width as u64 * height as u64;
    let across: Vec<Vec<_>> = (0..CELLS).map(|cell| shares(cell, width).collect()).collect();
    let (mut columns, mut luma) = (vec![0u32; 3 * width], vec![0u64; width]);
    let mut cells = [[0; CELLS]; CELLS];
    for (row, line) in cells.iter_mut().enumerate() {
        columns.fill(0);
        for (y, share) in shares(row, height) {
            let pixels = &picture.as_raw()[3 * width * y..][..3 * width];
            add(&mut columns, pixels, share);
        }
        weigh(&columns, &mut luma);
        for (cell, shares) in line.iter_mut().zip(&across) {
            let sum: u64 = shares.iter().map(|&(x, share)| u64::from(share) * luma[x]).sum();
            *cell = (((sum << LUMA_BITS) + whole / 2) / whole) as i64;
        }
    }
    Some(cells)
}

/// Adds a row of values, `share` times each.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add(sums: &mut [u32], values: &[u8], share: u16) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        // Up to 32·255.
        *sum += u32::from(share * u16::from(value));
    }
}

/// The luma of each column, in thousandths.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn weigh(columns: &[u32], luma: &mut [u64]) {
    for (luma, rgb) in luma.iter_mut().zip(columns.as_chunks::<3>().0) {
        let [r, g, b] = rgb.map(u64::from);
        *luma = LUMA[0] * r + LUMA[1] * g + LUMA[2] * b;
    }
}

/// The pixels that lie in a cell, of `size` along this axis, each with how many 32nds of it do.
fn shares(cell: usize, size: usize) -> impl Iterator<Item = (usize, u16)> {
    // In 32nds of a pixel, where a cell is `size` long.
    let (from, to) = (cell * size, (cell + 1) * size);
    (from / CELLS..to.div_ceil(CELLS)).map(move |pixel| {
        let (left, right) = (pixel * CELLS, (pixel + 1) * CELLS);
        (pixel, (right.min(to) - left.max(from)) as u16)
    })
}

/// The transform's values, by frequency.
fn waves(cells: &[[i64; CELLS]; CELLS]) -> [i64; BITS] {
    let cosine = |wave: usize, at: usize| {
        let k = wave * (2 * at + 1) % (4 * CELLS);
        match k {
            0..=32 => COSINES[k],
            33..=64 => -COSINES[64 - k],
            65..=96 => -COSINES[k - 64],
            _ => COSINES[128 - k],
        }
    };
    let mut across = [[0; WAVES]; CELLS];
    for (waves, cells) in across.iter_mut().zip(cells) {
        for (wave, sum) in waves.iter_mut().enumerate() {
            *sum = (0..CELLS).map(|at| cosine(wave, at) * cells[at]).sum();
        }
    }
    std::array::from_fn(|bit| {
        let (u, v) = frequency(bit);
        (0..CELLS).map(|at| cosine(v, at) * across[at][u]).sum()
    })
}

fn frequency(bit: usize) -> (usize, usize) {
    (bit % 8 + 1, bit / 8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use std::f64::consts::PI;

    /// Levels from a smooth function of the place, which runs over 0..1 both ways.
    fn drawn(width: u32, height: u32, level: impl Fn(f64, f64) -> f64) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let at = |at: u32, size: u32| (f64::from(at) + 0.5) / f64::from(size);
            Rgb([level(at(x, width), at(y, height)).round() as u8; 3])
        })
    }

    #[test]
    fn the_table_holds_cosines() {
        for (k, &cosine) in COSINES.iter().enumerate() {
            let exact = (PI * k as f64 / 64.0).cos() * f64::from(1 << COSINE_BITS);
            assert!((exact - cosine as f64).abs() <= 0.5, "{k}");
        }
    }

    #[test]
    fn a_cell_is_the_mean_of_its_pixels_at_any_size() {
        // A ramp's mean over a cell is its value in the middle, whatever part of the pixels at its
        // edges the cell takes.
        for (width, height) in [(32, 64), (100, 37), (45, 333)] {
            let ramp = RgbImage::from_fn(width, height, |x, _| Rgb([x as u8; 3]));
            let cells = cells(&ramp).unwrap();
            for line in cells {
                let whole: i64 = line.iter().sum();
                let mean = f64::from(width - 1) / 2.0 * f64::from(1 << LUMA_BITS);
                assert!((whole as f64 / CELLS as f64 - mean).abs() < 1.0, "{width}×{height}");
                assert!(line.is_sorted());
            }
        }
        // Fewer pixels than cells: each is spread.
        let two = RgbImage::from_fn(2, 1, |x, _| Rgb([if x == 0 { 10 } else { 200 }; 3]));
        let cells = cells(&two).unwrap();
        assert!(cells.iter().all(|line| line[..16] == [2560; 16] && line[16..] == [51200; 16]));
    }

    #[test]
    fn each_wave_shows_in_its_own_value() {
        for bit in 0..BITS {
            let (u, v) = frequency(bit);
            let wave = |x: f64, y: f64| (PI * u as f64 * x).cos() * (PI * v as f64 * y).cos();
            let picture = drawn(320, 320, |x, y| 128.0 + 100.0 * wave(x, y));
            let waves = waves(&cells(&picture).unwrap());
            let largest = (0..BITS).max_by_key(|&bit| waves[bit]).unwrap();
            assert_eq!(largest, bit);
            // The unit in which the floor is given.
            let amplitude = waves[bit] as f64 / floor() as f64 * FLOOR;
            assert!((90.0..=101.0).contains(&amplitude), "{amplitude}");
        }
    }

    #[test]
    fn a_picture_without_structure_has_no_hash() {
        let colour = |_, _| 97.0;
        let shade = |x: f64, y: f64| 40.0 + 80.0 * x + 60.0 * y;
        let stripes = |x: f64, _| 128.0 + 100.0 * (20.0 * x).sin();
        let hash = |level: &dyn Fn(f64, f64) -> f64| perceptual_hash(&drawn(300, 200, level));
        assert_eq!(hash(&colour), None);
        assert_eq!(hash(&shade), None);
        assert_eq!(hash(&stripes), None);
        // Noise of a level, as a camera's on a wall.
        let noise =
            |x: f64, y: f64| 97.0 + (1e5 * (12.9898 * x + 78.233 * y).sin()).rem_euclid(2.0);
        assert_eq!(hash(&noise), None);
        assert_eq!(perceptual_hash(&RgbImage::new(0, 5)), None);
    }
}
