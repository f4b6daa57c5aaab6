//! What storing HOG as bytes costs in target error: stored against exact values, over the pictures
//! of a folder, as they are and mirrored.
//!
//! ```text
//! cargo run --release -p ingest --example quantization -- ./photos
//! ```

use std::path::PathBuf;

use anyhow::Context;
use ingest::Settings;
use ingest::view::{Cutter, random_crop};
use ingest::{decode, source};
use pictures::Picture;
use rayon::prelude::*;
use schemas::code;
use targets::{Hog, HogExtractor, View, mirror_hog, mirror_picture};

const SIZE: usize = 224;
const CELLS: [usize; 4] = [4, 8, 16, 32];
const BINS: [usize; 2] = [9, 18];

/// Sums over the errors of many values.
#[derive(Debug, Clone, Copy, Default)]
struct Errors {
    count: f64,
    absolute: f64,
    square: f64,
    /// Of the exact values, to which the error is compared.
    signal: f64,
    most: f64,
}

impl Errors {
    fn add(&mut self, stored: &[f32], exact: &[f32]) {
        for (stored, exact) in stored.iter().zip(exact) {
            let error = f64::from((stored - exact).abs());
            self.count += 1.0;
            self.absolute += error;
            self.square += error * error;
            self.signal += f64::from(exact * exact);
            self.most = self.most.max(error);
        }
    }

    fn join(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            absolute: self.absolute + other.absolute,
            square: self.square + other.square,
            signal: self.signal + other.signal,
            most: self.most.max(other.most),
        }
    }
}

/// Errors for each number of bins and cell size, plain and mirrored.
type Table = [[[Errors; 2]; CELLS.len()]; BINS.len()];

fn main() -> anyhow::Result<()> {
    let root: PathBuf =
        std::env::args_os().nth(1).context("give the folder of the pictures")?.into();
    let settings = Settings::new(&root, "").ingest;
    let tables: Vec<_> = source::pictures(&root, settings.seed)?
        .par_iter()
        .filter_map(|path| decode::read(path, &settings).ok())
        .map(|picture| measure(&picture, settings.seed))
        .collect::<anyhow::Result<_>>()?;
    println!("{} pictures, one view of {SIZE} pixels each\n", tables.len());
    println!("bins  cell            mean error  RMS error  largest error  RMS error / RMS target");
    let total = tables.into_iter().fold(Table::default(), join);
    for (bins, cells) in BINS.iter().zip(&total) {
        for (cell, kinds) in CELLS.iter().zip(cells) {
            for (kind, errors) in ["plain", "mirrored"].iter().zip(kinds) {
                println!(
                    "{bins:>4}  {cell:>4}  {kind:8}  {:>12.6}  {:>9.6}  {:>13.6}  {:>21.4} %",
                    errors.absolute / errors.count,
                    (errors.square / errors.count).sqrt(),
                    errors.most,
                    (errors.square / errors.signal).sqrt() * 100.0
                );
            }
        }
    }
    Ok(())
}

fn join(mut all: Table, one: Table) -> Table {
    for (all, one) in all.as_flattened_mut().iter_mut().zip(one.as_flattened()) {
        for (all, one) in all.iter_mut().zip(one) {
            *all = all.join(*one);
        }
    }
    all
}

fn measure(picture: &Picture, seed: u64) -> anyhow::Result<Table> {
    let crop = random_crop(&picture.content_hash, 0, seed, picture.size());
    let pixels = Cutter::new(SIZE as u32).cut(&picture.rgb, crop)?;
    let mut mirrored = vec![0; pixels.len()];
    mirror_picture(&pixels, SIZE, &mut mirrored)?;
    let mut table = Table::default();
    for (bins, cells) in BINS.into_iter().zip(&mut table) {
        let mut extractor = HogExtractor::new(SIZE, bins, &CELLS)?;
        let plain = extractor.compute(View::new(&pixels, SIZE)?)?;
        let exact = extractor.compute(View::new(&mirrored, SIZE)?)?;
        for ((plain, exact), errors) in plain.iter().zip(&exact).zip(cells) {
            errors[0].add(&stored(&plain.values), &plain.values);
            errors[1].add(&stored_mirrored(plain)?, &exact.values);
        }
    }
    Ok(table)
}

/// Values as they come back from a shard.
fn stored(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&value| code::decode(code::encode(value))).collect()
}

/// The mirrored values as they follow from a shard.
fn stored_mirrored(hog: &Hog) -> anyhow::Result<Vec<f32>> {
    let mut values = stored(&hog.values);
    mirror_hog(&mut values, &stored(&hog.ties), hog.grid, hog.bins)?;
    Ok(values)
}
