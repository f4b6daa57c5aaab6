//! Where the time of a run goes.

use std::time::{Duration, Instant};

use super::step::PartTimes;
use crate::metrics::Shares;

/// Where the time since the last line of metrics went.
pub(super) struct Clock {
    start: Instant,
    pub views: u64,
    pub data: Duration,
    pub parts: PartTimes,
    pub optimizer: Duration,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            views: 0,
            data: Duration::ZERO,
            parts: PartTimes::default(),
            optimizer: Duration::ZERO,
        }
    }

    pub fn views_per_s(&self) -> f64 {
        self.views as f64 / self.start.elapsed().as_secs_f64().max(f64::EPSILON)
    }

    pub fn shares(&self) -> Shares {
        let all = self.start.elapsed().as_secs_f64().max(f64::EPSILON);
        let share = |part: Duration| part.as_secs_f64() / all;
        Shares {
            data: share(self.data + self.parts.upload),
            encoder: share(self.parts.encoder),
            decoders: share(self.parts.decoders),
            optimizer: share(self.optimizer),
        }
    }
}
