//! Sets, checkpoints and runs that an earlier version of the programs made, in `before/`: they are
//! read, and the same inputs give the same bytes and losses.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ingest::repair::{Repair, repair};
use ingest::{IngestError, LEAST_MEMORY, Settings, Silent, USER_AGENT};
use safetensors::SafeTensors;
use schemas::{MANIFEST_FILE, Manifest, PictureFilter};
use shards::ShardSource;
use shards::verify::verify;
use storage::{Address, Storage};
use tempfile::TempDir;
use trainer::checkpoint::{Checkpoint, CheckpointFolder};
use trainer::device::DeviceKind;
use trainer::encode::encoder::Layers;
use trainer::eval::record::{self, EvalRecord, Method};
use trainer::eval::{self, EvalRequest};
use trainer::metrics;
use trainer::model::Start;
use trainer::progress::Console;
use trainer::settings::Options;
use trainer::train::TrainRequest;
use trainer::train::run::{Resume, RunPaths};
use trainer::{export, settings};

use crate::case::damage;

/// How far losses and parameters may lie apart: processors add in different orders.
const NEAR: f64 = 1e-4;

fn before(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("before").join(name)
}

/// A copy of a folder of `before/`.
fn copy(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join(name);
    copy_all(&before(name), &to);
    (folder, to)
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// Settings as `before/make` gives them; sources are known by their paths from where tests run.
fn settings_of(pictures: &str, out: &Path, size: u32) -> Settings {
    let mut settings = Settings::new(Path::new("before/pictures").join(pictures), out);
    settings.threads = 2;
    settings.ingest.layout.size = size;
    settings.ingest.rows_per_group = 4;
    settings.ingest.pictures_per_shard = 5;
    settings
}

/// Every file of the folder `name` of `before/` has these very bytes in `out`.
fn assert_same(name: &str, out: &Path) {
    let mut files = 0;
    for entry in fs::read_dir(before(name)).unwrap() {
        let file = entry.unwrap().file_name();
        let made = fs::read(out.join(&file)).unwrap();
        assert!(
            made == fs::read(before(name).join(&file)).unwrap(),
            "{name}/{} has changed",
            file.display()
        );
        files += 1;
    }
    assert!(files > 4, "{name} has hardly a file");
}

fn manifest(set: &Path) -> Manifest {
    Manifest::parse(&fs::read_to_string(set.join(MANIFEST_FILE)).unwrap()).unwrap()
}

#[test]
fn the_same_pictures_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    ingest::run(&settings_of("first", &set, 32), &Silent).unwrap();
    let mut more = settings_of("second", &set, 32);
    more.append = true;
    ingest::run(&more, &Silent).unwrap();
    assert_same("set", &set);

    let wide = folder.path().join("wide");
    let mut settings = settings_of("second", &wide, 64);
    settings.ingest.layout.picture_filter = PictureFilter::None;
    ingest::run(&settings, &Silent).unwrap();
    assert_same("wide", &wide);
}

#[test]
fn a_run_that_was_killed_is_taken_up() {
    let (_folder, set) = copy("begun");
    let kept = fs::metadata(set.join("shard-00000.parquet")).unwrap().modified().unwrap();
    ingest::run(&settings_of("first", &set, 32), &Silent).unwrap();
    let shard = fs::metadata(set.join("shard-00000.parquet")).unwrap();
    assert_eq!(shard.modified().unwrap(), kept, "the finished shard was made anew");
    // The first version of the set that was made without a pause.
    for file in
        ["shard-00000.parquet", "shard-00001.parquet", "shard-00002.parquet", "rejects.jsonl"]
    {
        assert!(
            fs::read(set.join(file)).unwrap() == fs::read(before("set").join(file)).unwrap(),
            "{file}"
        );
    }
    let first = fs::read(before("set/manifest-00001.json")).unwrap();
    assert!(fs::read(set.join(MANIFEST_FILE)).unwrap() == first);
}

#[test]
fn every_set_is_sound_and_is_repaired_to_its_bytes() {
    for name in ["set", "scaled", "wide"] {
        let set = before(name);
        let address = Address::from(set.clone());
        let damaged = verify(&Storage::local(), &address, &manifest(&set), &|_| ()).unwrap();
        assert_eq!(damaged, [], "{name}");
    }
    let (_folder, set) = copy("set");
    damage(&set.join("shard-00001.parquet"));
    fs::remove_file(set.join("shard-00003.parquet")).unwrap();
    fs::remove_file(set.join("rejects.jsonl")).unwrap();
    fs::remove_file(set.join("classes.json")).unwrap();
    let request = Repair {
        out: Address::from(set.clone()),
        from: vec![],
        codebooks: vec![],
        web: web::Options::new(USER_AGENT),
        threads: 2,
        memory: LEAST_MEMORY,
    };
    let repaired = repair(&Storage::local(), &request, &Silent).unwrap();
    assert_eq!(repaired.shards, ["shard-00001.parquet", "shard-00003.parquet"]);
    assert_same("set", &set);
}

#[test]
fn a_set_made_otherwise_takes_no_more_pictures() {
    let (_folder, set) = copy("scaled");
    let mut more = settings_of("first", &set, 32);
    more.append = true;
    let error = ingest::run(&more, &Silent).unwrap_err();
    assert!(matches!(error, IngestError::ScaledDecode(_)), "{error}");
    assert_same("scaled", &set);
}

/// Trains as the run `name` of `before/` was, from its checkpoint if there is one to take up.
fn train_as(name: &str, shards: &str, resume: bool) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(name);
    let options = Options::read(&before(name).join("settings.toml")).unwrap();
    // What recipes choose since then.
    let options = Options { start: Some(Start::Early), ..options };
    let settings = settings::Settings::resolve(options, DeviceKind::Cpu).unwrap();
    let resume = resume.then(|| {
        copy_all(&before(name).join("checkpoints"), &out.join("checkpoints"));
        let (path, checkpoint, _) = CheckpointFolder::of_run(&out).newest().unwrap().unwrap();
        Resume { path, checkpoint }
    });
    let paths = RunPaths { shards: ShardSource::local(before(shards)), out: out.clone() };
    let stop = AtomicBool::new(false);
    let (paths, settings, console, stop) = (&paths, &settings, &Console::quiet(), &stop);
    TrainRequest { paths, settings, resume, console, stop }.on(DeviceKind::Cpu).unwrap();
    (folder, out)
}

/// The records of `out`, beside those of the same steps then.
fn assert_losses(name: &str, out: &Path, steps: usize) {
    let then = metrics::read(&before(name)).unwrap();
    let now = metrics::read(out).unwrap();
    assert_eq!(now.len(), steps);
    for (then, now) in then.iter().rev().zip(now.iter().rev()) {
        assert_eq!((then.step, then.epoch, then.lr), (now.step, now.epoch, now.lr));
        let near = |a: f64, b: f64| (a - b).abs() <= NEAR * a.abs();
        assert!(near(then.loss, now.loss), "step {}: {} now {}", then.step, then.loss, now.loss);
        assert!(near(then.grad_norm, now.grad_norm), "step {}", then.step);
        assert_eq!(then.tap_losses.len(), now.tap_losses.len());
        for (then, now) in then.tap_losses.iter().zip(&now.tap_losses) {
            assert!(near(*then, *now), "{then} now {now}");
        }
    }
}

/// The export of the newest checkpoint is the one that was made then.
fn assert_encoder(out: &Path) {
    let (_, checkpoint) = export::find_checkpoint(out, &Console::quiet()).unwrap();
    let file = out.join("encoder.safetensors");
    export::export(&checkpoint, &file).unwrap();
    let (then, now) =
        (fs::read(before("vit/encoder.safetensors")).unwrap(), fs::read(file).unwrap());
    let (then, now) =
        (SafeTensors::deserialize(&then).unwrap(), SafeTensors::deserialize(&now).unwrap());
    assert_eq!(then.names().len(), now.names().len());
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
    };
    for (name, then) in then.tensors() {
        let now = now.tensor(&name).unwrap();
        assert_eq!(then.shape(), now.shape(), "{name}");
        let values = floats(then.data()).into_iter().zip(floats(now.data()));
        // A bias of the keys moves all scores of a query alike, which the softmax takes out again:
        // its gradient is 0 but for rounding, and AdamW makes steps of that as of any other.
        let count = floats(now.data()).len();
        let keys = if name.ends_with("qkv.bias") { count / 3..2 * count / 3 } else { 0..0 };
        for (_, (then, now)) in values.enumerate().filter(|(at, _)| !keys.contains(at)) {
            assert!(f64::from((then - now).abs()) <= NEAR, "{name}: {then} now {now}");
        }
    }
}

#[test]
fn the_same_settings_give_the_same_losses() {
    let (_folder, vit) = train_as("vit", "set", false);
    assert_losses("vit", &vit, 8);
    assert_encoder(&vit);
    let (_folder, swin) = train_as("swin", "wide", false);
    assert_losses("swin", &swin, 4);
}

#[test]
fn a_checkpoint_is_taken_up_and_gives_the_same_losses() {
    let (_folder, vit) = train_as("vit", "set", true);
    assert_losses("vit", &vit, 4);
    assert_encoder(&vit);
}

#[test]
fn an_encoder_is_judged_as_it_was() {
    let (_folder, vit) = train_as("vit", "set", true);
    copy_all(&before("vit/eval"), &vit.join("eval"));
    let then: EvalRecord = record::read_all(&vit).unwrap().remove(0);
    let Method::Knn(knn) = then.method else { panic!("another way of judging") };
    let request = EvalRequest {
        checkpoint: vit,
        storage: Storage::local(),
        train: Address::from(before("set")),
        test: Some(Address::from(before("scaled"))),
        test_share: 0.2,
        methods: vec![Method::Knn(knn)],
        seed: then.seed,
        cache: None,
        most: None,
        layers: Layers::Top,
        stop: None,
    };
    let now = eval::run(&request, DeviceKind::Cpu, &Console::quiet()).unwrap().remove(0).record;
    assert_eq!(
        (now.step, now.dim, now.shared_pictures),
        (then.step, then.dim, then.shared_pictures)
    );
    assert_eq!(now.score, then.score);
    assert_eq!((now.train.rows, now.test.rows), (then.train.rows, then.test.rows));
}

#[test]
fn checkpoints_tell_the_network_that_they_were_trained_with() {
    let file = CheckpointFolder::of_run(&before("vit")).path(4);
    let checkpoint = Checkpoint::read(&file).unwrap();
    let mut options = Options::read(&before("vit/settings.toml")).unwrap();
    // There was none, and is none without the flag.
    assert_eq!(options.profile.replace(false), None);
    // There was no choice, and runs began so.
    assert_eq!(options.start.replace(Start::Early), None);
    assert_eq!(checkpoint.header.settings.to_options(), options);
}
