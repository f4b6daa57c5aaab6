//! Odd pictures, as crawls bring them home: what becomes of each, and that none does harm.

// The helpers unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod avif;
mod bombs;
mod cut_short;
mod damage;
mod heif;
mod jpegs;
mod kinds;
mod make;
mod profiles;
mod reasons;
mod tiff_codecs;
mod tiff_file;
mod tiff_samples;
mod webp;

use image::RgbImage;
use pictures::{DecodeOptions, Picture};
use schemas::Fault;

/// The size of the slopes.
const SIZE: (u32, u32) = (make::WIDTH, make::HEIGHT);

/// What a run without flags asks for.
fn options() -> DecodeOptions {
    DecodeOptions {
        min_side: 16,
        max_pixels: 178_956_970,
        max_bytes: None,
        max_aspect: 0,
        one_colour: 4,
        min_decoded: 90,
        strict: false,
        background: [255; 3],
    }
}

fn decode(bytes: &[u8]) -> Result<Picture, Fault> {
    pictures::decode(bytes, &options())
}

/// How far two pictures lie apart: the largest difference of a value, and the mean.
fn distance(one: &RgbImage, other: &RgbImage) -> (u8, f64) {
    assert_eq!(one.dimensions(), other.dimensions());
    let differences = || one.as_raw().iter().zip(other.as_raw()).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = differences().map(f64::from).sum();
    (differences().max().unwrap(), sum / one.as_raw().len() as f64)
}

#[track_caller]
fn assert_near(found: &RgbImage, wanted: &RgbImage, most: u8, mean: f64, name: &str) {
    let (largest, average) = distance(found, wanted);
    assert!(largest <= most && average <= mean, "{name}: {largest} at most, {average} on average");
}

/// Holds a file's picture against what it should be, to the level.
#[track_caller]
fn exact(bytes: &[u8], wanted: &RgbImage, name: &str) {
    let found = decode(bytes).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
    assert!(found.rgb == *wanted, "{name}");
    assert_eq!(found.size(), wanted.dimensions());
    assert!(!found.cut_short);
}

/// Holds a file's picture against what it should be, within so many levels, and half of them on
/// average.
#[track_caller]
fn near(bytes: &[u8], wanted: &RgbImage, most: u8, name: &str) {
    let found = decode(bytes).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
    assert_near(&found.rgb, wanted, most, f64::from(most) / 2.0, name);
    assert!(!found.cut_short);
}
