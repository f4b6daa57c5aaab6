//! The loss of one tap.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Squared error, averaged over the target's channels, then over the masked cells of the batch
/// (LocalMIM, eq. 4): Σ weight · mean_c (prediction − target)².
///
/// `prediction` and `target` are `[views, cells, channels]`; `weights` `[views, cells]` is the mask
/// at the tap's scale over its sum in the batch. The taps' losses are added by the caller.
pub fn tap_loss<B: Backend>(
    prediction: Tensor<B, 3>,
    target: Tensor<B, 3>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 1> {
    let [views, cells, _] = prediction.dims();
    let difference = prediction - target;
    let error = (difference.clone() * difference).mean_dim(2).reshape([views, cells]);
    (error * weights).sum()
}
