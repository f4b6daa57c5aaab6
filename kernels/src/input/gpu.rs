//! On a GPU: the bytes are sent as they are, and kernels read them as words of 32 bits.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bytes, DType, Int, Tensor, TensorPrimitive};
use burn_cubecl::element::{BoolElement, FloatElement, IntElement};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeRuntime};
use cubecl::server::ComputeServer;
use cubecl::stream_id::StreamId;

use super::copies::{arrive, send, server};
use super::cube::{
    Kind, OfTap, Patches, Rows, Weights, patches_kernel, rows_kernel, seen_kernel, tap_kernel,
};
use super::{Input, Inputs, Layout, Memory, Sent, Sizes, Tap, Target, zeros};
use crate::gpu::frame::{array, client, empty, flat, view};

/// Bytes up to which a device takes an upload from any memory without its host waiting.
const PINNED: usize = 1 << 16;

impl<R, F, I, T> Inputs for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    type Stored = CubeTensor<R>;

    fn memory(device: &Self::Device) -> Memory {
        // Pinned memory is a stream's: of the one that reads it, not of the thread that fills it.
        let (server, stream) = (server::<R>(device), StreamId::current());
        Arc::new(move |bytes| {
            let pinned = server.submit_blocking(move |server| server.staging(&[bytes], stream));
            let pinned = pinned.ok().and_then(Result::ok).and_then(|mut pinned| pinned.pop());
            pinned.unwrap_or_else(|| zeros(bytes))
        })
    }

    fn send(sizes: &Sizes, bytes: &Arc<Bytes>, device: &Self::Device) -> Sent<Self, Self::Stored> {
        let shared = bytes::Bytes::from_owner(Shared(Arc::clone(bytes)));
        let shared = shared.slice(..Layout::new(sizes).bytes);
        let shared = Bytes::from_shared(shared, bytes.property());
        Sent::new(send(shared, DType::U32, device), device)
    }

    fn arrive(device: &Self::Device) {
        arrive::<R>(device);
    }

    fn input(
        sizes: &Sizes,
        stored: &Self::Stored,
        views: Range<usize>,
        _: &Self::Device,
    ) -> Input<Self> {
        let input = Batch { sizes, layout: Layout::new(sizes), words: stored }.input();
        match views.len() == sizes.views {
            true => input,
            false => part(&input, &views),
        }
    }

    fn tables(tables: &[&[i32]], device: &Self::Device) -> Sent<Self, Vec<Tensor<Self, 1, Int>>> {
        let alignment = R::client(device).properties().memory.alignment as usize;
        let room = |table: &[i32]| size_of_val(table).next_multiple_of(alignment);
        let len = tables.iter().map(|table| room(table)).sum();
        let mut bytes = if len > PINNED {
            Self::memory(device)(len)
        } else {
            Bytes::from_bytes_vec(vec![0; len])
        };
        let mut at = 0;
        let place = |table: &&[i32]| {
            let begin = at;
            bytes[begin..][..size_of_val(*table)].copy_from_slice(bytemuck::cast_slice(table));
            at += room(table);
            begin
        };
        let places: Vec<_> = tables.iter().map(place).collect();
        let all = send::<R>(bytes, DType::I32, device);
        let of = |(table, begin): (&&[i32], usize)| {
            Tensor::from_primitive(view(&all, begin, [table.len()], DType::I32))
        };
        Sent::new(tables.iter().zip(places).map(of).collect(), device)
    }
}

/// Some of an input's views.
fn part<B: burn::tensor::backend::Backend>(input: &Input<B>, views: &Range<usize>) -> Input<B> {
    let (first, count) = (views.start, views.len());
    let floats = |tensor: &Tensor<B, 3>| tensor.clone().narrow(0, first, count);
    Input {
        patches: floats(&input.patches),
        places: input.places.clone().narrow(0, first, count),
        seen: input.seen.as_ref().map(|seen| seen.clone().narrow(0, first, count)),
        restore: input.restore.iter().map(|of| of.clone().narrow(0, first, count)).collect(),
        targets: input.targets.iter().map(floats).collect(),
        weights: input.weights.iter().map(|of| of.clone().narrow(0, first, count)).collect(),
    }
}

/// What a batch's bytes are shared by: the loader, which fills them again once it alone has them, and a
/// copy to the device that is under way.
struct Shared(Arc<Bytes>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A batch's bytes on the device.
struct Batch<'a, R: CubeRuntime> {
    sizes: &'a Sizes,
    layout: Layout,
    /// `[words]`.
    words: &'a CubeTensor<R>,
}

impl<R: CubeRuntime> Batch<'_, R> {
    /// All that is made of them.
    fn input<F, I, T>(&self) -> Input<CubeBackend<R, F, I, T>>
    where
        F: FloatElement,
        I: IntElement,
        T: BoolElement,
    {
        let taps = 0..self.sizes.taps.len();
        let (targets, weights) = taps.map(|tap| self.tap(tap)).map(two).unzip();
        Input {
            restore: self.sizes.of_grids(|inner| Tensor::from_primitive(self.rows(inner))),
            patches: float(self.patches()),
            places: Tensor::from_primitive(self.places()),
            seen: self.sizes.tokens.then(|| Tensor::from_primitive(self.seen())),
            targets,
            weights,
        }
    }

    /// The kept units, which lie there as they are: `[views, 1 + kept]`.
    fn places(&self) -> CubeTensor<R> {
        let Sizes { views, kept, .. } = *self.sizes;
        view(self.words, self.layout.places.at, [views, 1 + kept], DType::I32)
    }

    fn patches(&self) -> CubeTensor<R> {
        let (sizes, layout) = (self.sizes, &self.layout);
        let shape = [sizes.views, sizes.given(), sizes.patch_values()];
        let out = empty(self.words, shape, DType::F32);
        let values = shape.iter().product();
        let form = Patches {
            values,
            picture: layout.picture.at,
            places: layout.places.at,
            whole: sizes.whole(),
            given: sizes.given(),
            across: sizes.across(),
            kept: sizes.kept,
            patch: sizes.patch,
            unit: sizes.unit,
            size: sizes.size,
        };
        let (cubes, dim) = flat(self.words, values);
        // SAFETY: a unit writes a value of as many as `out` has, and reads within the layout.
        unsafe {
            patches_kernel::launch_unchecked::<R>(
                client(self.words),
                cubes,
                dim,
                array(self.words),
                array(&out),
                form,
            );
        }
        out
    }

    /// `[views, patches]`.
    fn seen(&self) -> CubeTensor<R> {
        let (sizes, values) = (self.sizes, self.sizes.views * self.sizes.given());
        let out = empty(self.words, [sizes.views, sizes.given()], DType::I32);
        let (cubes, dim) = flat(self.words, values);
        // SAFETY: as in `patches`.
        unsafe {
            seen_kernel::launch_unchecked::<R>(
                client(self.words),
                cubes,
                dim,
                array(self.words),
                array(&out),
                values,
                self.layout.mask.at,
                sizes.given(),
                sizes.across().pow(2),
            );
        }
        out
    }

    /// The places of a grid of `inner` tokens a unit.
    fn rows(&self, inner: usize) -> CubeTensor<R> {
        let Sizes { views, prefix, kept, .. } = *self.sizes;
        let tokens = prefix + self.sizes.units() * inner * inner;
        let (places, grid) = (views * tokens, self.sizes.grid());
        let out = empty(self.words, [views, tokens], DType::I32);
        let restore = self.layout.restore.at;
        let form = Rows { places, restore, prefix, kept, grid, inner };
        let (cubes, dim) = flat(self.words, places);
        // SAFETY: as in `patches`.
        unsafe {
            rows_kernel::launch_unchecked::<R>(
                client(self.words),
                cubes,
                dim,
                array(self.words),
                array(&out),
                form,
            );
        }
        out
    }

    /// The targets of a tap and its cells' weights. A unit that makes one of the latter makes some of
    /// the former, too.
    fn tap(&self, tap: usize) -> (CubeTensor<R>, CubeTensor<R>) {
        let (sizes, layout) = (self.sizes, &self.layout);
        let (cells, channels) = (sizes.cells(tap), sizes.channels(tap));
        let values = empty(self.words, [sizes.views, cells, channels], DType::F32);
        let weights = empty(self.words, [sizes.views, cells], DType::F32);
        let Tap { cell, group, .. } = sizes.taps[tap];
        let columns = layout.columns_of(sizes, tap);
        let column = |i: usize| columns.get(i).map_or(0, |column| column.at);
        let grid = sizes.size / cell;
        let (kind, each) = match sizes.target {
            Target::Hog(bins) => (Kind::Hog(bins), bins),
            Target::Pixel => (Kind::Pixel, 1),
            Target::RawPixel => (Kind::RawPixel, 1),
            Target::Code => (Kind::Code, 1),
        };
        let of_tap = OfTap {
            kind,
            units: sizes.views * cells * channels / each,
            first: column(0),
            second: column(1),
            mirrored: layout.mirrored.at,
            picture: layout.picture.at,
            normalised: layout.normalised.unwrap_or(0),
            size: sizes.size,
            cell,
            grid,
            group,
        };
        let of_weights = Weights {
            cells: sizes.views * cells,
            side: cells.isqrt(),
            mask: layout.mask.at,
            scale: layout.scales + 4 * tap,
            grid: sizes.grid(),
            finer: sizes.unit / sizes.covered(tap).min(sizes.unit),
            coarser: sizes.covered(tap) / sizes.unit.min(sizes.covered(tap)),
        };
        let (cubes, dim) = flat(self.words, of_tap.units);
        // SAFETY: as in `patches`; a unit of HOG writes the bins of a colour.
        unsafe {
            tap_kernel::launch_unchecked::<R>(
                client(self.words),
                cubes,
                dim,
                array(self.words),
                array(&values),
                array(&weights),
                of_tap,
                of_weights,
            );
        }
        (values, weights)
    }
}

fn float<B, const D: usize>(tensor: B::FloatTensorPrimitive) -> Tensor<B, D>
where
    B: burn::tensor::backend::Backend,
{
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

fn two<R, F, I, T>(
    (values, weights): (CubeTensor<R>, CubeTensor<R>),
) -> (Tensor<CubeBackend<R, F, I, T>, 3>, Tensor<CubeBackend<R, F, I, T>, 2>)
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    (float(values), float(weights))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use burn::tensor::Int;

    use super::super::host::Values;
    use super::*;
    use crate::gpu::tests::{Vulkan, device};

    /// Views of 48 pixels, 7 of them, in units of 16.
    fn sizes(target: Target, patch: usize, taps: &[[usize; 3]]) -> Sizes {
        let tap = |&[cell, group, inner]: &[usize; 3]| Tap { cell, group, inner };
        let taps = taps.iter().map(tap).collect();
        let (views, kept, prefix) = (7, 4, 1);
        Sizes { views, size: 48, patch, unit: 16, kept, prefix, tokens: false, target, taps }
    }

    /// A batch of bytes drawn at random, with masks and places that there may be.
    fn batch(sizes: &Sizes) -> Arc<Bytes> {
        let mut random = StdRng::seed_from_u64(5);
        let layout = Layout::new(sizes);
        let mut bytes = zeros(layout.bytes);
        random.fill(&mut bytes[..]);
        for (view, mut place) in layout.views_mut(&mut bytes).into_iter().enumerate() {
            let mut order: Vec<i32> = (0..sizes.units() as i32).collect();
            (1..order.len()).rev().for_each(|i| order.swap(i, random.random_range(0..=i)));
            let (mut restore, mut mask) = (vec![0; order.len()], vec![0.0; order.len()]);
            for (stands, &unit) in order.iter().enumerate() {
                restore[unit as usize] = stands as i32;
                mask[unit as usize] = f32::from(u8::from(stands >= 3 + view % 2));
            }
            place.write_masking(&order[..sizes.kept], &restore, &mask);
            place.mirrored[0] = (view % 2) as u8;
            if sizes.target == Target::Pixel {
                for stats in place.columns.into_iter().flatten() {
                    let stats: &mut [f32] = bytemuck::cast_slice_mut(stats);
                    stats.iter_mut().for_each(|value| *value = random.random_range(-2.0..300.0));
                }
            }
        }
        layout.finish(sizes, &mut bytes);
        Arc::new(bytes)
    }

    fn floats<const D: usize>(tensor: Tensor<Vulkan, D>) -> Vec<f32> {
        tensor.into_data().to_vec().unwrap()
    }

    fn ints(tensor: Tensor<Vulkan, 2, Int>) -> Vec<i32> {
        tensor.into_data().to_vec().unwrap()
    }

    /// As a share of what is larger than 1.
    fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (at, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{what}, {at}: {a} should be {b}");
        }
    }

    fn hold(sizes: &Sizes, views: Range<usize>) {
        let Some(device) = device() else {
            eprintln!("left out: LOCALMIM_VULKAN is not set");
            return;
        };
        let bytes = batch(sizes);
        let expected = Values::of(sizes, &bytes, views.clone());
        let all = Values::of(sizes, &bytes, 0..sizes.views);
        assert!(all.part(sizes, views.clone()) == expected, "a part is some of the whole");
        let stored = Vulkan::send(sizes, &bytes, &device).arrived();
        let input = Vulkan::input(sizes, &stored, views.clone(), &device);
        assert_close("patches", &floats(input.patches), &expected.patches);
        for (tap, (values, weights)) in input.targets.into_iter().zip(input.weights).enumerate() {
            assert_eq!(values.dims(), [views.len(), sizes.cells(tap), sizes.channels(tap)]);
            let what = format!("{:?}, tap {tap}", sizes.target);
            assert_close(&what, &floats(values), &expected.targets[tap]);
            assert_close(&what, &floats(weights), &expected.weights[tap]);
        }
        let expected = expected.to_device::<Vulkan>(sizes, &device);
        assert_eq!(ints(input.places), ints(expected.places));
        assert_eq!(input.seen.is_some(), sizes.tokens);
        assert_eq!(input.seen.map(ints), expected.seen.map(ints));
        for (found, expected) in input.restore.into_iter().zip(expected.restore) {
            assert_eq!(ints(found), ints(expected));
        }
    }

    #[test]
    fn hog_is_made_of_its_codes_mirrored_or_not() {
        // Edges of ties are one of nine, two of two and four of eight.
        for bins in [9, 8, 2] {
            let taps = [[4, 1, 1], [8, 1, 1], [16, 1, 1], [48, 1, 1], [8, 2, 1]];
            hold(&sizes(Target::Hog(bins), 16, &taps), 0..7);
        }
    }

    #[test]
    fn tokens_of_units_and_of_taps_grids_stand_where_they_belong() {
        let sizes = sizes(Target::Hog(9), 4, &[[4, 1, 4], [8, 2, 2], [8, 1, 1]]);
        hold(&sizes, 0..7);
        hold(&Sizes { kept: 9, prefix: 0, tokens: true, ..sizes }, 2..5);
    }

    #[test]
    fn tables_go_up_side_by_side() {
        let Some(device) = device() else {
            eprintln!("left out: LOCALMIM_VULKAN is not set");
            return;
        };
        for long in [9, PINNED / 4] {
            let tables: Vec<Vec<i32>> = vec![vec![-3], (0..long as i32).collect(), vec![4, 5]];
            let slices: Vec<_> = tables.iter().map(Vec::as_slice).collect();
            let found = Vulkan::tables(&slices, &device).arrived();
            let found = found.into_iter().map(|table| table.into_data().to_vec().unwrap());
            assert_eq!(found.collect::<Vec<Vec<i32>>>(), tables);
        }
    }

    #[test]
    fn pixels_and_codes_are_made_of_what_is_stored() {
        let taps = [[4, 1, 1], [16, 1, 1], [8, 2, 1], [4, 1, 1]];
        for target in [Target::Pixel, Target::RawPixel, Target::Code] {
            hold(&sizes(target, 8, &taps), 0..7);
        }
    }
}
