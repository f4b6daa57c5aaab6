//! One stored view → its part of a batch.

use std::borrow::Cow;

use schemas::code;
use targets::{
    IMAGENET_MEAN, IMAGENET_STD, TargetError, View, mirror_hog, mirror_picture,
    normalised_pixels_into,
};

use super::spec::{SampleSpec, TapSpec};
use crate::model::mask::Masking;

/// What is stored of a view.
#[derive(Debug, Clone)]
pub struct StoredView<'a> {
    /// size·size·3 bytes.
    pub picture: &'a [u8],
    /// The targets of each tap.
    pub taps: Vec<StoredTarget<'a>>,
}

/// What is stored of a tap's target.
#[derive(Debug, Clone)]
pub enum StoredTarget<'a> {
    /// HOG codes, and those of the shares on tie edges.
    Hog {
        /// `[grid², 3·bins]`.
        codes: &'a [u8],
        /// `[grid², 3·edges]`.
        ties: &'a [u8],
    },
    /// The statistics of each patch.
    Pixel {
        /// `[grid²]`.
        mean: Vec<f32>,
        /// `[grid²]`.
        inv_std: Vec<f32>,
    },
    /// Nothing: the picture itself is the target.
    RawPixel,
    /// Each patch's code.
    Code {
        /// `[grid²]`.
        codes: Vec<u16>,
        /// Those of the mirrored view, patches in its own rows.
        mirrored: Vec<u16>,
    },
}

/// Where a sample goes: one view's slices of a batch's buffers.
#[derive(Debug)]
pub struct SampleMut<'a> {
    /// `[tokens, 3·patch²]`.
    pub patches: &'a mut [f32],
    /// `[kept]`.
    pub keep: &'a mut [i32],
    /// `[units]`.
    pub restore: &'a mut [i32],
    /// `[units]`.
    pub mask: &'a mut [f32],
    /// Values `[cells, channels]` and weights `[cells]` of each tap.
    pub targets: Vec<(&'a mut [f32], &'a mut [f32])>,
}

/// How a stored view becomes a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// Whether it is mirrored.
    pub flipped: bool,
    /// Row and column at which the encoder's part of it begins.
    pub corner: (usize, usize),
    /// What is masked.
    pub masking: Masking,
}

/// Fills `out` from a stored view.
///
/// # Errors
/// [`TargetError`] if a stored column has another length than the sizes say.
pub fn fill(
    spec: &SampleSpec,
    stored: &StoredView<'_>,
    draw: &Draw,
    out: SampleMut<'_>,
) -> Result<(), TargetError> {
    let Draw { flipped, corner, ref masking } = *draw;
    let mut picture = Cow::Borrowed(stored.picture);
    if flipped {
        let mut mirrored = vec![0; stored.picture.len()];
        mirror_picture(stored.picture, spec.size, &mut mirrored)?;
        picture = Cow::Owned(mirrored);
    }
    if spec.input < spec.size {
        View::new(&picture, spec.size)?;
        picture = Cow::Owned(crop(&picture, spec.size, corner, spec.input));
    }
    let view = View::new(&picture, spec.input)?;
    cut_patches(view, spec.patch, spec.unit, &masking.keep, out.patches);
    out.keep.copy_from_slice(&masking.keep);
    out.restore.copy_from_slice(&masking.restore);
    out.mask.copy_from_slice(&masking.mask);
    for ((target, tap), (values, weights)) in stored.taps.iter().zip(&spec.taps).zip(out.targets) {
        let &TapSpec { cell, group, .. } = tap;
        if group == 1 {
            fill_cells(spec, target, tap, view, flipped, values)?;
        } else {
            let mut cells = vec![0.0; values.len()];
            fill_cells(spec, target, tap, view, flipped, &mut cells)?;
            gather(&cells, spec.input / cell, group, values);
        }
        weights.copy_from_slice(&masking.at_scale(spec.unit, cell * group));
    }
    Ok(())
}

/// The target of a tap, `[grid², values]`, cells in rows, from what is stored of it and from the
/// view, which is mirrored already if `flipped`.
fn fill_cells(
    spec: &SampleSpec,
    target: &StoredTarget<'_>,
    tap: &TapSpec,
    view: View<'_>,
    flipped: bool,
    out: &mut [f32],
) -> Result<(), TargetError> {
    let (cell, grid) = (tap.cell, spec.input / tap.cell);
    match target {
        StoredTarget::Hog { codes, ties } => {
            same_length("a HOG column", codes.len(), out.len())?;
            decode(codes, out);
            if flipped {
                let mut shares = vec![0.0; ties.len()];
                decode(ties, &mut shares);
                mirror_hog(out, &shares, grid, spec.bins)?;
            }
        }
        StoredTarget::Pixel { mean, inv_std } => {
            let (mut mean, mut inv_std) = (mean.clone(), inv_std.clone());
            if flipped {
                mean.chunks_mut(grid).for_each(<[f32]>::reverse);
                inv_std.chunks_mut(grid).for_each(<[f32]>::reverse);
            }
            normalised_pixels_into(view, cell, &mean, &inv_std, out)?;
        }
        StoredTarget::RawPixel => {
            let count = grid * grid;
            // Nothing is subtracted and nothing divided but ImageNet's statistics.
            normalised_pixels_into(view, cell, &vec![0.0; count], &vec![1.0; count], out)?;
        }
        StoredTarget::Code { codes, mirrored } => {
            let codes = if flipped { mirrored } else { codes };
            same_length("a code column", codes.len(), out.len())?;
            if let Some(&code) = codes.iter().find(|&&code| usize::from(code) >= tap.codes) {
                return Err(TargetError::Code { code, codes: tap.codes });
            }
            // Exact: they are below 2^16.
            out.iter_mut().zip(codes).for_each(|(value, &code)| *value = f32::from(code));
        }
    }
    Ok(())
}

fn same_length(what: &'static str, found: usize, expected: usize) -> Result<(), TargetError> {
    if found == expected {
        return Ok(());
    }
    Err(TargetError::Length { what, expected, found })
}

/// The part of a square picture that begins at `corner`.
pub fn crop(picture: &[u8], size: usize, (top, left): (usize, usize), input: usize) -> Vec<u8> {
    let rows = picture.chunks_exact(size * 3).skip(top).take(input);
    rows.flat_map(|row| &row[left * 3..(left + input) * 3]).copied().collect()
}

/// Values of `grid`² cells → those of each group×group cells together, in rows.
fn gather(cells: &[f32], grid: usize, group: usize, out: &mut [f32]) {
    let channels = cells.len() / (grid * grid);
    let coarse = grid / group;
    for (at, out) in out.chunks_exact_mut(group * group * channels).enumerate() {
        let (top, left) = (at / coarse * group, at % coarse * group);
        for (i, out) in out.chunks_exact_mut(channels).enumerate() {
            let cell = (top + i / group) * grid + left + i % group;
            out.copy_from_slice(&cells[cell * channels..][..channels]);
        }
    }
}

/// HOG codes → values.
fn decode(codes: &[u8], out: &mut [f32]) {
    for (value, &code) in out.iter_mut().zip(codes) {
        *value = code::decode(code);
    }
}

/// The patches of the units `keep` of a view, in rows within each, normalised by ImageNet's
/// statistics, each ordered (channel, row, column) as a convolution's kernel.
pub fn cut_patches(view: View<'_>, patch: usize, unit: usize, keep: &[i32], out: &mut [f32]) {
    let (grid, inner) = (view.size() / unit, unit / patch);
    let scale = IMAGENET_STD.map(|std| 1.0 / (255.0 * std));
    let shift: [f32; 3] = std::array::from_fn(|c| -IMAGENET_MEAN[c] / IMAGENET_STD[c]);
    for (token, out) in out.chunks_exact_mut(3 * patch * patch).enumerate() {
        let (at, i) = (keep[token / (inner * inner)] as usize, token % (inner * inner));
        let top = at / grid * unit + i / inner * patch;
        let left = at % grid * unit + i % inner * patch;
        for y in 0..patch {
            let line = &view.rgb()[((top + y) * view.size() + left) * 3..][..patch * 3];
            for (x, pixel) in line.as_chunks::<3>().0.iter().enumerate() {
                for c in 0..3 {
                    out[(c * patch + y) * patch + x] = f32::from(pixel[c]) * scale[c] + shift[c];
                }
            }
        }
    }
}

/// Values of group×group cells together, as samples have them → those of `grid`² cells, in rows.
pub fn scatter(values: &[f32], grid: usize, group: usize) -> Vec<f32> {
    let channels = values.len() / (grid * grid);
    let coarse = grid / group;
    let mut cells = vec![0.0; values.len()];
    for (i, values) in values.chunks_exact(channels).enumerate() {
        let (at, i) = (i / (group * group), i % (group * group));
        let cell = (at / coarse * group + i / group) * grid + at % coarse * group + i % group;
        cells[cell * channels..][..channels].copy_from_slice(values);
    }
    cells
}

#[cfg(test)]
mod tests {
    use targets::{Codebook, HogExtractor, PatchInput, normalised_pixels, patch_stats};

    use super::*;
    use crate::model::{MaskedInput, TargetKind};

    const SIZE: usize = 32;
    const PATCH: usize = 8;

    fn picture() -> Vec<u8> {
        let value = |x: usize, y: usize, c: usize| {
            if y % 7 < 2 { 255 } else { (x * x * (c + 1) / 4 + y * 6) as u8 }
        };
        (0..SIZE * SIZE * 3).map(|i| value(i / 3 % SIZE, i / 3 / SIZE, i % 3)).collect()
    }

    fn spec(target: TargetKind) -> SampleSpec {
        let tap = |cell| TapSpec { cell, group: 1, inner: 1, codes: (SIZE / cell).pow(2) };
        SampleSpec {
            size: SIZE,
            input: SIZE,
            patch: PATCH,
            unit: PATCH,
            prefix: 1,
            kept: 4,
            masked: MaskedInput::Dropped,
            target,
            taps: [4, 8, 16].map(tap).to_vec(),
            bins: 9,
        }
    }

    /// The patches of the picture are the codes.
    fn codebook(cell: usize) -> Codebook {
        let picture = picture();
        let view = View::new(&picture, SIZE).unwrap();
        let codes = normalised_pixels(view, &patch_stats(view, cell).unwrap()).unwrap();
        Codebook::new(cell, PatchInput::Normalised, None, codes).unwrap()
    }

    /// The target values of each tap, and the visible patches.
    fn filled(target: TargetKind, picture: &[u8], flipped: bool) -> (Vec<Vec<f32>>, Vec<f32>) {
        let spec = spec(target);
        let view = View::new(picture, SIZE).unwrap();
        let mut extractor = HogExtractor::new(SIZE, 9, &[4, 8, 16]).unwrap();
        let coded: Vec<_> = extractor
            .compute_as(view, code::encode)
            .unwrap()
            .into_iter()
            .map(|hog| [hog.values, hog.ties])
            .collect();
        let cells = spec.taps.iter().map(|tap| tap.cell);
        let taps = cells.zip(&coded).map(|(cell, [codes, ties])| match target {
            TargetKind::Hog => StoredTarget::Hog { codes, ties },
            TargetKind::Pixel => {
                let stats = patch_stats(view, cell).unwrap();
                StoredTarget::Pixel { mean: stats.mean, inv_std: stats.inv_std }
            }
            TargetKind::RawPixel => StoredTarget::RawPixel,
            TargetKind::Code => {
                let book = codebook(cell);
                let mut mirrored = vec![0; picture.len()];
                mirror_picture(picture, SIZE, &mut mirrored).unwrap();
                let mirrored = View::new(&mirrored, SIZE).unwrap();
                StoredTarget::Code {
                    codes: book.nearest(view).unwrap(),
                    mirrored: book.nearest(mirrored).unwrap(),
                }
            }
        });
        let stored = StoredView { picture, taps: taps.collect() };
        let noise: Vec<f32> = (0..16).map(|i| (i * 7 % 16) as f32).collect();
        let masking = Masking::from_noise(&noise, spec.kept);
        let mut patches = vec![0.0; spec.pixels()];
        let mut targets: Vec<_> = (0..3)
            .map(|tap| {
                (vec![0.0; spec.cells(tap) * spec.channels(tap)], vec![0.0; spec.cells(tap)])
            })
            .collect();
        let out = SampleMut {
            patches: &mut patches,
            keep: &mut [0; 4],
            restore: &mut [0; 16],
            mask: &mut [0.0; 16],
            targets: targets
                .iter_mut()
                .map(|(v, w)| (v.as_mut_slice(), w.as_mut_slice()))
                .collect(),
        };
        fill(&spec, &stored, &Draw { flipped, corner: (0, 0), masking }, out).unwrap();
        (targets.into_iter().map(|(values, _)| values).collect(), patches)
    }

    fn worst(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_flipped_sample_is_the_sample_of_the_mirrored_picture() {
        let picture = picture();
        let mut mirrored = vec![0; picture.len()];
        mirror_picture(&picture, SIZE, &mut mirrored).unwrap();
        for (target, bound) in [
            (TargetKind::Pixel, 1e-5),
            (TargetKind::RawPixel, 0.0),
            (TargetKind::Hog, 3.0 / 255.0),
            (TargetKind::Code, 0.0),
        ] {
            let (flipped, seen) = filled(target, &picture, true);
            let (expected, expected_seen) = filled(target, &mirrored, false);
            assert_eq!(seen, expected_seen);
            for (tap, (a, b)) in flipped.iter().zip(&expected).enumerate() {
                let error = worst(a, b);
                assert!(error <= bound, "{target:?}, tap {tap}: {error}");
            }
            let (plain, _) = filled(target, &picture, false);
            assert!(worst(&plain[0], &flipped[0]) > 0.5, "the picture is not symmetric");
        }
    }

    #[test]
    fn what_is_decoded_is_the_exact_target_but_for_its_storage() {
        let picture = picture();
        let view = View::new(&picture, SIZE).unwrap();
        let (hog, _) = filled(TargetKind::Hog, &picture, false);
        let mut extractor = HogExtractor::new(SIZE, 9, &[4, 8, 16]).unwrap();
        for (found, exact) in hog.iter().zip(extractor.compute(view).unwrap()) {
            assert!(worst(found, &exact.values) <= 0.5 / 255.0 + 1e-6);
        }
        let (pixel, _) = filled(TargetKind::Pixel, &picture, false);
        for (found, cell) in pixel.iter().zip([4, 8, 16]) {
            let exact = normalised_pixels(view, &patch_stats(view, cell).unwrap()).unwrap();
            assert!(worst(found, &exact) == 0.0);
        }
    }

    #[test]
    fn patches_are_cut_in_the_order_of_a_kernel() {
        let picture = picture();
        let view = View::new(&picture, SIZE).unwrap();
        let mut out = vec![0.0; 3 * PATCH * PATCH];
        cut_patches(view, PATCH, PATCH, &[6], &mut out);
        // Patch 6 of a grid of 4 begins at row 8, column 16.
        let (c, y, x) = (2, 3, 5);
        let byte = picture[((8 + y) * SIZE + 16 + x) * 3 + c];
        let expected = (f32::from(byte) / 255.0 - IMAGENET_MEAN[c]) / IMAGENET_STD[c];
        assert!((out[(c * PATCH + y) * PATCH + x] - expected).abs() < 1e-5);

        // The same patch as the third of a unit of 2×2: the second unit's lower left.
        let mut all = vec![0.0; 4 * 3 * PATCH * PATCH];
        cut_patches(view, PATCH, 2 * PATCH, &[1], &mut all);
        assert_eq!(all[2 * out.len()..3 * out.len()], out);
    }

    #[test]
    fn cells_of_a_token_are_put_together() {
        let cells: Vec<f32> = (0..16).flat_map(|cell| [cell as f32, -(cell as f32)]).collect();
        let mut out = vec![0.0; 32];
        gather(&cells, 4, 2, &mut out);
        assert_eq!(out[8..16], [2.0, -2.0, 3.0, -3.0, 6.0, -6.0, 7.0, -7.0]);
        assert_eq!(scatter(&out, 4, 2), cells);
    }

    #[test]
    fn a_part_of_a_view_is_cut_where_it_was_drawn() {
        let picture = picture();
        let part = crop(&picture, SIZE, (5, 9), 16);
        let (y, x, c) = (3, 7, 1);
        assert_eq!(part[(y * 16 + x) * 3 + c], picture[((5 + y) * SIZE + 9 + x) * 3 + c]);
        assert_eq!(part.len(), 16 * 16 * 3);
    }
}
