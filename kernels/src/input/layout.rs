//! Where each part of a batch lies in its buffer of bytes.

use bytemuck::{cast_slice, cast_slice_mut};
use targets::tie_edges;

use super::{Sizes, Target};

/// Each part begins at a multiple of this, from where any device can bind it alone.
const ALIGNED: usize = 256;

/// One part of the buffer, which holds something of every view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    /// The byte at which it begins.
    pub at: usize,
    /// Bytes of a view in it.
    pub each: usize,
}

impl Part {
    /// The bytes of `views` in it.
    pub fn of<'a>(&self, bytes: &'a [u8], views: &std::ops::Range<usize>) -> &'a [u8] {
        &bytes[self.at + views.start * self.each..self.at + views.end * self.each]
    }
}

/// The parts of a batch's buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `[taps]`, f32: what the mask at each tap's scale is multiplied by.
    pub scales: usize,
    /// `[3, 256]`, f32: each channel's bytes by ImageNet's statistics, to the last bit as targets are
    /// made of them; where the target is of pixels.
    pub normalised: Option<usize>,
    /// `[views, 1 + kept]`, i32: 0, and then the number of each unit that the encoder is given plus 1.
    pub places: Part,
    /// `[views, units]`, i32: each unit's place among those followed by the rest.
    pub restore: Part,
    /// `[views, units]`, u8: 1 where a unit is masked.
    pub mask: Part,
    /// `[views]`, u8: 1 where the HOG is that of the view's mirror image.
    pub mirrored: Part,
    /// u8: `[views, size, size, 3]` where targets are made of the picture, else
    /// `[views, patches, patch, patch, 3]` of the kept units; mirrored and cut already.
    pub picture: Part,
    /// For each distinct cell size, the columns of its cells: HOG codes `[views, cells, 3·bins]`
    /// and ties `[views, cells, 3·edges]`, u8; mean and inverse deviation `[views, cells]` each, f32;
    /// codes `[views, cells]`, u16; or none.
    pub columns: Vec<Vec<Part>>,
    /// All of it.
    pub bytes: usize,
    views: usize,
}

/// One view's place in a batch's buffer. What each slice holds is said of [`Layout`]'s parts.
#[derive(Debug)]
pub struct ViewMut<'a> {
    /// `[1 + kept]`.
    pub places: &'a mut [i32],
    /// `[units]`.
    pub restore: &'a mut [i32],
    /// `[units]`.
    pub mask: &'a mut [u8],
    /// One byte.
    pub mirrored: &'a mut [u8],
    /// The picture, or what is kept of it.
    pub picture: &'a mut [u8],
    /// The columns of each distinct cell size.
    pub columns: Vec<Vec<&'a mut [u8]>>,
}

impl Layout {
    /// The layout of a batch of these sizes.
    pub fn new(sizes: &Sizes) -> Self {
        let mut bytes = 0;
        let mut alone = |length: usize| {
            let at = bytes;
            bytes = (at + length).next_multiple_of(ALIGNED);
            at
        };
        let scales = alone(4 * sizes.taps.len());
        let normalised = sizes.whole().then(|| alone(4 * 3 * 256));
        let mut part = |each: usize| Part { at: alone(sizes.views * each), each };
        let pixels = match sizes.whole() {
            true => sizes.size * sizes.size,
            false => sizes.given() * sizes.patch * sizes.patch,
        };
        let (places, restore) = (part(4 * (1 + sizes.kept)), part(4 * sizes.units()));
        let (mask, mirrored, picture) = (part(sizes.units()), part(1), part(3 * pixels));
        let columns = sizes.distinct_cells().into_iter().map(|cell| {
            let cells = (sizes.size / cell).pow(2);
            let each = match sizes.target {
                Target::Hog(bins) => vec![3 * bins, 3 * tie_edges(bins).len()],
                Target::Pixel => vec![4, 4],
                Target::RawPixel => vec![],
                Target::Code => vec![2],
            };
            each.into_iter().map(|each| part(cells * each)).collect()
        });
        let columns = columns.collect();
        let views = sizes.views;
        Self { scales, normalised, places, restore, mask, mirrored, picture, columns, bytes, views }
    }

    /// The columns of a tap's cells.
    pub fn columns_of(&self, sizes: &Sizes, tap: usize) -> &[Part] {
        let cell = sizes.taps[tap].cell;
        let at = sizes.distinct_cells().iter().position(|&distinct| distinct == cell);
        at.map_or(&[], |at| &self.columns[at])
    }

    /// The place of each view in `bytes`, which are [`Self::bytes`] or more.
    pub fn views_mut<'a>(&self, bytes: &'a mut [u8]) -> Vec<ViewMut<'a>> {
        let first = [self.places, self.restore, self.mask, self.mirrored, self.picture];
        let parts = first.iter().chain(self.columns.iter().flatten());
        let (mut rest, mut begun) = (bytes, 0);
        let mut parts: Vec<_> = parts
            .map(|part| {
                let tail = std::mem::take(&mut rest).split_at_mut(part.at - begun).1;
                let (own, tail) = tail.split_at_mut(self.views * part.each);
                (rest, begun) = (tail, part.at + own.len());
                own.chunks_mut(part.each.max(1))
            })
            .collect();
        let view = |_| {
            let mut slices = parts.iter_mut().map(|views| views.next().unwrap_or_default());
            let mut next = || slices.next().unwrap_or_default();
            ViewMut {
                places: cast_slice_mut(next()),
                restore: cast_slice_mut(next()),
                mask: next(),
                mirrored: next(),
                picture: next(),
                columns: {
                    let columns = self.columns.iter();
                    columns.map(|columns| columns.iter().map(|_| next()).collect()).collect()
                },
            }
        };
        (0..self.views).map(view).collect()
    }

    /// Writes what follows from all views together, once they are there.
    pub fn finish(&self, sizes: &Sizes, bytes: &mut [u8]) {
        let masked = self.mask.of(bytes, &(0..self.views)).iter().filter(|&&mask| mask > 0).count();
        self.finish_part(sizes, masked, bytes);
    }

    /// As [`Self::finish`], where these views are a part of a batch in which so many units are
    /// masked: losses of its parts add up to the batch's.
    pub fn finish_part(&self, sizes: &Sizes, masked: usize, bytes: &mut [u8]) {
        let scales = &mut bytes[self.scales..][..4 * sizes.taps.len()];
        for (tap, scale) in cast_slice_mut::<_, f32>(scales).iter_mut().enumerate() {
            // Finer cells have their unit's mask, coarser ones the mean over theirs.
            let cells = (sizes.unit as f64 / sizes.covered(tap) as f64).powi(2);
            *scale = (1.0 / (masked as f64 * cells)) as f32;
        }
        if let Some(at) = self.normalised {
            let table = &mut bytes[at..][..4 * 3 * 256];
            table.copy_from_slice(cast_slice(&targets::NORMALISED));
        }
    }
}

impl ViewMut<'_> {
    /// Writes which units the encoder is given, in its order, each unit's place among these followed
    /// by the rest, and which are masked.
    pub fn write_masking(&mut self, keep: &[i32], restore: &[i32], mask: &[f32]) {
        self.places[0] = 0;
        for (place, unit) in self.places[1..].iter_mut().zip(keep) {
            *place = unit + 1;
        }
        self.restore.copy_from_slice(restore);
        for (out, &mask) in self.mask.iter_mut().zip(mask) {
            *out = u8::from(mask > 0.0);
        }
    }
}

/// The mask of a view's units, `[units]`, on the grid of a target's cells: a finer cell has its unit's
/// value (nearest), a coarser one the mean over its units: `[cells]`, in rows. `unit`, a unit's side,
/// and `cell` are in pixels, and one is a multiple of the other.
pub fn at_scale(mask: &[f32], unit: usize, cell: usize) -> Vec<f32> {
    let grid = mask.len().isqrt();
    let cells = grid * unit / cell;
    let mut out = vec![0.0; cells * cells];
    if cell <= unit {
        let factor = unit / cell;
        for (y, row) in out.chunks_exact_mut(cells).enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                *value = mask[y / factor * grid + x / factor];
            }
        }
    } else {
        let factor = cell / unit;
        let share = 1.0 / (factor * factor) as f32;
        for (at, value) in mask.iter().enumerate() {
            out[at / grid / factor * cells + at % grid / factor] += value * share;
        }
    }
    out
}
