//! On the processor: a loop for each kind of value.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use bytemuck::cast_slice;
use schemas::code::decode;
use targets::{IMAGENET_MEAN, IMAGENET_STD, NORMALISED, mirror_hog};

use super::layout::at_scale;
use super::{Input, Layout, Part, Sizes, Tap, Target};

/// Some views of a batch, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// `[views, patches, 3·patch²]`: as [`Input::patches`].
    pub patches: Vec<f32>,
    /// `[views, kept]`: the units that the encoder is given.
    pub keep: Vec<i32>,
    /// `[views, units]`: each unit's place among those followed by the rest.
    pub restore: Vec<i32>,
    /// `[views, units]`: 1 where a unit is masked.
    pub mask: Vec<f32>,
    /// For each tap `[views, cells, channels]`.
    pub targets: Vec<Vec<f32>>,
    /// For each tap `[views, cells]`: the mask at its scale over its sum in the whole batch.
    pub weights: Vec<Vec<f32>>,
}

impl Values {
    /// The views `views` of a batch of these sizes, whose bytes are laid out by [`Layout`].
    pub fn of(sizes: &Sizes, bytes: &[u8], views: Range<usize>) -> Self {
        let layout = Layout::new(sizes);
        let part = |part: &Part| part.of(bytes, &views);
        let places: &[i32] = cast_slice(part(&layout.places));
        let of_views = places.chunks_exact(1 + sizes.kept);
        let keep: Vec<i32> =
            of_views.flat_map(|places| places[1..].iter().map(|place| place - 1)).collect();
        let mask: Vec<f32> = part(&layout.mask).iter().map(|&mask| f32::from(mask)).collect();
        let scales: &[f32] = cast_slice(&bytes[layout.scales..][..4 * sizes.taps.len()]);
        let source = Source { sizes, layout: &layout, bytes, views: &views };
        Self {
            patches: patches(sizes, part(&layout.picture), &keep),
            restore: cast_slice(part(&layout.restore)).to_vec(),
            targets: (0..sizes.taps.len()).map(|tap| source.target(tap)).collect(),
            weights: scales
                .iter()
                .enumerate()
                .map(|(tap, scale)| {
                    let of_views = mask.chunks_exact(sizes.units());
                    of_views
                        .flat_map(|mask| at_scale(mask, sizes.unit, sizes.covered(tap)))
                        .map(|weight| weight * scale)
                        .collect()
                })
                .collect(),
            keep,
            mask,
        }
    }

    /// Some of these views.
    pub fn part(&self, sizes: &Sizes, views: Range<usize>) -> Self {
        fn of<T: Clone>(values: &[T], each: usize, views: &Range<usize>) -> Vec<T> {
            values[views.start * each..views.end * each].to_vec()
        }
        let each = |tap| sizes.cells(tap) * sizes.channels(tap);
        let taps = || 0..sizes.taps.len();
        Self {
            patches: of(&self.patches, sizes.given() * sizes.patch_values(), &views),
            keep: of(&self.keep, sizes.kept, &views),
            restore: of(&self.restore, sizes.units(), &views),
            mask: of(&self.mask, sizes.units(), &views),
            targets: taps().map(|tap| of(&self.targets[tap], each(tap), &views)).collect(),
            weights: taps().map(|tap| of(&self.weights[tap], sizes.cells(tap), &views)).collect(),
        }
    }

    /// The tensors of these values.
    pub fn to_device<B: Backend>(self, sizes: &Sizes, device: &B::Device) -> Input<B> {
        let (views, given) = (self.mask.len() / sizes.units(), sizes.given());
        let seen = sizes.tokens.then(|| {
            let patches = sizes.across().pow(2);
            let of_patches = self.mask.iter().flat_map(|&mask| std::iter::repeat_n(mask, patches));
            let numbers = (0..given as i32).cycle().zip(of_patches);
            let numbers = numbers.map(|(number, mask)| if mask > 0.0 { -1 } else { number });
            ints(numbers.collect(), [views, given], device)
        });
        let places = self.keep.chunks_exact(sizes.kept);
        let places =
            places.flat_map(|units| [0].into_iter().chain(units.iter().map(|unit| unit + 1)));
        let targets = self.targets.into_iter().enumerate();
        let weights = self.weights.into_iter().enumerate();
        Input {
            patches: floats(self.patches, [views, given, sizes.patch_values()], device),
            places: ints(places.collect(), [views, 1 + sizes.kept], device),
            seen,
            restore: restore(sizes, &self.restore, device),
            targets: targets
                .map(|(tap, of_tap)| {
                    floats(of_tap, [views, sizes.cells(tap), sizes.channels(tap)], device)
                })
                .collect(),
            weights: weights
                .map(|(tap, of_tap)| floats(of_tap, [views, sizes.cells(tap)], device))
                .collect(),
        }
    }
}

fn floats<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn ints<B: Backend>(values: Vec<i32>, shape: [usize; 2], device: &B::Device) -> Tensor<B, 2, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// [`Input::restore`] of the places of units. Taps of the same grid share a tensor.
fn restore<B: Backend>(
    sizes: &Sizes,
    of_units: &[i32],
    device: &B::Device,
) -> Vec<Tensor<B, 2, Int>> {
    let (grid, units, prefix) = (sizes.grid(), sizes.units(), sizes.prefix as i32);
    let views = of_units.len() / units;
    sizes.of_grids(|inner| {
        let of_views = of_units.chunks_exact(units);
        let visible = (sizes.kept * inner * inner) as i32;
        let latent = |place: i32| if place < visible { prefix + place } else { -1 };
        let places = of_views.flat_map(|units| {
            (0..prefix).chain(in_rows(units, grid, inner).into_iter().map(latent))
        });
        let shape = [views, sizes.prefix + units * inner * inner];
        ints(places.collect(), shape, device)
    })
}

/// Where each token of a view stands, in rows, given where its unit stands: a unit of `inner`×`inner`
/// tokens has them one after the other, in rows.
fn in_rows(units: &[i32], grid: usize, inner: usize) -> Vec<i32> {
    let side = grid * inner;
    let place = |token: usize| {
        let (row, column) = (token / side, token % side);
        let unit = units[row / inner * grid + column / inner];
        unit * (inner * inner) as i32 + (row % inner * inner + column % inner) as i32
    };
    (0..side * side).map(place).collect()
}

/// What a byte is multiplied by for a patch, and what is added then, of each channel.
pub const PATCH_SCALE: [f32; 3] = [
    1.0 / (255.0 * IMAGENET_STD[0]),
    1.0 / (255.0 * IMAGENET_STD[1]),
    1.0 / (255.0 * IMAGENET_STD[2]),
];
/// See [`PATCH_SCALE`].
pub const PATCH_SHIFT: [f32; 3] = [
    -IMAGENET_MEAN[0] / IMAGENET_STD[0],
    -IMAGENET_MEAN[1] / IMAGENET_STD[1],
    -IMAGENET_MEAN[2] / IMAGENET_STD[2],
];

/// The patches of all views, from what is there of their pictures.
fn patches(sizes: &Sizes, pictures: &[u8], keep: &[i32]) -> Vec<f32> {
    let (patch, values) = (sizes.patch, sizes.patch_values());
    let of_view = sizes.given() * values;
    let mut out = vec![0.0; keep.len() / sizes.kept.max(1) * of_view];
    if sizes.whole() {
        let of_views = pictures.chunks_exact(3 * sizes.size * sizes.size);
        let of_views = of_views.zip(keep.chunks_exact(sizes.kept));
        for (out, (picture, keep)) in out.chunks_exact_mut(of_view).zip(of_views) {
            cut_patches(picture, [sizes.size, patch, sizes.unit], keep, out);
        }
    } else {
        for (out, bytes) in out.chunks_exact_mut(values).zip(pictures.chunks_exact(values)) {
            for (y, line) in bytes.chunks_exact(3 * patch).enumerate() {
                normalise_line(line, patch, &mut out[y * patch..]);
            }
        }
    }
    out
}

/// The patches of the units `keep` of a picture, in rows within each, normalised by ImageNet's
/// statistics, each ordered (channel, row, column) as a convolution's kernel. The sides of picture,
/// patch and unit are in pixels.
pub fn cut_patches(picture: &[u8], [size, patch, unit]: [usize; 3], keep: &[i32], out: &mut [f32]) {
    let (grid, inner) = (size / unit, unit / patch);
    for (token, out) in out.chunks_exact_mut(3 * patch * patch).enumerate() {
        let (at, i) = (keep[token / (inner * inner)] as usize, token % (inner * inner));
        let top = at / grid * unit + i / inner * patch;
        let left = at % grid * unit + i % inner * patch;
        for y in 0..patch {
            let line = &picture[((top + y) * size + left) * 3..][..patch * 3];
            normalise_line(line, patch, &mut out[y * patch..]);
        }
    }
}

/// A patch's line of pixels → the same line of its three channels, patch² apart.
fn normalise_line(line: &[u8], patch: usize, out: &mut [f32]) {
    for c in 0..3 {
        let out = &mut out[c * patch * patch..][..patch];
        for (value, pixel) in out.iter_mut().zip(line.as_chunks::<3>().0) {
            *value = f32::from(pixel[c]) * PATCH_SCALE[c] + PATCH_SHIFT[c];
        }
    }
}

/// Where targets are made from.
struct Source<'a> {
    sizes: &'a Sizes,
    layout: &'a Layout,
    bytes: &'a [u8],
    views: &'a Range<usize>,
}

impl Source<'_> {
    /// The targets of a tap: `[views, cells, channels]`.
    fn target(&self, tap: usize) -> Vec<f32> {
        let Tap { cell, group, .. } = self.sizes.taps[tap];
        let (grid, values) = (self.sizes.size / cell, self.sizes.target.values(cell));
        let columns = self.layout.columns_of(self.sizes, tap);
        let columns: Vec<&[u8]> =
            columns.iter().map(|column| column.of(self.bytes, self.views)).collect();
        let picture = || self.layout.picture.of(self.bytes, self.views);
        let cells = match (self.sizes.target, columns.as_slice()) {
            (Target::Hog(bins), [codes, ties]) => {
                let mirrored = self.layout.mirrored.of(self.bytes, self.views);
                hog(codes, ties, mirrored, [grid, bins])
            }
            (Target::Pixel, [mean, inv_std]) => pixels(picture(), [self.sizes.size, cell], |at| {
                (cast_slice(mean)[at], cast_slice(inv_std)[at])
            }),
            // Nothing is subtracted and nothing divided but ImageNet's statistics.
            (Target::RawPixel, _) => pixels(picture(), [self.sizes.size, cell], |_| (0.0, 1.0)),
            (Target::Code, [codes]) => {
                // Exact: they are below 2^16.
                cast_slice::<_, u16>(codes).iter().map(|&code| f32::from(code)).collect()
            }
            _ => unreachable!("the layout has each target's columns"),
        };
        match group {
            1 => cells,
            _ => gathered(&cells, grid, group, values),
        }
    }
}

/// HOG of views from its codes, whose mirror image is made of those that are mirrored.
fn hog(codes: &[u8], ties: &[u8], mirrored: &[u8], [grid, bins]: [usize; 2]) -> Vec<f32> {
    let decoded = |codes: &[u8]| codes.iter().map(|&code| decode(code)).collect::<Vec<f32>>();
    let mut values = decoded(codes);
    let views = mirrored.len().max(1);
    let of_views = values.chunks_exact_mut(codes.len() / views);
    for ((values, ties), _) in of_views
        .zip(ties.chunks_exact(ties.len() / views))
        .zip(mirrored)
        .filter(|(_, mirrored)| **mirrored > 0)
    {
        mirror_hog(values, &decoded(ties), grid, bins)
            .expect("the layout is that of grid and bins");
    }
    values
}

/// The pixels of views' cells, less the cell's mean, times its inverse deviation, each ordered (row,
/// column, channel); `stats` gives the two of a cell, counted over all views.
fn pixels(
    pictures: &[u8],
    [size, cell]: [usize; 2],
    stats: impl Fn(usize) -> (f32, f32),
) -> Vec<f32> {
    let (grid, values) = (size / cell, cell * cell * 3);
    let mut out = vec![0.0; pictures.len()];
    for (at, line) in pictures.chunks_exact(size * 3).enumerate() {
        let (row, y) = (at / cell, at % cell);
        for (column, pixels) in line.chunks_exact(cell * 3).enumerate() {
            let of_cell = row * grid + column;
            let (mean, inv_std) = stats(of_cell);
            let into = &mut out[of_cell * values + y * cell * 3..][..cell * 3];
            let into = into.as_chunks_mut::<3>().0;
            for (into, pixel) in into.iter_mut().zip(pixels.as_chunks::<3>().0) {
                for channel in 0..3 {
                    let value = NORMALISED[channel][usize::from(pixel[channel])];
                    into[channel] = (value - mean) * inv_std;
                }
            }
        }
    }
    out
}

/// Values of `grid`² cells of each view → those of each group×group cells together, in rows.
fn gathered(cells: &[f32], grid: usize, group: usize, channels: usize) -> Vec<f32> {
    let coarse = grid / group;
    let mut out = Vec::with_capacity(cells.len());
    for view in cells.chunks_exact(grid * grid * channels) {
        for at in 0..coarse * coarse {
            let (top, left) = (at / coarse * group, at % coarse * group);
            for row in top..top + group {
                let cells = (row * grid + left) * channels;
                out.extend_from_slice(&view[cells..][..group * channels]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_token_are_put_together() {
        let cells: Vec<f32> = (0..16).flat_map(|cell| [cell as f32, -(cell as f32)]).collect();
        let out = gathered(&cells, 4, 2, 2);
        assert_eq!(out[8..16], [2.0, -2.0, 3.0, -3.0, 6.0, -6.0, 7.0, -7.0]);
    }

    #[test]
    fn tokens_stand_in_rows_within_their_unit() {
        // Two units a side, the second of which is first.
        let places = in_rows(&[1, 0, 2, 3], 2, 2);
        assert_eq!(places[..8], [4, 5, 0, 1, 6, 7, 2, 3]);
        assert_eq!(in_rows(&[1, 0, 2, 3], 2, 1), [1, 0, 2, 3]);
    }
}
