//! From batches to a trained encoder: [`batch`] (onto the device), [`step`] (loss and gradients),
//! [`slices`] (over the cores), [`optim`] (AdamW), [`schedule`] (the learning rate), `trainee` (the
//! network that is trained), `begin` (what a run needs), [`run`] (the loop), `told` (what it says),
//! `guard` (what stops it), `clock` (its time), [`error`].

pub mod batch;
mod begin;
mod clock;
pub mod error;
mod guard;
pub mod optim;
pub mod run;
pub mod schedule;
pub mod slices;
pub mod step;
mod told;
mod trainee;

use std::sync::atomic::AtomicBool;

use burn::backend::cuda::CudaDevice;
use burn::backend::{Autodiff, Cuda, Flex, Wgpu};

use crate::device::DeviceKind;
use crate::progress::Console;
use crate::settings::Settings;
use run::{Resume, RunPaths, TrainError, Trained};
use slices::Slices;

/// [`run::run`] on a device.
///
/// # Errors
/// [`TrainError`] as there, and if the device can't multiply in the precision of `settings`.
pub fn run_on(
    device: DeviceKind,
    paths: &RunPaths,
    settings: &Settings,
    resume: Option<Resume>,
    console: &Console,
    stop: &AtomicBool,
) -> Result<Trained, TrainError> {
    device.holds(settings.precision)?;
    if let Some(warning) = device.slow(settings.precision) {
        console.message(&warning);
    }
    match device {
        DeviceKind::Cuda(index) => {
            let device = CudaDevice::new(index);
            let slices = Slices::whole();
            run::run::<Autodiff<Cuda>>(paths, settings, resume, &device, &slices, console, stop)
        }
        DeviceKind::Vulkan(adapter) => {
            let (device, slices) = (adapter.device(), Slices::whole());
            run::run::<Autodiff<Wgpu>>(paths, settings, resume, &device, &slices, console, stop)
        }
        DeviceKind::Cpu => {
            let device = Default::default();
            let slices = Slices::over_threads(rayon::current_num_threads())?;
            run::run::<Autodiff<Flex>>(paths, settings, resume, &device, &slices, console, stop)
        }
    }
}
