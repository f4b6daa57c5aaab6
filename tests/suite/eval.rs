//! A trained encoder, judged on labelled shards and on plain pictures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use safetensors::SafeTensors;
use storage::{Address, Storage};
use trainer::analyze::attention::{self, Query};
use trainer::analyze::{self, AnalyzeError, views};
use trainer::checkpoint::Checkpoint;
use trainer::compare;
use trainer::device::DeviceKind;
use trainer::encode::encoder::Layers;
use trainer::eval::finetune::FinetuneSettings;
use trainer::eval::knn::KnnSettings;
use trainer::eval::linear::LinearSettings;
use trainer::eval::record::{self, EvalRecord, Method};
use trainer::eval::{self, EvalError, EvalRequest, Evaluated, KeepError, SidesError};
use trainer::export;
use trainer::model::ModelName;
use trainer::progress::Console;
use trainer::settings::Options;

use crate::case::{Case, SIZE, damage, settings};

const CLASSES: u64 = 6;

/// A case with a run of a few steps.
pub fn trained() -> Case {
    trained_on(60)
}

pub fn trained_on(pictures: usize) -> Case {
    let case = Case::with_shards(pictures);
    case.train("run", &settings(|options| options.max_steps = Some(4)), false).unwrap();
    case
}

fn request(case: &Case, method: Method, train: PathBuf, test: Option<PathBuf>) -> EvalRequest {
    EvalRequest {
        checkpoint: case.path("run"),
        storage: Storage::local(),
        train: Address::from(train),
        test: test.map(Address::from),
        test_share: 0.3,
        methods: vec![method],
        seed: 0,
        cache: None,
        most: None,
        layers: Layers::Top,
        stop: None,
    }
}

pub fn judge(
    case: &Case,
    method: Method,
    train: PathBuf,
    test: Option<PathBuf>,
) -> Result<Evaluated, EvalError> {
    let request = request(case, method, train, test);
    eval::run(&request, DeviceKind::Cpu, &Console::quiet()).map(|mut done| done.remove(0))
}

fn knn() -> Method {
    Method::Knn(KnnSettings { k: 5, ..KnnSettings::default() })
}

fn linear() -> Method {
    Method::Linear(LinearSettings { epochs: 20, lr: 1e-2, ..LinearSettings::default() })
}

/// Holds the sums of a record against each other.
fn check_sums(record: &EvalRecord) {
    let score = &record.score;
    assert_eq!(score.confusion.iter().flatten().sum::<u64>(), record.test.rows);
    let mut correct = 0;
    for (at, class) in score.classes.iter().enumerate() {
        assert_eq!(score.confusion[at].iter().sum::<u64>(), class.rows, "{}", class.class);
        assert_eq!(score.confusion[at][at], class.correct, "{}", class.class);
        correct += class.correct;
    }
    assert!((score.top1 - correct as f64 / record.test.rows as f64).abs() < 1e-12);
    assert!(score.top5.unwrap() >= score.top1);
    let chance = score.chance.as_ref().unwrap();
    let largest = score.classes.iter().max_by_key(|class| class.rows).unwrap().rows;
    assert_eq!(chance.top1, largest as f64 / record.test.rows as f64);
    assert_eq!(chance.above, score.top1 > chance.top1);
}

#[test]
fn one_set_is_parted_by_picture_and_the_figures_fit_together() {
    let case = trained();
    let rows = case.dataset().rows();
    for method in [knn(), linear()] {
        let done = judge(&case, method, case.shards(), None).unwrap();
        let EvalRecord { train, test, split, .. } = &done.record;
        assert_eq!(train.rows + test.rows, rows, "every row has a label");
        // Two views a picture, on the same side both.
        assert_eq!((train.rows, test.rows), (2 * train.pictures, 2 * test.pictures));
        assert_eq!((split.unwrap().test_share, done.record.shared_pictures), (0.3, 0));
        assert_eq!(done.record.score.classes.len() as u64, CLASSES);
        check_sums(&done.record);
        let page = std::fs::read_to_string(&done.page).unwrap();
        assert!(page.contains("Confusion matrix") && page.contains("stripes"));
    }
    let records = record::read_all(&case.path("run")).unwrap();
    let kinds: Vec<_> = records.iter().map(|record| record.method.name()).collect();
    assert_eq!(kinds, ["knn", "linear"]);
    assert_eq!(records[0].step, 4);
}

#[test]
fn each_layer_is_judged_and_the_best_counts() {
    let case = trained();
    let top = judge(&case, knn(), case.shards(), None).unwrap().record;
    let request = EvalRequest { layers: Layers::All, ..request(&case, knn(), case.shards(), None) };
    let done = eval::run(&request, DeviceKind::Cpu, &Console::quiet()).unwrap().remove(0);
    let layers = &done.record.layers;
    let numbers: Vec<_> = layers.iter().map(|of| of.layer).collect();
    assert_eq!(numbers, (1..=layers.len()).collect::<Vec<_>>());
    assert!(layers.len() > 1 && layers.iter().all(|of| of.top1 <= done.record.score.top1));
    assert_eq!(layers.last().unwrap().top1, top.score.top1, "the topmost is the one alone");
    let page = std::fs::read_to_string(&done.page).unwrap();
    assert!(page.contains("Accuracy of each layer"));

    // Neither replaces the other, nor is it held against it.
    let comparison = compare::write(&[case.path("run")], &case.path("compare.html"), None).unwrap();
    let kinds: Vec<_> = comparison.kinds.iter().map(|kind| &*kind.name).collect();
    assert_eq!(kinds, ["knn", "knn-layers"]);
}

#[test]
fn a_rows_nearest_neighbour_in_its_own_set_is_itself() {
    let case = trained();
    let nearest = Method::Knn(KnnSettings { k: 1, ..KnnSettings::default() });
    let done = judge(&case, nearest, case.shards(), Some(case.shards())).unwrap();
    check_sums(&done.record);
    assert_eq!(done.record.score.top1, 1.0);
    assert_eq!(done.record.shared_pictures, done.record.test.pictures, "and the user is told");
}

#[test]
fn pictures_in_class_folders_are_taken_as_they_are_and_only_once() {
    let case = trained();
    let done = judge(&case, knn(), case.path("raw"), Some(case.shards())).unwrap();
    let record = &done.record;
    check_sums(record);
    assert_eq!(record.train.rows, record.train.pictures, "one central view a picture");
    assert_eq!(record.split, None);
    assert_eq!(record.shared_pictures, record.test.pictures, "all are the same pictures");
    let cached = || {
        let entries = std::fs::read_dir(case.path("run/eval")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("pictures-")).count()
    };
    assert_eq!(cached(), 1);
    // Judged again, it is the same set, and the same figures.
    let again = judge(&case, knn(), case.path("raw"), Some(case.shards())).unwrap();
    assert_eq!(again.record, done.record);
    assert_eq!(cached(), 1);
}

#[test]
fn a_figure_that_is_no_better_than_chance_is_called_so() {
    let case = trained();
    let copy = |set: &str, from: &str, to: &str| {
        let folder = case.path(set).join(to);
        std::fs::create_dir_all(&folder).unwrap();
        for entry in std::fs::read_dir(case.path("raw").join(from)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
        case.path(set)
    };
    let page = |done: &Evaluated| std::fs::read_to_string(&done.page).unwrap();
    let train = copy("train", "stripes", "stripes");
    let done = judge(&case, knn(), train, None).unwrap();
    assert!(done.record.score.warnings()[0].contains("of one class"));
    assert!(page(&done).contains("class=\"warning\">All test rows are of one class, `stripes`"));

    // The same pictures under each other's names: every answer is wrong.
    let train = copy("train", "rings", "rings");
    copy("test", "stripes", "rings");
    let test = copy("test", "rings", "stripes");
    let nearest = Method::Knn(KnnSettings { k: 1, ..KnnSettings::default() });
    let done = judge(&case, nearest, train, Some(test)).unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&done.json).unwrap()).unwrap();
    assert_eq!((&json["top1"], &json["chance"]["above"]), (&0.0.into(), &false.into()));
    assert!(json["chance"]["top1"].as_f64().unwrap() >= 0.5);
    assert!(page(&done).contains("no better than chance"));

    // One picture of each of two classes, of the six there are.
    for class in ["stripes", "rings"] {
        let folder = case.path("few").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        let first = std::fs::read_dir(case.path("raw").join(class)).unwrap().next().unwrap();
        std::fs::copy(first.unwrap().path(), folder.join("one.png")).unwrap();
    }
    let done = judge(&case, knn(), case.shards(), Some(case.path("few"))).unwrap();
    let warnings = done.record.warnings();
    let few = |warning: &String| warning.contains("2 test pictures for 6 classes");
    assert!(warnings.iter().any(few), "{warnings:?}");
    assert!(page(&done).contains("2 test pictures for 6 classes"));
}

#[test]
fn fine_tuning_learns_the_train_rows() {
    let case = trained_on(12);
    let settings = FinetuneSettings {
        epochs: 25,
        warmup_epochs: 1.0,
        batch_size: 8,
        lr: 1e-2,
        // The encoder has hardly been trained, and everything in it is to learn.
        layer_decay: 1.0,
        mixup: 0.0,
        cutmix: 0.0,
        smoothing: 0.0,
        erase: 0.0,
        // A sample scene's hue tells which way it is turned; that of its mirror image would not.
        flip: false,
        ..fine_tuning(&["--drop-path", "0.02"])
    };
    let tuned = Method::Finetune(settings);
    let done = judge(&case, tuned.clone(), case.shards(), Some(case.shards())).unwrap();
    check_sums(&done.record);
    // Six classes; without learning it would be a sixth.
    assert!(done.record.score.top1 > 0.5, "{}", done.record.score.top1);
    let name = done.json.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("finetune-step-"), "{name}");

    // The weights are kept, and say what they are.
    let bytes = std::fs::read(done.weights.unwrap()).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    let classes: Vec<String> = serde_json::from_str(&metadata["classes"]).unwrap();
    assert_eq!(classes, case.dataset().manifest().classes);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let width: usize = metadata["embed_dim"].parse().unwrap();
    assert_eq!(file.tensor("head.weight").unwrap().shape(), [classes.len(), width]);
    let norm = file.tensor("norm.weight").unwrap();
    let (values, _) = norm.data().as_chunks();
    let before = export::to_timm(&Checkpoint::read(&done.record.checkpoint).unwrap()).unwrap();
    let after: Vec<f32> = values.iter().map(|&value| f32::from_le_bytes(value)).collect();
    assert_ne!(before["norm.weight"].data, after, "fine-tuning moves the encoder too");
    assert_eq!(file.names().len(), before.len() + 2);
}

#[test]
fn fine_tuning_with_all_its_noise_gives_the_same_again() {
    let case = trained();
    let settings = FinetuneSettings { epochs: 1, batch_size: 12, ..fine_tuning(&[]) };
    let tuned = Method::Finetune(settings);
    let one = judge(&case, tuned.clone(), case.shards(), None).unwrap();
    check_sums(&one.record);
    let EvalRecord { train, test, .. } = &one.record;
    assert_eq!((train.rows, test.rows), (2 * train.pictures, 2 * test.pictures));
    assert_eq!(train.rows + test.rows, case.dataset().rows());
    assert_eq!(judge(&case, tuned, case.shards(), None).unwrap().record, one.record);
}

#[test]
fn a_tuning_that_was_stopped_goes_on_to_the_same_weights() {
    static STOP: AtomicBool = AtomicBool::new(true);
    let case = trained_on(24);
    let settings = FinetuneSettings { epochs: 2, batch_size: 12, ..fine_tuning(&[]) };
    let tuned = Method::Finetune(settings);
    let whole = judge(&case, tuned.clone(), case.shards(), None).unwrap();
    let weights = |done: &Evaluated| -> BTreeMap<String, Vec<u8>> {
        let bytes = std::fs::read(done.weights.as_ref().unwrap()).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect()
    };
    let expected = weights(&whole);

    let unfinished = case.path("run/eval/finetune-step-00000004.unfinished");
    let stopping =
        EvalRequest { stop: Some(&STOP), ..request(&case, tuned.clone(), case.shards(), None) };
    let stop = |request| eval::run(&request, DeviceKind::Cpu, &Console::quiet()).map(|_| ());
    // In the first epoch, and in the middle of the second: a step each time.
    let batches = whole.record.train.rows / 12;
    for _ in 0..=batches {
        assert!(matches!(stop(stopping.clone()), Err(EvalError::Stopped)));
        assert!(unfinished.exists());
    }
    let resumed = judge(&case, tuned.clone(), case.shards(), None).unwrap();
    assert_eq!(resumed.record, whole.record);
    assert!(weights(&resumed) == expected);
    assert!(!unfinished.exists());

    // What was kept of another tuning is not gone on with.
    assert!(matches!(stop(EvalRequest { seed: 1, ..stopping }), Err(EvalError::Stopped)));
    let again = judge(&case, tuned, case.shards(), None).unwrap();
    assert!(weights(&again) == expected);
}

/// The settings that these flags give.
pub fn fine_tuning(flags: &[&str]) -> FinetuneSettings {
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        settings: FinetuneSettings,
    }
    Flags::parse_from(["tune"].iter().chain(flags)).settings
}

#[test]
fn runs_are_compared_by_the_evaluations_of_their_checkpoints() {
    let case = Case::with_shards(30);
    let steps = |max_steps| settings(|options| options.max_steps = Some(max_steps));
    case.train("a", &steps(6), false).unwrap();
    case.train("b", &steps(3), false).unwrap();
    // Taken up again, the time goes on from what was behind it.
    let before = case.records("b").last().unwrap().elapsed_s.unwrap();
    case.train("b", &steps(6), true).unwrap();
    let times: Vec<_> = case.records("b").iter().map(|r| r.elapsed_s.unwrap()).collect();
    assert_eq!((times.len(), times[2]), (6, before));
    assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");

    let out = case.path("compare.html");
    let runs = [case.path("a"), case.path("b")];
    let without = compare::write(&runs, &out, None).unwrap();
    assert!(without.kinds.is_empty() && without.text().contains("eval knn"));
    for run in &runs {
        for step in [3, 6] {
            let checkpoint = run.join(format!("checkpoints/step-{step:08}.safetensors"));
            if checkpoint.is_file() {
                let request =
                    EvalRequest { checkpoint, ..request(&case, knn(), case.shards(), None) };
                eval::run(&request, DeviceKind::Cpu, &Console::quiet())
                    .map(|mut done| done.remove(0))
                    .unwrap();
            }
        }
    }
    let comparison = compare::write(&runs, &out, None).unwrap();
    assert_eq!(comparison.kinds.len(), 1);
    let points = |run: usize| comparison.kinds[0].outcomes[run].points.clone();
    assert_eq!((points(0).len(), points(1).len()), (1, 2), "a was saved at its end alone");
    assert_eq!((points(1)[0].step, points(1)[0].seconds), (3.0, times[2]));
    assert_eq!(points(0)[0].accuracy, points(1)[1].accuracy, "both are the same run in the end");
    let page = std::fs::read_to_string(&out).unwrap();
    assert_eq!(page.matches("<svg").count(), 4);

    let error = compare::write(&[case.path("raw")], &out, None).unwrap_err().to_string();
    assert!(error.contains("raw is no run's folder"), "{error}");
}

fn analysis(case: &Case, views: u64) -> views::AnalyzeRequest {
    views::AnalyzeRequest {
        checkpoint: case.path("run"),
        storage: Storage::local(),
        shards: Address::from(case.shards()),
        views,
    }
}

#[test]
fn attention_is_measured_and_drawn() {
    let case = trained();
    let request = analysis(&case, 3);
    let (record, page) = analyze::nmi(&request, &Console::quiet()).unwrap();
    assert_eq!((record.layers.len(), record.layers[0].heads.len()), (12, 3));
    assert_eq!((record.views, record.layers[0].grid, record.window), (3, 4, None));
    for layer in &record.layers {
        assert!(layer.heads.iter().all(|nmi| (0.0..=1.0).contains(nmi)), "{layer:?}");
        assert!((layer.mean - layer.heads.iter().sum::<f64>() / 3.0).abs() < 1e-12);
    }
    let csv = std::fs::read_to_string(page.with_extension("csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 12 * 3);
    assert!(std::fs::read_to_string(&page).unwrap().contains("<svg"));

    let pictures =
        attention::draw(&request, Some(2), Some(Query::Patch(1, 2)), &Console::quiet()).unwrap();
    assert!(std::fs::read(&pictures.png).unwrap().starts_with(b"\x89PNG"));
    assert_eq!(std::fs::read_to_string(&pictures.page).unwrap().matches("<img").count(), 3);
    for (layer, query) in [(13, Query::Class), (0, Query::Class), (1, Query::Patch(4, 0))] {
        let error =
            attention::draw(&request, Some(layer), Some(query), &Console::quiet()).unwrap_err();
        assert!(matches!(error, AnalyzeError::Range(_)), "{error}");
    }
}

#[test]
fn a_swins_attention_is_measured_and_drawn_in_its_windows() {
    let case = Case::with_shards(12);
    let swin = |options: &mut Options| {
        options.model = Some(ModelName::SwinTiny7);
        options.width = Some(16);
        options.depths = Some(vec![2, 1, 1]);
        options.heads = Some(vec![1, 2, 2]);
        options.batch_size = Some(6);
        options.max_steps = Some(1);
    };
    case.train("run", &settings(swin), false).unwrap();
    let request = analysis(&case, 2);
    let (record, page) = analyze::nmi(&request, &Console::quiet()).unwrap();
    let of = |layer: &analyze::Layer| (layer.grid, layer.heads.len());
    let blocks: Vec<_> = record.layers.iter().map(of).collect();
    assert_eq!(blocks, [(16, 1), (16, 1), (8, 2), (4, 2)]);
    let nmi = record.layers.iter().flat_map(|layer| &layer.heads);
    assert!(nmi.copied().all(|nmi| (0.0..1.0).contains(&nmi) && nmi > 0.0), "{record:?}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("256 to 16 patches, in windows of 7×7"), "{page}");

    // The first block has more patches than the last.
    let draw = |layer, query| attention::draw(&request, layer, query, &Console::quiet());
    let pictures = draw(Some(1), Some(Query::Patch(15, 15))).unwrap();
    assert_eq!(std::fs::read_to_string(&pictures.page).unwrap().matches("<img").count(), 2);
    assert!(draw(None, None).unwrap().png.is_file());
    for (layer, query) in [(4, Query::Patch(4, 0)), (1, Query::Class), (5, Query::Patch(0, 0))] {
        let error = draw(Some(layer), Some(query)).unwrap_err();
        assert!(matches!(error, AnalyzeError::Range(_)), "{error}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_neither_the_work_nor_the_figures() {
    let case = trained();
    let folder = case.path("run/eval");
    std::fs::write(&folder, "in the way").unwrap();
    // Before the shards are looked for.
    let error = judge(&case, knn(), case.path("nowhere"), None).unwrap_err();
    assert!(
        matches!(&error, EvalError::Keep(KeepError::Folder { path, .. }) if *path == folder),
        "{error}"
    );
    std::fs::remove_file(&folder).unwrap();

    std::fs::create_dir_all(folder.join("knn-step-00000004.json")).unwrap();
    let error = judge(&case, knn(), case.shards(), None).unwrap_err();
    assert!(matches!(&error, EvalError::Unkept { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("top-1") && text.contains("knn-step-00000004.json"), "{text}");
}

#[test]
fn a_test_set_that_does_not_fit_is_refused_before_features_are_made() {
    let case = trained_on(25);
    let other = case.path("other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::rename(case.path("raw/stripes"), other.join("zebras")).unwrap();
    let ingested = |pictures: PathBuf, shards: &str| {
        let mut settings = ingest::Settings::new(pictures, case.path(shards));
        settings.ingest.layout.size = SIZE;
        ingest::run(&settings, &ingest::Silent).unwrap();
        case.path(shards)
    };
    let unknown = ingested(other.clone(), "unknown");
    let unlabelled = ingested(other.join("zebras"), "unlabelled");
    // Features of the train set would be an error of their own.
    damage(&case.shards().join(&*case.dataset().name(1)));
    let error = judge(&case, knn(), case.shards(), Some(unknown)).unwrap_err();
    assert!(matches!(&error, EvalError::Sides(SidesError::UnknownClasses { .. })), "{error}");
    assert!(error.to_string().contains("zebras"), "{error}");
    let error = judge(&case, knn(), case.shards(), Some(unlabelled)).unwrap_err();
    assert!(
        matches!(&error, EvalError::Sides(SidesError::Unlabelled { unlabelled: 1.., .. })),
        "{error}"
    );
}

#[test]
fn sets_that_do_not_fit_are_named() {
    let case = trained();
    // A class that only the test set has.
    let other = case.path("other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::rename(case.path("raw/stripes"), other.join("zebras")).unwrap();
    let error = judge(&case, knn(), case.path("raw"), Some(other.clone())).unwrap_err();
    assert!(matches!(&error, EvalError::Sides(SidesError::UnknownClasses { .. })), "{error}");
    assert!(error.to_string().contains("zebras"), "{error}");

    // Pictures without a class.
    let error = judge(&case, knn(), other.join("zebras"), None).unwrap_err();
    assert!(
        matches!(&error, EvalError::Sides(SidesError::Unlabelled { unlabelled: 1.., .. })),
        "{error}"
    );

    // Views of another size.
    let mut settings = ingest::Settings::new(case.path("raw"), case.path("large"));
    settings.ingest.layout = schemas::ShardLayout::new(96, vec![16], 9).unwrap();
    ingest::run(&settings, &ingest::Silent).unwrap();
    let error = judge(&case, knn(), case.path("large"), None).unwrap_err().to_string();
    assert!(error.contains("96") && error.contains("--size 64"), "{error}");
}
