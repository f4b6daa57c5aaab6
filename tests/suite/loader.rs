//! What a trainer relies on in its loader.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use shards::{ShardSet, ShardsError};
use targets::{HogExtractor, View, mirror_picture};
use trainer::data::order::batches_per_epoch;
use trainer::data::{Batch, DataError, Loader, LoaderSettings, Position};

use crate::case::{Case, SIZE, damage, loader_settings};

const START: Position = Position { epoch: 0, batch: 0 };
/// Within which threads that were asked to end have ended.
const PATIENCE: Duration = Duration::from_secs(60);

fn batches(case: &Case, settings: LoaderSettings, from: Position, count: usize) -> Vec<Batch> {
    let mut loader = Loader::start(case.dataset(), settings, from).unwrap();
    (0..count).map(|_| loader.next().unwrap()).collect()
}

#[test]
fn an_epoch_has_every_row_once_but_for_the_last_partial_batch() {
    let case = Case::with_shards(25);
    let dataset = case.dataset();
    let (size, rows) = (loader_settings().batch_size as u64, dataset.rows());
    let per_epoch = batches_per_epoch(&dataset, size as usize).unwrap();
    assert_eq!(per_epoch, rows / size);
    assert_ne!(rows % size, 0, "the case should have a partial batch");
    assert!(dataset.groups().count() > 4, "the case should have several windows");

    let two = batches(&case, loader_settings(), START, 2 * per_epoch as usize);
    for (epoch, batches) in two.chunks(per_epoch as usize).enumerate() {
        let mut ids: Vec<_> = batches.iter().flat_map(|b| b.rows.iter().map(|r| r.id)).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len() as u64, per_epoch * size, "a row came twice in epoch {epoch}");
        for (i, batch) in batches.iter().enumerate() {
            assert_eq!(batch.position, Position { epoch: epoch as u64, batch: i as u64 });
        }
    }
    let ids = |batch: &Batch| batch.rows.iter().map(|row| row.id).collect::<Vec<_>>();
    assert_ne!(ids(&two[0]), ids(&two[per_epoch as usize]), "epochs should differ in order");
}

#[test]
fn batches_depend_on_neither_threads_nor_where_the_stream_begins() {
    let case = Case::with_shards(25);
    let all = batches(&case, loader_settings(), START, 9);
    let one_thread = LoaderSettings { threads: 1, prefetch_batches: 1, ..loader_settings() };
    assert_eq!(batches(&case, one_thread, START, 9), all);
    for (i, expected) in all.iter().enumerate() {
        assert_eq!(batches(&case, loader_settings(), expected.position, 1)[0], *expected, "{i}");
    }
    let other_seed = LoaderSettings { seed: 4, ..loader_settings() };
    assert_ne!(batches(&case, other_seed, START, 1)[0].rows, all[0].rows);
}

#[test]
fn targets_are_those_of_the_view_as_it_is_shown_mirrored_or_not() {
    let case = Case::with_shards(25);
    let set = ShardSet::open(&case.shards()).unwrap();
    let rows: BTreeMap<_, _> = (0..set.manifest().rows)
        .map(|index| set.row(index).unwrap())
        .map(|row| (row.id, row))
        .collect();
    let size = SIZE as usize;
    let layout = &set.manifest().settings.layout;
    let cells: Vec<_> = layout.cells.iter().map(|&cell| cell as usize).collect();
    let mut extractor = HogExtractor::new(size, layout.bins as usize, &cells).unwrap();
    let mut mirrored = 0;
    for batch in batches(&case, loader_settings(), START, 4) {
        let values = batch.values();
        for (view, row) in batch.rows.iter().enumerate() {
            let stored = &rows[&row.id].picture;
            let mut picture = stored.clone();
            if row.flipped {
                mirrored += 1;
                mirror_picture(stored, size, &mut picture).unwrap();
            }
            let exact = extractor.compute(View::new(&picture, size).unwrap()).unwrap();
            let taps = batch.spec.one.taps.iter().zip(&values.targets);
            for ((tap, target), exact) in taps.zip(exact) {
                assert_eq!(tap.cell, exact.cell);
                let count = exact.values.len();
                let found = &target[view * count..][..count];
                // Half a code, on each side of the edges that a mirror image moves.
                for (a, b) in found.iter().zip(&exact.values) {
                    assert!((a - b).abs() < 3.0 / 255.0, "{row}: {a} should be {b}");
                }
            }
        }
    }
    assert!(mirrored > 0, "half of the views should be mirrored");
}

#[test]
fn pictures_train_the_same_whether_they_are_stored_as_differences_or_as_they_are() {
    let (filtered, plain) = (Case::with_shards(25), Case::with_plain_pictures(25));
    let column = |case: &Case| case.dataset().layout().picture_column();
    assert_ne!(column(&filtered), column(&plain));
    let of = |case| batches(case, loader_settings(), START, 4);
    assert_eq!(of(&filtered), of(&plain));
}

#[test]
fn a_loader_that_is_dropped_with_batches_waiting_ends() {
    let case = Case::with_shards(25);
    let dataset = case.dataset();
    let settings = LoaderSettings { prefetch_batches: 1, ..loader_settings() };
    let mut loader = Loader::start(Arc::clone(&dataset), settings, START).unwrap();
    loader.next().unwrap();
    assert!(Arc::strong_count(&dataset) > 1, "its threads read the set");
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        drop(loader);
        sender.send(())
    });
    ended.recv_timeout(PATIENCE).expect("the loader waits for a thread that does not end");
    let end = Instant::now() + PATIENCE;
    while Arc::strong_count(&dataset) > 1 {
        assert!(Instant::now() < end, "a thread of the loader is at work still");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_damaged_row_group_is_named_and_what_lies_before_it_is_delivered() {
    let case = Case::with_shards(25);
    let dataset = case.dataset();
    let name = dataset.name(0);
    damage(&case.shards().join(&*name));
    let mut loader = Loader::start(Arc::clone(&dataset), loader_settings(), START).unwrap();
    let per_epoch = batches_per_epoch(&dataset, loader_settings().batch_size).unwrap();
    let error = (0..per_epoch).find_map(|_| loader.next().err()).expect("the shard is damaged");
    let text = error.to_string();
    assert!(
        matches!(error, DataError::Shards(ShardsError::Shard { group: Some(_), .. })),
        "{text}"
    );
    assert!(text.contains(&*name) && text.contains("row group"), "{text}");
    assert!(loader.next().is_err(), "the stream is over");
}

#[test]
fn a_shard_that_vanished_after_the_start_is_named() {
    let case = Case::with_shards(25);
    let dataset = case.dataset();
    let name = dataset.name(1);
    std::fs::remove_file(case.shards().join(&*name)).unwrap();
    let mut loader = Loader::start(Arc::clone(&dataset), loader_settings(), START).unwrap();
    let per_epoch = batches_per_epoch(&dataset, loader_settings().batch_size).unwrap();
    let error = (0..per_epoch).find_map(|_| loader.next().err()).expect("a shard is missing");
    assert!(error.to_string().contains(&*name), "{error}");
}
