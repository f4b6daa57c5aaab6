//! Which rows make which batch.
//!
//! An epoch permutes all row groups, pools a window of consecutive ones, shuffles the rows of each
//! window, and cuts the stream of rows into batches; the last partial batch is dropped. All of it
//! follows from (seed, epoch), so any batch can be found without the ones before it.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemas::ShardTable;
use serde::{Deserialize, Serialize};
use shards::{GroupRef, ShardSet};

use super::DataError;

/// A place in the endless stream of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The batch within the epoch, from 0.
    pub batch: u64,
}

impl Position {
    /// The place after this one.
    #[must_use]
    pub fn next(self, batches_per_epoch: u64) -> Self {
        if self.batch + 1 < batches_per_epoch {
            Self { batch: self.batch + 1, ..self }
        } else {
            Self { epoch: self.epoch + 1, batch: 0 }
        }
    }
}

/// Full batches an epoch of a set; what is left over is dropped.
///
/// # Errors
/// [`DataError::TooFew`] if there is not one.
pub fn batches_per_epoch(set: &ShardSet, batch: usize) -> Result<u64, DataError> {
    let rows = set.rows();
    match rows / batch as u64 {
        0 => Err(DataError::TooFew { at: set.source().folder().to_string(), rows, batch }),
        batches => Ok(batches),
    }
}

/// A random stream of its own for each purpose, seed, epoch and item.
pub(super) fn stream(purpose: &str, seed: u64, epoch: u64, item: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    for value in [seed, epoch, item] {
        hasher.update(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// The order of one epoch.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    seed: u64,
    epoch: u64,
    shards: ShardTable,
    /// The places of row groups among those of all shards; no manifest has more of them than these.
    groups: Vec<u32>,
    window: usize,
}

impl EpochOrder {
    /// The order of `epoch` over the row groups of `shards`, `window` of which are shuffled together.
    pub fn new(shards: ShardTable, window: usize, seed: u64, epoch: u64) -> Self {
        let mut groups: Vec<u32> = (0..shards.group_count() as u32).collect();
        groups.shuffle(&mut stream("localmim order of row groups", seed, epoch, 0));
        Self { seed, epoch, shards, groups, window }
    }

    /// How many windows there are.
    pub fn windows(&self) -> usize {
        self.groups.len().div_ceil(self.window)
    }

    /// The row groups of a window.
    pub fn window(&self, window: usize) -> Vec<GroupRef> {
        self.places(window).iter().map(|&at| self.shards.group(at as usize)).collect()
    }

    fn places(&self, window: usize) -> &[u32] {
        let start = window * self.window;
        &self.groups[start..(start + self.window).min(self.groups.len())]
    }

    /// The rows of each row group of a window.
    fn sizes(&self, window: usize) -> impl Iterator<Item = usize> + '_ {
        self.places(window).iter().map(|&at| self.shards.group_rows(at as usize))
    }

    /// The rows of a window in order, each as (group within the window, row within the group).
    pub fn rows(&self, window: usize) -> Vec<(usize, usize)> {
        let mut rows: Vec<_> = self
            .sizes(window)
            .enumerate()
            .flat_map(|(at, rows)| (0..rows).map(move |row| (at, row)))
            .collect();
        let mut rng = stream("localmim order of rows", self.seed, self.epoch, window as u64);
        rows.shuffle(&mut rng);
        rows
    }

    /// The window in which row `row` of the epoch's stream lies, and its place there.
    pub fn find(&self, row: u64) -> (usize, usize) {
        let mut left = row;
        for window in 0..self.windows() {
            let rows: u64 = self.sizes(window).map(|rows| rows as u64).sum();
            if left < rows {
                return (window, left as usize);
            }
            left -= rows;
        }
        (self.windows(), 0)
    }
}

#[cfg(test)]
mod tests {
    use schemas::ShardEntry;

    use super::*;

    fn shards() -> ShardTable {
        let shard = |row_groups: &[u32]| ShardEntry {
            file: String::new(),
            rows: row_groups.iter().map(|&rows| u64::from(rows)).sum(),
            row_groups: row_groups.to_vec(),
            row_group_ends: vec![],
            row_group_hashes: vec![],
            bytes: 0,
            blake3: (&blake3::hash(&[])).into(),
            first: 0,
            pictures: 0,
            start: Default::default(),
        };
        [&[5, 5, 5, 2][..], &[5, 5, 5, 2], &[5, 5, 5, 2], &[5]].map(shard).into_iter().collect()
    }

    fn stream_of(order: &EpochOrder) -> Vec<(GroupRef, usize)> {
        (0..order.windows())
            .flat_map(|window| {
                let groups = order.window(window);
                order.rows(window).into_iter().map(move |(at, row)| (groups[at], row))
            })
            .collect()
    }

    #[test]
    fn every_row_comes_once_and_another_epoch_has_another_order() {
        let first = stream_of(&EpochOrder::new(shards(), 3, 1, 0));
        let mut seen: Vec<_> =
            first.iter().map(|(group, row)| (group.shard, group.group, *row)).collect();
        seen.sort_unstable();
        let all: Vec<_> = shards()
            .groups()
            .flat_map(|group| (0..group.rows).map(move |row| (group.shard, group.group, row)))
            .collect();
        assert_eq!(seen, all);
        assert_ne!(stream_of(&EpochOrder::new(shards(), 3, 1, 1)), first);
        assert_ne!(stream_of(&EpochOrder::new(shards(), 3, 2, 0)), first);
        assert_eq!(stream_of(&EpochOrder::new(shards(), 3, 1, 0)), first);
    }

    #[test]
    fn a_row_is_found_where_the_stream_has_it() {
        let order = EpochOrder::new(shards(), 3, 1, 0);
        let stream = stream_of(&order);
        for (i, expected) in stream.iter().enumerate() {
            let (window, at) = order.find(i as u64);
            let (group, row) = order.rows(window)[at];
            assert_eq!((order.window(window)[group], row), *expected);
        }
        assert_eq!(order.find(stream.len() as u64), (order.windows(), 0));
    }
}
