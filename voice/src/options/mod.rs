//! A program's options as a table: all that is said of an option stands in its row, and the flag,
//! its help and the check of its value follow from it.
//!
//! [`options!`](crate::options!) makes the table. A [`Row`] is made of a [`Field`], which knows the option's type: its [`Kind`] reads and writes
//! values, its [`Place`] is where they stand among the settings. A command takes the rows of a
//! [`Table`] by flattening a [`Given`] of it.

mod given;
mod kind;

use std::fmt::Display;
use std::ops::RangeBounds;
use std::sync::Arc;

use clap::{Arg, ArgAction};

use crate::range::Range;

pub use given::{Given, Table};
pub use kind::{Kind, choice, list, number, one_of, switch, text, truth, whole};

/// Where an option's values stand among the settings `S`: made by [`crate::one`], [`crate::maybe`]
/// and [`crate::many`].
pub struct Place<S, V> {
    /// The values that stand there.
    pub values: fn(&S) -> Vec<V>,
    /// Sets a value, or adds one to those that are there.
    pub put: fn(&mut S, V),
    /// Takes away what a flag does not add to.
    pub clear: fn(&mut S),
    /// The fields that lead to it from the settings.
    pub path: &'static [&'static str],
}

/// The place of a value that is always there.
#[macro_export]
macro_rules! one {
    ($settings:ty: $($path:ident).+) => {
        $crate::options::Place {
            values: |settings: &$settings| vec![settings.$($path).+.clone()],
            put: |settings: &mut $settings, value| settings.$($path).+ = value,
            clear: |_: &mut $settings| (),
            path: &[$(stringify!($path)),+],
        }
    };
}

/// The place of a value that need not be there: an `Option`.
#[macro_export]
macro_rules! maybe {
    ($settings:ty: $($path:ident).+) => {
        $crate::options::Place {
            values: |settings: &$settings| settings.$($path).+.clone().into_iter().collect(),
            put: |settings: &mut $settings, value| settings.$($path).+ = Some(value),
            clear: |settings: &mut $settings| settings.$($path).+ = None,
            path: &[$(stringify!($path)),+],
        }
    };
}

/// The place of any number of values, of which each is given by a flag of its own: a `Vec`.
#[macro_export]
macro_rules! many {
    ($settings:ty: $($path:ident).+) => {
        $crate::options::Place {
            values: |settings: &$settings| settings.$($path).+.clone(),
            put: |settings: &mut $settings, value| settings.$($path).+.push(value),
            clear: |settings: &mut $settings| settings.$($path).+.clear(),
            path: &[$(stringify!($path)),+],
        }
    };
}

/// A table of options: a function that gives its rows. Of each row the comment above it is the help;
/// then come the flag, the place of its value, its kind, and what else a [`Field`] is told.
#[macro_export]
macro_rules! options {
    (
        $(#[doc = $about:literal])*
        $visible:vis fn $rows:ident() -> $settings:ty;
        $($heading:tt {
            $(
                $(#[doc = $help:literal])+
                $flag:literal => $place:ident($($path:ident).+), $kind:expr
                    $(, $rule:ident($($said:expr),*))*;
            )+
        })+
    ) => {
        $(#[doc = $about])*
        $visible fn $rows() -> &'static [$crate::options::Row<$settings>] {
            static ROWS: ::std::sync::LazyLock<::std::vec::Vec<$crate::options::Row<$settings>>> =
                ::std::sync::LazyLock::new(|| {
                    ::std::vec![$($(
                        $crate::options::Field::new(
                            $flag,
                            $kind,
                            $crate::$place!($settings: $($path).+),
                            concat!($($help),+),
                        )
                        $(.$rule($($said),*))*
                        .row()
                        .under($heading),
                    )+)+]
                });
            &ROWS
        }
    };
}

/// A change of settings: what a flag does that was given.
pub struct Change<S>(Arc<dyn Fn(&mut S) + Send + Sync>);

impl<S: 'static> Change<S> {
    fn new<V: Clone + Send + Sync + 'static>(put: fn(&mut S, V), value: V) -> Self {
        Self(Arc::new(move |settings| put(settings, value.clone())))
    }
}

impl<S> Clone for Change<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// An option while its type is known.
pub struct Field<S, V> {
    kind: Kind<V>,
    place: Place<S, V>,
    range: Option<Range<V>>,
    row: Row<S>,
}

/// What is read out of the settings.
type Reading<S, T> = Box<dyn Fn(&S) -> T + Send + Sync>;

/// All that is said of an option of the settings `S`.
pub struct Row<S> {
    /// The flag, with its dashes.
    pub flag: &'static str,
    /// What it is good for, without a period at its end.
    pub help: &'static str,
    /// Under which it stands in the help.
    pub heading: &'static str,
    /// What it may be, in words; empty for anything that can be read.
    pub range: String,
    /// What is there without the flag, in words; empty for nothing.
    pub default: String,
    /// The fields that lead to it from the settings, as in `web`, `retries`.
    pub path: &'static [&'static str],
    arg: Arg,
    reset: Vec<Change<S>>,
    clear: fn(&mut S),
    check: Reading<S, Result<(), String>>,
    told: Reading<S, Option<String>>,
}

impl<S: 'static, V: Clone + Send + Sync + 'static> Field<S, V> {
    /// An option with this flag (with its dashes), whose values are of this kind.
    pub fn new(flag: &'static str, kind: Kind<V>, place: Place<S, V>, help: &'static str) -> Self {
        let (values, write) = (place.values, kind.write);
        let told = move |settings: &S| {
            let values: Vec<_> = values(settings).iter().map(write).collect();
            (!values.is_empty()).then(|| values.join(","))
        };
        let row = Row {
            flag,
            help: help.trim_start(),
            heading: "",
            range: String::new(),
            default: String::new(),
            path: place.path,
            arg: kind.arg(flag, place.put),
            reset: vec![],
            clear: place.clear,
            check: Box::new(|_| Ok(())),
            told: Box::new(told),
        };
        Self { kind, place, range: None, row }
    }

    /// What is there without the flag.
    #[must_use]
    pub fn default(mut self, value: V) -> Self {
        let put = self.place.put;
        self.row.default = (self.kind.write)(&value);
        self.row.reset.push(Change::new(put, value));
        self
    }

    /// What is there without the flag, in words, where it follows from something else.
    #[must_use]
    pub fn otherwise(mut self, words: impl Into<String>) -> Self {
        self.row.default = words.into();
        self
    }

    /// How the value is told where two runs differ in it, if not as the flag has it.
    #[must_use]
    pub fn told(mut self, told: fn(&S) -> Option<String>) -> Self {
        self.row.told = Box::new(told);
        self
    }

    /// May be given any number of times.
    #[must_use]
    pub fn repeated(mut self) -> Self {
        self.row.arg = self.row.arg.action(ArgAction::Append);
        self
    }

    /// May not be given together with another flag.
    #[must_use]
    pub fn without(mut self, flag: &'static str) -> Self {
        self.row.arg = self.row.arg.conflicts_with(id(flag));
        self
    }

    /// The row, its type forgotten.
    pub fn row(self) -> Row<S> {
        self.row
    }
}

impl<S: 'static, V> Field<S, V>
where
    V: Copy + PartialOrd + Display + Send + Sync + 'static,
{
    /// What the value may be; may be said more than once, where it may be one or the other.
    #[must_use]
    pub fn within(mut self, range: impl RangeBounds<V>) -> Self {
        let range = match self.range {
            None => Range::of(range),
            Some(earlier) => earlier.or(range),
        };
        let (values, checked) = (self.place.values, range.clone());
        self.row.range = range.brief();
        self.row.check = Box::new(move |settings| {
            values(settings).into_iter().try_for_each(|value| checked.check(value))
        });
        self.range = Some(range);
        self
    }
}

/// The name by which clap knows a flag.
fn id(flag: &'static str) -> &'static str {
    flag.trim_start_matches('-')
}

impl<S: 'static> Row<S> {
    /// The row under a heading.
    #[must_use]
    pub fn under(self, heading: &'static str) -> Self {
        Self { heading, ..self }
    }

    /// Sets what is there without the flag.
    pub fn reset(&self, settings: &mut S) {
        for change in &self.reset {
            (change.0)(settings);
        }
    }

    /// Whether the value is in its range.
    ///
    /// # Errors
    /// The range in a sentence whose subject is the flag: `must be 1 to 16, not 17`.
    pub fn check(&self, settings: &S) -> Result<(), String> {
        (self.check)(settings)
    }

    /// The value as a flag has it; none where there is none.
    pub fn told(&self, settings: &S) -> Option<String> {
        (self.told)(settings)
    }

    /// Help, range and default, as `--help` has them.
    pub fn words(&self) -> String {
        let mut words = self.help.to_owned();
        for (label, text) in [("", &self.range), ("default: ", &self.default)] {
            if !text.is_empty() {
                words.push_str(&format!(" [{label}{text}]"));
            }
        }
        words
    }

    fn arg(&self) -> Arg {
        let arg = self.arg.clone().help(self.words());
        if self.heading.is_empty() { arg } else { arg.help_heading(self.heading) }
    }
}
