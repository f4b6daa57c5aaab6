//! A batch in slices over threads against the same batch whole.

use burn::backend::{Autodiff, Flex};
use trainer::data::{Loader, Position};
use trainer::model::{LocalMim, Precision, init, state};
use trainer::train::slices::Slices;

use crate::case::{Case, loader_settings, settings};

type B = Autodiff<Flex>;

#[test]
fn slices_give_the_whole_batchs_gradients_whatever_the_thread_count() {
    let case = Case::with_shards(25);
    let mut asked = loader_settings();
    asked.batch_size = 20;
    let start = Position { epoch: 0, batch: 0 };
    let batch = Loader::start(case.dataset(), asked, start).unwrap().next().unwrap();
    let network = settings(|_| ()).network(case.dataset().layout()).unwrap();
    let device = Default::default();
    let initial = init::init(&network, 0);
    let model = LocalMim::<B>::from_state(&network, Precision::F32, &initial, &device).unwrap();
    let params = state::table(&model, &network);

    let run = |slices: Slices| {
        let output = slices.run(&model, network.loss, &batch, &device);
        (output.tap_losses, output.gradients.to_state(&params))
    };
    let (losses, gradients) = run(Slices::whole());
    let one = run(Slices::over_threads(1).unwrap());
    let three = run(Slices::over_threads(3).unwrap());
    assert!(one == three, "the number of threads should not matter, to the last bit");
    for (a, b) in losses.iter().zip(&one.0) {
        assert!((a - b).abs() < 1e-5 * a, "loss {b} should be {a}");
    }
    assert_eq!(gradients.keys().collect::<Vec<_>>(), one.1.keys().collect::<Vec<_>>());
    for (name, whole) in &gradients {
        let largest = whole.data.iter().fold(0f32, |max, x| max.max(x.abs()));
        for (a, b) in whole.data.iter().zip(&one.1[name].data) {
            assert!((a - b).abs() <= 1e-4 * largest, "{name}: {b} should be {a}");
        }
    }
}
