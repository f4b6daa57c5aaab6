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
    let grid = view.grid(patch)?;
    // Whole numbers keep the sums exact; a channel's normalisation is linear and follows after.
    let mut cells = vec![[Moments::default(); 3]; grid * grid];
    let width = view.size() * 3;
    let (mut sums, mut squares) = (vec![0; width], vec![0; width]);
    let rows = view.rgb().chunks_exact(patch * width);
    for (rows, cells) in rows.zip(cells.chunks_exact_mut(grid)) {
        sum_columns(rows, &mut sums, &mut squares);
        let columns = sums.chunks_exact(patch * 3).zip(squares.chunks_exact(patch * 3));
        for (cell, (sums, squares)) in cells.iter_mut().zip(columns) {
            for (sums, squares) in sums.as_chunks::<3>().0.iter().zip(squares.as_chunks::<3>().0) {
                for ((channel, &sum), &square) in cell.iter_mut().zip(sums).zip(squares) {
                    channel.sum += u64::from(sum);
                    channel.squares += u64::from(square);
                }
            }
        }
    }
    let pixels = (patch * patch) as f64;
    let count = 3.0 * pixels;
    let (mean, inv_std) = cells
        .iter()
        .map(|channels| {
            let parts: [_; 3] = std::array::from_fn(|channel| {
                let Moments { sum, squares } = channels[channel];
                // A normalised pixel is (byte/255 − mean)/std.
                let mean = f64::from(IMAGENET_MEAN[channel]);
                let std = f64::from(IMAGENET_STD[channel]);
                let byte_mean = sum as f64 / pixels;
                let spread = squares as f64 - byte_mean * sum as f64;
                ((byte_mean / 255.0 - mean) / std, spread / (255.0 * std).powi(2))
            });
            let mean = parts.iter().map(|(mean, _)| mean).sum::<f64>() / 3.0;
            let around = |(of_channel, spread): &(f64, f64)| {
                spread + pixels * (of_channel - mean) * (of_channel - mean)
            };
            let variance = parts.iter().map(around).sum::<f64>() / (count - 1.0);
            (mean as f32, (variance + 1e-6).sqrt().recip() as f32)
        })
        .unzip();
    Ok(PatchStats { patch, grid, mean, inv_std })
}

/// Of one channel of a patch.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    sum: u64,
    squares: u64,
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
    fn patches_that_do_not_tile_are_refused() {
        let rgb = [0; 8 * 8 * 3];
        let view = View::new(&rgb, 8).unwrap();
        assert_eq!(patch_stats(view, 3), Err(TargetError::Cell { cell: 3, size: 8 }));
    }
}
