//! What the network and its loss are given, on the device.

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::ModelConfig;
use super::windows::{Grouping, WindowPlan};

/// Some views of a batch: all that their losses are a function of, but for the parameters.
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

/// The targets of one tap.
#[derive(Debug, Clone)]
pub struct DeviceTarget<B: Backend> {
    /// `[views, cells, channels]`.
    pub values: Tensor<B, 3>,
    /// `[views, cells]`: the mask at the tap's scale over its sum in the whole batch, so that the
    /// losses of the batch's parts add up to the batch's.
    pub weights: Tensor<B, 2>,
}

/// The patches of some views.
#[derive(Debug, Clone)]
pub struct EncoderInput<B: Backend> {
    /// `[views, tokens, 3·patch²]`: patches, normalised, each (channel, row, column). A Swin's come
    /// in the order of their units, in rows within each.
    pub patches: Tensor<B, 3>,
    /// `[views, units]`: which units these are; one token a unit for a ViT.
    pub units: Tensor<B, 2, Int>,
    /// `[views, tokens, 1]`: 1 where a mask token stands for the patch; none where none does.
    pub mask: Option<Tensor<B, 3>>,
    /// How a Swin's tokens attend to one another; the same for all views.
    pub windows: Option<DevicePlan<B>>,
    /// `[2·blocks, views, 1]`: what the branches of each block, attention and MLP, are multiplied
    /// by; none for 1.
    pub branches: Option<Tensor<B, 3>>,
}

impl<B: Backend> EncoderInput<B> {
    /// Whole views, nothing masked: `patches` holds all patches of each, as [`Self::patches`] has
    /// them. `windows` is the plan over all units, for a Swin.
    pub fn whole(
        config: &ModelConfig,
        patches: Vec<f32>,
        windows: Option<DevicePlan<B>>,
        device: &B::Device,
    ) -> Self {
        let patch = config.encoder.patch();
        let (tokens, channels) = ((config.size / patch).pow(2), 3 * patch * patch);
        let views = patches.len() / (tokens * channels);
        let units: Vec<i32> = (0..views).flat_map(|_| 0..config.units() as i32).collect();
        Self {
            patches: Tensor::from_data(TensorData::new(patches, [views, tokens, channels]), device),
            units: Tensor::from_data(TensorData::new(units, [views, config.units()]), device),
            mask: None,
            windows,
            branches: None,
        }
    }
}

/// [`WindowPlan`] on the device.
#[derive(Debug, Clone)]
pub struct DevicePlan<B: Backend> {
    /// For each stage its windows, and the shifted ones where it has more than one.
    pub stages: Vec<(DeviceGrouping<B>, Option<DeviceGrouping<B>>)>,
}

impl<B: Backend> DevicePlan<B> {
    /// Takes a plan to the device.
    pub fn new(plan: &WindowPlan, device: &B::Device) -> Self {
        let grouping = |grouping: &Grouping| DeviceGrouping::new(grouping, device);
        let stages = plan.stages.iter();
        Self {
            stages: stages
                .map(|stage| (grouping(&stage.plain), stage.shifted.as_ref().map(grouping)))
                .collect(),
        }
    }
}

/// [`Grouping`] on the device.
#[derive(Debug, Clone)]
pub struct DeviceGrouping<B: Backend> {
    /// How many groups there are.
    pub groups: usize,
    /// Places in each.
    pub size: usize,
    /// `[groups·size]`: the token in each place.
    pub gather: Tensor<B, 1, Int>,
    /// `[tokens]`: each token's place.
    pub place: Tensor<B, 1, Int>,
    /// `[groups·size²]`: for each pair of places, the row of the table of relative positions.
    pub relative: Tensor<B, 1, Int>,
    /// `[groups, 1, size, size]`: 0 within a window, else so low that nothing is attended to.
    pub apart: Tensor<B, 4>,
}

impl<B: Backend> DeviceGrouping<B> {
    fn new(grouping: &Grouping, device: &B::Device) -> Self {
        let ints = |values: &[i32]| {
            let count = values.len();
            Tensor::from_data(TensorData::new(values.to_vec(), [count]), device)
        };
        let Grouping { groups, size, .. } = *grouping;
        Self {
            groups,
            size,
            gather: ints(&grouping.gather),
            place: ints(&grouping.place),
            relative: ints(&grouping.relative),
            apart: Tensor::from_data(
                TensorData::new(grouping.apart.clone(), [groups, 1, size, size]),
                device,
            ),
        }
    }
}

/// `x` `[views, tokens, width]` with the mask token in the place of each masked patch (SimMIM, arXiv
/// 2111.09886): x·(1 − mask) + token·mask. As it is where nothing is masked so.
pub fn replace_masked<B: Backend>(
    x: Tensor<B, 3>,
    token: Option<&Param<Tensor<B, 3>>>,
    mask: Option<Tensor<B, 3>>,
) -> Tensor<B, 3> {
    match (token, mask) {
        (Some(token), Some(mask)) => {
            let seen = mask.clone().neg().add_scalar(1.0);
            x * seen + token.val() * mask
        }
        _ => x,
    }
}

/// Rows `index` of each of a batch's matrices: `[batch, rows, width]` → `[batch, index, width]`.
///
/// A row number over the whole batch makes it a plain selection of rows.
pub fn select_rows<B: Backend>(x: Tensor<B, 3>, index: Tensor<B, 1, Int>) -> Tensor<B, 3> {
    let [batch, rows, width] = x.dims();
    let [count] = index.dims();
    let index = index.reshape([1, count]).expand([batch, count]);
    gather_rows(x.reshape([batch * rows, width]), index, rows)
}

/// Rows `index` `[batch, count]` of each of a batch's matrices, which stand one after the other in
/// `x` `[batch·rows, width]`: `[batch, count, width]`.
pub fn gather_rows<B: Backend>(
    x: Tensor<B, 2>,
    index: Tensor<B, 2, Int>,
    rows: usize,
) -> Tensor<B, 3> {
    let ([batch, count], [_, width]) = (index.dims(), x.dims());
    let first = Tensor::<B, 1, Int>::arange(0..batch as i64, &index.device()).reshape([batch, 1])
        * rows as i64;
    x.select(0, (index + first).reshape([batch * count])).reshape([batch, count, width])
}
