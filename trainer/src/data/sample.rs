//! One stored view → its part of a batch.

use schemas::code;
use targets::{
    IMAGENET_MEAN, IMAGENET_STD, TargetError, View, mirror_hog, mirror_picture,
    normalised_pixels_into,
};

use super::mask::Masking;
use crate::model::TargetKind;

/// The sizes of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleSpec {
    /// The side of a view in pixels.
    pub size: usize,
    /// The side of an encoder's patch in pixels.
    pub patch: usize,
    /// Patches the encoder sees.
    pub visible: usize,
    /// What is predicted.
    pub target: TargetKind,
    /// The target's cell at each tap, in pixels.
    pub cells: Vec<usize>,
    /// Orientation bins of the stored HOG.
    pub bins: usize,
}

impl SampleSpec {
    /// Patches of a view.
    pub fn patches(&self) -> usize {
        (self.size / self.patch).pow(2)
    }

    /// Target cells of a tap.
    pub fn cells(&self, tap: usize) -> usize {
        (self.size / self.cells[tap]).pow(2)
    }

    /// Values a target cell of a tap.
    pub fn channels(&self, tap: usize) -> usize {
        self.target.channels(self.cells[tap], self.bins)
    }
}

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
}

/// Where a sample goes: one view's slices of a batch's buffers.
#[derive(Debug)]
pub struct SampleMut<'a> {
    /// `[visible, 3·patch²]`.
    pub visible: &'a mut [f32],
    /// `[visible]`.
    pub keep: &'a mut [i32],
    /// `[patches]`.
    pub restore: &'a mut [i32],
    /// `[patches]`.
    pub mask: &'a mut [f32],
    /// Values `[cells, channels]` and weights `[cells]` of each tap.
    pub targets: Vec<(&'a mut [f32], &'a mut [f32])>,
}

/// Fills `out` from a stored view, mirrored if `flipped`.
///
/// # Errors
/// [`TargetError`] if a stored column has another length than the sizes say.
pub fn fill(
    spec: &SampleSpec,
    stored: &StoredView<'_>,
    flipped: bool,
    masking: &Masking,
    out: SampleMut<'_>,
) -> Result<(), TargetError> {
    let mut mirrored = Vec::new();
    let picture = if flipped {
        mirrored.resize(stored.picture.len(), 0);
        mirror_picture(stored.picture, spec.size, &mut mirrored)?;
        &mirrored
    } else {
        stored.picture
    };
    let view = View::new(picture, spec.size)?;
    cut_patches(view, spec.patch, &masking.keep, out.visible);
    out.keep.copy_from_slice(&masking.keep);
    out.restore.copy_from_slice(&masking.restore);
    out.mask.copy_from_slice(&masking.mask);
    for ((target, &cell), (values, weights)) in stored.taps.iter().zip(&spec.cells).zip(out.targets)
    {
        let grid = spec.size / cell;
        match target {
            StoredTarget::Hog { codes, ties } => {
                if codes.len() != values.len() {
                    let (expected, found) = (values.len(), codes.len());
                    return Err(TargetError::Length { what: "a HOG column", expected, found });
                }
                decode(codes, values);
                if flipped {
                    let mut shares = vec![0.0; ties.len()];
                    decode(ties, &mut shares);
                    mirror_hog(values, &shares, grid, spec.bins)?;
                }
            }
            StoredTarget::Pixel { mean, inv_std } => {
                let (mut mean, mut inv_std) = (mean.clone(), inv_std.clone());
                if flipped {
                    mean.chunks_mut(grid).for_each(<[f32]>::reverse);
                    inv_std.chunks_mut(grid).for_each(<[f32]>::reverse);
                }
                normalised_pixels_into(view, cell, &mean, &inv_std, values)?;
            }
        }
        weights.copy_from_slice(&masking.at_scale(spec.patch, cell));
    }
    Ok(())
}

/// HOG codes → values.
fn decode(codes: &[u8], out: &mut [f32]) {
    for (value, &code) in out.iter_mut().zip(codes) {
        *value = code::decode(code);
    }
}

/// The patches `keep` of a view, normalised by ImageNet's statistics, each ordered (channel, row,
/// column) as a convolution's kernel.
pub fn cut_patches(view: View<'_>, patch: usize, keep: &[i32], out: &mut [f32]) {
    let grid = view.size() / patch;
    let scale = IMAGENET_STD.map(|std| 1.0 / (255.0 * std));
    let shift: [f32; 3] = std::array::from_fn(|c| -IMAGENET_MEAN[c] / IMAGENET_STD[c]);
    for (&at, out) in keep.iter().zip(out.chunks_exact_mut(3 * patch * patch)) {
        let (top, left) = (at as usize / grid * patch, at as usize % grid * patch);
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

#[cfg(test)]
mod tests {
    use targets::{HogExtractor, normalised_pixels, patch_stats};

    use super::*;

    const SIZE: usize = 32;
    const PATCH: usize = 8;

    fn picture() -> Vec<u8> {
        let value = |x: usize, y: usize, c: usize| {
            if y % 7 < 2 { 255 } else { (x * x * (c + 1) / 4 + y * 6) as u8 }
        };
        (0..SIZE * SIZE * 3).map(|i| value(i / 3 % SIZE, i / 3 / SIZE, i % 3)).collect()
    }

    fn spec(target: TargetKind) -> SampleSpec {
        let cells = vec![4, 8, 16];
        SampleSpec { size: SIZE, patch: PATCH, visible: 4, target, cells, bins: 9 }
    }

    /// The target values of each tap, and the visible patches.
    fn filled(target: TargetKind, picture: &[u8], flipped: bool) -> (Vec<Vec<f32>>, Vec<f32>) {
        let spec = spec(target);
        let view = View::new(picture, SIZE).unwrap();
        let mut extractor = HogExtractor::new(SIZE, 9, &spec.cells).unwrap();
        let coded: Vec<_> = extractor
            .compute(view)
            .unwrap()
            .iter()
            .map(|hog| {
                [&hog.values, &hog.ties]
                    .map(|all| all.iter().map(|&v| code::encode(v)).collect::<Vec<_>>())
            })
            .collect();
        let taps = spec.cells.iter().zip(&coded).map(|(&cell, [codes, ties])| match target {
            TargetKind::Hog => StoredTarget::Hog { codes, ties },
            TargetKind::Pixel => {
                let stats = patch_stats(view, cell).unwrap();
                StoredTarget::Pixel { mean: stats.mean, inv_std: stats.inv_std }
            }
        });
        let stored = StoredView { picture, taps: taps.collect() };
        let noise: Vec<f32> = (0..16).map(|i| (i * 7 % 16) as f32).collect();
        let masking = Masking::from_noise(&noise, spec.visible);
        let mut visible = vec![0.0; spec.visible * 3 * PATCH * PATCH];
        let mut targets: Vec<_> = (0..3)
            .map(|tap| {
                (vec![0.0; spec.cells(tap) * spec.channels(tap)], vec![0.0; spec.cells(tap)])
            })
            .collect();
        let out = SampleMut {
            visible: &mut visible,
            keep: &mut [0; 4],
            restore: &mut [0; 16],
            mask: &mut [0.0; 16],
            targets: targets
                .iter_mut()
                .map(|(v, w)| (v.as_mut_slice(), w.as_mut_slice()))
                .collect(),
        };
        fill(&spec, &stored, flipped, &masking, out).unwrap();
        (targets.into_iter().map(|(values, _)| values).collect(), visible)
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
        for (target, bound) in [(TargetKind::Pixel, 1e-5), (TargetKind::Hog, 3.0 / 255.0)] {
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
        cut_patches(view, PATCH, &[6], &mut out);
        // Patch 6 of a grid of 4 begins at row 8, column 16.
        let (c, y, x) = (2, 3, 5);
        let byte = picture[((8 + y) * SIZE + 16 + x) * 3 + c];
        let expected = (f32::from(byte) / 255.0 - IMAGENET_MEAN[c]) / IMAGENET_STD[c];
        assert!((out[(c * PATCH + y) * PATCH + x] - expected).abs() < 1e-5);
    }
}
