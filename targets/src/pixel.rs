//! Pixels normalised within their patch.

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
    let mut sums = vec![[[0u64; 2]; 3]; grid * grid];
    for (y, line) in view.rgb().chunks_exact(view.size() * 3).enumerate() {
        let cells = &mut sums[y / patch * grid..][..grid];
        for (cell, pixels) in cells.iter_mut().zip(line.chunks_exact(patch * 3)) {
            let mut row = [[0u32; 2]; 3];
            for pixel in pixels.as_chunks::<3>().0 {
                for (sum, &value) in row.iter_mut().zip(pixel) {
                    let value = u32::from(value);
                    sum[0] += value;
                    sum[1] += value * value;
                }
            }
            for (sum, row) in cell.iter_mut().zip(row) {
                sum[0] += u64::from(row[0]);
                sum[1] += u64::from(row[1]);
            }
        }
    }
    let pixels = (patch * patch) as f64;
    let count = 3.0 * pixels;
    let (mean, inv_std) = sums
        .iter()
        .map(|channels| {
            // A normalised pixel is a·byte + b.
            let lines = channels.iter().zip(IMAGENET_MEAN.iter().zip(IMAGENET_STD));
            let parts: Vec<_> = lines
                .map(|(&[sum, squares], (&mean, std))| {
                    let (a, b) = (1.0 / (255.0 * f64::from(std)), -f64::from(mean / std));
                    let byte_mean = sum as f64 / pixels;
                    let spread = squares as f64 - byte_mean * sum as f64;
                    (a * byte_mean + b, a * a * spread)
                })
                .collect();
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
    let scale = IMAGENET_STD.map(|std| 1.0 / (255.0 * std));
    let values = patch * patch * 3;
    for (at, line) in view.rgb().chunks_exact(view.size() * 3).enumerate() {
        let (row, y) = (at / patch, at % patch);
        for (column, pixels) in line.chunks_exact(patch * 3).enumerate() {
            let cell = row * grid + column;
            let (mean, inv_std) = (mean[cell], inv_std[cell]);
            let shift: [f32; 3] =
                std::array::from_fn(|c| -(IMAGENET_MEAN[c] / IMAGENET_STD[c] + mean));
            let into = &mut out[cell * values + y * patch * 3..][..patch * 3];
            let into = into.as_chunks_mut::<3>().0;
            for (into, pixel) in into.iter_mut().zip(pixels.as_chunks::<3>().0) {
                for c in 0..3 {
                    into[c] = (f32::from(pixel[c]) * scale[c] + shift[c]) * inv_std;
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
