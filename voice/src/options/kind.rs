//! How values are read from flags, and written as flags have them.

use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ValueEnum};

use super::{Change, id};

/// How an option's values are read and written, as a flag has them.
pub struct Kind<V> {
    /// What stands for the value in the help; none for the flag's own name.
    name: Option<&'static str>,
    read: fn(&str) -> Result<V, String>,
    pub(super) write: fn(&V) -> String,
    choices: Vec<PossibleValue>,
    takes: Takes,
}

/// What may follow a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// `true` or `false`, or nothing for `true`.
    Perhaps,
    Value,
}

impl<V> Kind<V> {
    /// Values that are read and written so; `name` stands for one in the help.
    pub fn new(
        name: &'static str,
        read: fn(&str) -> Result<V, String>,
        write: fn(&V) -> String,
    ) -> Self {
        Self { name: Some(name), read, write, choices: vec![], takes: Takes::Value }
    }

    /// The same, with another word for a value in the help.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }
}

impl<V: Clone + Send + Sync + 'static> Kind<V> {
    /// The flag, whose value becomes a [`Change`] as it is read.
    pub(super) fn arg<S: 'static>(&self, flag: &'static str, put: fn(&mut S, V)) -> Arg {
        let read = self.read;
        let parse = move |text: String| -> Result<Change<S>, Box<dyn Error + Send + Sync>> {
            Ok(Change::new(put, read(&text)?))
        };
        let arg = Arg::new(id(flag)).long(id(flag)).action(ArgAction::Set);
        // Once for each row, for as long as the program runs.
        let name = || &*id(flag).to_uppercase().replace('-', "_").leak();
        let arg = arg.value_name(self.name.unwrap_or_else(name));
        let arg = match self.takes {
            Takes::Nothing => arg.num_args(0).default_missing_value("true"),
            Takes::Perhaps => arg.num_args(0..=1).default_missing_value("true"),
            Takes::Value => arg.num_args(1).allow_negative_numbers(true),
        };
        match self.choices.as_slice() {
            [] => arg.value_parser(StringValueParser::new().try_map(parse)),
            choices => arg.value_parser(PossibleValuesParser::new(choices.to_vec()).try_map(parse)),
        }
    }
}

/// Whole numbers.
pub fn whole<V: TryFrom<i128> + Display>() -> Kind<V> {
    let read = |text: &str| {
        let number: i128 = text.parse().map_err(|_| "it must be a whole number".to_owned())?;
        V::try_from(number).map_err(|_| match number {
            ..0 => "it must be a whole number, not below 0".to_owned(),
            _ => "it is too large".to_owned(),
        })
    };
    Kind { name: None, ..Kind::new("", read, V::to_string) }
}

/// Numbers.
pub fn number() -> Kind<f64> {
    let read = |text: &str| text.parse().map_err(|_| "it must be a number".to_owned());
    let write = |value: &f64| match value.abs() {
        small if small > 0.0 && small < 1e-4 => format!("{value:e}"),
        _ => value.to_string(),
    };
    Kind { name: None, ..Kind::new("", read, write) }
}

/// Lists with commas between their parts, as in 4,8,16.
pub fn list<V: FromStr + Display>() -> Kind<Vec<V>> {
    let read = |text: &str| {
        let parts: Result<_, _> = text.split(',').map(str::parse).collect();
        parts.map_err(|_| "it must be numbers with commas between them".to_owned())
    };
    let write = |values: &Vec<V>| {
        let parts: Vec<_> = values.iter().map(V::to_string).collect();
        parts.join(",")
    };
    Kind { name: None, ..Kind::new("", read, write) }
}

/// Text as it is.
pub fn text(name: &'static str) -> Kind<String> {
    Kind::new(name, |text| Ok(text.to_owned()), String::clone)
}

/// A flag without a value, which sets `true`.
pub fn switch() -> Kind<bool> {
    Kind { takes: Takes::Nothing, ..truth() }
}

/// `true` or `false`; the flag alone is `true`.
pub fn truth() -> Kind<bool> {
    let read = |text: &str| text.parse().map_err(|_| "it must be true or false".to_owned());
    Kind { takes: Takes::Perhaps, ..Kind::new("BOOL", read, bool::to_string) }
}

/// One of a few names.
pub fn choice<V: ValueEnum>() -> Kind<V> {
    let name = |value: &V| {
        let value = value.to_possible_value();
        value.map_or(String::new(), |value| value.get_name().to_owned())
    };
    let choices = V::value_variants().iter().filter_map(V::to_possible_value).collect();
    Kind { name: None, choices, ..Kind::new("", |text| V::from_str(text, false), name) }
}

/// One of a few names, each of which is given with what it means.
pub fn one_of<V>(
    read: fn(&str) -> Result<V, String>,
    write: fn(&V) -> String,
    choices: &[(&'static str, &'static str)],
) -> Kind<V> {
    let choices = choices.iter().map(|&(name, help)| PossibleValue::new(name).help(help)).collect();
    Kind { name: None, choices, ..Kind::new("", read, write) }
}
