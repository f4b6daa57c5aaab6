//! The published HOG variant with a bias on the gradients.

use std::f64::consts::PI;

use crate::view::reflect;
use crate::{IMAGENET_MEAN, IMAGENET_STD, TargetError, View};

/// HOG with `bias` added to (gx, gy) of the normalised picture, as the published code's
/// `hog_bias` does: `[grid², 3·bins]`, ordered as [`crate::Hog::values`].
///
/// The gradients are floats here: with a bias the channel's deviation no longer cancels. Nor does
/// the mirror image of such a target follow from it, so shards do not hold it.
///
/// # Errors
/// [`TargetError`] if the cells do not tile the view, or bins is not in 1..=64.
pub fn hog_biased(
    view: View<'_>,
    bins: usize,
    cell: usize,
    bias: [f32; 2],
) -> Result<Vec<f32>, TargetError> {
    if !(1..=64).contains(&bins) {
        return Err(TargetError::Bins(bins));
    }
    let (grid, size) = (view.grid(cell)?, view.size());
    let mut sums = vec![0f64; grid * grid * 3 * bins];
    for channel in 0..3 {
        let (mean, std) = (IMAGENET_MEAN[channel], IMAGENET_STD[channel]);
        let pixel = |y: usize, x: usize, dy: isize, dx: isize| {
            let (y, x) = (reflect(y as isize + dy, size), reflect(x as isize + dx, size));
            let byte = view.rgb()[(y * size + x) * 3 + channel];
            f64::from((f32::from(byte) / 255.0 - mean) / std)
        };
        for y in 0..size {
            for x in 0..size {
                let at = |dy, dx| pixel(y, x, dy, dx);
                let gx = at(-1, -1) - at(-1, 1) + 2.0 * (at(0, -1) - at(0, 1)) + at(1, -1)
                    - at(1, 1)
                    + f64::from(bias[0]);
                let gy = at(-1, -1) + 2.0 * at(-1, 0) + at(-1, 1)
                    - at(1, -1)
                    - 2.0 * at(1, 0)
                    - at(1, 1)
                    + f64::from(bias[1]);
                let bin = (gx.atan2(gy) / PI * bins as f64).floor() as i64;
                let bin = bin.rem_euclid(bins as i64) as usize;
                let cell = y / cell * grid + x / cell;
                sums[(cell * 3 + channel) * bins + bin] += gx.hypot(gy);
            }
        }
    }
    let area = (cell * cell) as f64;
    let mut out = vec![0.0; sums.len()];
    for (out, sums) in out.chunks_exact_mut(bins).zip(sums.chunks_exact(bins)) {
        let norm = sums.iter().map(|sum| (sum / area).powi(2)).sum::<f64>().sqrt().max(1e-12);
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = (sum / area / norm) as f32);
    }
    Ok(out)
}
