//! From batches to a trained encoder: [`step`] (loss and gradients), [`optim`] (AdamW),
//! [`schedule`] (the learning rate), [`run`] (the loop).

pub mod optim;
pub mod run;
pub mod schedule;
pub mod step;

use std::sync::atomic::AtomicBool;

use burn::backend::cuda::CudaDevice;
use burn::backend::{Autodiff, Cuda, Flex};

use crate::device::DeviceKind;
use crate::progress::Console;
use crate::settings::Settings;
use run::{Outcome, Resume, RunPaths, TrainError};

/// [`run::run`] on a device.
///
/// # Errors
/// [`TrainError`] as there.
pub fn run_on(
    device: DeviceKind,
    paths: &RunPaths,
    settings: &Settings,
    resume: Option<Resume>,
    console: &Console,
    stop: &AtomicBool,
) -> Result<Outcome, TrainError> {
    match device {
        DeviceKind::Cuda(index) => {
            let device = CudaDevice::new(index);
            run::run::<Autodiff<Cuda>>(paths, settings, resume, &device, console, stop)
        }
        DeviceKind::Cpu => {
            run::run::<Autodiff<Flex>>(paths, settings, resume, &Default::default(), console, stop)
        }
    }
}
