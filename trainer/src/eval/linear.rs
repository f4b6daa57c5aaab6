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

use super::error::EvalError;
use super::features::Features;
use super::score;
use crate::model::state::to_host;
use crate::range::{self, COUNT, NOT_NEGATIVE, OutOfRange, POSITIVE, SIZE};
use crate::train::schedule::Schedule;

/// Added to a variance, as in MAE's batch norm.
const EPSILON: f64 = 1e-6;
/// Test rows that are classified at once.
const TEST_ROWS: usize = 1024;

/// How the classifier is trained: AdamW over shuffled batches, half a cosine down to 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct LinearSettings {
    /// Passes over the train rows
    #[arg(long, default_value_t = LinearSettings::default().epochs)]
    pub epochs: u64,
    /// Learning rate at the start
    #[arg(long, default_value_t = LinearSettings::default().lr)]
    pub lr: f64,
    /// Decoupled weight decay
    #[arg(long, default_value_t = LinearSettings::default().weight_decay)]
    pub weight_decay: f64,
    /// Rows a batch
    #[arg(long, default_value_t = LinearSettings::default().batch_size)]
    pub batch_size: usize,
}

impl Default for LinearSettings {
    fn default() -> Self {
        Self { epochs: 50, lr: 1e-3, weight_decay: 0.0, batch_size: 256 }
    }
}

impl LinearSettings {
    pub(super) fn check(&self) -> Result<(), OutOfRange> {
        range::check("--epochs", self.epochs, COUNT)?;
        range::check("--batch-size", self.batch_size, SIZE)?;
        range::check("--lr", self.lr, POSITIVE)?;
        range::check("--weight-decay", self.weight_decay, NOT_NEGATIVE)
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

/// What came of the training.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// For each test row the classes by their logits, the best first.
    pub predictions: Vec<Vec<u32>>,
    /// The mean cross-entropy over the train rows in the end.
    pub loss: f64,
    /// That of a classifier to which all classes are alike.
    pub guess: f64,
}

/// Classifies the rows of `test` after training on `train`. Parameters begin at zero; the seed
/// decides the order of the rows.
///
/// Both must have the same classes and width.
///
/// # Errors
/// [`EvalError::NotFinite`] if weights or loss leave the finite.
pub fn predict(
    train: &Features,
    test: &Features,
    settings: &LinearSettings,
    seed: u64,
) -> Result<Judged, EvalError> {
    let not_finite = |step, what, value| {
        let method = "the linear classifier";
        Err(EvalError::NotFinite { method, step, what, value })
    };
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
        let squares = weight.value.clone() * weight.value.clone();
        let norm = f64::from(to_host(squares.sum())[0]).sqrt();
        if !norm.is_finite() {
            return not_finite(step, "the norm of the weights", norm);
        }
    }

    let piece = TEST_ROWS * dim.max(1);
    let logits = |rows: &[f32]| {
        let logits = matrix(rows.to_vec(), dim).matmul(weight.value.clone());
        to_host(logits + bias.value.clone())
    };
    let mut loss = 0.0;
    for (rows, labels) in rows.chunks(piece).zip(train.labels.chunks(TEST_ROWS)) {
        let losses = logits(rows);
        let losses = losses.chunks(classes).zip(labels);
        loss += losses.map(|(row, &label)| cross_entropy(row, label)).sum::<f64>();
    }
    loss /= train.rows().max(1) as f64;
    if !loss.is_finite() {
        return not_finite(step, "the loss on the train rows", loss);
    }
    let rows = norm.apply(test);
    let best = |row: &[f32]| score::best(row, f32::NEG_INFINITY);
    let predictions = rows
        .chunks(piece)
        .flat_map(|rows| logits(rows).chunks(classes).map(best).collect::<Vec<_>>())
        .collect();
    Ok(Judged { predictions, loss, guess: (classes as f64).ln() })
}

/// The cross-entropy of a row's logits.
fn cross_entropy(logits: &[f32], label: u32) -> f64 {
    let values = || logits.iter().map(|&logit| f64::from(logit));
    let most = values().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = values().map(|logit| (logit - most).exp()).sum();
    most + sum.ln() - f64::from(logits[label as usize])
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
        let judged = predict(&train, &test, &settings, 0).unwrap();
        let accuracy = accuracy(&test, &judged.predictions);
        assert!(accuracy > 0.97, "{accuracy}");
        assert!(judged.loss < 0.2 * judged.guess, "{judged:?}");
        assert_eq!(judged, predict(&train, &test, &settings, 0).unwrap(), "it is deterministic");
    }

    #[test]
    fn a_rate_that_is_far_too_high_is_no_result() {
        let (train, test) = (parted(300, 1), parted(100, 2));
        let settings = LinearSettings { lr: 1e30, ..Default::default() };
        let error = predict(&train, &test, &settings, 0).unwrap_err();
        assert!(matches!(error, EvalError::NotFinite { .. }), "{error}");
        assert!(error.to_string().contains("--lr"), "{error}");
    }

    #[test]
    fn labels_without_a_rule_are_not_learned() {
        let (mut train, mut test) = (parted(300, 1), parted(300, 2));
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for label in train.labels.iter_mut().chain(&mut test.labels) {
            *label = rng.random_range(0..3);
        }
        let judged = predict(&train, &test, &LinearSettings::default(), 0).unwrap();
        assert!(judged.loss < judged.guess, "{}", judged.loss);
        let accuracy = accuracy(&test, &judged.predictions);
        assert!((0.2..0.47).contains(&accuracy), "{accuracy}");
        // Weights that are finite still, but worse than a guess.
        let settings = LinearSettings { lr: 1e10, ..Default::default() };
        let judged = predict(&train, &test, &settings, 0).unwrap();
        assert!(judged.loss > judged.guess, "{}", judged.loss);
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
