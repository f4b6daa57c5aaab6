//! What the network and its loss are given, on the device.

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use kernels::input::Sent;
use kernels::{Inputs, Kernels, Op, float};

use super::ModelConfig;
use super::windows::{self, StagePlan, Tiling, WindowPlan};

/// Some views of a batch: all that their losses are a function of, but for the parameters.
#[derive(Debug, Clone)]
pub struct DeviceBatch<B: Backend> {
    /// What the encoder is given.
    pub input: EncoderInput<B>,
    /// For each tap `[views, prefix + tokens of the whole picture]`: for each token of the picture,
    /// in rows after the prefix, which of the latent's it is; −1 where it was masked.
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
    /// `[views, 1 + tokens]`: the positions of a ViT's tokens, 0 for the class token and then each
    /// patch's number plus 1. A Swin's tokens have none.
    pub places: Tensor<B, 2, Int>,
    /// `[views, tokens]`: each patch's own number, −1 where a mask token stands for it; none where
    /// none does.
    pub seen: Option<Tensor<B, 2, Int>>,
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
        let places = 1 + config.units();
        let of_views: Vec<i32> = (0..views).flat_map(|_| 0..places as i32).collect();
        Self {
            patches: Tensor::from_data(TensorData::new(patches, [views, tokens, channels]), device),
            places: Tensor::from_data(TensorData::new(of_views, [views, places]), device),
            seen: None,
            windows,
            branches: None,
        }
    }
}

/// [`WindowPlan`] on the device.
#[derive(Debug, Clone)]
pub struct DevicePlan<B: Backend> {
    /// For each stage its windows, and the shifted ones where it has more than one.
    pub stages: Vec<(kernels::Windows<B>, Option<kernels::Windows<B>>)>,
}

impl<B: Backend> DevicePlan<B> {
    /// The windows of a stage's block, both from 0.
    pub fn of_block(&self, stage: usize, block: usize) -> &kernels::Windows<B> {
        let (plain, shifted) = &self.stages[stage];
        windows::of_block(plain, shifted, block)
    }

    /// Sends a plan to the device, all its tables at once.
    pub fn send(plan: &WindowPlan, device: &B::Device) -> Sent<B, Self>
    where
        B: Inputs,
    {
        let stages = plan.stages.iter();
        let tilings = stages.flat_map(|stage| [&stage.plain].into_iter().chain(&stage.shifted));
        let tables: Vec<_> =
            tilings.flat_map(|tiling| [&tiling.tokens[..], &tiling.first[..]]).collect();
        B::tables(&tables, device).map(|tables| Self::of(plan, tables))
    }

    /// A plan of its tables, in order.
    fn of(plan: &WindowPlan, tables: Vec<Tensor<B, 1, Int>>) -> Self {
        let mut tables = tables.into_iter();
        let mut table = || tables.next().expect("a tiling has two tables");
        let mut windows = |tiling: &Tiling| kernels::Windows {
            side: tiling.side,
            tokens: table().reshape([4, tiling.tokens.len() / 4]),
            first: table(),
        };
        let of_stage =
            |stage: &StagePlan| (windows(&stage.plain), stage.shifted.as_ref().map(&mut windows));
        Self { stages: plan.stages.iter().map(of_stage).collect() }
    }
}

/// `x` `[views, tokens, width]` with the mask token in the place of each masked patch (SimMIM, arXiv
/// 2111.09886). As it is where nothing is masked so.
pub fn replace_masked<B: Kernels>(
    x: Tensor<B, 3>,
    token: Option<&Param<Tensor<B, 3>>>,
    seen: Option<Tensor<B, 2, Int>>,
) -> Tensor<B, 3> {
    match (token, seen) {
        (Some(token), Some(seen)) => {
            let op = kernels::Place { rows: Some(seen), at: None };
            Op::Place(op).of(vec![float(x), float(token.val())])
        }
        _ => x,
    }
}
