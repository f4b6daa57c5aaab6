//! The comparison: made, stopped, taken up, put together from folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use storage::{Address, Storage};
use tempfile::TempDir;
use trainer::device::DeviceKind;
use trainer::experiment::gather::{Axis, Kind};
use trainer::experiment::kept::Scale;
use trainer::experiment::outcome::ExperimentOutcome;
use trainer::experiment::plan::{Arm, Bench, Family, SIZE};
use trainer::experiment::{self, ExperimentError, ExperimentRequest};
use trainer::model::{ModelName, Precision};
use trainer::progress::Console;
use trainer::settings::Recipe;

const MAE: Arm = Arm::of(Family::Vit, Recipe::Mae);

/// Pictures, and an experiment of a few steps on them.
fn case(out: &str, seeds: &[u64]) -> (TempDir, ExperimentRequest) {
    let folder = tempfile::tempdir().unwrap();
    ingest::sample::write(&folder.path().join("raw"), 90, 1).unwrap();
    let request = ExperimentRequest {
        pictures: Address::from(folder.path().join("raw")),
        test: None,
        out: folder.path().join(out),
        bench: Bench { size: SIZE, model: None, precision: Precision::F32 },
        scale: Scale { minutes: 0.001, train_pictures: 60, test_pictures: 30 },
        seeds: seeds.to_vec(),
        arms: vec![Arm::BASE, MAE],
        rates: vec![(Arm::BASE, 1e-3), (MAE, 1e-3)],
        storage: Storage::local(),
    };
    (folder, request)
}

fn make(request: &ExperimentRequest, stop: bool) -> Result<ExperimentOutcome, ExperimentError> {
    experiment::run(request, DeviceKind::Cpu, &Console::quiet(), &AtomicBool::new(stop))
}

/// What a run left that is no checkpoint.
fn left(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let file = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    let mut files = vec![file(run.join("metrics.jsonl"))];
    for folder in ["eval", "analysis"] {
        let entries = fs::read_dir(run.join(folder)).unwrap();
        files.extend(entries.map(|entry| file(entry.unwrap().path())));
    }
    files.sort();
    files
}

#[test]
fn a_stopped_experiment_goes_on_and_folders_are_put_together() {
    let (folder, request) = case("one", &[0]);
    let stopped = make(&request, true).unwrap_err();
    assert!(matches!(stopped, ExperimentError::Stopped), "{stopped}");
    let outcome = make(&request, false).unwrap();
    let [group] = outcome.groups.as_slice() else { panic!("one setup") };
    let names: Vec<_> = group.arms.iter().map(|arm| (arm.name.as_str(), &*arm.seeds)).collect();
    assert_eq!(names, [("vit-localmim-hog", &[0][..]), ("vit-mae", &[0])]);
    for arm in &group.arms {
        let kinds: Vec<_> = arm.kinds.iter().map(|kind| kind.kind).collect();
        assert_eq!(kinds, Kind::ALL);
        assert!(arm.kinds.iter().all(|kind| kind.layer.unwrap().1 == 6), "each block is judged");
        assert!(arm.cores.unwrap() > 0.0 && arm.clock.unwrap() > 0.0);
    }
    assert_eq!(group.time, Axis::Cores);
    let page = fs::read_to_string(request.out.join("experiment.html")).unwrap();
    assert!(page.contains("vit-mae") && page.contains("--arms vit-localmim-pixel,vit-maskfeat"));
    assert!(outcome.text().contains("one seed") || outcome.text().contains("learned nothing"));

    // What is made is not made again, and another seed joins it.
    let run = request.out.join("runs/vit-mae-0");
    let before = left(&run);
    let more = ExperimentRequest { seeds: vec![0, 1], ..request.clone() };
    let outcome = make(&more, false).unwrap();
    assert_eq!(left(&run), before);
    assert_eq!(outcome.groups[0].arms[1].seeds, [0, 1]);

    // The same steps and rates elsewhere.
    let other = ExperimentRequest {
        out: folder.path().join("other"),
        seeds: vec![2],
        rates: vec![],
        ..request.clone()
    };
    fs::create_dir(&other.out).unwrap();
    fs::copy(request.out.join("settled.json"), other.out.join("settled.json")).unwrap();
    make(&other, false).unwrap();
    let together = folder.path().join("together");
    let folders = [request.out.clone(), other.out.clone()];
    let outcome = experiment::put_together(&folders, &together).unwrap();
    assert_eq!(outcome.groups.len(), 1);
    assert_eq!(outcome.groups[0].arms[0].seeds, [0, 1, 2]);
    assert!(outcome.groups[0].arms[0].kinds[0].deviation.is_some());
    assert!(together.join("experiment.html").exists() && together.join("experiment.json").exists());

    let twice = [request.out.clone(), request.out.clone()];
    let error = experiment::put_together(&twice, &together).unwrap_err().to_string();
    assert!(error.contains("one arm from one seed"), "{error}");

    // A run that lacks its last evaluation is named, and left out.
    let cut = other.out.join("runs/vit-mae-2");
    let last = left(&cut).into_iter().rev().map(|(path, _)| path);
    let last = last.filter(|path| path.to_string_lossy().contains("linear-step"));
    last.take(2).for_each(|path| fs::remove_file(path).unwrap());
    let outcome = experiment::put_together(&folders, &together).unwrap();
    assert_eq!(outcome.unfinished, [cut.display().to_string()]);
    assert_eq!(outcome.groups[0].arms[1].seeds, [0, 1]);

    let nothing = [folder.path().join("raw")];
    let error = experiment::put_together(&nothing, &together).unwrap_err().to_string();
    assert!(error.contains("no finished run"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_made() {
    let (_folder, request) = case("out", &[0]);
    let swin = Arm::of(Family::Swin, Recipe::Simmim);
    let bench = Bench { model: Some(ModelName::VitTiny16), ..request.bench };
    let request = ExperimentRequest { bench, arms: vec![swin], ..request };
    let error = make(&request, false).unwrap_err().to_string();
    assert!(error.contains("--model vit-tiny-16") && error.contains("swin-simmim"), "{error}");
    assert!(!request.out.exists());
}
