//! What a number may be, in words: one wording for all that flags and files set.

use std::fmt::{self, Display};
use std::ops::{Bound, RangeBounds};

/// What a number may be. It is worded as what follows "must be": `1 to 16`, `at least 1`, `above 0
/// and below 1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Range<V> {
    parts: Vec<(Bound<V>, Bound<V>)>,
}

impl<V: PartialOrd + Display + Copy> Range<V> {
    /// The numbers of one of Rust's ranges. Floating-point numbers are finite where it ends before
    /// infinity.
    pub fn of(range: impl RangeBounds<V>) -> Self {
        Self { parts: vec![bounds(&range)] }
    }

    /// These numbers, and those of another range.
    #[must_use]
    pub fn or(mut self, range: impl RangeBounds<V>) -> Self {
        self.parts.push(bounds(&range));
        self
    }

    /// Whether a number is one of them.
    pub fn holds(&self, value: V) -> bool {
        self.parts.iter().any(|part| part.contains(&value))
    }

    /// Whether a number is one of them.
    ///
    /// # Errors
    /// The range in a sentence without its subject: `must be 1 to 16, not 17`.
    pub fn check(&self, value: V) -> Result<(), String> {
        if self.holds(value) { Ok(()) } else { Err(format!("must be {self}, not {value}")) }
    }
}

impl<V: Copy + Display> Range<V> {
    /// The range as help has it: without an end that only the format of the numbers sets.
    pub fn brief(&self) -> String {
        const FORMATS: [&str; 2] = ["4294967295", "9223372036854775807"];
        let is_open = |most: &Bound<V>| matches!(most, Bound::Included(most) if FORMATS.contains(&most.to_string().as_str()));
        let parts = self.parts.iter().map(|&(least, most)| match most {
            most if is_open(&most) => (least, Bound::Unbounded),
            most => (least, most),
        });
        let brief = Self { parts: parts.collect() };
        match brief.to_string() {
            // Of whole numbers that goes without saying.
            words if words == "at least 0" => String::new(),
            words => words,
        }
    }
}

fn bounds<V: Copy>(range: &impl RangeBounds<V>) -> (Bound<V>, Bound<V>) {
    (range.start_bound().cloned(), range.end_bound().cloned())
}

impl<V: Display> Display for Range<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            if i > 0 {
                f.write_str(" or ")?;
            }
            match part {
                (Bound::Included(least), Bound::Included(most)) => write!(f, "{least} to {most}")?,
                (least, most) => write_ends(f, least, most)?,
            }
        }
        Ok(())
    }
}

/// Both ends of a range, each by itself.
fn write_ends<V: Display>(
    f: &mut fmt::Formatter<'_>,
    least: &Bound<V>,
    most: &Bound<V>,
) -> fmt::Result {
    match least {
        Bound::Included(least) => write!(f, "at least {least}")?,
        Bound::Excluded(least) => write!(f, "above {least}")?,
        Bound::Unbounded => {}
    }
    if !matches!(least, Bound::Unbounded) && !matches!(most, Bound::Unbounded) {
        f.write_str(" and ")?;
    }
    match most {
        Bound::Included(most) => write!(f, "at most {most}"),
        Bound::Excluded(most) if most.to_string() == "inf" => f.write_str("finite"),
        Bound::Excluded(most) => write!(f, "below {most}"),
        Bound::Unbounded => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_worded_by_its_ends() {
        assert_eq!(Range::<i32>::of(1..=16).to_string(), "1 to 16");
        assert_eq!(Range::<i32>::of(1..).to_string(), "at least 1");
        assert_eq!(Range::<i32>::of(..=1024).to_string(), "at most 1024");
        assert_eq!(Range::<i32>::of(-50..=-1).or(1..=22).to_string(), "-50 to -1 or 1 to 22");
        assert_eq!(Range::<f64>::of(0.0..1.0).to_string(), "at least 0 and below 1");
        let above = |most| Range::<f64>::of((Bound::Excluded(0.0), most)).to_string();
        assert_eq!(above(Bound::Excluded(1.0)), "above 0 and below 1");
        assert_eq!(above(Bound::Included(1.0)), "above 0 and at most 1");
        assert_eq!(above(Bound::Excluded(f64::INFINITY)), "above 0 and finite");
    }

    #[test]
    fn help_leaves_out_what_the_format_of_numbers_sets() {
        assert_eq!(Range::<u64>::of(1..=u64::from(u32::MAX)).brief(), "at least 1");
        assert_eq!(Range::<u64>::of(0..=i64::MAX as u64).brief(), "");
        assert_eq!(Range::<u32>::of(0..=16).brief(), "0 to 16");
    }

    #[test]
    fn what_is_out_of_it_is_told_with_it() {
        assert_eq!(Range::<i32>::of(1..=16).check(16), Ok(()));
        assert_eq!(Range::<i32>::of(1..=16).check(17), Err("must be 1 to 16, not 17".into()));
        let two = Range::<i32>::of(-50..=-1).or(1..=22);
        assert!(two.holds(-50) && two.holds(22) && !two.holds(0) && !two.holds(23));
        let finite = Range::<f64>::of(0.0..f64::INFINITY);
        assert!(finite.holds(0.0) && !finite.holds(f64::INFINITY) && !finite.holds(f64::NAN));
    }
}
