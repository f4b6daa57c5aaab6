//! The targets of the mirrored view from those of the view.

use crate::TargetError;
use crate::direction::tie_edges;

/// Turns the HOG of a view into that of its left-right mirror image, in place.
///
/// `values` is `[grid², 3·bins]`, `ties` `[grid², 3·edges]`, as in [`crate::Hog`]. Mirroring
/// turns gx about, so θ becomes π − θ: the open inside of bin k goes to bin bins−1−k, but what lies
/// exactly on edge e goes to edge (bins − e) mod bins, which belongs to the bin above it. So two
/// weights that shared a bin may part, and the norm changes; each channel is normalised anew.
///
/// # Errors
/// [`TargetError::Length`] if a buffer does not fit grid and bins.
pub fn mirror_hog(
    values: &mut [f32],
    ties: &[f32],
    grid: usize,
    bins: usize,
) -> Result<(), TargetError> {
    if !(1..=64).contains(&bins) {
        return Err(TargetError::Bins(bins));
    }
    let edges = tie_edges(bins);
    let cells = grid * grid;
    for (what, expected, found) in [
        ("a HOG", cells * 3 * bins, values.len()),
        ("a HOG's ties", cells * 3 * edges.len(), ties.len()),
    ] {
        if found != expected {
            return Err(TargetError::Length { what, expected, found });
        }
    }
    for (channel, ties) in values.chunks_exact_mut(bins).zip(ties.chunks_exact(edges.len())) {
        mirror_channel(channel, ties, &edges);
    }
    for row in values.chunks_exact_mut(grid * 3 * bins) {
        let width = 3 * bins;
        for cell in 0..grid / 2 {
            let (left, right) = row.split_at_mut((grid - 1 - cell) * width);
            left[cell * width..][..width].swap_with_slice(&mut right[..width]);
        }
    }
    Ok(())
}

fn mirror_channel(values: &mut [f32], ties: &[f32], edges: &[usize]) {
    let bins = values.len();
    for (&edge, &tie) in edges.iter().zip(ties) {
        values[edge] -= tie;
    }
    values.reverse();
    for (&edge, &tie) in edges.iter().zip(ties) {
        values[(bins - edge) % bins] += tie;
    }
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|value| *value /= norm);
    }
}

/// The left-right mirror image of `size`·`size`·3 bytes, ordered (row, column, channel).
///
/// # Errors
/// [`TargetError::Length`] if `rgb` or `out` has not that many bytes.
pub fn mirror_picture(rgb: &[u8], size: usize, out: &mut [u8]) -> Result<(), TargetError> {
    let expected = size * size * 3;
    for (what, found) in [("a view", rgb.len()), ("its mirror image", out.len())] {
        if found != expected {
            return Err(TargetError::Length { what, expected, found });
        }
    }
    for (from, into) in rgb.chunks_exact(size * 3).zip(out.chunks_exact_mut(size * 3)) {
        for (from, into) in from.as_chunks::<3>().0.iter().rev().zip(into.as_chunks_mut::<3>().0) {
            *into = *from;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hog, HogExtractor, View};

    const SIZE: usize = 32;

    /// Pictures with flat areas, edges at every multiple of 45°, slopes and noise.
    fn pictures() -> Vec<Vec<u8>> {
        let draw = |pixel: &dyn Fn(usize, usize, usize) -> u8| {
            (0..SIZE * SIZE * 3).map(|i| pixel(i / 3 % SIZE, i / 3 / SIZE, i % 3)).collect()
        };
        vec![
            draw(&|_, y, _| if y % 6 < 3 { 200 } else { 10 }),
            draw(&|x, _, _| if x % 10 < 5 { 200 } else { 10 }),
            draw(&|x, y, c| if (x + y) % 14 < 7 { 40 * (c as u8 + 1) } else { 0 }),
            draw(&|x, y, _| if (x + 3 * SIZE - y) % 14 < 7 { 250 } else { 90 }),
            draw(&|x, y, _| if x > 9 && y > 13 { 255 } else { 128 }),
            draw(&|x, y, c| (x * 5 + y * y * (c + 1) / 3) as u8),
            draw(&|x, y, c| ((x * 7919 + y * 104_729 + c * 1_299_709) as u32 % 9973 * 31) as u8),
        ]
    }

    fn hogs(picture: &[u8], bins: usize) -> Vec<Hog> {
        let mut extractor = HogExtractor::new(SIZE, bins, &[4, 8, 16, 32]).unwrap();
        extractor.compute(View::new(picture, SIZE).unwrap()).unwrap().to_vec()
    }

    /// The largest error of mirrored targets against those of the mirrored picture.
    fn worst(bins: usize, ties: impl Fn(&Hog) -> Vec<f32>) -> f32 {
        let mut worst = 0f32;
        for picture in pictures() {
            let mut mirrored = vec![0; picture.len()];
            mirror_picture(&picture, SIZE, &mut mirrored).unwrap();
            for (hog, expected) in hogs(&picture, bins).iter().zip(hogs(&mirrored, bins)) {
                let mut values = hog.values.clone();
                mirror_hog(&mut values, &ties(hog), hog.grid, bins).unwrap();
                for (a, b) in values.iter().zip(&expected.values) {
                    worst = worst.max((a - b).abs());
                }
            }
        }
        worst
    }

    #[test]
    fn a_mirrored_target_is_the_target_of_the_mirrored_view() {
        for bins in [9, 18, 8, 7] {
            let error = worst(bins, |hog| hog.ties.clone());
            assert!(error < 2e-6, "{bins} bins: {error}");
        }
    }

    #[test]
    fn without_the_ties_it_would_not_be() {
        for bins in [9, 18, 8] {
            assert!(worst(bins, |hog| vec![0.0; hog.ties.len()]) > 0.5, "{bins} bins");
        }
    }

    #[test]
    fn buffers_of_another_length_are_refused() {
        let error = mirror_hog(&mut [0.0; 27], &[0.0; 2], 1, 9).unwrap_err();
        assert_eq!(error, TargetError::Length { what: "a HOG's ties", expected: 3, found: 2 });
    }
}
