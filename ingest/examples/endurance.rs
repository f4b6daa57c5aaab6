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

use std::env;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use ingest::{Settings, Silent};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use schemas::ShardLayout;

/// The first argument of the process that runs.
const CHILD: &str = "run";
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
    if let [child, tar, out] = &args[..]
        && child == CHILD
    {
        return run(Path::new(tar), Path::new(out));
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
        let Cost { wall, cpu, peak } = cost;
        let (rate, peak) = (pictures as f64 / cpu, peak as f64 / 1e6);
        println!("{pictures:>10}  {wall:>8.2}  {cpu:>8.2}  {rate:>23.0}  {peak:>7.1}  {more:>21}");
        first.get_or_insert(cost);
    }
    Ok(())
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Seconds.
    wall: f64,
    /// Seconds of all threads.
    cpu: f64,
    /// Bytes.
    peak: u64,
}

/// Runs over so many pictures, and takes the run of the median time.
fn measure(pictures: u64, times: usize) -> anyhow::Result<Cost> {
    let folder = tempfile::tempdir()?;
    let tar = folder.path().join("pictures.tar");
    write(&tar, pictures).with_context(|| format!("can't write {}", tar.display()))?;
    let mut costs = Vec::new();
    for time in 0..times {
        let out = folder.path().join(format!("shards-{time}"));
        let child = Command::new(env::current_exe()?).arg(CHILD).args([&tar, &out]).output()?;
        let said = String::from_utf8_lossy(&child.stdout);
        ensure!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        let fields: Vec<_> = said.split_whitespace().collect();
        let [accepted, wall, cpu, peak] = fields[..] else { anyhow::bail!("said: {said}") };
        ensure!(accepted.parse() == Ok(pictures), "{accepted} of {pictures} were accepted");
        costs.push(Cost { wall: wall.parse()?, cpu: cpu.parse()?, peak: peak.parse()? });
    }
    costs.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    Ok(costs[times / 2])
}

/// The run itself; tells what it took.
fn run(tar: &Path, out: &Path) -> anyhow::Result<()> {
    let mut settings = Settings::new(tar, out);
    settings.ingest.layout = ShardLayout::new(32, vec![4, 8], 9)?;
    settings.ingest.pictures_per_shard =
        ingest::default_pictures_per_shard(&settings.ingest.layout, 1);
    let start = Instant::now();
    let summary = ingest::run(&settings, &Silent)?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), process::cpu_time()?.as_secs_f64());
    println!("{} {wall} {cpu} {}", summary.part.accepted, process::peak_memory()?);
    Ok(())
}

/// Writes a tar of pictures, no two of which are alike.
fn write(tar: &Path, pictures: u64) -> anyhow::Result<()> {
    let mut tar = tar::Builder::new(BufWriter::new(File::create(tar)?));
    for first in (0..pictures).step_by(AT_ONCE as usize) {
        let numbers = first..pictures.min(first + AT_ONCE);
        let drawn: Vec<_> = numbers.clone().into_par_iter().map(draw).collect::<Result<_, _>>()?;
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

/// A JPEG of squares in colours that its number draws.
fn draw(number: u64) -> image::ImageResult<Vec<u8>> {
    const SQUARES: u32 = 6;
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let colours: [[u8; 3]; (SQUARES * SQUARES) as usize] = std::array::from_fn(|_| rng.random());
    let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let (column, row) = (x * SQUARES / SIDE, y * SQUARES / SIDE);
        Rgb(colours[(row * SQUARES + column) as usize])
    });
    let mut file = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut file, 75))?;
    Ok(file)
}
