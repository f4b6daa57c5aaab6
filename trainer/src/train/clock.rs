//! Where the time of a run goes.
//!
//! A device that works off a queue knows what part of a step it is in, but the host does not unless
//! it waits; so there the parts are timed at a few steps only, and stand for the others.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

use super::step::{PartTimes, Timing};
use crate::metrics::{Shares, Spent};

/// A queued device's parts are timed anew after so long, at the next logged step.
const TIMED_EVERY: Duration = Duration::from_secs(10);
/// So many logged steps are timed whenever they come: the first may compile kernels.
const TIMED_FIRST: u32 = 2;

/// What a run has taken since it began, or was taken up.
pub(super) struct Stopwatch {
    start: Instant,
    cores: ProcessTime,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { start: Instant::now(), cores: ProcessTime::now() }
    }

    /// What the run has taken, with what it took before.
    pub fn after(&self, before: Spent) -> Spent {
        Spent {
            elapsed_s: before.elapsed_s + self.start.elapsed().as_secs_f64(),
            core_s: before.core_s.map(|before| before + self.cores.elapsed().as_secs_f64()),
        }
    }
}

/// Where the time since the last line of metrics went.
pub(super) struct Clock {
    /// The device works off a queue.
    queued: bool,
    start: Instant,
    steps: u32,
    pub views: u64,
    pub data: Duration,
    upload: Duration,
    /// The step in progress.
    timing: Timing,
    parts: PartTimes,
    optimizer: Duration,
    /// Of the steps since the last line that were timed.
    timed: u32,
    /// Seconds a step, when last timed: encoder, decoders, optimizer.
    each: [f64; 3],
    /// When a queued device was last timed, and how often.
    last: Option<Instant>,
    times: u32,
}

impl Clock {
    /// Of a run whose device works off a queue or does not.
    pub fn start(queued: bool) -> Self {
        Self {
            queued,
            start: Instant::now(),
            steps: 0,
            views: 0,
            data: Duration::ZERO,
            upload: Duration::ZERO,
            timing: Timing::Host,
            parts: PartTimes::default(),
            optimizer: Duration::ZERO,
            timed: 0,
            each: [0.0; 3],
            last: None,
            times: 0,
        }
    }

    /// A step begins: how its parts are to be timed.
    pub fn step(&mut self, logged: bool) -> Timing {
        let due =
            self.times < TIMED_FIRST || self.last.is_none_or(|last| last.elapsed() >= TIMED_EVERY);
        self.timing = if self.queued && logged && due { Timing::Device } else { Timing::Host };
        if self.timing == Timing::Device {
            self.last = Some(Instant::now());
            self.times += 1;
        }
        self.steps += 1;
        if self.timed() {
            self.timed += 1;
        }
        self.timing
    }

    /// What the parts of the step in progress take says where the time goes.
    fn timed(&self) -> bool {
        !self.queued || self.timing == Timing::Device
    }

    /// A batch of the step in progress took so long.
    pub fn batch(&mut self, times: PartTimes) {
        self.upload += times.upload;
        if self.timed() {
            self.parts += times;
        }
    }

    /// Its optimizer took so long.
    pub fn optimizer(&mut self, time: Duration) {
        if self.timed() {
            self.optimizer += time;
        }
    }

    pub fn views_per_s(&self) -> f64 {
        self.views as f64 / self.start.elapsed().as_secs_f64().max(f64::EPSILON)
    }

    /// Where the time since the last line went; that of the next line begins.
    pub fn shares(&mut self) -> Shares {
        let all = self.start.elapsed().as_secs_f64().max(f64::EPSILON);
        if self.timed > 0 {
            let parts = [self.parts.encoder, self.parts.decoders, self.optimizer];
            self.each = parts.map(|part| part.as_secs_f64() / f64::from(self.timed));
        }
        let data = (self.data + self.upload).as_secs_f64() / all;
        let parts = self.each.map(|each| each * f64::from(self.steps) / all);
        // A step that is waited for takes longer than one in a queue.
        let fit = ((1.0 - data).max(0.0) / parts.iter().sum::<f64>()).min(1.0);
        let [encoder, decoders, optimizer] = parts.map(|part| part * fit);
        let (each, last, times) = (self.each, self.last, self.times);
        *self = Self { each, last, times, ..Self::start(self.queued) };
        Shares { data, encoder, decoders, optimizer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(clock: &mut Clock, logged: bool) -> Timing {
        let timing = clock.step(logged);
        let (encoder, decoders) = (Duration::from_secs(6), Duration::from_secs(3));
        clock.batch(PartTimes { upload: Duration::ZERO, encoder, decoders });
        clock.optimizer(Duration::from_secs(1));
        timing
    }

    #[test]
    fn a_queue_is_stopped_at_few_steps_which_stand_for_the_others() {
        let mut clock = Clock::start(true);
        let logged = [false, true, false, true, true];
        let timings = logged.map(|logged| step(&mut clock, logged));
        use Timing::{Device, Host};
        assert_eq!(timings, [Host, Device, Host, Device, Host]);
        for _ in 0..2 {
            let shares = clock.shares();
            assert!((shares.encoder - 0.6).abs() < 0.01 && (shares.optimizer - 0.1).abs() < 0.01);
            assert_eq!(step(&mut clock, true), Host);
        }
        // A host that does the work itself need not wait.
        assert_eq!(step(&mut Clock::start(false), true), Host);
        assert_eq!(Clock::start(false).shares().encoder, 0.0);
    }
}
