//! How values of options are read that no other program has.

use std::path::Path;
use std::time::Duration;

use schemas::PictureFilter;
use voice::options::{Kind, one_of};
use voice::terminal;

use crate::classes::Classes;
use crate::codebook::Codebook;

/// What is done to the pixels of a view.
pub(super) fn filter() -> Kind<PictureFilter> {
    const CHOICES: [(&str, &str); 2] = [
        (
            "green-up",
            "Planes of green, red - green and blue - green, rows as differences to the row above",
        ),
        ("none", "Nothing: RGB"),
    ];
    let read = |text: &str| match text {
        "green-up" => Ok(PictureFilter::GreenUp),
        "none" => Ok(PictureFilter::None),
        other => Err(format!("there is no filter `{other}`")),
    };
    one_of(read, PictureFilter::to_string, &CHOICES)
}

/// The codebook of a file.
pub(super) fn codebook() -> Kind<Codebook> {
    Kind::new("FILE", |path| Codebook::read(Path::new(path)), |code| code.layout().blake3.clone())
}

/// The classes of a file.
pub(super) fn classes() -> Kind<Classes> {
    Kind::new("FILE", |path| Classes::read(Path::new(path)), Classes::code)
}

/// A number of bytes, with a unit.
pub(super) fn bytes() -> Kind<u64> {
    let write = |&bytes: &u64| match (bytes >> 20, bytes >> 30) {
        (_, gib) if gib << 30 == bytes => format!("{gib}GiB"),
        (mib, _) if mib << 20 == bytes => format!("{mib}MiB"),
        _ => bytes.to_string(),
    };
    Kind::new("BYTES", terminal::bytes, write)
}

/// A number of seconds above 0.
pub(super) fn seconds() -> Kind<Duration> {
    Kind::new("SECONDS", read_seconds, |time| time.as_secs_f64().to_string())
}

fn read_seconds(text: &str) -> Result<Duration, String> {
    // More is no limit, and a moment so far away can't be told.
    const MOST: f64 = 366.0 * 24.0 * 3600.0;
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.min(MOST)).ok());
    time.ok_or_else(|| format!("`{text}` is no time; write seconds, as in 5 or 0.5"))
}

/// Six hexadecimal digits, red first.
pub(super) fn colour() -> Kind<[u8; 3]> {
    let write = |colour: &[u8; 3]| colour.iter().map(|value| format!("{value:02x}")).collect();
    Kind::new("RRGGBB", read_colour, write)
}

fn read_colour(text: &str) -> Result<[u8; 3], String> {
    let digits = text.trim_start_matches('#');
    let wrong = || format!("`{text}` is no colour; write six hexadecimal digits, as in ffffff");
    if digits.len() != 6 || !digits.is_ascii() {
        return Err(wrong());
    }
    let channel = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong());
    Ok([channel(0)?, channel(2)?, channel(4)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_above_0() {
        assert_eq!(read_seconds("5"), Ok(Duration::from_secs(5)));
        assert_eq!(read_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(read_seconds("1e300").is_ok());
        for wrong in ["", "0", "-1", "nan", "5s"] {
            assert!(read_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_colour_is_six_digits() {
        assert_eq!(read_colour("ff8000"), Ok([255, 128, 0]));
        assert_eq!(read_colour("#000001"), Ok([0, 0, 1]));
        for wrong in ["", "fff", "gggggg", "ff80000"] {
            assert!(read_colour(wrong).is_err(), "{wrong}");
        }
    }
}
