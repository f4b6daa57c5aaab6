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
    let width = 3 * bins;
    for row in values.chunks_exact_mut(grid.max(1) * width) {
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
        // A stored tie may have been rounded up past its bin.
        values[edge] = (values[edge] - tie).max(0.0);
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
    let width = size.max(1) * 3;
    for (from, into) in rgb.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        for (from, into) in from.as_chunks::<3>().0.iter().rev().zip(into.as_chunks_mut::<3>().0) {
            *into = *from;
        }
    }
    Ok(())
}
