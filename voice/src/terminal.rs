//! Between the programs and a person: flags, lines on standard error, errors with their causes, and
//! names that whoever made the pictures has chosen.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::num::{ParseFloatError, ParseIntError};

use bytesize::ByteSize;
use clap::error::{ContextKind, ErrorKind};
use clap::{Command, Parser};

/// The exit code of a program that was interrupted, as shells have it: 128 and SIGINT's number.
pub const INTERRUPTED: u8 = 130;
/// The exit code of a program whose reader has gone, as `head` does: 128 and SIGPIPE's number.
pub const READER_GONE: u8 = 141;

/// Reads the program's flags; says what is wrong with them, or what was asked for, and ends it.
pub fn flags<C: Parser>() -> C {
    read_flags(C::command(), std::env::args_os()).unwrap_or_else(|error| error.exit())
}

fn read_flags<C: Parser>(
    command: Command,
    args: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
) -> Result<C, clap::Error> {
    // A number below 0 is a value out of its range, not an unknown flag.
    fn with_negatives(command: Command) -> Command {
        command.allow_negative_numbers(true).mut_subcommands(with_negatives)
    }
    let matches = with_negatives(command).try_get_matches_from(args).map_err(in_words)?;
    C::from_arg_matches(&matches)
}

/// Says what a number should be where clap says what the standard library said.
fn in_words(error: clap::Error) -> clap::Error {
    let (Some(flag), Some(value)) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return error;
    };
    let cause = error.source();
    let expected = if cause.is_some_and(|cause| cause.is::<ParseFloatError>()) {
        "it must be a number"
    } else if cause.is_some_and(|cause| cause.is::<ParseIntError>()) {
        "it must be a whole number, not below 0"
    } else {
        return error;
    };
    clap::Error::raw(
        ErrorKind::ValueValidation,
        format!(
            "invalid value '{value}' for '{flag}': {expected}\n\nFor more information, try '--help'.\n"
        ),
    )
}

/// Writes a line to standard error. Where nobody reads that any more, the work goes on unseen.
pub fn tell(line: impl Display) {
    // In one piece: other processes write their lines there, too.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Whether an error is that whoever read standard output has gone.
pub fn reader_gone(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error and its causes in one text, without what was said before: libraries differ in whether
/// an error's own text has its cause in it.
pub fn with_causes<'a>(chain: impl IntoIterator<Item = &'a (dyn Error + 'static)>) -> String {
    let mut text = String::new();
    for error in chain {
        let cause = error.to_string();
        // What the Parquet library puts before an error that is not its own.
        let cause = cause.trim_start_matches("External: ");
        if text.contains(cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(cause);
    }
    visible(&text)
}

/// A number of bytes as a flag has it: with a unit of powers of ten, as in 512MB or 8G, or of two,
/// as in 4GiB.
///
/// # Errors
/// A sentence for whoever gave the flag.
pub fn bytes(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(ByteSize(bytes)) if bytes < u64::MAX => Ok(bytes),
        _ => Err("it must be a number of bytes, as in 512MB, 8G or 4GiB".into()),
    }
}

/// A number of bytes for people, in powers of ten.
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).display().si().to_string()
}

/// A number of things in words.
pub fn counted(count: u64, thing: &str) -> String {
    let plural = match thing {
        _ if count == 1 => "",
        thing if thing.ends_with("ch") || thing.ends_with('s') => "es",
        _ => "s",
    };
    format!("{count} {thing}{plural}")
}

/// Seconds for people, to the minute.
pub fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match (minutes / 60, minutes % 60) {
        (0, 0) => "less than a minute".to_owned(),
        (0, minutes) => counted(minutes, "minute"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// So many a second, with decimals where there would be few digits without.
pub fn rate(per_second: f64) -> String {
    let decimals = match per_second {
        ..1.0 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{per_second:.decimals$}")
}

/// Text with its control characters written out but for the ends of lines, so that it can't steer
/// a terminal.
pub fn visible(text: &str) -> String {
    escaped(text, |character| character == '\n')
}

/// A name with all its control characters written out: it stays in its line.
pub fn name(text: &str) -> String {
    escaped(text, |_| false)
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        // Writing to a String can't fail.
        let _ = match character {
            c if keep(c) || !(c.is_control() || turns_the_line(c)) => write!(shown, "{c}"),
            c if u32::from(c) < 0x80 => write!(shown, "\\x{:02x}", u32::from(c)),
            c => write!(shown, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    shown
}

/// Whether a character changes the order in which those after it are shown.
fn turns_the_line(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn chain(texts: &[&'static str]) -> String {
        let mut error = None;
        for &text in texts.iter().rev() {
            error = Some(Layer { text, source: error.map(Box::new) });
        }
        let error = error.unwrap();
        let first: &(dyn Error + 'static) = &error;
        with_causes(std::iter::successors(Some(first), |&error| error.source()))
    }

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long, default_value_t = 1)]
        count: u64,
        #[arg(long, default_value_t = 1.0)]
        rate: f64,
    }

    fn read(flag: &str, value: &str) -> Result<Flags, String> {
        let read = read_flags(Flags::command(), ["program", flag, value]);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_number_that_is_none_or_below_zero_is_called_so() {
        let says = |flag, value, expected: &str| {
            let text = read(flag, value).unwrap_err();
            assert!(text.contains(flag) && text.contains(value), "{text}");
            assert!(text.contains(expected), "{text}");
        };
        says("--count", "-1", "not below 0");
        says("--count", "many", "a whole number");
        says("--rate", "fast", "a number");
        assert_eq!(read("--count", "3").unwrap().count, 3);
        // Whether it may be below 0 is for the settings to say.
        assert_eq!(read("--rate", "-0.5").unwrap().rate, -0.5);
    }

    #[test]
    fn bytes_are_read_with_their_unit_and_told_with_one() {
        for (text, expected) in [
            ("100", 100),
            ("4G", 4_000_000_000),
            ("4 GB", 4_000_000_000),
            ("4GiB", 4 << 30),
            ("512m", 512_000_000),
            ("1.5kB", 1500),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for wrong in ["", "G", "-1", "4X", "99999999T"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        for told in [0, 999, 1000, 123_456_789, 4 << 40] {
            let read = bytes(&size(told)).unwrap();
            assert!(read.abs_diff(told) * 10 <= told, "{told} is told as {}", size(told));
        }
    }

    #[test]
    fn a_slow_rate_has_decimals() {
        let rates = [0.0417, 0.996, 6.94, 99.94, 99.96, 3320.4].map(rate);
        assert_eq!(rates, ["0.04", "1.00", "6.9", "99.9", "100", "3320"]);
    }

    #[test]
    fn a_cause_is_told_once() {
        assert_eq!(chain(&["can't read x", "not found"]), "can't read x: not found");
        assert_eq!(chain(&["x: not found", "not found"]), "x: not found");
        assert_eq!(chain(&["a", "b: c", "b: c", "c", "d"]), "a: b: c: d");
        assert_eq!(chain(&["a", "External: External: b", "External: b", "b"]), "a: b");
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let hostile = "a\x1b[2Jb\u{9b}31m\r\u{7f}\u{202e}c\nd\té";
        assert_eq!(name(hostile), "a\\x1b[2Jb\\u{9b}31m\\x0d\\x7f\\u{202e}c\\x0ad\\x09é");
        assert_eq!(visible("one\ntwo\r"), "one\ntwo\\x0d");
    }
}
