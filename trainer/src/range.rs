//! Values that a flag may have: the checks that settings share, and what is said of a value that
//! fails one.

use std::fmt::Display;

/// A value out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{flag} {found} is out of range: {expected}")]
pub struct OutOfRange {
    /// The flag.
    pub flag: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: &'static str,
}

/// Refuses a value that is not `ok`.
///
/// # Errors
/// [`OutOfRange`], which says what was expected.
pub fn check(
    ok: bool,
    flag: &'static str,
    found: impl Display,
    expected: &'static str,
) -> Result<(), OutOfRange> {
    if ok { Ok(()) } else { Err(OutOfRange { flag, found: found.to_string(), expected }) }
}

/// Refuses a count that is 0, or does not fit 32 bits.
///
/// # Errors
/// [`OutOfRange`].
pub fn count(flag: &'static str, found: u64) -> Result<(), OutOfRange> {
    let fits = found >= 1 && u32::try_from(found).is_ok();
    check(fits, flag, found, "it must be at least 1 and fit 32 bits")
}

/// Refuses a number that is not finite or not above 0.
///
/// # Errors
/// [`OutOfRange`].
pub fn positive(flag: &'static str, found: f64) -> Result<(), OutOfRange> {
    check(found.is_finite() && found > 0.0, flag, found, "it must be a finite number above 0")
}

/// Refuses a number that is not finite or below 0.
///
/// # Errors
/// [`OutOfRange`].
pub fn not_negative(flag: &'static str, found: f64) -> Result<(), OutOfRange> {
    let fits = found.is_finite() && found >= 0.0;
    check(fits, flag, found, "it must be a finite number, not below 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_its_range_is_named_with_what_it_may_be() {
        let refused = [
            count("epochs", 0),
            count("epochs", 1 << 32),
            positive("lr", 0.0),
            positive("lr", f64::INFINITY),
            not_negative("lr", -0.5),
            not_negative("lr", f64::NAN),
        ];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        assert_eq!(
            [count("k", 1), positive("lr", 1e-9), not_negative("lr", 0.0)],
            [const { Ok(()) }; 3]
        );
        let text = not_negative("lr", -0.5).unwrap_err().to_string();
        assert_eq!(text, "--lr -0.5 is out of range: it must be a finite number, not below 0");
    }
}
