//! Views a second that the loader delivers, with as many threads as there are cores; and on Linux the
//! processor's time that a view takes, which other work on the machine changes little.
//!
//! Reads the shards of the folder named by `LOCALMIM_SHARDS`, or makes its own of 224-pixel views
//! in a temporary folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shards::{ShardSet, ShardSource};
use trainer::data::{Loader, LoaderSettings, Position};
use trainer::model::mask::MaskKind;
use trainer::model::{ModelConfig, ModelName, TargetKind};

/// Pictures of the folder that is made: enough for several windows of row groups.
const PICTURES: usize = 512;
/// Views a batch.
const BATCH: usize = 256;

fn make(folder: &Path) -> PathBuf {
    let (raw, shards) = (folder.join("raw"), folder.join("shards"));
    ingest::sample::write(&raw, PICTURES, 0).expect("sample pictures");
    let mut settings = ingest::Settings::new(raw, &shards);
    settings.ingest.views = 4;
    ingest::run(&settings, &ingest::Silent).expect("shards");
    shards
}

/// Processor's time of all threads until now, from Linux's table of processes.
fn processor_time() -> Option<f64> {
    /// Ticks a second, as that table counts them on every machine.
    const TICKS: f64 = 100.0;
    let table = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which may hold anything: the 14th and 15th of all.
    let fields = table.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
    Some(fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

/// Says what the loader works for a view.
fn work(name: &str, loader: &mut Loader) {
    /// Batches that are counted.
    const BATCHES: usize = 60;
    let Some(begun) = processor_time() else { return };
    for _ in 0..BATCHES {
        let batch = loader.next().expect("a batch");
        loader.give_back(batch);
    }
    let seconds = processor_time().map_or(0.0, |now| now - begun);
    let views = (BATCHES * BATCH) as f64;
    println!(
        "loader/{name}: {:.1} µs of a core for a view, {:.0} views a second and core",
        1e6 * seconds / views,
        views / seconds
    );
}

fn loader(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shards: PathBuf = match std::env::var_os("LOCALMIM_SHARDS") {
        Some(path) => path.into(),
        None => make(folder.path()),
    };
    let dataset = Arc::new(ShardSet::open_whole(ShardSource::local(shards)).expect("shards"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut group = criterion.benchmark_group("loader");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);
    for (name, target) in [("hog", TargetKind::Hog), ("pixel", TargetKind::Pixel)] {
        let size = dataset.layout().size as usize;
        let network = ModelConfig::local_mim(ModelName::VitBase16.encoder(), size, target, 9);
        let settings = LoaderSettings {
            batch_size: BATCH,
            threads: cores,
            ..LoaderSettings::new(&network, 0.75, MaskKind::Random, size)
        };
        let start = Position { epoch: 0, batch: 0 };
        let mut loader =
            Loader::start(Arc::clone(&dataset), settings, start).expect("shards that fit");
        // What waits already would come for nothing.
        for _ in 0..8 {
            let batch = loader.next().expect("a batch");
            loader.give_back(batch);
        }
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let batch = loader.next().expect("a batch");
                loader.give_back(batch);
            });
        });
        work(name, &mut loader);
    }
    group.finish();
}

criterion_group!(benches, loader);
criterion_main!(benches);
