//! The loss of one tap.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::LossKind;

/// The error (squared for [`LossKind::L2`], absolute for [`LossKind::L1`]), averaged over the target's channels, then over the masked cells of the batch
/// (LocalMIM, eq. 4): Σ weight · mean_c error(prediction − target).
///
/// `prediction` and `target` are `[views, cells, channels]`; `weights` `[views, cells]` is the mask
/// at the tap's scale over its sum in the batch. The taps' losses are added by the caller.
pub fn tap_loss<B: Backend>(
    kind: LossKind,
    prediction: Tensor<B, 3>,
    target: Tensor<B, 3>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 1> {
    let [views, cells, _] = prediction.dims();
    let difference = prediction - target;
    let error = match kind {
        LossKind::L2 => difference.clone() * difference,
        LossKind::L1 => difference.abs(),
    };
    let error = error.mean_dim(2).reshape([views, cells]);
    (error * weights).sum()
}
