//! How much sooner: two arms' curves of accuracy, one a seed, → the bar, when each gets there, the
//! ratio, and how sure it is.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Accuracy over time or views: from the untrained encoder, at which x is 0, to the end.
pub type Curve = Vec<(f64, f64)>;

/// Times that seeds are drawn anew for an interval.
const DRAWS: usize = 2000;
/// The part of the draws that lies in an interval.
const INSIDE: f64 = 0.95;

/// When two arms reach what the slower one reaches in its whole run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sooner {
    /// The best accuracy of the slower arm.
    pub bar: f64,
    /// Where the slower arm reaches it.
    pub slow: f64,
    /// Where the faster one does; none if it does not within its run.
    pub fast: Option<f64>,
    /// How many times as long the slower one takes; 0 where the faster one does not get there.
    pub ratio: f64,
    /// Between which ratios 95 % of the draws of seeds lie; none of a single seed, and none where some
    /// draw sets no bar.
    pub interval: Option<(f64, f64)>,
    /// Seeds that both arms have.
    pub seeds: usize,
}

/// What can be said of a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The interval lies above 1.
    Sooner,
    /// It lies below 1.
    Later,
    /// It holds 1.
    NotShown,
    /// There is one seed, so no interval.
    OneSeed,
    /// There is no interval, for seeds can be drawn of which the slower arm is at no time better than an
    /// untrained encoder.
    NoInterval,
}

impl Verdict {
    /// That of an interval of ratios.
    pub fn of((low, high): (f64, f64)) -> Self {
        match (low > 1.0, high < 1.0) {
            (true, _) => Self::Sooner,
            (_, true) => Self::Later,
            _ => Self::NotShown,
        }
    }
}

impl Sooner {
    /// Holds curves of the same seeds against each other, in the same order. None where the slower arm
    /// is at no time better than an untrained encoder: then it has reached nothing.
    pub fn of(fast: &[Curve], slow: &[Curve]) -> Option<Self> {
        let seeds = fast.len().min(slow.len());
        let pairs: Vec<_> = fast.iter().zip(slow).collect();
        let (bar, slow_at, fast_at) = once(&pairs)?;
        Some(Self {
            bar,
            slow: slow_at,
            fast: fast_at,
            ratio: ratio(slow_at, fast_at),
            interval: interval(&pairs, |drawn| {
                once(drawn).map(|(_, slow, fast)| ratio(slow, fast))
            }),
            seeds,
        })
    }

    /// What can be said.
    pub fn verdict(&self) -> Verdict {
        match self.interval {
            None if self.seeds < 2 => Verdict::OneSeed,
            None => Verdict::NoInterval,
            Some(interval) => Verdict::of(interval),
        }
    }
}

fn ratio(slow: f64, fast: Option<f64>) -> f64 {
    fast.map_or(0.0, |fast| slow / fast)
}

/// When two arms reach an accuracy that both do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// The accuracy.
    pub accuracy: f64,
    /// Where the slower arm's mean first reaches it.
    pub slow: f64,
    /// Where the faster one's does.
    pub fast: f64,
    /// Between which ratios of the two 95 % of the draws of seeds lie; none of a single seed, and none
    /// where some draw does not reach it.
    pub interval: Option<(f64, f64)>,
}

impl Level {
    /// At whole per cents above the untrained encoders, as far as the means of both arms go, of curves of
    /// the same seeds in the same order.
    pub fn all(fast: &[Curve], slow: &[Curve]) -> Vec<Self> {
        let pairs: Vec<_> = fast.iter().zip(slow).collect();
        let at = |pairs: &[(&Curve, &Curve)], accuracy: f64| {
            let (fast, slow) = means(pairs);
            Some((first_at(&slow, accuracy)?, first_at(&fast, accuracy)?))
        };
        // Above every seed's start, for else some draw of them would be there before it began.
        let starts = fast.iter().chain(slow).filter_map(|curve| Some(curve.first()?.1));
        let untrained = starts.fold(0.0, f64::max);
        // Not more than a percentage has.
        let whole = (1..=100).map(|per_cent| f64::from(per_cent) / 100.0);
        let above = whole.filter(|level| *level > untrained);
        let level = |accuracy: f64| {
            let (slow, fast) = at(&pairs, accuracy)?;
            let ratio = |drawn: &[_]| at(drawn, accuracy).map(|(slow, fast)| slow / fast);
            Some(Self { accuracy, slow, fast, interval: interval(&pairs, ratio) })
        };
        above.map_while(level).collect()
    }

    /// How many times as long the slower one takes.
    pub fn ratio(&self) -> f64 {
        self.slow / self.fast
    }
}

/// The mean curves of the faster and of the slower arm.
fn means(pairs: &[(&Curve, &Curve)]) -> (Curve, Curve) {
    let (fast, slow): (Vec<&Curve>, Vec<&Curve>) = pairs.iter().copied().unzip();
    (mean(&fast), mean(&slow))
}

/// The bar, and when the means of the slower and of the faster arm reach it.
fn once(pairs: &[(&Curve, &Curve)]) -> Option<(f64, f64, Option<f64>)> {
    let (fast, slow) = means(pairs);
    let untrained = fast.first()?.1.max(slow.first()?.1);
    let bar = slow.iter().skip(1).map(|point| point.1).reduce(f64::max)?;
    if bar <= untrained {
        return None;
    }
    Some((bar, first_at(&slow, bar)?, first_at(&fast, bar)))
}

/// The mean of curves, point by point; as long as the shortest.
pub fn mean(curves: &[&Curve]) -> Curve {
    let points = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
    let count = curves.len() as f64;
    let sum = |at: usize| {
        curves.iter().fold((0.0, 0.0), |sum, curve| (sum.0 + curve[at].0, sum.1 + curve[at].1))
    };
    (0..points).map(sum).map(|(x, y)| (x / count, y / count)).collect()
}

/// Where a curve first reaches an accuracy: on the line between the points before and after.
pub fn first_at(curve: &Curve, accuracy: f64) -> Option<f64> {
    let at = curve.iter().position(|point| point.1 >= accuracy)?;
    let (x, y) = curve[at];
    let Some(&(x_before, y_before)) = at.checked_sub(1).and_then(|at| curve.get(at)) else {
        return Some(x);
    };
    Some(x_before + (accuracy - y_before) / (y - y_before) * (x - x_before))
}

/// Between which figures most draws of seeds lie: as many as there are, with replacement, of what each
/// seed gave; the figure is found anew for each draw. None of a single seed, and none where a draw has
/// no figure.
fn interval<T: Copy>(seeds: &[T], figure: impl Fn(&[T]) -> Option<f64>) -> Option<(f64, f64)> {
    if seeds.len() < 2 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut draw = || {
        let drawn: Vec<T> = seeds.iter().map(|_| seeds[rng.random_range(0..seeds.len())]).collect();
        figure(&drawn)
    };
    let figures: Option<Vec<f64>> = (0..DRAWS).map(|_| draw()).collect();
    inside(figures?)
}

/// The middle 95 % of values.
fn inside(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let outside = (1.0 - INSIDE) / 2.0;
    let last = values.len().checked_sub(1)?;
    let at = |part: f64| values[(part * last as f64).round() as usize];
    Some((at(outside), at(1.0 - outside)))
}

/// A difference of accuracies at the end of runs of the same seeds, with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// The mean of the differences.
    pub mean: f64,
    /// Between which means 95 % of the draws of seeds lie; none of a single seed.
    pub interval: Option<(f64, f64)>,
}

impl Gain {
    /// Of differences, one a seed; none of none.
    pub fn of(differences: &[f64]) -> Option<Self> {
        let mean = |of: &[f64]| (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
        Some(Self { mean: mean(differences)?, interval: interval(differences, mean) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A curve with a point each unit.
    fn curve(accuracies: &[f64]) -> Curve {
        accuracies.iter().enumerate().map(|(at, &accuracy)| (at as f64, accuracy)).collect()
    }

    #[test]
    fn the_bar_is_what_the_slower_one_reaches_and_times_lie_between_points() {
        // The slower ends below its best, which it had at 3.
        let slow = curve(&[0.2, 0.1, 0.3, 0.4, 0.35]);
        let fast = curve(&[0.2, 0.3, 0.5, 0.6, 0.6]);
        let found = Sooner::of(std::slice::from_ref(&fast), std::slice::from_ref(&slow)).unwrap();
        assert_eq!((found.bar, found.slow), (0.4, 3.0));
        assert!((found.fast.unwrap() - 1.5).abs() < 1e-9);
        assert!((found.ratio - 2.0).abs() < 1e-9);
        // Nothing is said of how sure it is.
        assert_eq!((found.interval, found.verdict()), (None, Verdict::OneSeed));
        // The other way round it never gets there, whatever bar the faster one sets.
        let never = Sooner::of(&[slow], &[fast]).unwrap();
        assert_eq!((never.bar, never.fast, never.ratio), (0.6, None, 0.0));
    }

    #[test]
    fn levels_are_those_that_both_reach() {
        // They end at 0.24 and 0.26; the slower is half as fast, and one seed as the other.
        let slow = curve(&[0.2, 0.21, 0.22, 0.23, 0.24]);
        let fast = curve(&[0.205, 0.22, 0.24, 0.26, 0.25]);
        let both = |of: &Curve| [of.clone(), of.clone()];
        let levels = Level::all(&both(&fast), &both(&slow));
        let accuracies: Vec<f64> = levels.iter().map(|level| level.accuracy).collect();
        assert_eq!(accuracies, [0.21, 0.22, 0.23, 0.24]);
        let last = levels[3];
        assert_eq!((last.slow, last.fast, last.ratio()), (4.0, 2.0, 2.0));
        assert_eq!(last.interval, Some((2.0, 2.0)));
        let one = |of: &Curve| [of.clone()];
        assert_eq!(Level::all(&one(&fast), &one(&slow))[3].interval, None);
        assert_eq!(Level::all(&[], &[]), []);
        // One seed begins above 0.22.
        let higher = curve(&[0.225, 0.23, 0.24, 0.26, 0.25]);
        let levels = Level::all(&[fast, higher], &both(&slow));
        assert_eq!(levels[0].accuracy, 0.23);
    }

    #[test]
    fn an_arm_that_never_left_the_untrained_encoder_behind_sets_no_bar() {
        let slow = curve(&[0.4, 0.2, 0.4]);
        assert_eq!(Sooner::of(&[curve(&[0.4, 0.5, 0.6])], &[slow]), None);
        // Nor one that is better than its own start, but not than the other's.
        let slow = curve(&[0.3, 0.2, 0.4]);
        assert_eq!(Sooner::of(&[curve(&[0.45, 0.5, 0.6])], &[slow]), None);
        assert_eq!(Sooner::of(&[], &[]), None);
    }

    #[test]
    fn a_ratio_is_shown_where_every_seed_says_it() {
        let slow = [curve(&[0.2, 0.3, 0.40]), curve(&[0.2, 0.3, 0.42]), curve(&[0.2, 0.3, 0.41])];
        let fast = [curve(&[0.2, 0.5, 0.6]), curve(&[0.2, 0.45, 0.6]), curve(&[0.2, 0.55, 0.6])];
        let found = Sooner::of(&fast, &slow).unwrap();
        let (low, high) = found.interval.unwrap();
        assert!(1.0 < low && low <= found.ratio && found.ratio <= high, "{found:?}");
        assert_eq!((found.verdict(), found.seeds), (Verdict::Sooner, 3));
        // An arm is neither sooner nor later than itself.
        let same = Sooner::of(&slow, &slow).unwrap();
        assert_eq!((same.ratio, same.interval), (1.0, Some((1.0, 1.0))));
        assert_eq!(same.verdict(), Verdict::NotShown);
    }

    #[test]
    fn seeds_that_disagree_show_nothing() {
        let slow = [curve(&[0.2, 0.3, 0.4]), curve(&[0.2, 0.3, 0.4])];
        // One is twice as fast, the other never gets there.
        let fast = [curve(&[0.2, 0.4, 0.8]), curve(&[0.2, 0.2, 0.2])];
        let found = Sooner::of(&fast, &slow).unwrap();
        let (low, high) = found.interval.unwrap();
        assert_eq!((low, high), (0.0, 2.0));
        assert_eq!(found.verdict(), Verdict::NotShown);
    }

    #[test]
    fn seeds_of_which_one_sets_no_bar_have_no_interval() {
        let slow = [curve(&[0.2, 0.3, 0.4]), curve(&[0.2, 0.1, 0.1])];
        let fast = [curve(&[0.2, 0.4, 0.8]), curve(&[0.2, 0.4, 0.8])];
        let found = Sooner::of(&fast, &slow).unwrap();
        assert_eq!((found.interval, found.verdict()), (None, Verdict::NoInterval));
    }

    #[test]
    fn a_gain_has_an_interval_from_two_seeds_on() {
        assert_eq!(Gain::of(&[]), None);
        assert_eq!(Gain::of(&[0.1]).unwrap(), Gain { mean: 0.1, interval: None });
        let gain = Gain::of(&[0.1, 0.3]).unwrap();
        assert!((gain.mean - 0.2).abs() < 1e-9);
        assert_eq!(gain.interval, Some((0.1, 0.3)));
    }
}
