//! Several ranks of one process against one: the same rows, the same losses.

use std::fs;
use std::path::Path;

use trainer::data::{Batch, Loader, LoaderSettings, Position, Share};
use trainer::metrics::Record;
use trainer::model::mask::MaskKind;
use trainer::ranks::Group;
use trainer::settings::{Options, Recipe, Settings};
use trainer::train::run::TrainError;

use crate::case::{Case, damage, loader_settings};
use crate::recipes::small;

const START: Position = Position { epoch: 0, batch: 0 };

/// The parts of the first batches, by batch and rank.
fn parts(case: &Case, settings: &LoaderSettings, ranks: usize, batches: usize) -> Vec<Vec<Batch>> {
    let seats = Group::of_threads(ranks).seats();
    let views = seats.iter().map(|seat| seat.share(settings.batch_size));
    let shares = views.map(Share::on_host).collect();
    let mut loaders =
        Loader::start_shares(shares, case.dataset(), settings.clone(), START).unwrap();
    let mut batch = || loaders.iter_mut().map(|loader| loader.next().unwrap()).collect();
    (0..batches).map(|_| batch()).collect()
}

#[test]
fn parts_of_a_batch_are_its_views_in_order_weighted_as_in_the_whole() {
    let case = Case::with_shards(25);
    for kind in [MaskKind::Random, MaskKind::Block] {
        let mut settings = loader_settings();
        settings.masks.kind = kind;
        settings.batch_size = 7;
        let whole = parts(&case, &settings, 1, 9);
        for (whole, parts) in whole.iter().zip(parts(&case, &settings, 3, 9)) {
            let whole = &whole[0];
            let rows: Vec<_> = parts.iter().flat_map(|part| part.rows.clone()).collect();
            assert_eq!(rows, whole.rows);
            let (all, parts): (_, Vec<_>) =
                (whole.values(), parts.iter().map(Batch::values).collect());
            let joined = |of: &dyn Fn(&trainer::data::Values) -> Vec<f32>| {
                parts.iter().flat_map(of).collect::<Vec<_>>()
            };
            assert_eq!(joined(&|values| values.patches.clone()), all.patches);
            for tap in 0..all.targets.len() {
                assert_eq!(joined(&|values| values.targets[tap].clone()), all.targets[tap]);
                assert_eq!(joined(&|values| values.weights[tap].clone()), all.weights[tap]);
            }
        }
    }
}

/// Fails unless two runs took the same course, but for how sums are rounded.
fn assert_same_course(found: &[Record], expected: &[Record]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let (step, lr) = (found.step, found.lr);
        assert_eq!((step, lr), (expected.step, expected.lr));
        for (a, b) in expected.tap_losses.iter().zip(&found.tap_losses) {
            assert!((a - b).abs() < 1e-5 * a, "step {step}: loss {b} should be {a}");
        }
    }
}

/// Gradients are longer at some steps.
const CLIP: f64 = 0.1;

fn fifty_steps(recipe: Recipe, change: impl FnOnce(&mut Options)) -> Settings {
    small(recipe, |options| {
        (options.epochs, options.max_steps, options.steps) = (None, None, Some(50));
        options.accum = Some(2);
        options.clip_grad = Some(CLIP);
        change(options);
    })
}

/// Fails unless 1, 2 and 4 ranks have the same losses.
fn on_any_number_of_ranks(settings: &Settings) {
    let case = Case::with_shards(20);
    let one = case.train("one", settings, false).unwrap();
    let records = case.records("one");
    assert_eq!(records.len(), 50);
    assert!(records[49].loss < 0.95 * records[0].loss, "the run should learn");
    assert!(records.iter().any(|record| record.grad_norm > CLIP), "some step should be clipped");
    for ranks in [2, 4] {
        let out = format!("{ranks}-ranks");
        let many = case.train_on_ranks(ranks, &out, settings, false).unwrap();
        assert_same_course(&case.records(&out), &records);
        let (one, many) = (case.checkpoint(&one).header, case.checkpoint(&many).header);
        assert_eq!(many, one, "nothing of the ranks is in a checkpoint");
        let named = |record: &Record| record.slowest.is_some_and(|slow| slow.rank < ranks);
        assert!(case.records(&out).iter().all(named), "the slowest rank should be named");
    }
}

#[test]
fn fifty_steps_of_a_vit_have_the_same_losses_on_one_two_and_four_ranks() {
    on_any_number_of_ranks(&fifty_steps(Recipe::LocalmimHog, |_| ()));
}

#[test]
fn fifty_steps_of_a_swin_have_the_same_losses_on_one_two_and_four_ranks() {
    on_any_number_of_ranks(&fifty_steps(Recipe::Greenmim, |_| ()));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn a_checkpoint_of_two_ranks_goes_on_with_one_and_four() {
    let case = Case::with_shards(20);
    let until = |steps| {
        small(Recipe::LocalmimHog, |options| {
            options.epochs = Some(4);
            options.max_steps = Some(steps);
        })
    };
    case.train("straight", &until(8), false).unwrap();
    case.train_on_ranks(2, "two", &until(4), false).unwrap();
    for ranks in [1, 4] {
        let out = format!("then-{ranks}");
        copy(&case.path("two"), &case.path(&out));
        let done = case.train_on_ranks(ranks, &out, &until(8), true).unwrap();
        assert_eq!(done.step, 8);
        assert_same_course(&case.records(&out), &case.records("straight"));
    }
}

#[test]
fn what_one_rank_fails_of_ends_all_and_is_told() {
    let case = Case::with_shards(20);
    let of = |batch| small(Recipe::LocalmimHog, |options| options.batch_size = Some(batch));
    let error = case.train_on_ranks(4, "few", &of(3), false).unwrap_err();
    assert!(matches!(error, TrainError::FewViews { .. }), "{error}");
    assert!(error.to_string().contains("--batch-size 3"), "{error}");

    // All have made the same steps where batches end, and those are kept.
    let shard = case.shards().join(&*case.dataset().name(1));
    damage(&shard);
    let error = (0..20)
        .map(|seed| {
            let settings = small(Recipe::LocalmimHog, |options| {
                options.seed = Some(seed);
                options.max_steps = None;
            });
            case.train_on_ranks(3, &format!("run-{seed}"), &settings, false).unwrap_err()
        })
        .find(|error| matches!(error, TrainError::Unread { .. }));
    let error = error.expect("some seed makes a step before");
    let TrainError::Unread { step, ref checkpoint, .. } = error else { panic!("{error}") };
    assert!(step >= 1 && checkpoint.is_file(), "{error}");

    let diverges = small(Recipe::LocalmimHog, |options| {
        options.warmup_epochs = Some(0.0);
        options.lr = Some(1e30);
    });
    let case = Case::with_shards(20);
    let error = case.train_on_ranks(2, "diverges", &diverges, false).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { .. }), "{error}");
}
