//! What both encoders' parity tests hold against a reference file: losses, gradients, steps.

use burn::backend::{Autodiff, Flex};
use trainer::data::Batch;
use trainer::model::{LocalMim, ModelConfig};
use trainer::train::optim::{AdamWSettings, Optimizer};
use trainer::train::slices::Slices;

use crate::golden::Golden;

/// The backend of the tests.
pub type B = Autodiff<Flex>;

/// The relative difference that is let pass.
pub const TOLERANCE: f32 = 1e-4;

/// What a file holds of the gradients.
#[derive(Clone, Copy)]
pub enum Kept {
    /// All of them, as `grad.*`.
    Gradients,
    /// Their norms, as `grad_norm.*`.
    Norms,
}

/// Trains on the batches of the file's steps and compares every step's loss, and the first one's
/// loss of each tap and gradients.
pub fn check_steps(
    (golden, kept): (&Golden, Kept),
    (mut model, config): (LocalMim<B>, &ModelConfig),
    settings: AdamWSettings,
    lr: f64,
    batch: impl Fn(usize) -> Batch,
) {
    let device = Default::default();
    let mut optimizer = Optimizer::new(&model, config, settings);
    let slices = Slices::whole();
    let losses = golden.tensor("losses").data;
    assert!(losses.len() > 1, "the file should hold several steps");
    for (step, expected) in losses.iter().enumerate() {
        let output = slices.run(&model, config.loss, &batch(step), &device);
        let loss: f64 = output.tap_losses.iter().sum();
        let off = (loss - f64::from(*expected)).abs() / f64::from(*expected);
        assert!(off < f64::from(TOLERANCE), "step {step}: loss {loss}, should be {expected}");
        if step == 0 {
            for (i, loss) in output.tap_losses.iter().enumerate() {
                golden.assert_close(&format!("tap_loss.{i}"), &[*loss as f32], TOLERANCE);
            }
            let grads = output.gradients.to_state(optimizer.params());
            let prefix = match kept {
                Kept::Gradients => "grad.",
                Kept::Norms => "grad_norm.",
            };
            assert_eq!(grads.keys().cloned().collect::<Vec<_>>(), golden.names(prefix));
            for (name, grad) in grads {
                let square = |x: &f32| f64::from(*x) * f64::from(*x);
                let values = match kept {
                    Kept::Gradients => grad.data,
                    Kept::Norms => vec![grad.data.iter().map(square).sum::<f64>().sqrt() as f32],
                };
                golden.assert_close(&format!("{prefix}{name}"), &values, TOLERANCE);
            }
        }
        model = optimizer.step(model, output.gradients, lr);
    }
}
