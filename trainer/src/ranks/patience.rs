//! How long ranks wait for one that lives and does not come: its device hangs, or its reader.

use std::time::{Duration, Instant};

use super::Group;

/// A rank for which others have waited for so long is given up: longer than a store is asked again,
/// or than a checkpoint takes on its way there.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Whoever is in one process with the rank that hangs, and knows its number, speaks first.
const FIRST: Duration = Duration::from_secs(3);

/// The most that counts of the time between two looks: a program that was stopped, and goes on, has not
/// waited meanwhile.
const LOOK: Duration = Duration::from_secs(2);

/// What a process knows of its waiting.
pub struct Patience {
    limit: Duration,
    looked: Instant,
    /// Since when each rank waited as it was last looked at.
    waits: Vec<Option<Instant>>,
    /// How long nothing of that has changed.
    waited: Duration,
}

impl Patience {
    /// None was looked at.
    pub fn of(limit: Duration) -> Self {
        Self { limit, looked: Instant::now(), waits: vec![], waited: Duration::ZERO }
    }

    /// Looks at ranks. Why all are to end, if some of this process have waited for too long; given the
    /// names of other processes that have ranks which compute.
    pub fn ends(&mut self, group: &Group, busy: &[&str]) -> Option<String> {
        let since = self.looked.elapsed();
        self.looked = Instant::now();
        self.ends_after(since, group, busy)
    }

    /// The same, at such a time after it was last looked.
    fn ends_after(&mut self, since: Duration, group: &Group, busy: &[&str]) -> Option<String> {
        let waits = group.waits();
        if self.waits != waits || waits.iter().all(Option::is_none) {
            (self.waits, self.waited) = (waits, Duration::ZERO);
            return None;
        }
        self.waited += since.min(LOOK);
        let missing: Vec<usize> =
            (0..waits.len()).filter(|&local| waits[local].is_none()).collect();
        let limit = if missing.is_empty() { self.limit + FIRST } else { self.limit };
        if self.waited < limit {
            return None;
        }
        let whose = match (missing.as_slice(), busy) {
            ([], []) => "numbers between ranks".to_owned(),
            ([], busy) => busy.join(" and "),
            (here, _) => {
                let ranks: Vec<_> =
                    here.iter().map(|local| format!("rank {}", group.first() + local)).collect();
                ranks.join(" and ")
            }
        };
        Some(format!(
            "{whose} did not come for {} s, though all processes live (does a device hang?); the last \
             step was {}, and --resume goes on from the newest checkpoint",
            self.waited.as_secs(),
            group.step()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::super::{Collective, Seat};
    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    /// Numbers that never come.
    struct Never(std::sync::Mutex<mpsc::Receiver<()>>);

    impl Collective for Never {
        fn sum(&self, _values: &mut [f32]) -> io::Result<()> {
            let _ = self.0.lock().unwrap().recv();
            Err(io::Error::other("over"))
        }

        fn gather(&self, _own: &[f64]) -> io::Result<Vec<Vec<f64>>> {
            Ok(vec![])
        }
    }

    /// What a process says in the end whose ranks sum, but for some.
    fn said(without: &[usize], busy: &[&str]) -> String {
        let (over, never) = mpsc::channel();
        let group = Group::new(4, 3, 8, Box::new(Never(never.into())));
        group.reached(17);
        let come = |seat: &Seat| !without.contains(&seat.rank());
        let seats: Vec<_> = group.seats().into_iter().filter(come).collect();
        let threads: Vec<_> =
            seats.into_iter().map(|seat| thread::spawn(move || seat.sum(vec![1.0]))).collect();
        let mut patience = Patience::of(LIMIT);
        let why = loop {
            match patience.ends(&group, busy) {
                Some(why) => break why,
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        drop(over);
        group.end(&super::super::RanksError::Lost(why.clone()));
        assert!(threads.into_iter().all(|thread| thread.join().unwrap().is_err()));
        why
    }

    #[test]
    fn a_rank_of_this_process_that_does_not_come_is_named() {
        let why = said(&[5], &["rank 0 (elsewhere)"]);
        assert!(why.starts_with("rank 5 did not come for"), "{why}");
        assert!(why.contains("last step was 17"), "{why}");
        let why = said(&[4, 6], &[]);
        assert!(why.starts_with("rank 4 and rank 6 did not come"), "{why}");
    }

    #[test]
    fn where_all_here_wait_it_is_another_process_that_does_not_come() {
        let why = said(&[], &["ranks 0 to 3 (elsewhere, pid 7)"]);
        assert!(why.starts_with("ranks 0 to 3 (elsewhere, pid 7) did not come for 3 s"), "{why}");
        let why = said(&[], &[]);
        assert!(why.starts_with("numbers between ranks did not come"), "{why}");
    }

    #[test]
    fn a_program_that_was_stopped_has_not_waited_meanwhile() {
        let group = Group::of_threads(2);
        let seat = group.seats().remove(0);
        let waits = thread::spawn(move || seat.sum(vec![1.0]));
        while group.waits()[0].is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        let mut patience = Patience::of(Duration::from_secs(60));
        let hour = Duration::from_secs(3600);
        assert!((0..30).all(|_| patience.ends_after(hour, &group, &[]).is_none()));
        assert!(patience.ends_after(hour, &group, &[]).is_some());
        group.end(&super::super::RanksError::Lost("over".into()));
        assert!(waits.join().unwrap().is_err());
    }

    #[test]
    fn ranks_that_meet_are_waited_for() {
        let group = Group::of_threads(2);
        let mut patience = Patience::of(LIMIT);
        let work = |seat: Seat| {
            for _ in 0..5 {
                thread::sleep(LIMIT / 2);
                seat.sum(vec![1.0]).unwrap();
            }
        };
        let threads: Vec<_> =
            group.seats().into_iter().map(|seat| thread::spawn(move || work(seat))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            assert_eq!(patience.ends(&group, &[]), None);
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(Arc::strong_count(&group), 1);
    }
}
