//! The features most like another, by cosine similarity.

use burn::backend::Flex;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::model::state::to_host;

/// Queries whose similarities are computed at once.
const QUERIES: usize = 64;
/// Rows they are compared with at once.
pub(crate) const ROWS: usize = 4096;

/// For each row of `queries`, `[n, dim]`, its `k` nearest rows of `rows` by cosine similarity, with
/// it, the nearest first. Of rows that are equally near the earlier come first.
pub fn nearest(rows: &[f32], queries: &[f32], dim: usize, k: usize) -> Vec<Vec<(f32, usize)>> {
    let blocks: Vec<Tensor<Flex, 2>> = normalised(rows, dim)
        .chunks(ROWS * dim.max(1))
        .map(|rows| matrix(rows, dim).transpose())
        .collect();
    normalised(queries, dim)
        .par_chunks(QUERIES * dim.max(1))
        .flat_map_iter(|queries| {
            let queries = matrix(queries, dim);
            let mut nearest = vec![Nearest::default(); queries.dims()[0]];
            for (block, first) in blocks.iter().zip((0..).step_by(ROWS)) {
                let similarities = to_host(queries.clone().matmul(block.clone()));
                let columns = block.dims()[1];
                for (nearest, row) in nearest.iter_mut().zip(similarities.chunks(columns)) {
                    nearest.add(row, first, k);
                }
            }
            nearest.into_iter().map(|Nearest(found)| found)
        })
        .collect()
}

fn matrix(rows: &[f32], dim: usize) -> Tensor<Flex, 2> {
    Tensor::from_data(TensorData::new(rows.to_vec(), [rows.len() / dim, dim]), &Default::default())
}

/// Rows, each brought to length 1.
fn normalised(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut values = rows.to_vec();
    values.chunks_mut(dim.max(1)).for_each(normalise);
    values
}

/// Brings a row to length 1.
pub fn normalise(row: &mut [f32]) {
    let squares: f64 = row.iter().map(|&value| f64::from(value).powi(2)).sum();
    let scale = 1.0 / squares.sqrt().max(1e-12);
    row.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
}

/// The rows nearest so far with their similarities, the nearest first.
#[derive(Debug, Clone, Default)]
struct Nearest(Vec<(f32, usize)>);

impl Nearest {
    /// Looks at rows from `first` on, which must follow those before.
    fn add(&mut self, similarities: &[f32], first: usize, k: usize) {
        let worst = if self.0.len() < k { f32::NEG_INFINITY } else { self.0[k - 1].0 };
        let near = similarities.iter().zip(first..).filter(|(similarity, _)| **similarity > worst);
        self.0.extend(near.map(|(&similarity, row)| (similarity, row)));
        let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if self.0.len() > k {
            self.0.select_nth_unstable_by(k, order);
            self.0.truncate(k);
        }
        self.0.sort_by(order);
    }
}
