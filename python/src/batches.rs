//! Which rows make which batch: an order that follows from seed, epoch and part alone.
//!
//! An epoch's row groups are shuffled and stand in a row; of their rows each part (ranks times
//! workers) has a stretch, as long as any other's but for one row, so that a group at an end is read
//! by two. A part takes a window of groups at a time; the rows of a window are shuffled, and batches
//! are cut from what comes.

use std::ops::Range;

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

/// Rows of a group.
struct Stretch {
    group: usize,
    rows: Range<usize>,
}

impl Order {
    /// How many rows parts have: those before this one, and this one.
    fn rows(&self, sizes: &[usize], part: usize) -> Range<usize> {
        let all = sizes.iter().sum::<usize>();
        // Wide enough for any number of rows times that of parts.
        let before = |part: usize| (all as u128 * part as u128 / self.parts as u128) as usize;
        before(part)..before(part + 1)
    }

    /// What this part has of an epoch's groups, of sets whose groups have so many rows.
    fn stretches(&self, sizes: &[usize], epoch: u64) -> Vec<Stretch> {
        let mut groups: Vec<_> = (0..sizes.len()).collect();
        if self.shuffle {
            groups.shuffle(&mut rng(self.seed, epoch, u64::MAX, 0));
        }
        let (mut begin, mine) = (0, self.rows(sizes, self.part));
        let mut stretches = vec![];
        for group in groups {
            let of_group = begin..begin + sizes[group];
            let (from, to) = (mine.start.max(of_group.start), mine.end.min(of_group.end));
            if from < to {
                stretches.push(Stretch { group, rows: from - begin..to - begin });
            }
            begin = of_group.end;
        }
        stretches
    }

    /// Batches of this part in any epoch.
    pub fn batches(&self, sizes: &[usize]) -> usize {
        if self.even {
            sizes.iter().sum::<usize>() / self.parts / self.batch
        } else {
            self.rows(sizes, self.part).len().div_ceil(self.batch)
        }
    }

    /// The windows of this part in an epoch, but for its first `skip` rows: those whose rows are all
    /// passed over do not come.
    pub fn windows(&self, sizes: &[usize], epoch: u64, mut skip: usize) -> Vec<Window> {
        let mut windows = vec![];
        for (number, of) in self.stretches(sizes, epoch).chunks(WINDOW).enumerate() {
            let all = of.iter().map(|stretch| stretch.rows.len()).sum::<usize>();
            if skip >= all {
                skip -= all;
                continue;
            }
            let rows = of.iter().enumerate();
            let mut rows: Vec<_> =
                rows.flat_map(|(at, of)| of.rows.clone().map(move |row| (at, row))).collect();
            if self.shuffle {
                rows.shuffle(&mut rng(self.seed, epoch, self.part as u64, number as u64));
            }
            rows.drain(..std::mem::take(&mut skip));
            windows.push(Window { groups: of.iter().map(|of| of.group).collect(), rows });
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
