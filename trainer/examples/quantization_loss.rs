//! What the stored byte of HOG costs in loss: a checkpoint's loss against stored targets, and
//! against exact ones computed anew from the same views.
//!
//! `cargo run --release -p trainer --example quantization_loss -- RUN SHARDS`

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use burn::backend::{Autodiff, Flex};
use shards::ShardSet;
use targets::{HogExtractor, View, mirror_picture};
use trainer::data::{Batch, Content, Loader, LoaderSettings, Position};
use trainer::export::find_checkpoint;
use trainer::model::{LocalMim, Precision, TargetKind};
use trainer::progress::Console;
use trainer::train::batch::Loaded;
use trainer::train::slices::Slices;
use trainer::train::step::Timing;

/// Views that are measured, in batches.
const BATCHES: usize = 8;
const VIEWS: usize = 32;

fn main() -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [run, shards] = args.as_slice() else { anyhow::bail!("usage: RUN SHARDS") };
    let (_, checkpoint) = find_checkpoint(Path::new(run), &Console::new())?;
    let network = &checkpoint.header.network;
    ensure!(network.target == TargetKind::Hog, "{run} does not predict HOG");
    let set = Arc::new(ShardSet::open_whole(Path::new(shards))?);
    let device = Default::default();
    let model = LocalMim::<Autodiff<Flex>>::from_state(
        network,
        Precision::F32,
        &checkpoint.model,
        &device,
    )?;
    let trained = &checkpoint.header.settings;
    let size = set.manifest().settings.layout.size as usize;
    let settings = LoaderSettings {
        batch_size: VIEWS,
        ..LoaderSettings::new(network, trained.mask_ratio, trained.mask, size)
    };
    let mut loader = Loader::start(Arc::clone(&set), settings, Position { epoch: 0, batch: 0 })?;
    let slices = Slices::over_threads(rayon::current_num_threads())?;

    let mut sums = vec![[0.0; 2]; network.taps.len()];
    for _ in 0..BATCHES {
        let mut batch = loader.next()?;
        let losses = |batch| {
            let loaded = Loaded::now(batch, &device);
            slices.run(&model, network.loss, &loaded, &device, Timing::Host).losses.read()
        };
        let stored = losses(batch.clone());
        make_exact(&mut batch, &set, network.size, network.bins)?;
        let exact = losses(batch);
        for (sum, losses) in sums.iter_mut().zip(stored.into_iter().zip(exact)) {
            *sum = [sum[0] + losses.0, sum[1] + losses.1];
        }
    }
    println!(
        "| tap after layer | cell | loss, stored targets | loss, exact targets | difference |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for (tap, sums) in network.taps.iter().zip(sums) {
        let [stored, exact] = sums.map(|sum| sum / BATCHES as f64);
        println!(
            "| {} | {} | {stored:.6} | {exact:.6} | {:+.6} |",
            tap.layer,
            tap.cell,
            stored - exact
        );
    }
    Ok(())
}

/// Replaces the targets by those of the views' own pixels.
fn make_exact(batch: &mut Batch, set: &ShardSet, size: usize, bins: usize) -> anyhow::Result<()> {
    let cells: Vec<_> = batch.spec.one.taps.iter().map(|tap| tap.cell).collect();
    let mut extractor = HogExtractor::new(size, bins, &cells)?;
    let mut values = batch.values();
    for (view, row) in batch.rows.iter().enumerate() {
        let mut picture = find(set, row.id)?;
        if row.flipped {
            let stored = picture.clone();
            mirror_picture(&stored, size, &mut picture)?;
        }
        let exact = extractor.compute(View::new(&picture, size)?)?;
        for (target, hog) in values.targets.iter_mut().zip(exact) {
            let count = hog.values.len();
            target[view * count..][..count].copy_from_slice(&hog.values);
        }
    }
    batch.content = Content::Made(values);
    Ok(())
}

/// The view of the row `id`; rows lie in rising order of it.
fn find(set: &ShardSet, id: u64) -> anyhow::Result<Vec<u8>> {
    let (mut low, mut high) = (0, set.manifest().rows);
    while low < high {
        let middle = low + (high - low) / 2;
        let row = set.row(middle)?;
        match row.id.cmp(&id) {
            std::cmp::Ordering::Equal => return Ok(row.picture),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None.with_context(|| format!("row {id} is not in the set"))
}
