//! Pixels normalised within their patch.

use multiversion::multiversion;

use crate::view::NORMALISED;
use crate::{IMAGENET_MEAN, IMAGENET_STD, TargetError, View};

/// The mean and inverse deviation of each patch, from which its normalised pixels follow.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchStats {
    /// The patch's side in pixels.
    pub patch: usize,
    /// Patches along a side.
    pub grid: usize,
    /// `[grid²]`: the mean over a patch's patch²·3 pixels, normalised by ImageNet's statistics.
    pub mean: Vec<f32>,
    /// `[grid²]`: 1 / √(unbiased variance + 1e-6) of the same pixels.
    pub inv_std: Vec<f32>,
}

/// The statistics of every patch of a view, patches in rows.
///
/// # Errors
/// [`TargetError::Cell`] if patches do not tile the view.
pub fn patch_stats(view: View<'_>, patch: usize) -> Result<PatchStats, TargetError> {
    Ok(Moments::of_pixels(view, patch)?.stats())
}

/// [`patch_stats`] of several patch sizes, in their order. The pixels are looked at anew only for a
/// size that is no multiple of one before it.
///
/// # Errors
/// [`TargetError::Cell`] if patches of a size do not tile the view.
pub fn patch_stats_of(view: View<'_>, patches: &[usize]) -> Result<Vec<PatchStats>, TargetError> {
    let mut moments: Vec<Moments> = Vec::with_capacity(patches.len());
    for &patch in patches {
        view.grid(patch)?;
        let finer = moments.iter().rev().find(|finer| patch.is_multiple_of(finer.patch));
        let next = match finer {
            Some(finer) => finer.gathered(patch / finer.patch),
            None => Moments::of_pixels(view, patch)?,
        };
        moments.push(next);
    }
    Ok(moments.iter().map(Moments::stats).collect())
}

/// The sums, and sums of squares, of each patch's bytes, by channel. Whole numbers below 2⁵³, so
/// that they are exact and in no order; a channel's normalisation is linear and follows after.
#[derive(Debug)]
struct Moments {
    patch: usize,
    grid: usize,
    sums: [Vec<f64>; 3],
    squares: [Vec<f64>; 3],
}

impl Moments {
    fn zeros(patch: usize, grid: usize) -> Self {
        let planes = || std::array::from_fn(|_| vec![0.0; grid * grid]);
        Self { patch, grid, sums: planes(), squares: planes() }
    }

    fn of_pixels(view: View<'_>, patch: usize) -> Result<Self, TargetError> {
        let grid = view.grid(patch)?;
        let mut moments = Self::zeros(patch, grid);
        let width = view.size() * 3;
        let (mut sums, mut squares) = (vec![0; width], vec![0; width]);
        for (row, rows) in view.rgb().chunks_exact(patch * width).enumerate() {
            sum_columns(rows, &mut sums, &mut squares);
            for (columns, planes) in [(&sums, &mut moments.sums), (&squares, &mut moments.squares)]
            {
                for (cell, columns) in columns.chunks_exact(patch * 3).enumerate() {
                    let mut of_cell = [0; 3];
                    for column in columns.as_chunks::<3>().0 {
                        for (sum, &value) in of_cell.iter_mut().zip(column) {
                            *sum += u64::from(value);
                        }
                    }
                    for (plane, sum) in planes.iter_mut().zip(of_cell) {
                        plane[row * grid + cell] = sum as f64;
                    }
                }
            }
        }
        Ok(moments)
    }

    /// Those of patches `factor` times as large.
    fn gathered(&self, factor: usize) -> Self {
        let mut moments = Self::zeros(self.patch * factor, self.grid / factor);
        let grid = moments.grid;
        let planes = [(&self.sums, &mut moments.sums), (&self.squares, &mut moments.squares)];
        for (fine, coarse) in planes.into_iter().flat_map(|(fine, coarse)| fine.iter().zip(coarse))
        {
            for (y, line) in fine.chunks_exact(self.grid).enumerate() {
                let coarse = &mut coarse[y / factor * grid..][..grid];
                for (sum, values) in coarse.iter_mut().zip(line.chunks_exact(factor)) {
                    *sum += values.iter().sum::<f64>();
                }
            }
        }
        moments
    }

    fn stats(&self) -> PatchStats {
        let Self { patch, grid, sums, squares } = self;
        let (mut mean, mut inv_std) = (vec![0.0; grid * grid], vec![0.0; grid * grid]);
        normalise(sums, squares, (patch * patch) as f64, &mut mean, &mut inv_std);
        PatchStats { patch: *patch, grid: *grid, mean, inv_std }
    }
}

/// Mean and inverse deviation of patches of so many pixels from their moments.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn normalise(
    sums: &[Vec<f64>; 3],
    squares: &[Vec<f64>; 3],
    pixels: f64,
    means: &mut [f32],
    inv_stds: &mut [f32],
) {
    let count = means.len();
    let [sums, squares] = [sums, squares].map(|planes| planes.each_ref().map(|of| &of[..count]));
    for (at, (mean_out, inv_std)) in means.iter_mut().zip(&mut inv_stds[..count]).enumerate() {
        let parts: [_; 3] = std::array::from_fn(|channel| {
            let (sum, squares) = (sums[channel][at], squares[channel][at]);
            // A normalised pixel is (byte/255 − mean)/std.
            let mean = f64::from(IMAGENET_MEAN[channel]);
            let std = f64::from(IMAGENET_STD[channel]);
            let byte_mean = sum / pixels;
            let spread = squares - byte_mean * sum;
            ((byte_mean / 255.0 - mean) / std, spread / (255.0 * std).powi(2))
        });
        let mean = parts.iter().map(|(mean, _)| mean).sum::<f64>() / 3.0;
        let around = |(of_channel, spread): &(f64, f64)| {
            spread + pixels * (of_channel - mean) * (of_channel - mean)
        };
        let variance = parts.iter().map(around).sum::<f64>() / (3.0 * pixels - 1.0);
        *mean_out = mean as f32;
        *inv_std = (variance + 1e-6).sqrt().recip() as f32;
    }
}

/// The sums, and sums of squares, of each byte over `rows`, which are rows of `sums.len()` bytes.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn sum_columns(rows: &[u8], sums: &mut [u32], squares: &mut [u32]) {
    sums.fill(0);
    squares.fill(0);
    for row in rows.chunks_exact(sums.len()) {
        for ((sum, square), &byte) in sums.iter_mut().zip(&mut *squares).zip(row) {
            let byte = u32::from(byte);
            *sum += byte;
            *square += byte * byte;
        }
    }
}

/// The normalised-pixel target of a view: `[grid², patch²·3]`, patches in rows, ordered (row,
/// column, channel) within a patch; (normalised pixel − mean) · inverse deviation.
///
/// # Errors
/// [`TargetError`] if the statistics do not fit the view.
pub fn normalised_pixels(view: View<'_>, stats: &PatchStats) -> Result<Vec<f32>, TargetError> {
    let mut out = vec![0.0; view.rgb().len()];
    normalised_pixels_into(view, stats.patch, &stats.mean, &stats.inv_std, &mut out)?;
    Ok(out)
}

/// [`normalised_pixels`] into a buffer, from statistics in slices of grid² values.
///
/// # Errors
/// [`TargetError`] if patches do not tile the view, or a buffer has another length.
pub fn normalised_pixels_into(
    view: View<'_>,
    patch: usize,
    mean: &[f32],
    inv_std: &[f32],
    out: &mut [f32],
) -> Result<(), TargetError> {
    let grid = view.grid(patch)?;
    for (what, expected, found) in [
        ("patch means", grid * grid, mean.len()),
        ("patch deviations", grid * grid, inv_std.len()),
        ("a pixel target", view.rgb().len(), out.len()),
    ] {
        if found != expected {
            return Err(TargetError::Length { what, expected, found });
        }
    }
    let values = patch * patch * 3;
    for (at, line) in view.rgb().chunks_exact(view.size() * 3).enumerate() {
        let (row, y) = (at / patch, at % patch);
        for (column, pixels) in line.chunks_exact(patch * 3).enumerate() {
            let cell = row * grid + column;
            let (mean, inv_std) = (mean[cell], inv_std[cell]);
            let into = &mut out[cell * values + y * patch * 3..][..patch * 3];
            let into = into.as_chunks_mut::<3>().0;
            for (into, pixel) in into.iter_mut().zip(pixels.as_chunks::<3>().0) {
                for channel in 0..3 {
                    let value = NORMALISED[channel][usize::from(pixel[channel])];
                    into[channel] = (value - mean) * inv_std;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_patch_has_zero_target_and_a_finite_deviation() {
        let rgb = [17, 120, 250].repeat(8 * 8);
        let grey = [99; 3].repeat(8 * 8);
        let view = View::new(&grey, 8).unwrap();
        let stats = patch_stats(view, 4).unwrap();
        // Grey is not flat after ImageNet's normalisation, but close to it.
        assert!(stats.inv_std.iter().all(|value| value.is_finite()));
        let target = normalised_pixels(
            View::new(&rgb, 8).unwrap(),
            &patch_stats(View::new(&rgb, 8).unwrap(), 4).unwrap(),
        )
        .unwrap();
        let sum: f32 = target[..48].iter().sum();
        assert!(sum.abs() < 1e-3, "a patch's target has mean zero, not {sum}/48");
    }

    #[test]
    fn many_sizes_at_once_give_what_each_gives_alone() {
        let rgb: Vec<u8> = (0..48 * 48 * 3u32).map(|i| (i * i / 7 + i * 31) as u8).collect();
        let view = View::new(&rgb, 48).unwrap();
        // 6 is gathered from no size before it, 12 from the nearest.
        let patches = [4, 6, 12, 24, 48];
        let alone = patches.map(|patch| patch_stats(view, patch).unwrap());
        assert_eq!(patch_stats_of(view, &patches).unwrap(), alone);
    }

    #[test]
    fn patches_that_do_not_tile_are_refused() {
        let rgb = [0; 8 * 8 * 3];
        let view = View::new(&rgb, 8).unwrap();
        let refused = TargetError::Cell { cell: 3, size: 8 };
        assert_eq!(patch_stats(view, 3), Err(refused.clone()));
        assert_eq!(patch_stats_of(view, &[4, 3]), Err(refused));
    }
}
