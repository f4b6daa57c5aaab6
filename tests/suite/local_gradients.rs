//! Gradient truncation: each layer learns from its own tap alone.

use burn::backend::{Autodiff, Flex};
use trainer::data::{Loader, LoaderSettings, Position};
use trainer::model::loss::tap_loss;
use trainer::model::mask::MaskKind;
use trainer::model::state::{HostTensor, State};
use trainer::model::{
    Coordinates, EncoderConfig, LocalMim, ModelConfig, Precision, Start, TargetKind, init, state,
};
use trainer::train::batch::Loaded;
use trainer::train::optim::Gradients;
use trainer::train::slices::Slices;
use trainer::train::step::Timing;

use crate::case::{Case, SIZE};

type B = Autodiff<Flex>;

fn vit() -> EncoderConfig {
    EncoderConfig::Vit { patch: 16, dim: 24, depth: 8, heads: 2 }
}

fn swin() -> EncoderConfig {
    EncoderConfig::Swin {
        patch: 4,
        dim: 12,
        depths: vec![1, 2, 1, 1],
        heads: vec![1, 2, 2, 2],
        window: 4,
        coordinates: Coordinates::Spatial,
    }
}

/// The layer, counted from 1, whose parameter this is; none for what belongs to a tap.
fn layer(encoder: &EncoderConfig, name: &str) -> Option<usize> {
    let name = name.strip_prefix("encoder.").unwrap_or(name);
    if name.starts_with("decoder.") || name.starts_with("norm.") {
        return None;
    }
    let prefix = match encoder {
        EncoderConfig::Vit { .. } => "blocks.",
        EncoderConfig::Swin { .. } => "layers.",
    };
    let number = |rest: &str| rest.split('.').next().and_then(|n| n.parse::<usize>().ok());
    // What embeds patches belongs to the first layer.
    Some(name.strip_prefix(prefix).and_then(number).map_or(1, |n| n + 1))
}

/// The gradients of one tap's loss alone, by name.
fn of_tap(model: &LocalMim<B>, network: &ModelConfig, batch: &Loaded<B>, tap: usize) -> State {
    let device = Default::default();
    let mut on_device = batch.whole(&device);
    let latents = model.encode(on_device.input);
    let target = on_device.targets.swap_remove(tap);
    let restore = on_device.restore.swap_remove(tap);
    let prediction = model.decoder[tap].forward(latents[tap].clone(), restore);
    let loss = tap_loss(network.loss, prediction, target);
    Gradients::<B>::take(model, &mut loss.backward()).to_state(&state::table(model, network))
}

/// Fails unless two gradients are the same but for rounding.
fn assert_same(name: &str, found: &HostTensor, expected: &HostTensor) {
    let largest = expected.data.iter().fold(0f32, |max, x| max.max(x.abs()));
    assert!(largest > 0.0, "{name} should have a gradient");
    for (a, b) in found.data.iter().zip(&expected.data) {
        assert!((a - b).abs() <= 1e-4 * largest, "{name}: {a} should be {b}");
    }
}

#[test]
fn a_layer_gets_the_gradient_of_the_next_tap_and_of_no_other() {
    let case = Case::with_shards(12);
    let device = Default::default();
    for encoder in [vit(), swin()] {
        let mut network =
            ModelConfig::local_mim(encoder.clone(), SIZE as usize, TargetKind::Hog, 9);
        network.decoder_dim = 16;
        network.decoder_heads = 2;
        let asked = LoaderSettings {
            batch_size: 6,
            ..LoaderSettings::new(&network, 0.25, MaskKind::Random, SIZE as usize)
        };
        let start = Position { epoch: 0, batch: 0 };
        let batch = Loader::start(case.dataset(), asked, start).unwrap().next().unwrap();
        let batch = Loaded::now(batch, &device);
        let initial = init::init(&network, Start::default(), 1);
        let model = |network: &ModelConfig| {
            LocalMim::<B>::from_state(network, Precision::F32, &initial, &device).unwrap()
        };
        let local = ModelConfig { local_gradients: true, ..network.clone() };
        let (free_model, local_model) = (model(&network), model(&local));
        let params = state::table(&local_model, &local);
        let step = |model: &LocalMim<B>| {
            Slices::whole()
                .run(model, network.loss, &batch, &device, Timing::Host)
                .gradients
                .to_state(&params)
        };
        let (step_local, step_free) = (step(&local_model), step(&free_model));

        let mut compared = 0;
        for tap in 0..network.taps.len() {
            let below = tap.checked_sub(1).map_or(0, |below| network.taps[below].layer);
            let own = below + 1..=network.taps[tap].layer;
            let free = of_tap(&free_model, &network, &batch, tap);
            let cut = of_tap(&local_model, &local, &batch, tap);
            for (name, gradient) in &free {
                let Some(at) = layer(&encoder, name) else { continue };
                if own.contains(&at) {
                    assert_same(name, &cut[name], gradient);
                    assert_same(name, &step_local[name], gradient);
                    compared += 1;
                } else {
                    // Without truncation this tap reaches further down.
                    assert!(gradient.data.iter().any(|&x| x != 0.0), "{name}");
                    let zero = cut.get(name).is_none_or(|cut| cut.data.iter().all(|&x| x == 0.0));
                    assert!(zero, "tap {} should not reach {name}", tap + 1);
                }
            }
        }
        let of_encoder = params.iter().filter(|param| layer(&encoder, &param.name).is_some());
        assert_eq!(compared, of_encoder.count(), "every layer has a tap above it");
        let first = params.iter().find(|param| layer(&encoder, &param.name) == Some(1)).unwrap();
        assert_ne!(step_free[&first.name], step_local[&first.name]);
    }
}
