//! A batch from the loader, or some of its views, onto the device.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use crate::data::Batch;
use crate::model::input::DevicePlan;
use crate::model::{DeviceBatch, DeviceTarget, EncoderInput, MaskedInput};

/// The windows of a batch, which all its views share, on the device.
pub fn windows_to_device<B: Backend>(batch: &Batch, device: &B::Device) -> Option<DevicePlan<B>> {
    batch.windows.as_ref().map(|plan| DevicePlan::new(plan, device))
}

/// The views `views` of a batch, on the device.
pub fn to_device<B: Backend>(
    batch: &Batch,
    views: Range<usize>,
    device: &B::Device,
) -> DeviceBatch<B> {
    part_to_device(batch, views, windows_to_device(batch, device), device)
}

/// As [`to_device`], with the batch's windows there already.
pub fn part_to_device<B: Backend>(
    batch: &Batch,
    views: Range<usize>,
    windows: Option<DevicePlan<B>>,
    device: &B::Device,
) -> DeviceBatch<B> {
    let part = Part::<B> { batch, views, device };
    DeviceBatch {
        input: part.input(windows),
        restore: part.restore(),
        targets: (0..batch.targets.len()).map(|tap| part.target(tap)).collect(),
    }
}

/// Some views of a batch, on their way.
struct Part<'a, B: Backend> {
    batch: &'a Batch,
    views: Range<usize>,
    device: &'a B::Device,
}

impl<B: Backend> Part<'_, B> {
    /// Their share of `values`, which holds `each` for every view of the batch.
    fn of<'a, T>(&self, values: &'a [T], each: usize) -> &'a [T] {
        &values[self.views.start * each..self.views.end * each]
    }

    fn floats<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<B, D> {
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    fn ints(&self, values: Vec<i32>, shape: [usize; 2]) -> Tensor<B, 2, Int> {
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    /// What the encoder is given.
    fn input(&self, windows: Option<DevicePlan<B>>) -> EncoderInput<B> {
        let (Batch { spec, patches, keep, mask, .. }, views) = (self.batch, self.views.len());
        let (tokens, values) = (spec.tokens(), spec.patch_values());
        let seen = (spec.masked == MaskedInput::Token).then(|| {
            let of_units = self.of(mask, spec.units()).iter();
            let of_patches = of_units.flat_map(|&mask| std::iter::repeat_n(mask, spec.patches()));
            let numbers = (0..tokens as i32).cycle().zip(of_patches);
            let numbers = numbers.map(|(number, mask)| if mask > 0.0 { -1 } else { number });
            self.ints(numbers.collect(), [views, tokens])
        });
        let places = self.of(keep, spec.kept).chunks(spec.kept);
        let places =
            places.flat_map(|units| [0].into_iter().chain(units.iter().map(|unit| unit + 1)));
        let patches = self.of(patches, tokens * values).to_vec();
        EncoderInput {
            patches: self.floats(patches, [views, tokens, values]),
            places: self.ints(places.collect(), [views, 1 + spec.kept]),
            seen,
            windows,
            branches: None,
        }
    }

    /// For each tap, which of the latent's tokens each one of the picture is, after the prefix; −1
    /// where it was masked. Taps of the same grid share a tensor.
    fn restore(&self) -> Vec<Tensor<B, 2, Int>> {
        let (Batch { spec, restore, .. }, views) = (self.batch, self.views.len());
        let (grid, units) = (spec.grid(), spec.units());
        let mut made: Vec<(usize, Tensor<B, 2, Int>)> = vec![];
        let of_tap = |inner: usize| {
            if let Some((_, known)) = made.iter().find(|(of, _)| *of == inner) {
                return known.clone();
            }
            let of_views = self.of(restore, units).chunks(units);
            let (prefix, visible) = (spec.prefix as i32, (spec.kept * inner * inner) as i32);
            let latent = |place: i32| if place < visible { prefix + place } else { -1 };
            let places = of_views.flat_map(|units| {
                (0..prefix).chain(in_rows(units, grid, inner).into_iter().map(latent))
            });
            let places = self.ints(places.collect(), [views, spec.prefix + units * inner * inner]);
            made.push((inner, places.clone()));
            places
        };
        spec.taps.iter().map(|tap| tap.inner).map(of_tap).collect()
    }

    /// The targets of a tap, and the weights of its cells.
    fn target(&self, tap: usize) -> DeviceTarget<B> {
        let (Batch { spec, targets, .. }, views) = (self.batch, self.views.len());
        let (cells, channels, target) = (spec.cells(tap), spec.channels(tap), &targets[tap]);
        let masked: f64 = target.weights.iter().map(|&weight| f64::from(weight)).sum();
        let scale = (1.0 / masked) as f32;
        let weights = self.of(&target.weights, cells).iter().map(|weight| weight * scale);
        let values = self.of(&target.values, cells * channels).to_vec();
        DeviceTarget {
            values: self.floats(values, [views, cells, channels]),
            weights: self.floats(weights.collect(), [views, cells]),
        }
    }
}

/// Where each token of a picture stands, in rows, given where its unit stands: a unit of
/// `inner`×`inner` tokens has them one after the other, in rows.
fn in_rows(units: &[i32], grid: usize, inner: usize) -> Vec<i32> {
    let side = grid * inner;
    let place = |token: usize| {
        let (row, column) = (token / side, token % side);
        let unit = units[row / inner * grid + column / inner];
        unit * (inner * inner) as i32 + (row % inner * inner + column % inner) as i32
    };
    (0..side * side).map(place).collect()
}
