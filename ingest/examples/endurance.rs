//! Whether a long run stays as quick as a short one, and how much memory it comes to take: runs over
//! a tar of a thousand tiny pictures, and over one of as many as given.
//!
//! ```console
//! $ cargo run --release -p ingest --example endurance -- 1000000
//! ```
//!
//! Each run is a process of its own, so that its peak of memory is, too. The pictures are so small
//! that what every picture costs besides its pixels weighs as much as it can.

mod process;
mod squares;

use std::env;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use ingest::Settings;
use rayon::prelude::*;
use schemas::ShardLayout;

use process::Cost;

/// Pictures unless another number is given.
const PICTURES: u64 = 10_000;
/// Pictures of the short run.
const FEW: u64 = 1_000;
/// Runs of the short kind, of which the median is told: it takes a fraction of a second.
const TIMES: usize = 5;
/// Side of a picture, in pixels.
const SIDE: u32 = 48;
/// Pictures that are drawn at once.
const AT_ONCE: u64 = 4096;

fn main() -> anyhow::Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    if let Some((tar, out)) = process::as_child(&args) {
        return process::run(&settings(tar, out)?);
    }
    let pictures = args.first().map_or(Ok(PICTURES), |text| text.parse())?;
    let few = FEW.max(pictures / 1000);
    println!(
        "  pictures    wall s     CPU s  pictures per CPU second  peak MB  bytes a picture more"
    );
    let mut first: Option<Cost> = None;
    for (pictures, times) in [(few, TIMES), (pictures, 1)] {
        let cost = measure(pictures, times)?;
        let more = first.map_or(String::new(), |first| {
            let bytes = cost.peak as f64 - first.peak as f64;
            format!("{:.0}", bytes / pictures.saturating_sub(few).max(1) as f64)
        });
        let Cost { wall, cpu, peak, .. } = cost;
        let (rate, peak) = (pictures as f64 / cpu, peak as f64 / 1e6);
        println!("{pictures:>10}  {wall:>8.2}  {cpu:>8.2}  {rate:>23.0}  {peak:>7.1}  {more:>21}");
        first.get_or_insert(cost);
    }
    Ok(())
}

/// Runs over so many pictures, and takes the run of the median time.
fn measure(pictures: u64, times: usize) -> anyhow::Result<Cost> {
    let folder = tempfile::tempdir()?;
    let tar = folder.path().join("pictures.tar");
    write(&tar, pictures).with_context(|| format!("can't write {}", tar.display()))?;
    let mut costs = Vec::new();
    for time in 0..times {
        let out = folder.path().join(format!("shards-{time}"));
        let cost = process::measured(&tar, &out)?;
        ensure!(cost.accepted == pictures, "{} of {pictures} were accepted", cost.accepted);
        costs.push(cost);
    }
    costs.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    Ok(costs[times / 2])
}

/// What the run is asked to do.
fn settings(tar: PathBuf, out: PathBuf) -> anyhow::Result<Settings> {
    let mut settings = Settings::new(tar, out);
    settings.ingest.layout = ShardLayout::new(32, vec![4, 8], 9)?;
    settings.ingest.pictures_per_shard =
        ingest::default_pictures_per_shard(&settings.ingest.layout, 1);
    Ok(settings)
}

/// Writes a tar of pictures, no two of which are alike.
fn write(tar: &Path, pictures: u64) -> anyhow::Result<()> {
    let mut tar = tar::Builder::new(BufWriter::new(File::create(tar)?));
    for first in (0..pictures).step_by(AT_ONCE as usize) {
        let numbers = first..pictures.min(first + AT_ONCE);
        let drawn: Vec<_> = numbers
            .clone()
            .into_par_iter()
            .map(|number| squares::draw(number, SIDE))
            .collect::<Result<_, _>>()?;
        for (number, bytes) in numbers.zip(drawn) {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            let name = format!("{:05}/{number:09}.jpg", number / 10_000);
            tar.append_data(&mut header, name, &bytes[..])?;
        }
    }
    tar.into_inner()?.flush()?;
    Ok(())
}
