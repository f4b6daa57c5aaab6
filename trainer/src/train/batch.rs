//! A batch from the loader onto the device.

use std::ops::Range;

use kernels::Inputs;
use kernels::input::Sent;

use crate::data::{Batch, Content};
use crate::model::input::DevicePlan;
use crate::model::{DeviceBatch, DeviceTarget, EncoderInput};

/// A batch whose bytes are where tensors are made of them.
pub struct Loaded<B: Inputs> {
    /// As the loader gave it.
    pub batch: Batch,
    /// Its bytes, unless it is made of values.
    stored: Option<B::Stored>,
    /// Its windows, which all its views share.
    windows: Option<DevicePlan<B>>,
}

impl<B: Inputs> Loaded<B> {
    /// Sends a batch to the device.
    pub fn send(batch: Batch, device: &B::Device) -> Sent<B, Self> {
        let stored = match &batch.content {
            Content::Stored(bytes) => Some(B::send(&batch.spec.sizes(batch.views), bytes, device)),
            Content::Made(_) => None,
        };
        let windows = batch.windows.as_ref().map(|plan| DevicePlan::send(plan, device));
        let sent = Sent::maybe(stored, device).with(Sent::maybe(windows, device));
        sent.map(|(stored, windows)| Self { batch, stored, windows })
    }

    /// A batch that is sent only when it is used.
    pub fn now(batch: Batch, device: &B::Device) -> Self {
        Self::send(batch, device).arrived()
    }

    /// As the loader gave it, with nothing of it anywhere else.
    pub fn into_batch(self) -> Batch {
        self.batch
    }

    /// Its views `views` as tensors.
    pub fn views(&self, views: Range<usize>, device: &B::Device) -> DeviceBatch<B> {
        let Self { batch, stored, windows } = self;
        let sizes = batch.spec.sizes(batch.views);
        let input = match (stored, &batch.content) {
            (_, Content::Made(values)) => values.part(&sizes, views).to_device(&sizes, device),
            (Some(stored), _) => B::input(&sizes, stored, views, device),
            (None, _) => unreachable!("stored bytes were sent"),
        };
        let targets = input.targets.into_iter().zip(input.weights);
        DeviceBatch {
            input: EncoderInput {
                patches: input.patches,
                places: input.places,
                seen: input.seen,
                windows: windows.clone(),
                branches: None,
            },
            restore: input.restore,
            targets: targets.map(|(values, weights)| DeviceTarget { values, weights }).collect(),
        }
    }

    /// All of them.
    pub fn whole(&self, device: &B::Device) -> DeviceBatch<B> {
        self.views(0..self.batch.views, device)
    }
}
