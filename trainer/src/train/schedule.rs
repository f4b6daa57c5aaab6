//! The learning rate of a step.

use serde::{Deserialize, Serialize};

/// Linear warm-up, then half a cosine down to a floor, step by step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The learning rate at the end of the warm-up.
    pub peak: f64,
    /// The learning rate at the end.
    pub floor: f64,
    /// Optimizer steps of warm-up.
    pub warmup_steps: u64,
    /// Optimizer steps in all.
    pub total_steps: u64,
}

impl Schedule {
    /// The peak for a batch of `batch` views: base · batch / 256.
    pub fn peak(base: f64, batch: usize) -> f64 {
        base * batch as f64 / 256.0
    }

    /// The learning rate of step `step`, counted from 0: peak · step / warmup, then
    /// floor + (peak − floor) · ½ (1 + cos π·progress).
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / rest as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.floor + (self.peak - self.floor) * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_to_the_floor() {
        let schedule = Schedule { peak: 1.0, floor: 0.1, warmup_steps: 10, total_steps: 110 };
        assert_eq!(schedule.at(0), 0.0);
        assert_eq!(schedule.at(5), 0.5);
        assert_eq!(schedule.at(10), 1.0);
        assert!((schedule.at(60) - 0.55).abs() < 1e-12);
        assert!((schedule.at(110) - 0.1).abs() < 1e-12);
        assert_eq!(schedule.at(500), schedule.at(110));
        assert!((10..110).all(|step| schedule.at(step + 1) < schedule.at(step)));
    }
}
