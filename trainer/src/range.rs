//! What values of flags may be, and what is said of one that is not.

use std::fmt::Display;
use std::ops::{Bound, Range, RangeBounds, RangeInclusive};

use voice::range;

/// Counts of what there is one of at least; they fit 32 bits.
pub const COUNT: RangeInclusive<u64> = 1..=u32::MAX as u64;
/// The same of what lies in memory.
pub const SIZE: RangeInclusive<usize> = 1..=u32::MAX as usize;
/// Numbers that are finite and not below 0.
pub const NOT_NEGATIVE: Range<f64> = 0.0..f64::INFINITY;
/// Numbers that are finite and above 0.
pub const POSITIVE: (Bound<f64>, Bound<f64>) =
    (Bound::Excluded(0.0), Bound::Excluded(f64::INFINITY));
/// Shares of what can be neither nothing nor all.
pub const SHARE: (Bound<f64>, Bound<f64>) = (Bound::Excluded(0.0), Bound::Excluded(1.0));

/// A value out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {problem}")]
pub struct OutOfRange {
    /// The flag, with its dashes.
    pub flag: &'static str,
    /// What it must be, and is not.
    pub problem: String,
}

/// Refuses a value out of a range.
///
/// # Errors
/// [`OutOfRange`], which says what the value may be.
pub fn check<V: PartialOrd + Display + Copy>(
    flag: &'static str,
    value: V,
    range: impl RangeBounds<V>,
) -> Result<(), OutOfRange> {
    let wrong = |problem| OutOfRange { flag, problem };
    range::Range::of(range).check(value).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_its_range_is_named_with_what_it_may_be() {
        let refused = [
            check("--epochs", 0, COUNT),
            check("--epochs", 1 << 32, COUNT),
            check("--lr", 0.0, POSITIVE),
            check("--lr", f64::INFINITY, POSITIVE),
            check("--lr", -0.5, NOT_NEGATIVE),
            check("--lr", f64::NAN, NOT_NEGATIVE),
            check("--mask-ratio", 1.0, SHARE),
        ];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        assert_eq!(
            [
                check("--k", 1, SIZE),
                check("--lr", 1e-9, POSITIVE),
                check("--lr", 0.0, NOT_NEGATIVE)
            ],
            [const { Ok(()) }; 3]
        );
        let text = check("--lr", -0.5, NOT_NEGATIVE).unwrap_err().to_string();
        assert_eq!(text, "--lr: must be at least 0 and finite, not -0.5");
    }
}
