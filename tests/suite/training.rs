//! Pictures → shards → a trained encoder, through the libraries.

use std::fs;
use std::sync::atomic::AtomicBool;

use shards::ShardSource;
use trainer::checkpoint::CheckpointFolder;
use trainer::data::{Loader, Position};
use trainer::device::DeviceKind;
use trainer::export;
use trainer::model::{EncoderConfig, LocalMim, Precision, Start, init, state};
use trainer::progress::Console;
use trainer::quickstart::{self, Ending};
use trainer::report::{self, Contents};
use trainer::settings::Recipe;
use trainer::train::batch::Loaded;
use trainer::train::run::{TrainError, Trained};
use trainer::train::slices::Slices;
use trainer::train::step::Timing;

use burn::backend::{Autodiff, Flex};

use crate::case::{Case, damage, loader_settings, settings, settings_of};

/// What two runs must share: everything but the clock's figures.
fn course(case: &Case, out: &str) -> Vec<(u64, Vec<f64>, f64, f64)> {
    let records = case.records(out).into_iter();
    records.map(|r| (r.step, r.tap_losses, r.lr, r.grad_norm)).collect()
}

#[test]
fn a_resumed_run_goes_on_as_if_it_had_never_stopped() {
    let case = Case::with_shards(25);
    let change = |max_steps| {
        settings(|options| {
            options.accum = Some(2);
            options.clip_grad = Some(0.5);
            options.max_steps = Some(max_steps);
        })
    };
    let straight = case.train("straight", &change(8), false).unwrap();
    // Stops in the middle of an epoch, twice.
    for steps in [2, 5] {
        let outcome = case.train("stopped", &change(steps), steps > 2).unwrap();
        let position = case.checkpoint(&outcome).header.position;
        assert_ne!(position.batch, 0, "step {steps} should lie within an epoch");
    }
    let resumed = case.train("stopped", &change(8), true).unwrap();
    assert_eq!((straight.step, resumed.step), (8, 8));
    assert_eq!(course(&case, "stopped"), course(&case, "straight"));
    let (a, b) = (case.checkpoint(&straight), case.checkpoint(&resumed));
    assert!(a.model == b.model && a.moments == b.moments, "parameters should be equal to the bit");
}

#[test]
fn a_run_that_is_asked_to_stop_saves_and_can_be_taken_up() {
    let case = Case::with_shards(25);
    let settings = settings(|options| options.max_steps = Some(3));
    let stopped = case.train_until("run", &settings, false, &AtomicBool::new(true)).unwrap();
    assert_eq!((stopped.step, stopped.interrupted, stopped.checkpoint.is_file()), (0, true, true));
    let done = case.train("run", &settings, true).unwrap();
    assert_eq!((done.step, done.interrupted), (3, false));
}

#[test]
fn a_run_whose_loss_is_no_number_names_step_and_rows_and_saves_nothing_of_it() {
    let case = Case::with_shards(25);
    let settings = settings(|options| {
        options.warmup_epochs = Some(0.0);
        options.lr = Some(1e30);
        options.log_every = Some(100);
        options.checkpoint_every = Some(1);
        options.max_steps = Some(8);
    });
    let error = case.train("run", &settings, false).unwrap_err();
    let text = error.to_string();
    let TrainError::NotFinite { step, list, .. } = error else { panic!("{text}") };
    assert!(step > 1 && text.contains(&format!("step {step}")), "{text}");
    let rows = fs::read_to_string(list).unwrap();
    assert_eq!(rows.lines().count(), settings.batch_size, "{rows}");
    let saved = CheckpointFolder::of_run(&case.path("run")).steps().unwrap();
    assert_eq!(saved.last(), Some(&(step - 1)), "{text}");
}

#[test]
fn a_run_that_meets_a_damaged_shard_saves_its_steps_and_goes_on_when_it_is_repaired() {
    let case = Case::with_shards(25);
    let of = |seed| {
        settings(|options| {
            options.seed = Some(seed);
            options.accum = Some(2);
            options.epochs = Some(2);
        })
    };
    let shard = case.shards().join(&*case.dataset().name(1));
    let whole = fs::read(&shard).unwrap();
    damage(&shard);
    // The seed decides when the damaged rows come; with some of them not before a step was made.
    let (seed, error) = (0..20)
        .map(|seed| (seed, case.train(&format!("run-{seed}"), &of(seed), false).unwrap_err()))
        .find(|(_, error)| matches!(error, TrainError::Unread { .. }))
        .expect("some seed makes a step before");
    let text = error.to_string();
    let TrainError::Unread { step, checkpoint, .. } = error else { panic!("{text}") };
    assert!(step >= 1 && checkpoint.is_file(), "{text}");
    assert!(text.contains(&format!("step {step}")) && text.contains("--resume"), "{text}");
    assert!(text.contains("ingest repair"), "{text}");

    // While it is damaged still, nothing is lost, and what is kept is told again.
    let run = format!("run-{seed}");
    let again = case.train(&run, &of(seed), true).unwrap_err();
    assert!(matches!(again, TrainError::Unread { step: at, .. } if at == step), "{again}");

    fs::write(&shard, whole).unwrap();
    let straight = case.train("straight", &of(seed), false).unwrap();
    let resumed = case.train(&run, &of(seed), true).unwrap();
    assert_eq!(course(&case, &run), course(&case, "straight"));
    assert!(case.checkpoint(&straight).model == case.checkpoint(&resumed).model);
}

#[test]
fn a_run_stays_with_the_pictures_it_began_with_though_the_set_grows() {
    let case = Case::with_shards(25);
    let steps = |max_steps| settings(|options| options.max_steps = Some(max_steps));
    let straight = case.train("straight", &steps(8), false).unwrap();
    case.train("stopped", &steps(3), false).unwrap();
    let rows = case.dataset().rows();
    case.append(25);
    assert!(case.dataset().rows() > rows, "the newest manifest has more");
    let resumed = case.train("stopped", &steps(8), true).unwrap();
    assert_eq!(course(&case, "stopped"), course(&case, "straight"));
    assert!(case.checkpoint(&straight).model == case.checkpoint(&resumed).model);
}

#[test]
fn a_quickstart_that_is_asked_to_stop_says_so_and_goes_on_from_there() {
    let case = Case { folder: tempfile::tempdir().unwrap() };
    let stop = AtomicBool::new(true);
    let ending =
        quickstart::run(&case.path("out"), DeviceKind::Cpu, &Console::quiet(), &stop).unwrap();
    assert_eq!(ending, Ending::Interrupted);
    assert!(!case.path("out/report.html").exists());
    // What it was stopped in is an ingest that the same call takes up.
    assert!(case.path("out/shards/shard-00000.parquet").is_file());
    assert!(!case.path("out/shards/manifest.json").exists());
}

#[test]
fn accumulated_batches_step_as_one_large_batch_does() {
    let case = Case::with_shards(25);
    let of = |batch, accum| {
        settings(|options| {
            options.batch_size = Some(batch);
            options.accum = Some(accum);
            options.max_steps = Some(2);
            // Else the first step's rate would be 0, and all runs alike.
            options.warmup_epochs = Some(0.0);
            options.clip_grad = Some(1e-3);
        })
    };
    case.train("large", &of(16, 1), false).unwrap();
    case.train("small", &of(4, 4), false).unwrap();
    for (a, b) in course(&case, "large").iter().zip(&course(&case, "small")) {
        assert_eq!(a.0, b.0);
        for (a, b) in a.1.iter().zip(&b.1) {
            assert!((a - b).abs() < 1e-4 * a, "loss {b} should be {a}");
        }
        assert!((a.3 - b.3).abs() < 1e-3 * a.3, "gradient norm {} should be {}", b.3, a.3);
    }
}

/// Trains, and fails unless the loss of every tap falls below `factor` of what it was.
fn learns(recipe: Recipe, factor: f64) -> (Case, Trained) {
    let case = Case::with_shards(25);
    let settings = settings_of(recipe, |options| {
        options.epochs = Some(16);
        options.lr = Some(2e-2);
        options.clip_grad = Some(1.0);
    });
    let outcome = case.train("run", &settings, false).unwrap();
    let records = case.records("run");
    let mean = |part: &[trainer::metrics::Record], tap: usize| {
        part.iter().map(|record| record.tap_losses[tap]).sum::<f64>() / part.len() as f64
    };
    let (first, last) = (&records[..4], &records[records.len() - 4..]);
    for tap in 0..4 {
        let (before, after) = (mean(first, tap), mean(last, tap));
        assert!(after < factor * before, "tap {}: {before} became {after}", tap + 1);
    }
    (case, outcome)
}

#[test]
fn hog_is_learned_and_the_run_can_be_exported_and_reported() {
    let (case, outcome) = learns(Recipe::LocalmimHog, 0.8);
    let checkpoint = case.checkpoint(&outcome);

    let timm = export::to_timm(&checkpoint).unwrap();
    let EncoderConfig::Vit { dim, depth, .. } = checkpoint.header.network.encoder else {
        panic!("the default should be a ViT");
    };
    let shape = |name: &str| timm.get(name).map(|tensor| tensor.shape.clone());
    let patches = checkpoint.header.network.units();
    assert_eq!(shape("pos_embed"), Some(vec![1, 1 + patches, dim]));
    assert_eq!(shape("cls_token"), Some(vec![1, 1, dim]));
    assert_eq!(shape("patch_embed.proj.weight"), Some(vec![dim, 3, 16, 16]));
    for block in 0..depth {
        assert_eq!(shape(&format!("blocks.{block}.attn.qkv.weight")), Some(vec![3 * dim, dim]));
        assert_eq!(shape(&format!("blocks.{block}.mlp.fc2.weight")), Some(vec![dim, 4 * dim]));
    }
    let top = checkpoint.header.network.taps.len() - 1;
    assert_eq!(timm["norm.weight"], checkpoint.model[&format!("norm.{top}.weight")]);
    // Twelve tensors a block; class token, positions, patch embedding and last norm besides.
    assert_eq!(timm.len(), 12 * depth + 6);

    let page = case.path("report.html");
    report::write(
        &case.path("run"),
        &ShardSource::local(case.shards()),
        &page,
        Contents { views: 3, sample: 12 },
        &Console::quiet(),
    )
    .unwrap();
    let html = fs::read_to_string(page).unwrap();
    assert_eq!(html.matches("data:image/png;base64,").count(), 3);
    assert!(html.contains("<svg"), "the losses should be drawn");
    let thumbnails = html.matches("data:image/jpeg;base64,").count();
    assert!(
        thumbnails > 12,
        "each of some pictures should have neighbours, not {thumbnails} in all"
    );
    let rejects = shards::ShardSet::open(&case.shards()).unwrap().rejects().unwrap();
    assert!(!rejects.is_empty(), "the case should have broken files");
    for reject in rejects {
        assert!(html.contains(&reject.source), "{} should be named", reject.source);
    }
    for link in ["http://", "https://", "src=\"/", "href=\"/"] {
        let outside = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains(link), "the page should stand alone, but has {link}");
    }
}

#[test]
fn normalised_pixels_are_learned() {
    // Few steps on few pictures: the finest scale has hardly begun.
    learns(Recipe::LocalmimPixel, 0.98);
}

#[test]
fn bfloat16_products_give_nearly_the_same_losses() {
    type B = Autodiff<Flex>;
    let case = Case::with_shards(25);
    let start = Position { epoch: 0, batch: 0 };
    let mut loader = Loader::start(case.dataset(), loader_settings(), start).unwrap();
    let network = settings(|_| ()).network(case.dataset().layout()).unwrap();
    let device = Default::default();
    let batch = Loaded::now(loader.next().unwrap(), &device);
    let losses = |precision| {
        let initial = init::init(&network, Start::default(), 0);
        let model = LocalMim::<B>::from_state(&network, precision, &initial, &device).unwrap();
        let output = Slices::whole().run(&model, network.loss, &batch, &device, Timing::Host);
        let params = state::table(&model, &network);
        (output.losses.read(), output.gradients.to_state(&params))
    };
    let (exact, exact_gradients) = losses(Precision::F32);
    let (rounded, gradients) = losses(Precision::Bf16);
    assert_ne!(exact, rounded, "bfloat16 should round");
    for (a, b) in exact.iter().zip(&rounded) {
        assert!((a - b).abs() < 0.02 * a, "loss {b} should be near {a}");
    }
    // Gradients come back in f32 for the f32 master weights, and point the same way.
    for (name, a) in &exact_gradients {
        let b = &gradients[name].data;
        let dot = |x: &[f32], y: &[f32]| {
            x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
        };
        let cosine = dot(&a.data, b) / (dot(&a.data, &a.data) * dot(b, b)).sqrt();
        assert!(cosine > 0.98 || dot(&a.data, &a.data) < 1e-12, "{name}: cosine {cosine}");
    }
}

#[test]
fn a_run_goes_on_in_other_numbers() {
    let case = Case::with_shards(25);
    let change = |precision, max_steps| {
        settings(|options| {
            options.precision = Some(precision);
            options.max_steps = Some(max_steps);
        })
    };
    let exact = case.train("exact", &change(Precision::F32, 8), false).unwrap();
    case.train("run", &change(Precision::Bf16, 3), false).unwrap();
    let resumed = case.train("run", &change(Precision::F32, 8), true).unwrap();
    assert_eq!(resumed.step, exact.step);
    assert_eq!(case.checkpoint(&resumed).header.settings.precision, Precision::F32);
    for (found, one) in case.records("run").into_iter().zip(case.records("exact")) {
        assert!((found.loss - one.loss).abs() < 1e-2 * one.loss, "step {}", one.step);
    }
}

#[test]
fn a_hundred_steps_in_bfloat16_follow_those_in_f32() {
    let case = Case::with_shards(25);
    let losses = |name, precision| {
        let settings = settings(|options| {
            options.precision = Some(precision);
            (options.epochs, options.steps) = (None, Some(100));
        });
        let done = case.train(name, &settings, false).unwrap();
        assert_eq!(done.step, 100);
        let records = case.records(name).into_iter();
        records.map(|record| record.loss).collect::<Vec<_>>()
    };
    let (exact, rounded) = (losses("f32", Precision::F32), losses("bf16", Precision::Bf16));
    assert_eq!((exact.len(), rounded.len()), (100, 100));
    assert_ne!(exact, rounded, "bfloat16 should round");
    assert!(exact[99] < 0.9 * exact[0], "{} after {}", exact[99], exact[0]);
    for (step, (a, b)) in exact.iter().zip(&rounded).enumerate() {
        assert!((a - b).abs() < 1e-2 * a, "step {}: loss {b} should be near {a}", step + 1);
    }
}
