//! A batch from the loader, or some of its views, as tensors on the device.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use crate::data::Batch;

/// Views of a batch on the device.
#[derive(Debug, Clone)]
pub struct DeviceBatch<B: Backend> {
    /// `[views, visible, 3·patch²]`: the visible patches, normalised, each (channel, row, column).
    pub visible: Tensor<B, 3>,
    /// `[views, visible]`: which patches these are.
    pub keep: Tensor<B, 2, Int>,
    /// `[views, patches]`: each patch's place among the visible ones followed by the masked ones.
    pub restore: Tensor<B, 2, Int>,
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

/// The views `views` of a batch, on the device.
pub fn to_device<B: Backend>(
    batch: &Batch,
    views: Range<usize>,
    device: &B::Device,
) -> DeviceBatch<B> {
    let count = views.len();
    let patches = batch.restore.len() / batch.views;
    let visible = batch.keep.len() / batch.views;
    let channels = batch.visible.len() / (batch.views * visible);
    let ints = |values: &[i32], width| {
        let values = part(values, batch.views, &views).to_vec();
        Tensor::<B, 2, Int>::from_data(TensorData::new(values, [count, width]), device)
    };
    let floats = |values: &[f32]| part(values, batch.views, &views).to_vec();
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
    DeviceBatch {
        targets: targets.collect(),
        visible: upload(floats(&batch.visible), [count, visible, channels], device),
        keep: ints(&batch.keep, visible),
        restore: ints(&batch.restore, patches),
    }
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
