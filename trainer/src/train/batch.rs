//! A batch from the loader, or some of its views, as tensors on the device.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use crate::data::Batch;
use crate::model::input::DevicePlan;
use crate::model::{EncoderInput, MaskedInput};

/// Views of a batch on the device.
#[derive(Debug, Clone)]
pub struct DeviceBatch<B: Backend> {
    /// What the encoder is given.
    pub input: EncoderInput<B>,
    /// For each tap `[views, tokens of the whole picture]`: each token's place, in rows, among
    /// those that the encoder saw followed by the masked ones.
    pub restore: Vec<Tensor<B, 2, Int>>,
    /// One a tap.
    pub targets: Vec<DeviceTarget<B>>,
}

/// The targets of one tap on the device.
#[derive(Debug, Clone)]
pub struct DeviceTarget<B: Backend> {
    /// `[views, cells, channels]`.
    pub values: Tensor<B, 3>,
    /// `[views, cells]`: the mask at the tap's scale over its sum in the whole batch, so that the
    /// losses of the batch's parts add up to the batch's.
    pub weights: Tensor<B, 2>,
}

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
    let count = views.len();
    let units = batch.restore.len() / batch.views;
    let kept = batch.keep.len() / batch.views;
    let ints = |values: Vec<i32>| {
        let width = values.len() / count;
        Tensor::<B, 2, Int>::from_data(TensorData::new(values, [count, width]), device)
    };
    let floats = |values: &[f32]| part(values, batch.views, &views).to_vec();
    let grid = units.isqrt();

    // A Swin has no position a token, and its patches outnumber the units.
    let inner = match &batch.windows {
        Some(plan) => (plan.stages[0].plain.place.len() / kept).isqrt(),
        None => 1,
    };
    let tokens = kept * inner * inner;
    let channels = batch.patches.len() / (batch.views * tokens);
    let masked = (batch.input == MaskedInput::Token).then(|| {
        let mask = part(&batch.mask, batch.views, &views);
        let each = mask.iter().flat_map(|&mask| std::iter::repeat_n(mask, inner * inner));
        upload(each.collect(), [count, tokens, 1], device)
    });
    let input = EncoderInput {
        patches: upload(floats(&batch.patches), [count, tokens, channels], device),
        units: ints(part(&batch.keep, batch.views, &views).to_vec()),
        masked,
        windows,
        branches: None,
    };

    let restore = part(&batch.restore, batch.views, &views);
    let mut restores: Vec<(usize, Tensor<B, 2, Int>)> = vec![];
    let restore = batch.targets.iter().map(|target| {
        if let Some((_, known)) = restores.iter().find(|(tokens, _)| *tokens == target.tokens) {
            return known.clone();
        }
        let all: Vec<i32> =
            restore.chunks(units).flat_map(|units| in_rows(units, grid, target.tokens)).collect();
        let all = ints(all);
        restores.push((target.tokens, all.clone()));
        all
    });
    let restore = restore.collect();

    let targets = batch.targets.iter().map(|target| {
        let cells = target.weights.len() / batch.views;
        let masked: f64 = target.weights.iter().map(|&weight| f64::from(weight)).sum();
        let scale = (1.0 / masked) as f32;
        let weights = floats(&target.weights).into_iter().map(|weight| weight * scale).collect();
        DeviceTarget {
            values: upload(floats(&target.values), [count, cells, target.channels], device),
            weights: upload(weights, [count, cells], device),
        }
    });
    DeviceBatch { input, restore, targets: targets.collect() }
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

/// The part of `values`, which holds as much for each of `count` views, that belongs to `views`.
fn part<'a, T>(values: &'a [T], count: usize, views: &Range<usize>) -> &'a [T] {
    let each = values.len() / count;
    &values[views.start * each..views.end * each]
}

fn upload<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
