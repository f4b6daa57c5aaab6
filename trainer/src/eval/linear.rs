//! A linear classifier on frozen features: softmax regression after a batch norm without
//! parameters, as in MAE's linear probing, with the statistics of all train rows.

use burn::backend::Flex;
use burn::optim::{AdamW, AdamWConfig, AdamWState, SimpleOptimizer};
use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::features::Features;
use super::score;
use crate::model::state::to_host;
use crate::train::schedule::Schedule;

/// Added to a variance, as in MAE's batch norm.
const EPSILON: f64 = 1e-6;
/// Test rows that are classified at once.
const TEST_ROWS: usize = 1024;

/// How the classifier is trained: AdamW over shuffled batches, half a cosine down to 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct LinearSettings {
    /// Passes over the train rows
    #[arg(long, default_value_t = 50)]
    pub epochs: u64,
    /// Learning rate at the start
    #[arg(long, default_value_t = 1e-3)]
    pub lr: f64,
    /// Decoupled weight decay
    #[arg(long, default_value_t = 0.0)]
    pub weight_decay: f64,
    /// Rows a batch
    #[arg(long, default_value_t = 256)]
    pub batch_size: usize,
}

impl Default for LinearSettings {
    fn default() -> Self {
        Self { epochs: 50, lr: 1e-3, weight_decay: 0.0, batch_size: 256 }
    }
}

type Matrix = Tensor<Flex, 2>;

/// A parameter of the classifier, and AdamW for it.
struct Param {
    value: Matrix,
    adamw: AdamW,
    state: Option<AdamWState<Flex, 2>>,
}

impl Param {
    fn zeros(shape: [usize; 2], decay: f64) -> Self {
        let adamw = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(decay as f32).build();
        Self { value: Matrix::zeros(shape, &Default::default()), adamw, state: None }
    }

    fn step(&mut self, lr: f64, gradient: Matrix) {
        let (value, state) = self.adamw.step(lr, self.value.clone(), gradient, self.state.take());
        (self.value, self.state) = (value, state);
    }
}

/// For each row of `test` the classes by their logits, the best first, after training on `train`.
/// Parameters begin at zero; the seed decides the order of the rows.
///
/// Both must have the same classes and width.
pub fn predict(
    train: &Features,
    test: &Features,
    settings: &LinearSettings,
    seed: u64,
) -> Vec<Vec<u32>> {
    let (dim, classes) = (train.dim, train.classes.len());
    let norm = Standard::of(train);
    let rows = norm.apply(train);
    let batch_size = settings.batch_size.clamp(1, train.rows().max(1));
    let mut weight = Param::zeros([dim, classes], settings.weight_decay);
    let mut bias = Param::zeros([1, classes], 0.0);

    let mut order: Vec<usize> = (0..train.rows()).collect();
    let batches = order.len().div_ceil(batch_size) as u64;
    let schedule = Schedule {
        peak: settings.lr,
        floor: 0.0,
        warmup_steps: 0,
        total_steps: settings.epochs * batches,
    };
    let mut step = 0;
    for epoch in 0..settings.epochs {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(epoch);
        order.sort_unstable();
        order.shuffle(&mut rng);
        for batch in order.chunks(batch_size) {
            let values: Vec<f32> =
                batch.iter().flat_map(|&row| &rows[row * dim..][..dim]).copied().collect();
            let mut truth = vec![0.0; batch.len() * classes];
            for (row, &at) in batch.iter().enumerate() {
                truth[row * classes + train.labels[at] as usize] = 1.0;
            }
            let x = matrix(values, dim);
            let logits = x.clone().matmul(weight.value.clone()) + bias.value.clone();
            // The gradient of the mean cross-entropy at the logits.
            let gradient = (softmax(logits, 1) - matrix(truth, classes)) / batch.len() as f64;
            let lr = schedule.at(step);
            weight.step(lr, x.transpose().matmul(gradient.clone()));
            bias.step(lr, gradient.sum_dim(0));
            step += 1;
        }
    }

    let rows = norm.apply(test);
    rows.chunks(TEST_ROWS * dim.max(1))
        .flat_map(|rows| {
            let logits = matrix(rows.to_vec(), dim).matmul(weight.value.clone());
            let logits = to_host(logits + bias.value.clone());
            let best = |row: &[f32]| score::best(row, f32::NEG_INFINITY);
            logits.chunks(classes).map(best).collect::<Vec<_>>()
        })
        .collect()
}

fn matrix(values: Vec<f32>, width: usize) -> Matrix {
    let rows = values.len() / width;
    Tensor::from_data(TensorData::new(values, [rows, width]), &Default::default())
}

/// Mean and inverse deviation of each number of a feature.
struct Standard {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Standard {
    fn of(features: &Features) -> Self {
        let count = features.rows().max(1) as f64;
        let mut mean = vec![0.0; features.dim];
        let mut squares = vec![0.0; features.dim];
        let rows = || features.values.chunks(features.dim.max(1));
        for row in rows() {
            mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value) / count);
        }
        for row in rows() {
            for ((sum, mean), &value) in squares.iter_mut().zip(&mean).zip(row) {
                *sum += (f64::from(value) - mean).powi(2) / count;
            }
        }
        Self { mean, scale: squares.iter().map(|square| (square + EPSILON).powf(-0.5)).collect() }
    }

    fn apply(&self, features: &Features) -> Vec<f32> {
        let mut values = features.values.clone();
        for row in values.chunks_mut(features.dim.max(1)) {
            for ((value, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                *value = ((f64::from(*value) - mean) * scale) as f32;
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::eval::features::tests::of_rows;

    /// Three classes that lines part; one number of the feature is a thousand times as large as
    /// the others and says nothing, one is constant.
    fn parted(rows: usize, seed: u64) -> Features {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rows: Vec<([f32; 4], u32)> = (0..rows)
            .map(|i| {
                let class = i as u32 % 3;
                let angle = f64::from(class) * 2.1;
                let mut near = |centre: f64| (centre + rng.random_range(-0.5..0.5)) as f32;
                let (x, y) = (near(angle.cos()), near(angle.sin()));
                ([x * 1e-3, 1000.0 * near(0.0), y * 1e-3 + 7.0, 5.0], class)
            })
            .collect();
        let rows: Vec<(&[f32], u32)> = rows.iter().map(|(row, class)| (&row[..], *class)).collect();
        of_rows(&rows, 3)
    }

    fn accuracy(test: &Features, predictions: &[Vec<u32>]) -> f64 {
        score::Score::new(&test.labels, predictions, &test.classes).top1
    }

    #[test]
    fn classes_that_lines_part_are_learned_whatever_the_scales() {
        let (train, test) = (parted(300, 1), parted(100, 2));
        let settings = LinearSettings { lr: 0.05, batch_size: 32, ..Default::default() };
        let predictions = predict(&train, &test, &settings, 0);
        assert!(accuracy(&test, &predictions) > 0.97, "{}", accuracy(&test, &predictions));
        assert_eq!(predictions, predict(&train, &test, &settings, 0), "it is deterministic");
    }

    #[test]
    fn labels_without_a_rule_are_not_learned() {
        let (mut train, mut test) = (parted(300, 1), parted(300, 2));
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for label in train.labels.iter_mut().chain(&mut test.labels) {
            *label = rng.random_range(0..3);
        }
        let predictions = predict(&train, &test, &LinearSettings::default(), 0);
        let accuracy = accuracy(&test, &predictions);
        assert!((0.2..0.47).contains(&accuracy), "{accuracy}");
    }

    #[test]
    fn rows_are_standardised_by_the_train_rows() {
        let train = parted(50, 1);
        let norm = Standard::of(&train);
        let values = norm.apply(&train);
        for column in 0..3 {
            let column = || values.iter().skip(column).step_by(4).map(|&value| f64::from(value));
            let mean = column().sum::<f64>() / 50.0;
            let variance = column().map(|value| value * value).sum::<f64>() / 50.0;
            assert!(mean.abs() < 1e-3, "{mean}");
            // The first and third have variances of 1e-6 themselves, as large as the epsilon.
            assert!(variance > 0.2 && variance < 1.0 + 1e-3, "{variance}");
        }
    }
}
