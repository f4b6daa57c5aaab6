//! Keyword arguments → the settings of a run: the options of the command line, by their names with
//! `_` for `-`, held against the same ranges.

use clap::{Args, Command, FromArgMatches};
use ingest::Settings;
use ingest::settings::options::{self, All};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyTuple};
use storage::Address;
use voice::options::Given;

use crate::error::{input, of_storage};

/// The settings of a set at `out`.
pub fn settings(out: &str, given: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    Ok(given_settings(out, given)?.0)
}

/// The same, with what of it was given.
pub fn given_settings(
    out: &str,
    given: Option<&Bound<'_, PyDict>>,
) -> PyResult<(Settings, Given<All>)> {
    let out: Address = out.parse().map_err(of_storage)?;
    let mut append = false;
    let mut words = vec!["localmim".to_owned()];
    for (name, value) in given.into_iter().flat_map(|given| given.iter()) {
        let name: String = name.extract()?;
        if value.is_none() {
            continue;
        }
        if name == "append" {
            append = value.extract()?;
            continue;
        }
        let flag = format!("--{}", name.replace('_', "-"));
        if !options::rows().iter().any(|row| row.flag == flag) {
            return Err(input(format!(
                "there is no setting `{name}`; `ingest --help` has all, with `_` for `-`"
            )));
        }
        flags(&flag, &value, &mut words)?;
    }
    let command = Given::<All>::augment_args(Command::new("localmim").disable_help_flag(true));
    let matches = command.try_get_matches_from(words).map_err(|error| input(plain(&error)))?;
    let given = Given::<All>::from_arg_matches(&matches).map_err(|error| input(plain(&error)))?;
    let mut settings = Settings::of(vec![], out).given(&given);
    settings.append = append;
    Ok((settings, given))
}

/// The words of a command line that set a value.
fn flags(flag: &str, value: &Bound<'_, PyAny>, words: &mut Vec<String>) -> PyResult<()> {
    if let Ok(truth) = value.cast::<PyBool>() {
        if truth.is_true() {
            words.push(flag.to_owned());
        }
        return Ok(());
    }
    let of_many = value.cast::<PyList>().is_ok() || value.cast::<PyTuple>().is_ok();
    if !of_many {
        words.push(format!("{flag}={}", value.str()?));
        return Ok(());
    }
    let values: Vec<String> =
        value.try_iter()?.map(|value| Ok(value?.str()?.to_string())).collect::<PyResult<_>>()?;
    match flag {
        "--codebook" => words.extend(values.iter().map(|value| format!("{flag}={value}"))),
        _ => words.push(format!("{flag}={}", values.join(","))),
    }
    Ok(())
}

/// What clap says, without the usage of a command that nobody called.
fn plain(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("\n\n").next().unwrap_or(&text);
    text.trim_start_matches("error: ").to_owned()
}
