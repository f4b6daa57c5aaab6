//! Several devices, in one process or many, that train as one.
//!
//! A rank is a device with its part of each batch. Ranks of a process are threads of it; they meet in
//! a [`Group`]. Processes find each other at an address ([`world`]) and agree on what they train
//! (`control`, which also tells them of one another's death), and exchange numbers over connections
//! of their own (`mesh`). What is exchanged, and how, is [`Collective`]'s: all that knows more of the
//! way between processes is behind it.

mod control;
mod group;
mod mesh;
mod patience;
mod session;
mod wire;
pub mod world;

use std::io;
use std::ops::Range;
use std::sync::Arc;

pub use control::{Alike, Lobby};
pub use group::Group;
pub use session::{Ends, Session};
pub use world::World;

/// What processes that train together exchange, each in the same order of calls.
///
/// Whatever carries it must give the same numbers to each process, and the same from run to run: what
/// is added is added in the processes' order.
pub trait Collective: Send + Sync {
    /// The sum over all processes, value by value, in the place of what this one brings.
    ///
    /// # Errors
    /// If another process does not answer, or speaks of something else.
    fn sum(&self, values: &mut [f32]) -> io::Result<()>;

    /// What each process says, in their order.
    ///
    /// # Errors
    /// As above.
    fn gather(&self, own: &[f64]) -> io::Result<Vec<Vec<f64>>>;
}

/// There is no other process.
pub struct Alone;

impl Collective for Alone {
    fn sum(&self, _values: &mut [f32]) -> io::Result<()> {
        Ok(())
    }

    fn gather(&self, own: &[f64]) -> io::Result<Vec<Vec<f64>>> {
        Ok(vec![own.to_vec()])
    }
}

/// What keeps ranks from training together.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RanksError {
    /// Another rank is no more; the text names it.
    #[error("{0}")]
    Lost(String),
    /// Processes do not fit together.
    #[error("{0}")]
    Apart(String),
    /// Not all came.
    #[error("{0}")]
    Missing(String),
    /// This process was asked to stop while it waited for others.
    #[error("stopped before all processes were there")]
    Stopped,
    /// An address can't be used.
    #[error("--rendezvous {address}: {reason}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
}

/// One rank's place among all.
#[derive(Clone)]
pub struct Seat {
    group: Arc<Group>,
    local: usize,
}

impl Seat {
    /// The only one there is.
    pub fn alone() -> Self {
        Group::of_threads(1).seats().remove(0)
    }

    /// Its number, from 0.
    pub fn rank(&self) -> usize {
        self.group.first() + self.local
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.group.ranks()
    }

    /// It writes what the run leaves behind.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// It is the first of this process.
    pub fn is_first_here(&self) -> bool {
        self.local == 0
    }

    /// All ranks are threads of this process.
    pub fn in_one_process(&self) -> bool {
        self.group.is_whole()
    }

    /// Its views of a batch of `views`: parts follow one another, and none is larger than another by
    /// more than one.
    pub fn share(&self, views: usize) -> Range<usize> {
        share(self.rank(), self.ranks(), views)
    }

    /// The sum of what all ranks bring, added in their order.
    ///
    /// # Errors
    /// [`RanksError::Lost`] if one of them is no more.
    pub fn sum(&self, values: Vec<f32>) -> Result<Vec<f32>, RanksError> {
        self.group.sum(self.local, values)
    }

    /// What each rank says, in their order.
    ///
    /// # Errors
    /// As above.
    pub fn gather(&self, own: Vec<f64>) -> Result<Vec<Vec<f64>>, RanksError> {
        self.group.gather(self.local, own)
    }

    /// The sum of what all ranks bring, as above; of few numbers.
    ///
    /// # Errors
    /// As above.
    pub fn add(&self, own: Vec<f64>) -> Result<Vec<f64>, RanksError> {
        let add = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a + b).collect();
        Ok(self.gather(own)?.into_iter().reduce(add).unwrap_or_default())
    }

    /// Others are told how far this one is.
    pub fn reached(&self, step: u64) {
        self.group.reached(step);
    }
}

/// The part of `views` views that a rank takes.
fn share(rank: usize, ranks: usize, views: usize) -> Range<usize> {
    rank * views / ranks..(rank + 1) * views / ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_batch_are_disjoint_and_complete() {
        for (ranks, views) in [(1, 1), (2, 7), (3, 8), (4, 4), (5, 256)] {
            let parts: Vec<_> = (0..ranks).map(|rank| share(rank, ranks, views)).collect();
            let all: Vec<_> = parts.iter().cloned().flatten().collect();
            assert_eq!(all, (0..views).collect::<Vec<_>>());
            let sizes = parts.iter().map(ExactSizeIterator::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }
}
