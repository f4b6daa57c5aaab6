//! What a user reads when something is wrong: which file, where, and the way out.

use std::fs;

use trainer::data::DataError;
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
    fs::remove_file(&shard).unwrap();
    let (_, text) = fails(&case, "d", &settings(|_| ()));
    assert!(text.contains(&*shard.to_string_lossy()), "{text}");

    let manifest = case.shards().join("manifest.json");
    fs::write(&manifest, "{").unwrap();
    let (_, text) = fails(&case, "e", &settings(|_| ()));
    assert!(text.contains("manifest.json"), "{text}");
    fs::remove_file(&manifest).unwrap();
    let (_, text) = fails(&case, "f", &settings(|_| ()));
    assert!(text.contains("ingest"), "{text} should say what makes a set");
    for out in ["a", "b", "c", "d", "e", "f"] {
        assert!(!case.path(out).join("checkpoints").exists(), "{out} should hold no checkpoint");
    }
}
