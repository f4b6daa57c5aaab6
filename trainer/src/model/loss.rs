//! The loss of one tap: L(ŷ, y) over masked cells.

use burn::tensor::Tensor;
use kernels::{Kernels, Op, TapLoss, float};

use super::LossKind;
use super::input::DeviceTarget;

/// The error of each value of the target, averaged over the target's channels, then over the masked
/// cells of the batch (LocalMIM, eq. 4): Σ weight · mean_c error(prediction, target), `[1]`.
///
/// `prediction` and the target's values are `[views, cells, channels]`; its weights `[views, cells]`
/// are the mask at the tap's scale over its sum in the batch. For [`LossKind::CrossEntropy`] a value
/// is the number of a code, and a prediction holds for each one the logits of all codes.
pub fn tap_loss<B: Kernels>(
    kind: LossKind,
    prediction: Tensor<B, 3>,
    target: DeviceTarget<B>,
) -> Tensor<B, 1> {
    let kind = match kind {
        LossKind::L2 => kernels::LossKind::L2,
        LossKind::L1 => kernels::LossKind::L1,
        LossKind::CrossEntropy => kernels::LossKind::CrossEntropy,
    };
    let DeviceTarget { values, weights } = target;
    Op::TapLoss(TapLoss { kind, values, weights }).of(vec![float(prediction)])
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::TensorData;

    use super::*;
    use crate::model::state::to_host;

    /// Two cells of one view, each of two codes out of three.
    fn loss(logits: [f32; 12], codes: [f32; 4]) -> f32 {
        let device = Default::default();
        let tensor = |values: Vec<f32>, shape: [usize; 3]| {
            Tensor::<Flex, 3>::from_data(TensorData::new(values, shape), &device)
        };
        let weights = Tensor::from_data(TensorData::new(vec![0.5f32, 0.5], [1, 2]), &device);
        let (logits, values) =
            (tensor(logits.to_vec(), [1, 2, 6]), tensor(codes.to_vec(), [1, 2, 2]));
        to_host(tap_loss(LossKind::CrossEntropy, logits, DeviceTarget { values, weights }))[0]
    }

    #[test]
    fn the_cross_entropy_is_that_of_each_code_in_its_place() {
        let guessing = loss([7.0; 12], [0.0, 1.0, 2.0, 0.0]);
        assert!((guessing - 3f32.ln()).abs() < 1e-5, "{guessing}");
        // Sure of codes 0, 1, 2 and 0.
        let mut sure = [0.0; 12];
        for at in [0, 4, 8, 9] {
            sure[at] = 20.0;
        }
        assert!(loss(sure, [0.0, 1.0, 2.0, 0.0]) < 1e-5);
        // Wrong about one of four.
        let wrong = loss(sure, [0.0, 1.0, 2.0, 1.0]);
        assert!((wrong - 20.0 / 4.0).abs() < 1e-3, "{wrong}");
    }
}
