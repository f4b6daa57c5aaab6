//! A batch from the loader, or some of its views, onto the device.

use std::ops::Range;

use kernels::Inputs;

use crate::data::{Batch, Content};
use crate::model::input::DevicePlan;
use crate::model::{DeviceBatch, DeviceTarget, EncoderInput};

/// The windows of a batch, which all its views share, on the device.
pub fn windows_to_device<B: Inputs>(batch: &Batch, device: &B::Device) -> Option<DevicePlan<B>> {
    batch.windows.as_ref().map(|plan| DevicePlan::new(plan, device))
}

/// The views `views` of a batch, on the device.
pub fn to_device<B: Inputs>(
    batch: &Batch,
    views: Range<usize>,
    device: &B::Device,
) -> DeviceBatch<B> {
    part_to_device(batch, views, windows_to_device(batch, device), device)
}

/// As [`to_device`], with the batch's windows there already.
pub fn part_to_device<B: Inputs>(
    batch: &Batch,
    views: Range<usize>,
    windows: Option<DevicePlan<B>>,
    device: &B::Device,
) -> DeviceBatch<B> {
    let sizes = batch.spec.sizes(batch.views);
    let input = match &batch.content {
        Content::Stored(bytes) => B::input(&sizes, bytes, views, device),
        Content::Made(values) => values.part(&sizes, views).to_device(&sizes, device),
    };
    let targets = input.targets.into_iter().zip(input.weights);
    DeviceBatch {
        input: EncoderInput {
            patches: input.patches,
            places: input.places,
            seen: input.seen,
            windows,
            branches: None,
        },
        restore: input.restore,
        targets: targets.map(|(values, weights)| DeviceTarget { values, weights }).collect(),
    }
}
