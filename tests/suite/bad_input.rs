//! What a user reads when something is wrong: which file, where, and the way out.

use std::fs;

use shards::ShardSource;
use storage::{Address, Storage};
use trainer::data::DataError;
use trainer::progress::Console;
use trainer::report::{self, Contents, ReportError};
use trainer::train::run::TrainError;

use crate::case::{Case, settings};

/// The error of a run that must fail, and its text.
fn fails(case: &Case, out: &str, settings: &trainer::settings::Settings) -> (TrainError, String) {
    let error = case.train(out, settings, false).unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[test]
fn a_loss_that_is_no_number_stops_with_step_rows_and_last_checkpoint() {
    let case = Case::with_shards(25);
    let settings = settings(|options| {
        options.lr = Some(1e30);
        options.warmup_epochs = Some(0.0);
        options.checkpoint_every = Some(1);
    });
    let (error, text) = fails(&case, "run", &settings);
    let TrainError::NotFinite { step, list, .. } = error else { panic!("{text}") };
    assert!(step > 1 && text.contains(&format!("step {step}")), "{text}");
    assert!(text.contains("group") && text.contains("row"), "{text}");
    let last = format!("step-{:08}.safetensors", step - 1);
    assert!(text.contains(&last), "{text} should name {last}");
    assert_eq!(fs::read_to_string(list).unwrap().lines().count(), settings.batch_size);
    let saved = trainer::checkpoint::CheckpointFolder::of_run(&case.path("run")).newest().unwrap();
    let (_, checkpoint, broken) = saved.unwrap();
    assert!(broken.is_empty());
    assert_eq!(checkpoint.header.step, step - 1);
}

#[test]
fn an_earlier_run_is_not_overwritten() {
    let case = Case::with_shards(25);
    let settings = settings(|options| options.max_steps = Some(1));
    case.train("run", &settings, false).unwrap();
    let (error, text) = fails(&case, "run", &settings);
    assert!(matches!(error, TrainError::Occupied { step: 1, .. }), "{text}");
    assert!(text.contains("--resume") && text.contains("--out"), "{text}");
}

#[test]
fn a_run_is_resumed_with_its_own_settings_and_shards_only() {
    let case = Case::with_shards(25);
    case.train("run", &settings(|options| options.max_steps = Some(1)), false).unwrap();
    let other = settings(|options| options.seed = Some(9));
    let text = case.train("run", &other, true).unwrap_err().to_string();
    assert!(text.contains("--seed was 0, is 9 now"), "{text}");

    let others = Case::with_shards(30);
    fs::rename(case.path("run"), others.path("run")).unwrap();
    let error = others.train("run", &settings(|_| ()), true).unwrap_err();
    assert!(matches!(error, TrainError::OtherShards { .. }), "{error}");
    assert!(error.to_string().contains(&*others.shards().to_string_lossy()), "{error}");
}

#[test]
fn a_report_wants_the_shards_of_its_run() {
    let case = Case::with_shards(25);
    case.train("run", &settings(|options| options.max_steps = Some(1)), false).unwrap();
    let page = case.path("report.html");
    let report = |of: &Case| {
        report::write(
            &case.path("run"),
            &ShardSource::local(of.shards()),
            &page,
            Contents { views: 1, sample: 0 },
            &Console::quiet(),
        )
    };
    // Of the same layout, but other pictures.
    let others = Case::with_shards(30);
    let error = report(&others).unwrap_err();
    assert!(matches!(error, ReportError::OtherShards { .. }), "{error}");
    assert!(error.to_string().contains(&*others.shards().to_string_lossy()), "{error}");
    assert!(!page.exists());

    // With what was appended since it is the same set; the report is of what the run has seen.
    let rows = case.dataset().rows();
    case.append(25);
    report(&case).unwrap();
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains(&format!("{rows} rows of")), "the rows that the run began with");
}

#[test]
fn a_run_and_a_second_trainer_do_not_share_a_folder() {
    let case = Case::with_shards(25);
    let settings = settings(|options| options.max_steps = Some(1));
    let lock = Address::from(case.path("run").join(".lock"));
    let first = Storage::local().lock(&lock).unwrap().unwrap();
    let (error, text) = fails(&case, "run", &settings);
    assert!(matches!(error, TrainError::Locked(_)), "{text}");
    assert!(text.contains("another trainer") && text.contains("--out"), "{text}");
    assert!(!case.path("run").join("settings.toml").exists(), "nothing was touched");
    drop(first);
    case.train("run", &settings, false).unwrap();
}

#[test]
fn a_checkpoint_of_another_network_is_refused_by_name() {
    let case = Case::with_shards(25);
    let steps = |max_steps| settings(|options| options.max_steps = Some(max_steps));
    let outcome = case.train("run", &steps(1), false).unwrap();
    let mut checkpoint = case.checkpoint(&outcome);
    checkpoint.header.network.taps[0].layer += 1;
    checkpoint.write(&outcome.checkpoint).unwrap();
    let error = case.train("run", &steps(2), true).unwrap_err();
    assert!(matches!(error, TrainError::OtherNetwork(_)), "{error}");
    assert!(error.to_string().contains("step-00000001.safetensors"), "{error}");
}

#[test]
fn shards_that_cannot_serve_are_refused_before_the_first_step() {
    let case = Case::with_shards(25);
    let (error, text) = fails(&case, "a", &settings(|o| o.batch_size = Some(1000)));
    assert!(matches!(error, TrainError::Data(DataError::TooFew { .. })), "{text}");
    assert!(text.contains("--batch-size"), "{text}");

    let cells = vec![2, 8, 16, 32];
    let (error, text) = fails(&case, "b", &settings(|o| o.cells = Some(cells)));
    assert!(!matches!(error, TrainError::NotFinite { .. }));
    assert!(text.contains("2"), "{text}");

    let shard = case.shards().join(&*case.dataset().name(0));
    let whole = fs::read(&shard).unwrap();
    fs::write(&shard, &whole[..whole.len() / 2]).unwrap();
    let (_, text) = fails(&case, "c", &settings(|_| ()));
    assert!(text.contains(&*shard.to_string_lossy()) && text.contains("bytes"), "{text}");
    let repair = format!("`ingest repair {}`", case.shards().display());
    assert!(text.contains(&repair), "{text} should name {repair}");
    fs::remove_file(&shard).unwrap();
    let (_, text) = fails(&case, "d", &settings(|_| ()));
    assert!(text.contains(&*shard.to_string_lossy()) && text.contains(&repair), "{text}");

    let manifest = case.shards().join("manifest.json");
    fs::write(&manifest, "{").unwrap();
    let (_, text) = fails(&case, "e", &settings(|_| ()));
    assert!(text.contains("manifest.json") && text.contains(&repair), "{text}");
    fs::remove_file(&manifest).unwrap();
    let (_, text) = fails(&case, "f", &settings(|_| ()));
    assert!(text.contains("manifest.json: it is gone") && text.contains(&repair), "{text}");
    fs::remove_file(case.shards().join("manifest-00001.json")).unwrap();
    let (_, text) = fails(&case, "g", &settings(|_| ()));
    assert!(text.contains("`ingest PICTURES --out"), "{text} should say what makes a set");
    for out in ["a", "b", "c", "d", "e", "f", "g"] {
        assert!(!case.path(out).join("checkpoints").exists(), "{out} should hold no checkpoint");
    }
}
