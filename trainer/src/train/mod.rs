//! From batches to a trained encoder: [`batch`] (onto the device), [`step`] (loss and gradients),
//! [`slices`] (over the cores), [`optim`] (AdamW), [`schedule`] (the learning rate), `trainee` (the
//! network that is trained), `begin` (what a run needs), [`run`] (the loop of a rank), `together` (all
//! ranks of a run), `told` (what it says), `guard` (what stops it), `clock` (its time), [`error`].

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
mod together;
mod told;
mod trainee;

use std::sync::atomic::AtomicBool;

use crate::device::DeviceKind;
use crate::progress::Console;
use crate::settings::Settings;
use run::{Resume, RunPaths, TrainError, Trained};
pub use together::{Place, run_at};

/// [`run_at`] on one device.
///
/// # Errors
/// As there.
pub fn run_on(
    device: DeviceKind,
    paths: &RunPaths,
    settings: &Settings,
    resume: Option<Resume>,
    console: &Console,
    stop: &AtomicBool,
) -> Result<Trained, TrainError> {
    run_at(Place::of(device), paths, settings, resume, console, stop)
}
