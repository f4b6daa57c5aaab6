//! How quick the whole of ingest is beside what it can't do without, decoding and cropping: over a
//! folder of pictures, on one thread and on all cores.
//!
//! ```console
//! $ cargo run --release -p ingest --example rates -- ./photos
//! ```
//!
//! All pictures are read once before, so that none comes from a disk. Each figure is the median of
//! three; those per CPU second depend less on what else the machine does.

mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use ingest::view::{Cutter, random_crop};
use ingest::{Settings, Silent, decode, source};
use pictures::Decoder;
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

const TIMES: usize = 3;

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(std::env::args().nth(1).context("give the folder of the pictures")?);
    let paths = source::pictures(&root, 0)?;
    for path in &paths {
        fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    }
    let cores = std::thread::available_parallelism()?.get();
    println!("{} files; pictures/s, and pictures per CPU second\n", paths.len());
    println!("threads        decode   decode + crop    whole of ingest  whole : decode + crop");
    for threads in if cores == 1 { vec![1] } else { vec![1, cores] } {
        let decode = median(paths.len(), || look(&paths, threads, false))?;
        let crop = median(paths.len(), || look(&paths, threads, true))?;
        let whole = median(paths.len(), || ingest(&root, threads))?;
        let text = |rate: Rate| format!("{:.0} {:>6.0}", rate.wall, rate.cpu);
        let share = |whole: f64, crop: f64| 100.0 * whole / crop;
        println!(
            "{threads:>7}  {:>12}  {:>14}  {:>17}  {:>12.0} % {:>4.0} %",
            text(decode),
            text(crop),
            text(whole),
            share(whole.wall, crop.wall),
            share(whole.cpu, crop.cpu),
        );
    }
    Ok(())
}

/// Pictures a second.
#[derive(Debug, Clone, Copy)]
struct Rate {
    wall: f64,
    cpu: f64,
}

/// The medians of the rates at which `work` does so many pictures.
fn median(pictures: usize, work: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Rate> {
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let (begun, before) = (Instant::now(), process::cpu_time()?);
        work()?;
        let rate = |seconds: f64| pictures as f64 / seconds;
        walls.push(rate(begun.elapsed().as_secs_f64()));
        cpus.push(rate((process::cpu_time()? - before).as_secs_f64()));
    }
    let middle = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[TIMES / 2]
    };
    Ok(Rate { wall: middle(walls), cpu: middle(cpus) })
}

/// Reads and decodes all pictures, and cuts a view of each if asked to.
fn look(paths: &[PathBuf], threads: usize, cut: bool) -> anyhow::Result<()> {
    let settings = Settings::new("", "").ingest;
    let threads = ThreadPoolBuilder::new().num_threads(threads).build()?;
    let decoder = Decoder::new(decode::options(&settings));
    threads.install(|| {
        paths.par_iter().try_for_each_init(
            || Cutter::new(settings.layout.size),
            |cutter, path| {
                let Ok(picture) = decoder.decode(&fs::read(path)?) else { return Ok(()) };
                if cut {
                    let crop = random_crop(&picture.content_hash, 0, settings.seed, picture.size());
                    cutter.cut(&picture.rgb, crop)?;
                }
                Ok(())
            },
        )
    })
}

/// Makes shards of all pictures, as a run without flags does.
fn ingest(root: &Path, threads: usize) -> anyhow::Result<()> {
    let out = tempfile::tempdir()?;
    let settings = Settings { threads, ..Settings::new(root, out.path().join("shards")) };
    ingest::run(&settings, &Silent)?;
    Ok(())
}
