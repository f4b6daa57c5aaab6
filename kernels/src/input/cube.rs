//! The kernels that make a batch's tensors: a unit for each value, or for a colour's bins.

use cubecl::prelude::*;
use targets::tie_edges;

use super::host::{PATCH_SCALE, PATCH_SHIFT};

/// What a kernel of patches is of; places are in bytes, sides in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Patches {
    /// Of all views.
    pub values: usize,
    pub picture: usize,
    pub places: usize,
    /// Whether the picture is there, or the kept patches.
    pub whole: bool,
    /// Patches of a view.
    pub given: usize,
    /// Patches along a side of a unit.
    pub across: usize,
    pub kept: usize,
    pub patch: usize,
    pub unit: usize,
    pub size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rows {
    /// Of all views.
    pub places: usize,
    pub restore: usize,
    /// Tokens before those of the view.
    pub prefix: usize,
    /// Units that the encoder is given.
    pub kept: usize,
    pub grid: usize,
    pub inner: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Of so many bins a colour.
    Hog(usize),
    Pixel,
    RawPixel,
    Code,
}

impl Kind {
    fn bins(self) -> usize {
        match self {
            Self::Hog(bins) => bins,
            _ => 1,
        }
    }
}

/// What a kernel of a tap's targets is of; places are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OfTap {
    pub kind: Kind,
    /// Of the device: one for each value, of HOG one for each colour of a cell.
    pub units: usize,
    /// Of the columns, the first and the second.
    pub first: usize,
    pub second: usize,
    pub mirrored: usize,
    pub picture: usize,
    pub normalised: usize,
    pub size: usize,
    pub cell: usize,
    /// Cells along a side of a view.
    pub grid: usize,
    pub group: usize,
}

/// What a tap's weights are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Weights {
    /// Of all views.
    pub cells: usize,
    /// Cells along a side of a view.
    pub side: usize,
    pub mask: usize,
    pub scale: usize,
    /// Units along a side of a view.
    pub grid: usize,
    /// Cells along a side of a unit, at least 1.
    pub finer: usize,
    /// Units along a side of a cell, at least 1.
    pub coarser: usize,
}

#[cube]
fn byte(bytes: &Array<u32>, at: usize) -> u32 {
    (bytes[at / 4] >> ((at % 4) as u32 * 8)) & 255
}

#[cube]
fn word(bytes: &Array<u32>, at: usize) -> f32 {
    f32::from_bits(bytes[at / 4])
}

/// What a HOG's code stands for.
#[cube]
fn fraction(bytes: &Array<u32>, at: usize) -> f32 {
    f32::cast_from(byte(bytes, at)) / f32::new(255.0)
}

#[cube(launch_unchecked)]
pub fn patches_kernel(bytes: &Array<u32>, out: &mut Array<f32>, #[comptime] of: Patches) {
    let at = ABSOLUTE_POS;
    if at < comptime!(of.values) {
        let patch = comptime!(of.patch);
        let (x, y) = (at % patch, at / patch % patch);
        let c = at / comptime!(patch * patch) % 3;
        // Over all views.
        let token = at / comptime!(3 * patch * patch);
        let pixel = if comptime!(of.whole) {
            let each = comptime!(of.across * of.across);
            let (view, i) = (token / comptime!(of.given), token % each);
            let of_view = token % comptime!(of.given) / each;
            let place = comptime!(of.places / 4 + 1) + view * comptime!(of.kept + 1) + of_view;
            let unit = bytes[place] as usize - 1;
            let grid = comptime!(of.size / of.unit);
            let top = unit / grid * comptime!(of.unit) + i / comptime!(of.across) * patch;
            let left = unit % grid * comptime!(of.unit) + i % comptime!(of.across) * patch;
            (view * comptime!(of.size) + top + y) * comptime!(of.size) + left + x
        } else {
            (token * patch + y) * patch + x
        };
        let value = f32::cast_from(byte(bytes, comptime!(of.picture) + pixel * 3 + c));
        let scale = select(
            c == 0,
            f32::new(comptime!(PATCH_SCALE[0])),
            select(
                c == 1,
                f32::new(comptime!(PATCH_SCALE[1])),
                f32::new(comptime!(PATCH_SCALE[2])),
            ),
        );
        let shift = select(
            c == 0,
            f32::new(comptime!(PATCH_SHIFT[0])),
            select(
                c == 1,
                f32::new(comptime!(PATCH_SHIFT[1])),
                f32::new(comptime!(PATCH_SHIFT[2])),
            ),
        );
        out[at] = value * scale + shift;
    }
}

#[cube(launch_unchecked)]
pub fn seen_kernel(
    bytes: &Array<u32>,
    out: &mut Array<i32>,
    #[comptime] values: usize,
    #[comptime] mask: usize,
    #[comptime] given: usize,
    #[comptime] patches: usize,
) {
    let at = ABSOLUTE_POS;
    if at < values {
        let masked = byte(bytes, mask + at / patches) > 0;
        out[at] = select(masked, -1i32, (at % given) as i32);
    }
}

#[cube(launch_unchecked)]
pub fn rows_kernel(bytes: &Array<u32>, out: &mut Array<i32>, #[comptime] of: Rows) {
    let at = ABSOLUTE_POS;
    if at < comptime!(of.places) {
        let (grid, inner, prefix) = comptime!((of.grid, of.inner, of.prefix));
        let side = comptime!(grid * inner);
        let (view, token) =
            (at / comptime!(prefix + side * side), at % comptime!(prefix + side * side));
        let mut latent = token as i32;
        if token >= prefix {
            let token = token - prefix;
            let (row, column) = (token / side, token % side);
            let unit = (view * grid + row / inner) * grid + column / inner;
            let place = bytes[comptime!(of.restore / 4) + unit] as usize;
            let within = row % inner * inner + column % inner;
            let seen = (prefix + place * comptime!(inner * inner) + within) as i32;
            latent = select(place < comptime!(of.kept), seen, -1i32);
        }
        out[at] = latent;
    }
}

#[cube(launch_unchecked)]
pub fn tap_kernel(
    bytes: &Array<u32>,
    values: &mut Array<f32>,
    weights: &mut Array<f32>,
    #[comptime] of: OfTap,
    #[comptime] of_weights: Weights,
) {
    let at = ABSOLUTE_POS;
    if at < comptime!(of.units) {
        match comptime!(of.kind) {
            Kind::Hog(_) => hog(bytes, values, at, of),
            Kind::Pixel => pixel(bytes, values, at, of),
            Kind::RawPixel => pixel(bytes, values, at, of),
            Kind::Code => code(bytes, values, at, of),
        }
    }
    if at < comptime!(of_weights.cells) {
        weights[at] = weight(bytes, at, of_weights);
    }
}

/// The cell, in rows over all views, of a number in the order of what predictions cover.
#[cube]
fn in_rows(number: usize, #[comptime] of: OfTap) -> usize {
    let (grid, group) = comptime!((of.grid, of.group));
    if comptime!(group == 1) {
        number
    } else {
        let (each, coarse) = comptime!((group * group, grid / group));
        let (view, number) = (number / comptime!(grid * grid), number % comptime!(grid * grid));
        let (cell, i) = (number / each, number % each);
        let row = cell / coarse * group + i / group;
        (view * grid + row) * grid + cell % coarse * group + i % group
    }
}

/// The bins of one colour of a cell.
#[cube]
fn hog(bytes: &Array<u32>, values: &mut Array<f32>, at: usize, #[comptime] of: OfTap) {
    let bins = comptime!(of.kind.bins());
    let (grid, cell) = (comptime!(of.grid), in_rows(at / 3, of));
    let column = cell % grid;
    let mirrored = byte(bytes, comptime!(of.mirrored) + cell / comptime!(grid * grid)) > 0;
    let from = select(mirrored, cell - column + (comptime!(grid - 1) - column), cell);
    let from = from * 3 + at % 3;
    let codes = comptime!(of.first) + from * bins;
    if mirrored {
        let ties = comptime!(of.second) + from * comptime!(tie_edges(bins).len());
        let mut square = f32::new(0.0);
        #[unroll]
        for bin in 0..bins {
            let value = mirrored_bin(bytes, codes, ties, bin, bins);
            square += value * value;
        }
        let norm = select(square > 0.0, square.sqrt(), f32::new(1.0));
        #[unroll]
        for bin in 0..bins {
            values[at * bins + bin] = mirrored_bin(bytes, codes, ties, bin, bins) / norm;
        }
    } else {
        #[unroll]
        for bin in 0..bins {
            values[at * bins + bin] = fraction(bytes, codes + bin);
        }
    }
}

/// No edge.
const NONE: usize = usize::MAX;

/// The number among those of ties of an edge.
fn tie(edge: usize, bins: usize) -> usize {
    tie_edges(bins).into_iter().position(|tied| tied == edge).unwrap_or(NONE)
}

/// A bin of the mirror image, before it is normalised anew (`targets::mirror_hog`): of the bin opposite
/// what is inside it, and what lies on the edge that becomes its own.
#[cube]
fn mirrored_bin(
    bytes: &Array<u32>,
    codes: usize,
    ties: usize,
    #[comptime] bin: usize,
    #[comptime] bins: usize,
) -> f32 {
    let opposite = comptime!(bins - 1 - bin);
    let (leaves, comes) = comptime!((tie(opposite, bins), tie((bins - bin) % bins, bins)));
    let mut value = fraction(bytes, codes + opposite);
    if comptime!(leaves != NONE) {
        // A stored tie may have been rounded up past its bin.
        let inside = value - fraction(bytes, ties + leaves);
        value = select(inside > 0.0, inside, f32::new(0.0));
    }
    if comptime!(comes != NONE) {
        value += fraction(bytes, ties + comes);
    }
    value
}

/// A pixel's channel, within its cell (row, column, channel).
#[cube]
fn pixel(bytes: &Array<u32>, values: &mut Array<f32>, at: usize, #[comptime] of: OfTap) {
    let (size, side, grid) = comptime!((of.size, of.cell, of.grid));
    let (c, x, y) = (at % 3, at / 3 % side, at / comptime!(3 * side) % side);
    let cell = in_rows(at / comptime!(3 * side * side), of);
    let (view, of_view) = (cell / comptime!(grid * grid), cell % comptime!(grid * grid));
    let (row, column) = (of_view / grid * side + y, of_view % grid * side + x);
    let channel = ((view * size + row) * size + column) * 3 + c;
    let value = byte(bytes, comptime!(of.picture) + channel) as usize;
    // From a table, to the last bit: a small deviation makes what is rounded large.
    let value = word(bytes, comptime!(of.normalised) + (c * 256 + value) * 4);
    if comptime!(of.kind == Kind::Pixel) {
        let mean = word(bytes, comptime!(of.first) + cell * 4);
        values[at] = (value - mean) * word(bytes, comptime!(of.second) + cell * 4);
    } else {
        values[at] = value;
    }
}

#[cube]
fn code(bytes: &Array<u32>, values: &mut Array<f32>, at: usize, #[comptime] of: OfTap) {
    let at_code = comptime!(of.first) + in_rows(at, of) * 2;
    let code = byte(bytes, at_code) + byte(bytes, at_code + 1) * 256;
    values[at] = f32::cast_from(code);
}

/// The mask on a cell: a finer one has its unit's, a coarser one the mean over its units.
#[cube]
fn weight(bytes: &Array<u32>, at: usize, #[comptime] of: Weights) -> f32 {
    let (side, grid) = comptime!((of.side, of.grid));
    let (finer, coarser) = comptime!((of.finer, of.coarser));
    let view = at / comptime!(side * side);
    let (row, column) = (at / side % side, at % side);
    let (row, column) = (row / finer * coarser, column / finer * coarser);
    let mut masked = 0u32;
    for i in 0..comptime!(coarser * coarser) {
        let unit = (view * grid + row + i / coarser) * grid + column + i % coarser;
        masked += byte(bytes, comptime!(of.mask) + unit);
    }
    let share = comptime!(1.0 / (coarser * coarser) as f32);
    f32::cast_from(masked) * share * word(bytes, comptime!(of.scale))
}
