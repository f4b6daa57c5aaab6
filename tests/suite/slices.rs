//! A batch in slices over threads against the same batch whole, and that against the loss as it is
//! written.

use burn::backend::{Autodiff, Flex};
use trainer::data::{Batch, Loader, Position};
use trainer::model::state::State;
use trainer::model::{LocalMim, ModelConfig, Precision, Start, init, state};
use trainer::train::batch::Loaded;
use trainer::train::optim::Gradients;
use trainer::train::slices::Slices;
use trainer::train::step::Timing;

use crate::case::{Case, loader_settings, settings};

type B = Autodiff<Flex>;

/// A batch of 20 views, and a network for it.
fn batch_and_network() -> (Batch, ModelConfig, LocalMim<B>) {
    let case = Case::with_shards(25);
    let mut asked = loader_settings();
    asked.batch_size = 20;
    let start = Position { epoch: 0, batch: 0 };
    let batch = Loader::start(case.dataset(), asked, start).unwrap().next().unwrap();
    let network = settings(|_| ()).network(case.dataset().layout()).unwrap();
    let initial = init::init(&network, Start::default(), 0);
    let model =
        LocalMim::from_state(&network, Precision::F32, &initial, &Default::default()).unwrap();
    (batch, network, model)
}

/// Fails unless two gradients are the same but for rounding.
fn assert_same(found: &State, expected: &State) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, expected) in expected {
        let largest = expected.data.iter().fold(0f32, |max, x| max.max(x.abs()));
        for (a, b) in expected.data.iter().zip(&found[name].data) {
            assert!((a - b).abs() <= 1e-4 * largest, "{name}: {b} should be {a}");
        }
    }
}

#[test]
fn the_cut_graph_gives_the_gradient_of_the_loss_as_it_is_written() {
    let (batch, network, model) = batch_and_network();
    let device = Default::default();
    let batch = Loaded::now(batch, &device);
    let params = state::table(&model, &network);
    let output = Slices::whole().run(&model, network.loss, &batch, &device, Timing::Host);

    let loss = model.loss(network.loss, batch.whole(&device));
    let value = f64::from(state::to_host(loss.clone())[0]);
    let sum: f64 = output.losses.read().iter().sum();
    assert!(value > 0.0 && (sum - value).abs() < 1e-5 * value, "loss {sum} should be {value}");
    let written = Gradients::<B>::take(&model, &mut loss.backward()).to_state(&params);
    assert!(!written.is_empty());
    assert_same(&output.gradients.to_state(&params), &written);
}

#[test]
fn slices_give_the_whole_batchs_gradients_whatever_the_thread_count() {
    let (batch, network, model) = batch_and_network();
    let device = Default::default();
    let batch = Loaded::now(batch, &device);
    let params = state::table(&model, &network);

    let run = |slices: Slices| {
        let output = slices.run(&model, network.loss, &batch, &device, Timing::Host);
        (output.losses.read(), output.gradients.to_state(&params))
    };
    let (losses, gradients) = run(Slices::whole());
    let one = run(Slices::over_threads(1).unwrap());
    let three = run(Slices::over_threads(3).unwrap());
    assert!(one == three, "the number of threads should not matter, to the last bit");
    for (a, b) in losses.iter().zip(&one.0) {
        assert!((a - b).abs() < 1e-5 * a, "loss {b} should be {a}");
    }
    assert_same(&one.1, &gradients);
}
