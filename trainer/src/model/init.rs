//! The first values of the parameters, as the methods' published code draws them
//! (`tests/suite/starts.rs` holds them against it).

use burn::backend::Flex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};

use super::state::{self, Kind, ParamInfo, State};
use super::{LocalMim, ModelConfig, Precision, Start};

/// Seeded initial parameters; the same on every device.
pub fn init(config: &ModelConfig, start: Start, seed: u64) -> State {
    let model = LocalMim::<Flex>::zeros(config, Precision::F32, &Default::default());
    let params = state::table(&model, config);
    let values = |param: &ParamInfo| {
        // Each parameter has a stream of its own, so that a tap more leaves the rest alone.
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(param.name.as_bytes());
        let rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        // What a bias begins with follows from the weights that it is added to.
        let weights = param.name.strip_suffix(".bias").map(|layer| format!("{layer}.weight"));
        let weights = weights.and_then(|name| params.iter().find(|param| param.name == name));
        let from = match weights {
            Some(weights) => Draw::of_bias(&param.name, weights, start),
            None => Draw::of(param, start),
        };
        param.to_torch(from.values(rng, param.shape.iter().product()))
    };
    params.iter().map(|param| (param.name.clone(), values(param))).collect()
}

/// What a parameter's values are drawn from.
#[derive(Debug, Clone, Copy)]
enum Draw {
    /// All the same.
    Constant(f32),
    /// Uniform, from minus this to this.
    Uniform(f64),
    /// Normal, of this deviation. PyTorch's `trunc_normal_` is the same: it cuts at 2, which is a
    /// hundred deviations.
    Normal(f64),
}

/// The deviation of all that is normal.
const NORMAL: Draw = Draw::Normal(0.02);

impl Draw {
    /// PyTorch's own for a convolution, its bias alike: uniform in ±1/√fan-in.
    fn convolution(fan_in: usize) -> Self {
        Self::Uniform((fan_in as f64).powf(-0.5))
    }

    /// Uniform after Xavier.
    fn xavier(input: usize, output: usize) -> Self {
        Self::Uniform((6.0 / (input + output) as f64).sqrt())
    }

    /// Of all but biases.
    fn of(param: &ParamInfo, start: Start) -> Self {
        match (param.kind, param.shape.as_slice()) {
            (Kind::Linear | Kind::Pointwise | Kind::PatchEmbed, &[input, output]) => match start {
                _ if convolves(param, start) => Self::convolution(input),
                Start::Early | Start::Mae | Start::Localmim => Self::xavier(input, output),
                Start::Simmim | Start::Maskfeat => NORMAL,
            },
            // PyTorch takes a transposed convolution's outputs for what goes in.
            (Kind::Deconv, &[_, output]) => Self::convolution(output),
            (Kind::NormWeight, _) => Self::Constant(1.0),
            _ => NORMAL,
        }
    }

    /// Of the bias `name` beside `weights`.
    fn of_bias(name: &str, weights: &ParamInfo, start: Start) -> Self {
        match (weights.kind, weights.shape.as_slice()) {
            (Kind::Deconv, &[_, output]) => Self::convolution(output),
            (Kind::PatchEmbed, &[input, _]) if start != Start::Early => Self::convolution(input),
            (_, &[input, _]) if convolves(weights, start) => Self::convolution(input),
            // Those of MaskFeat's encoder, but the norm before its head.
            _ if start == Start::Maskfeat
                && !name.starts_with("decoder.")
                && !name.trim_start_matches("encoder.").starts_with("norm.") =>
            {
                Self::Constant(0.02)
            }
            _ => Self::Constant(0.0),
        }
    }

    fn values(self, mut rng: ChaCha8Rng, count: usize) -> Vec<f32> {
        match self {
            Self::Constant(value) => vec![value; count],
            Self::Uniform(bound) => {
                let range = Uniform::new_inclusive(-bound, bound).expect("a finite bound");
                (0..count).map(|_| rng.sample(range) as f32).collect()
            }
            Self::Normal(deviation) => {
                let normal = Normal::new(0.0, deviation).expect("a positive deviation");
                (0..count).map(|_| normal.sample(&mut rng) as f32).collect()
            }
        }
    }
}

/// Whether a matrix is a convolution that the authors leave as PyTorch made it.
fn convolves(weights: &ParamInfo, start: Start) -> bool {
    match start {
        Start::Early | Start::Mae | Start::Maskfeat => false,
        Start::Localmim => weights.kind == Kind::Pointwise,
        Start::Simmim => weights.kind == Kind::PatchEmbed || weights.name.contains(".pred."),
    }
}
