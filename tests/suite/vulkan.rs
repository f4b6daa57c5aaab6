//! What Vulkan computes, beside what the CPU does: one source of kernels serves it and CUDA.

use std::sync::atomic::AtomicBool;

use burn::backend::wgpu::WgpuDevice;
use burn::backend::{Autodiff, Wgpu};
use shards::ShardSource;
use trainer::device::{self, DeviceChoice, DeviceKind};
use trainer::metrics::Record;
use trainer::model::ModelName;
use trainer::progress::Console;
use trainer::settings::{Options, Settings};
use trainer::train::TrainRequest;
use trainer::train::run::RunPaths;

use crate::case::{Case, settings};
use crate::{parity_methods, parity_swin, parity_vit};

type B = Autodiff<Wgpu>;

/// Steps that are compared.
const STEPS: u64 = 100;
/// How far losses and norms may lie apart, as a share.
const NEAR: f64 = 1e-4;

/// The first Vulkan device, which a processor's Mesa may be, where `LOCALMIM_VULKAN` is set; there must
/// be one then.
fn vulkan() -> Option<DeviceKind> {
    std::env::var_os("LOCALMIM_VULKAN")?;
    Some(device::choose(DeviceChoice::Vulkan(0)).unwrap().device)
}

/// As the backend calls it.
fn device() -> Option<WgpuDevice> {
    match vulkan()? {
        DeviceKind::Vulkan(adapter) => Some(adapter.device()),
        other => panic!("{other:?} is none of Vulkan's"),
    }
}

fn train(case: &Case, out: &str, settings: &Settings, device: DeviceKind) -> Vec<Record> {
    let paths = RunPaths { shards: ShardSource::local(case.shards()), out: case.path(out) };
    let (console, stop) = (Console::quiet(), AtomicBool::new(false));
    let (paths, console, stop) = (&paths, &console, &stop);
    TrainRequest { paths, settings, resume: None, console, stop }.on(device).unwrap();
    case.records(out)
}

/// Trains on both, and holds the losses of taps and the norms of gradients step by step.
fn beside(change: impl FnOnce(&mut Options)) {
    let Some(vulkan) = vulkan() else { return };
    let case = Case::with_shards(12);
    let settings = settings(|options| {
        options.batch_size = Some(4);
        options.epochs = Some(40);
        options.lr = Some(1e-3);
        options.max_steps = Some(STEPS);
        change(options);
    });
    let known = train(&case, "cpu", &settings, DeviceKind::Cpu);
    let found = train(&case, "vulkan", &settings, vulkan);
    assert_eq!((known.len(), found.len()), (STEPS as usize, STEPS as usize));
    for (found, known) in found.iter().zip(&known) {
        let near = |a: f64, b: f64, what: &str| {
            let apart = (a - b).abs() / b.abs();
            assert!(apart < NEAR, "step {}: {what} is {a}, the CPU's {b}", known.step);
        };
        for (found, known) in found.tap_losses.iter().zip(&known.tap_losses) {
            near(*found, *known, "a tap's loss");
        }
        near(found.grad_norm, known.grad_norm, "the gradient's norm");
    }
}

#[test]
fn a_vits_training_follows_the_cpus() {
    beside(|options| {
        options.model = Some(ModelName::VitTiny16);
        options.width = Some(48);
        options.depths = Some(vec![3]);
        options.taps = Some("1,3".parse().unwrap());
        options.cells = Some(vec![4, 32]);
        options.heads = Some(vec![3]);
    });
}

#[test]
fn a_swins_training_follows_the_cpus() {
    beside(|options| {
        options.model = Some(ModelName::SwinTiny7);
        options.width = Some(24);
        options.depths = Some(vec![2, 2]);
        options.heads = Some(vec![2, 4]);
    });
}

#[test]
fn a_vit_gives_its_authors_latents_losses_gradients_and_steps() {
    device().iter().for_each(parity_vit::hold::<B>);
}

#[test]
fn a_swin_gives_its_authors_latents_losses_gradients_and_steps() {
    device().iter().for_each(parity_swin::hold::<B>);
}

#[test]
fn each_method_gives_its_authors_latents_losses_gradients_and_steps() {
    device().iter().for_each(parity_methods::hold::<B>);
}
