//! The first values of the parameters.

use burn::backend::Flex;
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};

use super::state::{self, Kind, State};
use super::{LocalMim, ModelConfig, Precision};

/// Seeded initial parameters; the same on every device.
///
/// As in MAE's code: matrices uniform after Xavier, tokens normal with deviation 0.02, norms one,
/// biases zero; deconvolutions uniform in ±1/sqrt(4·out), PyTorch's default for them.
pub fn init(config: &ModelConfig, seed: u64) -> State {
    let model = LocalMim::<Flex>::zeros(config, Precision::F32, &Default::default());
    state::table(&model, config)
        .into_iter()
        .map(|param| {
            // Each parameter has a stream of its own, so that a tap more leaves the rest alone.
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seed.to_le_bytes()).update(param.name.as_bytes());
            let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
            let count = param.shape.iter().product();
            let mut uniform = |bound: f64| -> Vec<f32> {
                let range = Uniform::new_inclusive(-bound, bound).expect("a finite bound");
                (0..count).map(|_| rng.sample(range) as f32).collect()
            };
            let data = match (param.kind, param.shape.as_slice()) {
                (Kind::Linear | Kind::Pointwise | Kind::PatchEmbed, &[input, output]) => {
                    uniform((6.0 / (input + output) as f64).sqrt())
                }
                (Kind::Deconv, &[_, output]) => uniform((output as f64).powf(-0.5)),
                (Kind::DeconvBias, &[output]) => uniform((4.0 * output as f64).powf(-0.5)),
                (Kind::Token | Kind::Table, _) => {
                    let normal = Normal::new(0.0, 0.02).expect("a positive deviation");
                    (0..count).map(|_| normal.sample(&mut rng) as f32).collect()
                }
                (Kind::NormWeight, _) => vec![1.0; count],
                _ => vec![0.0; count],
            };
            let tensor = param.to_torch(data);
            (param.name, tensor)
        })
        .collect()
}
