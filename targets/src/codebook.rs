//! The nearest code of a codebook for each patch: the pre-trained codebook that LocalMIM, section
//! 3.2, names as a target beside HOG and pixels.

use multiversion::multiversion;

use crate::pixel::{normalised_pixels_into, patch_stats};
use crate::{TargetError, View};

/// Rows of a matrix that are multiplied at once, one a lane of the processor's vectors.
const LANES: usize = 32;

/// What is looked up of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchInput {
    /// Its pixels, normalised by ImageNet's statistics.
    Imagenet,
    /// The same, less the patch's mean, over its deviation: the normalised-pixel target.
    Normalised,
}

/// A linear map of a patch's pixels to the space of the codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// `[dim, patch²·3]`, a patch's pixels ordered (row, column, channel).
    pub weight: Vec<f32>,
    /// `[dim]`.
    pub bias: Vec<f32>,
}

/// Vectors, of which each patch is told by the nearest.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook {
    patch: usize,
    dim: usize,
    count: usize,
    input: PatchInput,
    /// With its bias.
    projection: Option<(Matrix, Vec<f32>)>,
    codes: Matrix,
    /// Half of each code's squared length, infinite for those that fill up the last lanes.
    half_norms: Vec<[f32; LANES]>,
}

impl Codebook {
    /// A codebook of `codes`, `[codes, dim]`, for patches of `patch` pixels a side. Without a
    /// projection the codes are patches themselves, so that dim is patch²·3.
    ///
    /// # Errors
    /// [`TargetError`] if sizes do not fit, there are not 2 to 65,536 codes, or a number is not
    /// finite.
    pub fn new(
        patch: usize,
        input: PatchInput,
        projection: Option<Projection>,
        codes: Vec<f32>,
    ) -> Result<Self, TargetError> {
        let pixels = patch * patch * 3;
        let dim = projection.as_ref().map_or(pixels, |projection| projection.bias.len());
        let count = codes.len() / dim.max(1);
        if patch == 0 || !(2..=1 << 16).contains(&count) {
            return Err(TargetError::Codes(count));
        }
        let mut lengths = vec![("a codebook", count * dim, codes.len())];
        if let Some(Projection { weight, .. }) = &projection {
            lengths.push(("a codebook's projection", dim * pixels, weight.len()));
        }
        for (what, expected, found) in lengths {
            if found != expected {
                return Err(TargetError::Length { what, expected, found });
            }
        }
        let of_projection = projection
            .iter()
            .flat_map(|projection| projection.weight.iter().chain(&projection.bias));
        if !codes.iter().chain(of_projection).all(|value| value.is_finite()) {
            return Err(TargetError::NotFinite("a codebook"));
        }
        let mut half_norms = vec![[f32::INFINITY; LANES]; count.div_ceil(LANES)];
        for (i, code) in codes.chunks_exact(dim).enumerate() {
            let square: f64 = code.iter().map(|&value| f64::from(value).powi(2)).sum();
            let half_norm = (0.5 * square) as f32;
            if !half_norm.is_finite() {
                return Err(TargetError::NotFinite("a codebook"));
            }
            half_norms[i / LANES][i % LANES] = half_norm;
        }
        let projection =
            projection.map(|Projection { weight, bias }| (Matrix::new(&weight, pixels), bias));
        let codes = Matrix::new(&codes, dim);
        Ok(Self { patch, dim, count, input, projection, codes, half_norms })
    }

    /// The side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// How many codes there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `[grid²]`: for each patch of a view, in rows, the number of the nearest code by Euclidean
    /// distance, of codes equally near the first. Does not depend on the processor.
    ///
    /// # Errors
    /// [`TargetError::Cell`] if patches do not tile the view.
    pub fn nearest(&self, view: View<'_>) -> Result<Vec<u16>, TargetError> {
        let grid = view.grid(self.patch)?;
        let mut patches = vec![0.0; view.rgb().len()];
        let (mean, inv_std) = match self.input {
            PatchInput::Imagenet => (vec![0.0; grid * grid], vec![1.0; grid * grid]),
            PatchInput::Normalised => {
                let stats = patch_stats(view, self.patch)?;
                (stats.mean, stats.inv_std)
            }
        };
        normalised_pixels_into(view, self.patch, &mean, &inv_std, &mut patches)?;
        if let Some((matrix, bias)) = &self.projection {
            let projected = patches.chunks_exact(self.patch * self.patch * 3).map(|patch| {
                let products = (0..matrix.tiles()).flat_map(|tile| matrix.times(tile, patch));
                products.zip(bias).map(|(product, bias)| product + bias).collect::<Vec<_>>()
            });
            patches = projected.collect::<Vec<_>>().concat();
        }
        Ok(self.nearest_to(&patches))
    }

    /// As [`Self::nearest`], of vectors `[count, dim]`.
    fn nearest_to(&self, vectors: &[f32]) -> Vec<u16> {
        let mut best = vec![(f32::INFINITY, 0); vectors.len() / self.dim];
        // Tile by tile, so that it stays in a core's cache for all vectors.
        for (tile, half_norms) in self.half_norms.iter().enumerate() {
            for (best, vector) in best.iter_mut().zip(vectors.chunks_exact(self.dim)) {
                let products = self.codes.times(tile, vector);
                for (lane, (half_norm, product)) in half_norms.iter().zip(products).enumerate() {
                    // Half the squared distance, less what all codes have in common.
                    let distance = half_norm - product;
                    if distance < best.0 {
                        *best = (distance, tile * LANES + lane);
                    }
                }
            }
        }
        best.into_iter().map(|(_, code)| code as u16).collect()
    }
}

/// A matrix by tiles of [`LANES`] rows, each column by column; rows of zeros fill up the last.
#[derive(Debug, Clone, PartialEq)]
struct Matrix {
    columns: usize,
    tiles: Vec<[f32; LANES]>,
}

impl Matrix {
    /// Of `[rows, columns]`.
    fn new(values: &[f32], columns: usize) -> Self {
        let rows = values.len() / columns;
        let mut tiles = vec![[0.0; LANES]; rows.div_ceil(LANES) * columns];
        for (row, values) in values.chunks_exact(columns).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                tiles[row / LANES * columns + column][row % LANES] = value;
            }
        }
        Self { columns, tiles }
    }

    fn tiles(&self) -> usize {
        self.tiles.len() / self.columns
    }

    /// The products of a tile's rows with a vector.
    fn times(&self, tile: usize, vector: &[f32]) -> [f32; LANES] {
        products(&self.tiles[tile * self.columns..][..self.columns], vector)
    }
}

/// Each lane adds up in the order of the columns, so that the processor does not matter.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn products(columns: &[[f32; LANES]], vector: &[f32]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (column, &value) in columns.iter().zip(vector) {
        for (sum, &factor) in sums.iter_mut().zip(column) {
            *sum += factor * value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IMAGENET_MEAN, IMAGENET_STD, mirror_picture};

    const SIZE: usize = 32;

    fn picture(seed: usize) -> Vec<u8> {
        (0..SIZE * SIZE * 3).map(|i| ((i + seed) * (i % 91 + seed) / 7) as u8).collect()
    }

    fn patches(rgb: &[u8], patch: usize) -> Vec<Vec<f32>> {
        let grid = SIZE / patch;
        let value = |at: usize, i: usize| {
            let (y, x) = (at / grid * patch + i / 3 / patch, at % grid * patch + i / 3 % patch);
            let byte = rgb[(y * SIZE + x) * 3 + i % 3];
            (f32::from(byte) / 255.0 - IMAGENET_MEAN[i % 3]) / IMAGENET_STD[i % 3]
        };
        (0..grid * grid).map(|at| (0..patch * patch * 3).map(|i| value(at, i)).collect()).collect()
    }

    fn nearest_in_doubles(codes: &[Vec<f32>], vector: &[f32]) -> usize {
        let distance = |code: &[f32]| -> f64 {
            code.iter().zip(vector).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        let better = |a: usize, b: usize| {
            if distance(&codes[b]) < distance(&codes[a]) { b } else { a }
        };
        (0..codes.len()).reduce(better).unwrap()
    }

    #[test]
    fn each_patch_gets_the_code_that_is_nearest() {
        // More codes than a tile, and patches that fill no whole number of lanes.
        for patch in [4, 16] {
            let codes: Vec<_> = (0..9).flat_map(|seed| patches(&picture(seed), patch)).collect();
            let book = Codebook::new(patch, PatchInput::Imagenet, None, codes.concat()).unwrap();
            assert_eq!(book.count(), codes.len());
            let rgb = picture(77);
            let found = book.nearest(View::new(&rgb, SIZE).unwrap()).unwrap();
            let expected: Vec<_> = patches(&rgb, patch)
                .iter()
                .map(|patch| nearest_in_doubles(&codes, patch) as u16)
                .collect();
            assert_eq!(found, expected);
            assert!(found.iter().any(|code| *code != found[0]), "the patches differ");
        }
    }

    #[test]
    fn a_patch_of_the_codebook_is_its_own_code() {
        let rgb = picture(3);
        let codes = patches(&rgb, 8);
        let book = Codebook::new(8, PatchInput::Imagenet, None, codes.concat()).unwrap();
        let found = book.nearest(View::new(&rgb, SIZE).unwrap()).unwrap();
        assert_eq!(found, (0..16).collect::<Vec<u16>>());
    }

    #[test]
    fn a_projection_comes_before_the_codes() {
        // The mean of red, and the mean of blue with a bias that makes every patch's large.
        let mut weight = vec![0.0; 2 * 4 * 4 * 3];
        for pixel in 0..16 {
            weight[pixel * 3] = 1.0 / 16.0;
            weight[48 + pixel * 3 + 2] = 1.0 / 16.0;
        }
        let projection =
            |bias: f32| Some(Projection { weight: weight.clone(), bias: vec![0.0, bias] });
        // Red, blue, grey.
        let codes = vec![2.0, -2.0, -2.0, 2.0, 0.0, 0.0];
        let of = |colour: [u8; 3], bias: f32| {
            let rgb = colour.repeat(SIZE * SIZE);
            let book =
                Codebook::new(4, PatchInput::Imagenet, projection(bias), codes.clone()).unwrap();
            let found = book.nearest(View::new(&rgb, SIZE).unwrap()).unwrap();
            assert!(found.iter().all(|code| *code == found[0]));
            found[0]
        };
        assert_eq!(
            [of([255, 0, 0], 0.0), of([0, 0, 255], 0.0), of([124, 116, 104], 0.0)],
            [0, 1, 2]
        );
        assert_eq!(of([255, 0, 0], 9.0), 1, "the bias counts");
    }

    #[test]
    fn normalised_patches_have_no_brightness() {
        let rgb = picture(5);
        let darker: Vec<u8> = rgb.iter().map(|value| value / 2).collect();
        let stats = patch_stats(View::new(&rgb, SIZE).unwrap(), 8).unwrap();
        let codes = crate::normalised_pixels(View::new(&rgb, SIZE).unwrap(), &stats).unwrap();
        let book = Codebook::new(8, PatchInput::Normalised, None, codes).unwrap();
        let found = book.nearest(View::new(&darker, SIZE).unwrap()).unwrap();
        assert_eq!(found, (0..16).collect::<Vec<u16>>());
    }

    #[test]
    fn a_mirrored_view_has_codes_of_its_own() {
        let rgb = picture(3);
        let mut mirrored = vec![0; rgb.len()];
        mirror_picture(&rgb, SIZE, &mut mirrored).unwrap();
        let mut codes = patches(&rgb, 16);
        codes.extend(patches(&mirrored, 16));
        let book = Codebook::new(16, PatchInput::Imagenet, None, codes.concat()).unwrap();
        let found = book.nearest(View::new(&mirrored, SIZE).unwrap()).unwrap();
        assert_eq!(found, [4, 5, 6, 7]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let book = |patch, codes: Vec<f32>| Codebook::new(patch, PatchInput::Imagenet, None, codes);
        assert_eq!(book(2, vec![0.0; 12]), Err(TargetError::Codes(1)));
        assert!(matches!(book(2, vec![0.0; 25]), Err(TargetError::Length { .. })));
        assert_eq!(book(2, vec![f32::NAN; 24]), Err(TargetError::NotFinite("a codebook")));
        let rgb = picture(0);
        let refused = book(5, vec![0.0; 150]).unwrap().nearest(View::new(&rgb, SIZE).unwrap());
        assert_eq!(refused, Err(TargetError::Cell { cell: 5, size: SIZE }));
    }
}
