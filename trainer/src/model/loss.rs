//! The loss of one tap.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;

use super::LossKind;

/// The error of each value of the target, averaged over the target's channels, then over the masked
/// cells of the batch (LocalMIM, eq. 4): Σ weight · mean_c error(prediction, target).
///
/// `prediction` and `target` are `[views, cells, channels]`; `weights` `[views, cells]` is the mask
/// at the tap's scale over its sum in the batch. The taps' losses are added by the caller. For
/// [`LossKind::CrossEntropy`] a target is the number of a code, and a prediction holds for each one
/// the logits of all codes.
pub fn tap_loss<B: Backend>(
    kind: LossKind,
    prediction: Tensor<B, 3>,
    target: Tensor<B, 3>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 1> {
    let [views, cells, channels] = target.dims();
    let error = match kind {
        LossKind::L2 => {
            let difference = prediction - target;
            difference.clone() * difference
        }
        LossKind::L1 => (prediction - target).abs(),
        LossKind::CrossEntropy => {
            let values = views * cells * channels;
            let codes = prediction.dims()[2] / channels;
            let logarithms = log_softmax(prediction.reshape([values, codes]), 1);
            let of_target = logarithms.gather(1, target.reshape([values, 1]).int());
            of_target.neg().reshape([views, cells, channels])
        }
    };
    let error = error.mean_dim(2).reshape([views, cells]);
    (error * weights).sum()
}
