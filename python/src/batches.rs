//! Which rows make which batch: an order that follows from seed, epoch and part alone.
//!
//! An epoch's row groups are shuffled, dealt out to the parts (ranks times workers) one after the
//! other, and taken a window of them at a time; the rows of a window are shuffled, and batches are cut
//! from what comes.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Row groups whose rows are mixed.
pub const WINDOW: usize = 8;

/// What decides the batches of an epoch.
#[derive(Debug, Clone)]
pub struct Order {
    pub shuffle: bool,
    pub seed: u64,
    /// Rows of a batch.
    pub batch: usize,
    /// Which of the parts.
    pub part: usize,
    pub parts: usize,
    /// Each part has as many batches as the others, all of them whole; what is left over is left
    /// out in this epoch. Otherwise every row comes once, and the last batch may be smaller.
    pub even: bool,
}

/// Row groups whose rows are mixed, and the rows in their order: (place of the group here, row).
#[derive(Debug, PartialEq, Eq)]
pub struct Window {
    pub groups: Vec<usize>,
    pub rows: Vec<(usize, usize)>,
}

impl Order {
    /// The groups of a part in an epoch, of sets whose groups have so many rows.
    fn groups(&self, sizes: &[usize], epoch: u64, part: usize) -> Vec<usize> {
        let mut groups: Vec<_> = (0..sizes.len()).collect();
        if self.shuffle {
            groups.shuffle(&mut rng(self.seed, epoch, u64::MAX, 0));
        }
        groups.into_iter().skip(part).step_by(self.parts).collect()
    }

    /// Batches of this part in an epoch.
    pub fn batches(&self, sizes: &[usize], epoch: u64) -> usize {
        let rows =
            |part| self.groups(sizes, epoch, part).iter().map(|&at| sizes[at]).sum::<usize>();
        if self.even {
            (0..self.parts).map(|part| rows(part) / self.batch).min().unwrap_or(0)
        } else {
            rows(self.part).div_ceil(self.batch)
        }
    }

    /// The windows of this part in an epoch, but for its first `skip` rows: those whose rows are all
    /// passed over do not come.
    pub fn windows(&self, sizes: &[usize], epoch: u64, mut skip: usize) -> Vec<Window> {
        let groups = self.groups(sizes, epoch, self.part);
        let mut windows = vec![];
        for (number, groups) in groups.chunks(WINDOW).enumerate() {
            let all = groups.iter().map(|&at| sizes[at]).sum::<usize>();
            if skip >= all {
                skip -= all;
                continue;
            }
            let rows = groups.iter().enumerate();
            let mut rows: Vec<_> =
                rows.flat_map(|(at, &group)| (0..sizes[group]).map(move |row| (at, row))).collect();
            if self.shuffle {
                rows.shuffle(&mut rng(self.seed, epoch, self.part as u64, number as u64));
            }
            rows.drain(..std::mem::take(&mut skip));
            windows.push(Window { groups: groups.to_vec(), rows });
        }
        windows
    }
}

/// Numbers that follow from these four.
fn rng(seed: u64, epoch: u64, part: u64, window: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (at, word) in [seed, epoch, part, window].into_iter().enumerate() {
        key[at * 8..][..8].copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}
