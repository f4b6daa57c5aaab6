//! The ranks of one process: threads that meet, and through one of them meet other processes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

use super::{Alone, Collective, RanksError, Seat};

/// Values that a core adds at once.
const PIECE: usize = 1 << 16;

/// The ranks of this process.
pub struct Group {
    /// The number of its first rank.
    first: usize,
    /// How many are here.
    here: usize,
    /// How many there are in all.
    ranks: usize,
    between: Box<dyn Collective>,
    sums: Meeting<Vec<f32>, Arc<Vec<f32>>>,
    words: Meeting<Vec<f64>, Arc<Vec<Vec<f64>>>>,
    step: AtomicU64,
    /// Since when each rank of this process waits for others; none for one that computes.
    waits: Mutex<Vec<Option<Instant>>>,
}

impl Group {
    /// All ranks are threads of this process.
    pub fn of_threads(ranks: usize) -> Arc<Self> {
        Self::new(0, ranks, ranks, Box::new(Alone))
    }

    /// `here` ranks of `ranks`, from number `first` on; the others are reached through `between`.
    pub fn new(first: usize, here: usize, ranks: usize, between: Box<dyn Collective>) -> Arc<Self> {
        let (sums, words) = (Meeting::of(here), Meeting::of(here));
        let (step, waits) = (AtomicU64::new(0), Mutex::new(vec![None; here]));
        Arc::new(Self { first, here, ranks, between, sums, words, step, waits })
    }

    /// A place for each rank of this process.
    pub fn seats(self: &Arc<Self>) -> Vec<Seat> {
        (0..self.here).map(|local| Seat { group: Arc::clone(self), local }).collect()
    }

    pub(super) fn first(&self) -> usize {
        self.first
    }

    pub(super) fn ranks(&self) -> usize {
        self.ranks
    }

    pub(super) fn is_whole(&self) -> bool {
        self.here == self.ranks
    }

    /// The step that its ranks have come to.
    pub fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed)
    }

    pub(super) fn reached(&self, step: u64) {
        self.step.fetch_max(step, Ordering::Relaxed);
    }

    /// Since when each rank of this process waits for others, in their order.
    pub(super) fn waits(&self) -> Vec<Option<Instant>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a rank does while it waits.
    fn waiting<T>(&self, local: usize, what: impl FnOnce() -> T) -> T {
        let set = |since| {
            self.waits.lock().unwrap_or_else(PoisonError::into_inner)[local] = since;
        };
        set(Some(Instant::now()));
        let result = what();
        set(None);
        result
    }

    /// Whoever waits for others, now or later, is told why they don't come.
    pub fn end(&self, why: &RanksError) {
        self.sums.end(why);
        self.words.end(why);
    }

    pub(super) fn sum(&self, local: usize, values: Vec<f32>) -> Result<Vec<f32>, RanksError> {
        if self.ranks == 1 {
            return Ok(values);
        }
        let join = |all| {
            let mut sum = in_order(all);
            self.between.sum(&mut sum).map_err(lost)?;
            Ok(Arc::new(sum))
        };
        let sum = self.waiting(local, || self.sums.meet(local, values, join))?;
        Ok(Arc::try_unwrap(sum).unwrap_or_else(|shared| shared.to_vec()))
    }

    pub(super) fn gather(&self, local: usize, own: Vec<f64>) -> Result<Vec<Vec<f64>>, RanksError> {
        if self.ranks == 1 {
            return Ok(vec![own]);
        }
        let join = |all: Vec<Vec<f64>>| {
            // Each rank's numbers after how many they are.
            let said = |one: Vec<f64>| [vec![one.len() as f64], one].concat();
            let here: Vec<f64> = all.into_iter().flat_map(said).collect();
            let everywhere = self.between.gather(&here).map_err(lost)?.concat();
            let mut rest = everywhere.as_slice();
            let mut ranks = vec![];
            while let Some((&count, others)) = rest.split_first() {
                let (one, others) = others.split_at((count as usize).min(others.len()));
                ranks.push(one.to_vec());
                rest = others;
            }
            Ok(Arc::new(ranks))
        };
        let all = self.waiting(local, || self.words.meet(local, own, join))?;
        Ok(Arc::try_unwrap(all).unwrap_or_else(|shared| shared.to_vec()))
    }
}

fn lost(error: std::io::Error) -> RanksError {
    RanksError::Lost(format!("the connection to another rank is gone ({error})"))
}

/// The sum, value by value, in the ranks' order.
fn in_order(all: Vec<Vec<f32>>) -> Vec<f32> {
    let mut all = all.into_iter();
    let mut sum = all.next().unwrap_or_default();
    for other in all {
        let pieces = sum.par_chunks_mut(PIECE).zip(other.par_chunks(PIECE));
        pieces.for_each(|(sum, other)| sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += x));
    }
    sum
}

/// Where threads bring something each, one makes something of all of it, and all take that.
struct Meeting<T, O> {
    round: Mutex<Round<T, O>>,
    changed: Condvar,
}

struct Round<T, O> {
    brought: Vec<Option<T>>,
    result: Option<O>,
    /// Threads that have yet to take the result.
    left: usize,
    ended: Option<RanksError>,
}

impl<T, O: Clone> Meeting<T, O> {
    fn of(threads: usize) -> Self {
        let brought = (0..threads).map(|_| None).collect();
        let round = Round { brought, result: None, left: 0, ended: None };
        Self { round: Mutex::new(round), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Round<T, O>> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, round: MutexGuard<'a, Round<T, O>>) -> MutexGuard<'a, Round<T, O>> {
        self.changed.wait(round).unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: &RanksError) {
        self.lock().ended.get_or_insert_with(|| why.clone());
        self.changed.notify_all();
    }

    /// What `join` makes of what all bring; the last to come does it.
    fn meet(
        &self,
        at: usize,
        what: T,
        join: impl FnOnce(Vec<T>) -> Result<O, RanksError>,
    ) -> Result<O, RanksError> {
        let mut round = self.lock();
        while round.result.is_some() && round.ended.is_none() {
            round = self.wait(round);
        }
        round.brought[at] = Some(what);
        if round.brought.iter().all(Option::is_some) {
            let all: Vec<T> = round.brought.iter_mut().filter_map(Option::take).collect();
            let count = all.len();
            drop(round);
            let joined = join(all);
            round = self.lock();
            match joined {
                Ok(result) => (round.result, round.left) = (Some(result), count),
                Err(error) => {
                    round.ended.get_or_insert(error);
                }
            }
            self.changed.notify_all();
        }
        loop {
            if let Some(why) = &round.ended {
                return Err(why.clone());
            }
            if let Some(result) = round.result.clone() {
                round.left -= 1;
                if round.left == 0 {
                    round.result = None;
                    self.changed.notify_all();
                }
                return Ok(result);
            }
            round = self.wait(round);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_have_the_sum_and_what_each_says_round_after_round() {
        let seats = Group::of_threads(3).seats();
        let work = |seat: Seat| {
            for round in 0..50 {
                let rank = seat.rank() as f32;
                let sum = seat.sum(vec![rank, round as f32]).unwrap();
                assert_eq!(sum, [3.0, 3.0 * round as f32]);
                let own: Vec<f64> = (0..seat.rank()).map(|i| i as f64).collect();
                let said = seat.gather(own).unwrap();
                assert_eq!(said, [vec![], vec![0.0], vec![0.0, 1.0]]);
            }
        };
        let threads: Vec<_> =
            seats.into_iter().map(|seat| thread::spawn(move || work(seat))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn whoever_waits_is_told_that_another_has_ended() {
        let group = Group::of_threads(2);
        let seat = group.seats().remove(0);
        let waits = thread::spawn(move || (seat.sum(vec![1.0]), seat.gather(vec![])));
        group.end(&RanksError::Lost("rank 1 is gone".into()));
        let (sum, said) = waits.join().unwrap();
        assert_eq!(sum.unwrap_err().to_string(), "rank 1 is gone");
        assert_eq!(said.unwrap_err().to_string(), "rank 1 is gone");
    }
}
