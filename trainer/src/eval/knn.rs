//! Weighted nearest neighbours on frozen features: no training, so that only the encoder counts.

use serde::{Deserialize, Serialize};

use super::features::Features;
use super::score;
use crate::encode::nearest::nearest;
use crate::range::{self, OutOfRange, POSITIVE};

/// How neighbours vote; the defaults are those of the literature on self-supervised features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct KnnSettings {
    /// Neighbours that vote
    #[arg(long, default_value_t = KnnSettings::default().k)]
    pub k: usize,
    /// Temperature T of a vote's weight exp(cosine / T)
    #[arg(long, default_value_t = KnnSettings::default().temperature)]
    pub temperature: f64,
}

impl Default for KnnSettings {
    fn default() -> Self {
        Self { k: 20, temperature: 0.07 }
    }
}

impl KnnSettings {
    pub(super) fn check(&self) -> Result<(), OutOfRange> {
        range::check("--k", self.k, 1..)?;
        range::check("--temperature", self.temperature, POSITIVE)
    }
}

/// For each row of `test` the classes for which its `k` nearest rows of `train` by cosine
/// similarity vote, the best first. Of rows that are equally near the earlier counts.
///
/// Both must have the same classes and width.
pub fn predict(train: &Features, test: &Features, settings: &KnnSettings) -> Vec<Vec<u32>> {
    let neighbours = nearest(&train.values, &test.values, train.dim, settings.k);
    neighbours.iter().map(|nearest| vote(nearest, train, settings.temperature)).collect()
}

fn vote(neighbours: &[(f32, usize)], train: &Features, temperature: f64) -> Vec<u32> {
    let Some(&(nearest, _)) = neighbours.first() else { return vec![] };
    let mut votes = vec![0f32; train.classes.len()];
    for &(similarity, row) in neighbours {
        // Seen from the nearest, so that no temperature overflows.
        let weight = (f64::from(similarity - nearest) / temperature).exp();
        votes[train.labels[row] as usize] += weight as f32;
    }
    score::best(&votes, 0.0)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::encode::nearest::ROWS;
    use crate::eval::features::tests::of_rows;

    #[test]
    fn the_nearer_neighbours_outvote_the_more() {
        // Seen from (1, 0): one row of class 0 at cosine 1, three of class 1 at cosine 0.8.
        let train = of_rows(
            &[
                (&[2.0, 0.0], 0),
                (&[0.8, 0.6], 1),
                (&[0.8, -0.6], 1),
                (&[4.0, 3.0], 1),
                (&[-1.0, 0.0], 2),
            ],
            3,
        );
        let test = of_rows(&[(&[5.0, 0.0], 0)], 3);
        let first =
            |k, temperature| predict(&train, &test, &KnnSettings { k, temperature })[0].clone();
        // exp(-0.2 / T) · 3 against 1: equal at T = 0.182.
        assert_eq!(first(4, 0.07), [0, 1]);
        assert_eq!(first(4, 0.5), [1, 0]);
        assert_eq!(first(1, 0.5), [0]);
        assert_eq!(first(100, 0.5), [1, 0, 2], "there are only five rows");
        assert_eq!(first(4, 1e-6)[0], 0, "no temperature overflows");
    }

    #[test]
    fn neighbours_are_those_of_a_plain_search_over_all_rows() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let rows: Vec<([f32; 6], u32)> = (0..ROWS as u32 * 2 + 100)
            .map(|i| (std::array::from_fn(|_| rng.random_range(-1.0..1.0)), i % 4))
            .collect();
        let rows: Vec<(&[f32], u32)> = rows.iter().map(|(row, label)| (&row[..], *label)).collect();
        let (test, train) = rows.split_at(100);
        let settings = KnnSettings { k: 7, temperature: 0.2 };
        let found = predict(&of_rows(train, 4), &of_rows(test, 4), &settings);

        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        for ((query, _), found) in test.iter().zip(found) {
            let mut all: Vec<_> =
                train.iter().map(|(row, label)| (cosine(query, row), *label as usize)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0));
            let mut votes = [0.0; 4];
            for (cosine, label) in &all[..7] {
                votes[*label] += (cosine / 0.2).exp();
            }
            let best = (0..4).max_by(|&a, &b| votes[a].total_cmp(&votes[b])).unwrap();
            assert_eq!(found[0] as usize, best);
        }
    }
}
