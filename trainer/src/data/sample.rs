//! One stored view → its part of a batch's bytes.

use bytemuck::{cast_slice, cast_slice_mut};
use kernels::input::{Sizes, Target, ViewMut, host};
use targets::{TargetError, View};

use super::spec::SampleSpec;
use crate::model::mask::Masking;

/// What is stored of a view.
#[derive(Debug, Clone)]
pub struct StoredView<'a> {
    /// size·size·3 bytes.
    pub picture: &'a [u8],
    /// The targets of each of the taps' cell sizes, as [`Sizes::distinct_cells`] has them.
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

/// Fills `out`, a view's place in a batch's bytes, from a stored view.
///
/// # Errors
/// [`TargetError`] if a stored column has another length than the sizes say.
pub fn fill(
    spec: &SampleSpec,
    stored: &StoredView<'_>,
    draw: &Draw,
    mut out: ViewMut<'_>,
) -> Result<(), TargetError> {
    let masking = &draw.masking;
    let SampleSpec { stored: size, one, codes } = spec;
    let rgb = View::new(stored.picture, *size)?.rgb();
    let picture = Picture { rgb, size: *size, draw };
    match one.target {
        Target::Pixel | Target::RawPixel => picture.whole(one.size, out.picture),
        Target::Hog(_) | Target::Code => picture.patches(one, out.picture),
    }
    out.write_masking(&masking.keep, &masking.restore, &masking.mask);
    out.mirrored.fill(u8::from(draw.flipped));
    let of_cells = one.distinct_cells().into_iter().zip(codes).zip(out.columns);
    for (target, ((cell, &of_book), columns)) in stored.taps.iter().zip(of_cells) {
        let grid = one.size / cell;
        match (target, <[_; 2]>::try_from(columns)) {
            (StoredTarget::Hog { codes, ties }, Ok([to_codes, to_ties])) => {
                copy("a HOG column", codes, to_codes)?;
                copy("a HOG's ties", ties, to_ties)?;
            }
            (StoredTarget::Pixel { mean, inv_std }, Ok([to_mean, to_inv_std])) => {
                for (stats, to) in [(mean, to_mean), (inv_std, to_inv_std)] {
                    copy("a column of patch statistics", cast_slice(stats), to)?;
                    if draw.flipped {
                        cast_slice_mut::<_, f32>(to).chunks_mut(grid).for_each(<[f32]>::reverse);
                    }
                }
            }
            (StoredTarget::Code { codes, mirrored }, Err(columns)) => {
                let codes = if draw.flipped { mirrored } else { codes };
                if let Some(&code) = codes.iter().find(|&&code| usize::from(code) >= of_book) {
                    return Err(TargetError::Code { code, codes: of_book });
                }
                columns
                    .into_iter()
                    .try_for_each(|to| copy("a code column", cast_slice(codes), to))?;
            }
            // Nothing is stored of pixels, and the layout has what is of the rest.
            _ => {}
        }
    }
    Ok(())
}

/// Bytes of a column to their place.
fn copy(what: &'static str, from: &[u8], to: &mut [u8]) -> Result<(), TargetError> {
    if from.len() != to.len() {
        return Err(TargetError::Length { what, expected: to.len(), found: from.len() });
    }
    to.copy_from_slice(from);
    Ok(())
}

/// A stored view as the encoder is shown it: mirrored or not, and then the part that was drawn.
struct Picture<'a> {
    rgb: &'a [u8],
    size: usize,
    draw: &'a Draw,
}

impl Picture<'_> {
    /// Pixels of a row of that part, beginning with one.
    fn line(&self, (row, first): (usize, usize), out: &mut [u8]) {
        let (top, left) = self.draw.corner;
        let (first, pixels) = (left + first, out.len() / 3);
        let row = &self.rgb[(top + row) * self.size * 3..][..self.size * 3];
        if self.draw.flipped {
            let from = &row[(self.size - first - pixels) * 3..][..pixels * 3];
            let from = from.as_chunks::<3>().0.iter().rev();
            for (from, into) in from.zip(out.as_chunks_mut::<3>().0) {
                *into = *from;
            }
        } else {
            out.copy_from_slice(&row[first * 3..][..pixels * 3]);
        }
    }

    /// All of that part, `size` pixels a side.
    fn whole(&self, size: usize, out: &mut [u8]) {
        for (row, out) in out.chunks_exact_mut(size * 3).enumerate() {
            self.line((row, 0), out);
        }
    }

    /// The patches of the units that are kept of it, in rows within each.
    fn patches(&self, sizes: &Sizes, out: &mut [u8]) {
        let (grid, inner, patch) = (sizes.grid(), sizes.across(), sizes.patch);
        for (token, out) in out.chunks_exact_mut(3 * patch * patch).enumerate() {
            let unit = self.draw.masking.keep[token / (inner * inner)] as usize;
            let i = token % (inner * inner);
            let top = unit / grid * sizes.unit + i / inner * patch;
            let left = unit % grid * sizes.unit + i % inner * patch;
            for (y, out) in out.chunks_exact_mut(3 * patch).enumerate() {
                self.line((top + y, left), out);
            }
        }
    }
}

/// The part of a square picture that begins at `corner`.
pub fn crop(picture: &[u8], size: usize, (top, left): (usize, usize), input: usize) -> Vec<u8> {
    let rows = picture.chunks_exact(size * 3).skip(top).take(input);
    rows.flat_map(|row| &row[left * 3..(left + input) * 3]).copied().collect()
}

/// The patches of the units `keep` of a view, in rows within each, normalised by ImageNet's
/// statistics, each ordered (channel, row, column) as a convolution's kernel.
pub fn cut_patches(view: View<'_>, patch: usize, unit: usize, keep: &[i32], out: &mut [f32]) {
    host::cut_patches(view.rgb(), [view.size(), patch, unit], keep, out);
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
    use std::sync::Arc;

    use kernels::input::Tap;
    use schemas::code;
    use targets::{
        Codebook, HogExtractor, IMAGENET_MEAN, IMAGENET_STD, PatchInput, mirror_picture,
        normalised_pixels, patch_stats,
    };

    use super::*;
    use crate::data::Batch;

    const SIZE: usize = 32;
    const PATCH: usize = 8;

    fn picture() -> Vec<u8> {
        let value = |x: usize, y: usize, c: usize| {
            if y % 7 < 2 { 255 } else { (x * x * (c + 1) / 4 + y * 6) as u8 }
        };
        (0..SIZE * SIZE * 3).map(|i| value(i / 3 % SIZE, i / 3 / SIZE, i % 3)).collect()
    }

    const CELLS: [usize; 3] = [4, 8, 16];

    fn spec(target: Target) -> SampleSpec {
        let tap = |cell| Tap { cell, group: 1, inner: 1 };
        let one = Sizes {
            views: 1,
            size: SIZE,
            patch: PATCH,
            unit: PATCH,
            kept: 4,
            prefix: 1,
            tokens: false,
            target,
            taps: CELLS.map(tap).to_vec(),
        };
        SampleSpec { stored: SIZE, one, codes: CELLS.map(|cell| (SIZE / cell).pow(2)).to_vec() }
    }

    /// The patches of the picture are the codes.
    fn codebook(cell: usize) -> Codebook {
        let picture = picture();
        let view = View::new(&picture, SIZE).unwrap();
        let codes = normalised_pixels(view, &patch_stats(view, cell).unwrap()).unwrap();
        Codebook::new(cell, PatchInput::Normalised, None, codes).unwrap()
    }

    /// The target values of each tap, and the visible patches.
    fn filled(target: Target, picture: &[u8], flipped: bool) -> (Vec<Vec<f32>>, Vec<f32>) {
        let spec = spec(target);
        let view = View::new(picture, SIZE).unwrap();
        let mut extractor = HogExtractor::new(SIZE, 9, &CELLS).unwrap();
        let coded: Vec<_> = extractor
            .compute_as(view, code::encode)
            .unwrap()
            .into_iter()
            .map(|hog| [hog.values, hog.ties])
            .collect();
        let taps = CELLS.into_iter().zip(&coded).map(|(cell, [codes, ties])| match target {
            Target::Hog(_) => StoredTarget::Hog { codes, ties },
            Target::Pixel => {
                let stats = patch_stats(view, cell).unwrap();
                StoredTarget::Pixel { mean: stats.mean, inv_std: stats.inv_std }
            }
            Target::RawPixel => StoredTarget::RawPixel,
            Target::Code => {
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
        let masking = Masking::from_noise(&noise, spec.one.kept);
        let draw = Draw { flipped, corner: (0, 0), masking };
        let values = Batch::of_one(&Arc::new(spec), &stored, &draw).unwrap().values();
        (values.targets, values.patches)
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
            (Target::Pixel, 1e-5),
            (Target::RawPixel, 0.0),
            (Target::Hog(9), 3.0 / 255.0),
            (Target::Code, 0.0),
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
        let (hog, _) = filled(Target::Hog(9), &picture, false);
        let mut extractor = HogExtractor::new(SIZE, 9, &CELLS).unwrap();
        for (found, exact) in hog.iter().zip(extractor.compute(view).unwrap()) {
            assert!(worst(found, &exact.values) <= 0.5 / 255.0 + 1e-6);
        }
        let (pixel, _) = filled(Target::Pixel, &picture, false);
        for (found, cell) in pixel.iter().zip(CELLS) {
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
    fn predictions_of_a_token_are_put_back_in_rows() {
        let values: Vec<f32> = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
            .iter()
            .flat_map(|&cell| [cell as f32, -(cell as f32)])
            .collect();
        let cells: Vec<f32> = (0..16).flat_map(|cell| [cell as f32, -(cell as f32)]).collect();
        assert_eq!(scatter(&values, 4, 2), cells);
    }

    #[test]
    fn a_part_of_a_mirrored_view_is_cut_from_the_mirror_image() {
        let picture = picture();
        let mut mirrored = vec![0; picture.len()];
        mirror_picture(&picture, SIZE, &mut mirrored).unwrap();
        let part = crop(&mirrored, SIZE, (5, 9), 16);
        let noise: Vec<f32> = (0..4).map(|i| (i * 3 % 4) as f32).collect();
        let masking = Masking::from_noise(&noise, 4);
        let draw = Draw { flipped: true, corner: (5, 9), masking: masking.clone() };
        for target in [Target::RawPixel, Target::Code] {
            let mut spec = spec(target);
            spec.one.size = 16;
            let codes = |cell: usize| vec![0; (16 / cell).pow(2)];
            let stored = CELLS.into_iter().map(|cell| match target {
                Target::Code => StoredTarget::Code { codes: vec![], mirrored: codes(cell) },
                _ => StoredTarget::RawPixel,
            });
            let stored = StoredView { picture: &picture, taps: stored.collect() };
            let found = Batch::of_one(&Arc::new(spec), &stored, &draw).unwrap().values();
            let mut expected = vec![0.0; found.patches.len()];
            let view = View::new(&part, 16).unwrap();
            cut_patches(view, PATCH, PATCH, &masking.keep, &mut expected);
            assert_eq!(found.patches, expected);
        }
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
