//! What was given of a table's options, as a part of a command line.

use std::fmt::{self, Debug};
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{Change, Row, id};

/// The rows that a command takes.
pub trait Table: 'static {
    /// What they set.
    type Settings: 'static;

    /// The rows, in the order of the help.
    fn rows() -> Vec<&'static Row<Self::Settings>>;
}

/// What was given of a table's options: a part of a command line, to flatten into it.
pub struct Given<T: Table> {
    flags: Vec<&'static str>,
    changes: Vec<Change<T::Settings>>,
}

/// Nothing was given.
impl<T: Table> Default for Given<T> {
    fn default() -> Self {
        Self { flags: vec![], changes: vec![] }
    }
}

impl<T: Table> Given<T> {
    /// Whether a flag was given (with its dashes).
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// Settings with what was given.
    #[must_use]
    pub fn over(&self, mut settings: T::Settings) -> T::Settings {
        for change in &self.changes {
            (change.0)(&mut settings);
        }
        settings
    }
}

impl<T: Table> Debug for Given<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Given").field(&self.flags).finish()
    }
}

impl<T: Table> FromArgMatches for Given<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (mut flags, mut changes) = (vec![], vec![]);
        for row in T::rows() {
            let Some(values) = matches.get_many::<Change<T::Settings>>(id(row.flag)) else {
                continue;
            };
            flags.push(row.flag);
            changes.push(Change(Arc::new(row.clear)));
            changes.extend(values.cloned());
        }
        Ok(Self { flags, changes })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T: Table> Args for Given<T> {
    fn augment_args(command: Command) -> Command {
        T::rows().into_iter().fold(command, |command, row| command.arg(row.arg()))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::options::{list, number, switch, text, truth, whole};

    #[derive(Debug, Clone, Default, PartialEq)]
    struct Sizes {
        side: u32,
        rate: f64,
        cells: Vec<u32>,
        files: Vec<String>,
        name: Option<String>,
        strict: bool,
        flip: bool,
    }

    crate::options! {
        fn rows() -> Sizes;

        "Sizes" {
            /// Side
            "--side" => one(side), whole(), within(1..=16), default(8);
            /// Rate,
            /// of a second
            "--rate" => one(rate), number();
            /// Cells
            "--cells" => one(cells), list(), default(vec![4, 8]);
        }
        "Others" {
            /// Files
            "--file" => many(files), text("FILE"), repeated();
            /// Name
            "--name" => maybe(name), text("NAME"), otherwise("none");
            /// Strict
            "--strict" => one(strict), switch(), without("--flip");
            /// Flip
            "--flip" => one(flip), truth();
        }
    }

    struct All;

    impl Table for All {
        type Settings = Sizes;

        fn rows() -> Vec<&'static Row<Sizes>> {
            rows().iter().collect()
        }
    }

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        given: Given<All>,
    }

    fn defaults() -> Sizes {
        let mut sizes = Sizes::default();
        rows().iter().for_each(|row| row.reset(&mut sizes));
        sizes
    }

    fn read(flags: &[&str]) -> Result<Sizes, String> {
        let all = ["program"].into_iter().chain(flags.iter().copied());
        let flags = Flags::try_parse_from(all).map_err(|error| error.to_string())?;
        Ok(flags.given.over(defaults()))
    }

    #[test]
    fn flags_change_what_they_are_given_for_and_nothing_else() {
        assert_eq!(read(&[]).unwrap(), defaults());
        assert_eq!((defaults().side, defaults().cells), (8, vec![4, 8]));
        let given = read(&["--side", "3", "--cells", "2,4", "--rate", "-0.5"]).unwrap();
        assert_eq!(given, Sizes { side: 3, cells: vec![2, 4], rate: -0.5, ..defaults() });
        let given = read(&["--file", "a", "--file", "b", "--name", "n", "--strict"]).unwrap();
        let (files, name) = (vec!["a".into(), "b".into()], Some("n".into()));
        assert_eq!(given, Sizes { files, name, strict: true, ..defaults() });
        assert!(read(&["--flip"]).unwrap().flip && !read(&["--flip", "false"]).unwrap().flip);
        assert!(read(&["--flip", "--strict"]).unwrap_err().contains("--strict"));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_told_with_its_flag() {
        for (flag, value, expected) in [
            ("--side", "many", "a whole number"),
            ("--side", "-1", "not below 0"),
            ("--side", "4294967296", "too large"),
            ("--rate", "fast", "a number"),
            ("--cells", "4,x", "commas"),
            ("--flip", "maybe", "true or false"),
        ] {
            let error = read(&[flag, value]).unwrap_err();
            assert!(error.contains(flag) && error.contains(value), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn help_range_and_default_follow_from_the_row() {
        let help = Flags::command().render_help().to_string();
        assert!(help.contains("--side <SIDE>") && help.contains("--file <FILE>"), "{help}");
        assert!(help.contains("Side [1 to 16] [default: 8]"), "{help}");
        assert!(help.contains("Cells [default: 4,8]"), "{help}");
        assert!(help.contains("Name [default: none]"), "{help}");
        assert!(help.contains("Rate, of a second") && help.contains("Others:"), "{help}");
        let side = &rows()[0];
        assert_eq!(side.check(&defaults()), Ok(()));
        let error = side.check(&Sizes { side: 17, ..defaults() }).unwrap_err();
        assert_eq!(error, "must be 1 to 16, not 17");
        assert_eq!(rows()[2].told(&defaults()).as_deref(), Some("4,8"));
        assert_eq!(rows()[4].told(&defaults()), None);
    }
}
