//! The published HOG variant with a bias on the gradients.

use std::f32::consts::PI;

use targets::{IMAGENET_MEAN, IMAGENET_STD, View};

/// HOG with `bias` added to (gx, gy) of the normalised picture, as the published code's
/// `hog_bias` does: `[grid², 3·bins]`, ordered as [`targets::Hog::values`].
///
/// With a bias the channel's deviation no longer cancels, so the gradients are floats, and those of
/// a flat area all lie on one spot, which may be next to a bin's edge. So the gradients are rounded
/// as PyTorch's convolution rounds them on a CPU, and the angle in f32 as there. The mirror image
/// of such a target does not follow from it, so shards do not hold it.
pub fn hog_biased(view: View<'_>, bins: usize, cell: usize, bias: [f32; 2]) -> Vec<f32> {
    let size = view.size();
    assert!(cell > 1 && size.is_multiple_of(cell), "cells of {cell} pixels in a view of {size}");
    let grid = size / cell;
    // PyTorch has two convolutions: above this many bordered pixels the bias is added last.
    let bias_last = (size + 2).pow(2) > 20_480;
    let mut sums = vec![0f64; grid * grid * 3 * bins];
    for channel in 0..3 {
        let plane = normalised_plane(view, channel);
        for (y, x) in (0..size * size).map(|at| (at / size, at % size)) {
            let around: [[f32; 3]; 3] = std::array::from_fn(|dy| {
                let row = &plane[reflect((y + dy) as isize - 1, size) * size..][..size];
                std::array::from_fn(|dx| row[reflect((x + dx) as isize - 1, size)])
            });
            let [gx, gy] = [0, 1].map(|axis| {
                let start = if bias_last { 0.0 } else { bias[axis] };
                let sum = correlate(&around, &SOBEL[axis], start);
                if bias_last { sum + bias[axis] } else { sum }
            });
            let (wide_x, wide_y) = (f64::from(gx), f64::from(gy));
            let angle = wide_x.atan2(wide_y) as f32;
            let bin = (angle / PI * bins as f32).floor() as i64;
            let bin = bin.rem_euclid(bins as i64) as usize;
            let cell = y / cell * grid + x / cell;
            sums[(cell * 3 + channel) * bins + bin] += wide_x.hypot(wide_y);
        }
    }
    let area = (cell * cell) as f64;
    let mut out = vec![0.0; sums.len()];
    for (out, sums) in out.chunks_exact_mut(bins).zip(sums.chunks_exact(bins)) {
        let norm = sums.iter().map(|sum| (sum / area).powi(2)).sum::<f64>().sqrt().max(1e-12);
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = (sum / area / norm) as f32);
    }
    out
}

/// The kernels of gx and gy.
const SOBEL: [[[f32; 3]; 3]; 2] = [
    [[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]],
    [[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]],
];

/// `start` and the products, added row by row.
fn correlate(around: &[[f32; 3]; 3], kernel: &[[f32; 3]; 3], start: f32) -> f32 {
    let pairs = around.as_flattened().iter().zip(kernel.as_flattened());
    pairs.fold(start, |sum, (pixel, weight)| sum + pixel * weight)
}

/// A channel's normalised pixels, in rows, rounded at every step as the published code does.
fn normalised_plane(view: View<'_>, channel: usize) -> Vec<f32> {
    let bytes = view.rgb().iter().skip(channel).step_by(3);
    let normalised =
        |&byte: &u8| (f32::from(byte) / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel];
    bytes.map(normalised).collect()
}

/// The index of `i` in 0..`len` when it may lie one outside: −1 is 1, `len` is `len` − 2.
fn reflect(i: isize, len: usize) -> usize {
    let last = len as isize - 1;
    (last - (last - i.abs()).abs()) as usize
}
