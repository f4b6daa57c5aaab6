//! The comparison: made, stopped, taken up, put together from folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use storage::{Address, Storage};
use tempfile::TempDir;
use trainer::device::DeviceKind;
use trainer::experiment::gather::Axis;
use trainer::experiment::judged::Kind;
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
        like: None,
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
    let names = ["metrics.jsonl", "arm.json", "settings.toml"];
    let mut files: Vec<_> = names.map(|name| file(run.join(name))).to_vec();
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
    let missing = "--seeds 0 --arms vit-localmim-pixel,vit-maskfeat --device cpu --out";
    assert!(page.contains("vit-mae") && page.contains(missing));
    assert!(page.contains("--judged-on 60,30") && page.contains("--rate vit-mae=1e-3"));
    assert!(page.contains("mae after 1/8") && page.contains("untrained"), "layer by layer");
    for plot in ["vit.svg", "vit-layers.svg", "vit-information.svg"] {
        let svg = fs::read_to_string(request.out.join(plot)).unwrap();
        assert!(svg.contains("xmlns=") && page.contains(&svg), "{plot} is a file of its own");
    }
    assert!(outcome.text().contains("one seed") || outcome.text().contains("no bar"));

    // Another rate is refused before anything is forgotten.
    let settled = request.out.join("settled.json");
    let before = fs::read(&settled).unwrap();
    let faster = ExperimentRequest { rates: vec![(MAE, 5e-3)], ..request.clone() };
    let error = make(&faster, false).unwrap_err().to_string();
    assert!(error.contains("vit-mae-0") && error.contains("rate of 1e-3"), "{error}");
    assert_eq!(fs::read(&settled).unwrap(), before);

    // What is made is not made again, even if its checkpoints are gone, and another seed joins it.
    let run = request.out.join("runs/vit-mae-0");
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    // As earlier releases called it.
    let untrained = run.join("eval/linear-layers-step-00000000.json");
    fs::rename(untrained, run.join("eval/linear-step-00000000.json")).unwrap();
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
        like: Some(request.out.clone()),
        ..request.clone()
    };
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

    networks_of_other_releases_are_not_compared(&request.out, &other);

    // Times of another machine are not held against these.
    let cut = other.out.join("runs/vit-mae-2");
    let arm = cut.join("arm.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&arm).unwrap()).unwrap();
    kept["machine"]["processor"] = "an abacus".into();
    fs::write(&arm, kept.to_string()).unwrap();
    let outcome = experiment::put_together(&folders, &together).unwrap();
    let [group] = outcome.groups.as_slice() else { panic!("one setup") };
    assert_eq!(group.time, Axis::Views);
    assert!(group.sooner.iter().all(|sooner| sooner.axis == Axis::Views));
    assert!(group.arms[0].cores.is_some() && group.arms[1].cores.is_none());
    assert!(group.notes[0].contains("an abacus") && outcome.text().contains("an abacus"));

    // A run that lacks its last evaluation is named, and left out.
    let last = left(&cut).into_iter().rev().map(|(path, _)| path);
    let last = last.filter(|path| path.to_string_lossy().contains("linear-layers-step"));
    last.take(2).for_each(|path| fs::remove_file(path).unwrap());
    let outcome = experiment::put_together(&folders, &together).unwrap();
    assert_eq!(outcome.unfinished, [cut.display().to_string()]);
    assert_eq!(outcome.groups[0].arms[1].seeds, [0, 1]);

    let nothing = [request.out.clone(), folder.path().join("gone")];
    let error = experiment::put_together(&nothing, &together).unwrap_err().to_string();
    assert!(error.contains("gone: no experiment lies there"), "{error}");

    a_run_that_diverges_does_not_end_the_others(&request);
}

/// `other` is a made experiment, which is put together with another one's folder.
fn networks_of_other_releases_are_not_compared(one: &Path, other: &ExperimentRequest) {
    let rewritten = |path: PathBuf, from: &str, to: &str| {
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.contains(from), "{kept}");
        fs::write(&path, kept.replace(from, to)).unwrap();
        move || fs::write(path, kept).unwrap()
    };
    let refused = |request: &ExperimentRequest| make(request, false).unwrap_err().to_string();
    let more = ExperimentRequest { seeds: vec![3], like: None, ..other.clone() };
    let elsewhere = other.out.with_file_name("elsewhere");
    let like = ExperimentRequest { out: elsewhere, like: Some(other.out.clone()), ..more.clone() };

    let run = other.out.join("runs/vit-mae-2");
    let restore = rewritten(run.join("settings.toml"), "width = 128", "width = 96");
    let folders = [one.to_owned(), other.out.clone()];
    let outcome = experiment::put_together(&folders, &other.out.with_file_name("unlike")).unwrap();
    let seeds = |group: usize, arm: usize| outcome.groups[group].arms[arm].seeds.as_slice();
    assert_eq!((seeds(0, 0), seeds(0, 1), seeds(1, 0)), (&[0, 1, 2][..], &[0, 1][..], &[2][..]));
    let told = outcome.groups[1].notes.join(" ");
    assert!(told.contains("vit-mae-2 was not") && told.contains("width: 96, not 128"), "{told}");
    for request in [&more, &like] {
        let error = refused(request);
        assert!(error.contains("vit-mae-2 is of another release"), "{error}");
        assert!(error.contains("width: 96, not 128"), "{error}");
    }
    restore();

    let settled = other.out.join("settled.json");
    let restore = rewritten(settled, "\"mask-ratio\": 0.75", "\"mask-ratio\": 0.5");
    for (request, way_out) in [(&more, "another --out"), (&like, "leave --like out")] {
        let error = refused(request);
        assert!(error.contains("settled.json is of another release"), "{error}");
        assert!(error.contains("mask-ratio: 0.5") && error.contains(way_out), "{error}");
    }
    // What is made can still be looked at.
    make(&ExperimentRequest { like: None, ..other.clone() }, false).unwrap();
    restore();
}

/// Steps and rates are those of `made`, as an earlier release kept them, but for a rate that is too
/// high.
fn a_run_that_diverges_does_not_end_the_others(made: &ExperimentRequest) {
    let (like, out) = (made.out.with_file_name("like"), made.out.with_file_name("diverging"));
    let mut settled: Value =
        serde_json::from_slice(&fs::read(made.out.join("settled.json")).unwrap()).unwrap();
    settled["setup"].as_object_mut().unwrap().remove("test").unwrap();
    let arms = settled["arms"].as_array_mut().unwrap();
    for arm in arms.iter_mut() {
        arm.as_object_mut().unwrap().remove("settings").unwrap();
    }
    let mae = arms.iter_mut().find(|arm| arm["arm"]["recipe"] == "mae").unwrap();
    (mae["steps"], mae["given"]) = (4.into(), 1e30.into());
    fs::create_dir(&like).unwrap();
    fs::write(like.join("settled.json"), settled.to_string()).unwrap();
    let request = ExperimentRequest {
        test: Some(made.pictures.clone()),
        arms: vec![MAE, Arm::BASE],
        rates: vec![],
        like: Some(like),
        out,
        ..made.clone()
    };
    for _ in 0..2 {
        let outcome = make(&request, false).unwrap();
        let [group] = outcome.groups.as_slice() else { panic!("one setup") };
        let names: Vec<_> = group.arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(names, ["vit-localmim-hog"]);
        assert_eq!(outcome.diverged.len(), 1);
        assert!(outcome.diverged[0].contains("vit-mae-0") && outcome.unfinished.is_empty());
        let page = fs::read_to_string(request.out.join("experiment.html")).unwrap();
        assert!(page.contains(&outcome.diverged[0]));
    }
    // Other pictures to be judged on are another experiment.
    let parted = ExperimentRequest { test: None, like: None, ..request };
    let error = make(&parted, false).unwrap_err().to_string();
    assert!(error.contains("--test-pictures") && error.contains("here a part of"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_made() {
    let (_folder, request) = case("out", &[0]);
    let swin = Arm::of(Family::Swin, Recipe::Simmim);
    let bench = Bench { model: Some(ModelName::VitTiny16), ..request.bench };
    let of = |arms: &[Arm]| ExperimentRequest { bench, arms: arms.to_vec(), ..request.clone() };
    let refused = |request| make(&request, false).unwrap_err().to_string();
    let error = refused(ExperimentRequest { rates: vec![], ..of(&[swin]) });
    assert!(error.contains("--model vit-tiny-16") && error.contains("swin-simmim"), "{error}");
    // Its patches are too large for the cells at this size.
    let error = refused(of(&[Arm::BASE, MAE]));
    assert!(error.contains("vit-localmim-hog") && error.contains("--size"), "{error}");
    let error = refused(ExperimentRequest { arms: vec![Arm::BASE], ..request.clone() });
    assert!(error.contains("--rate vit-mae=1e-3"), "{error}");
    assert!(!request.out.exists());
}
