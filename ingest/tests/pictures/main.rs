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
mod scaled;
mod tiff_codecs;
mod tiff_file;
mod tiff_samples;
mod webp;

use image::RgbImage;
use ingest::picture::{self, Fault, Picture};
use schemas::{IngestSettings, ShardLayout};

/// The settings of a run without flags.
fn settings() -> IngestSettings {
    IngestSettings {
        layout: ShardLayout::new(224, vec![16], 9).unwrap(),
        views: 1,
        seed: 0,
        central: false,
        strict: false,
        min_decoded: 90,
        min_side: 16,
        max_pixels: 178_956_970,
        max_bytes: None,
        max_aspect: 0,
        one_colour: 4,
        background: [255; 3],
        scaled_decode: false,
        pictures_per_shard: 1024,
        rows_per_group: 64,
        zstd_level: 1,
        keep_duplicates: false,
        near_duplicates: None,
        classes: None,
    }
}

fn decode(bytes: &[u8]) -> Result<Picture, Fault> {
    picture::decode(bytes, &settings())
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
