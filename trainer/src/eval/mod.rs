//! What a frozen encoder is worth: how well classes can be told by its features.
//!
//! In the order in which data flows: [`pictures`] (what was named → a shard set), [`encoder`] (the
//! one touch with the network), [`spread`] (over the cores), [`rows`] (row groups → a feature a
//! view, as they come), [`features`] (of all labelled rows, on the host), [`knn`] and [`linear`] (features → predictions), [`finetune`] (views → predictions, the
//! encoder trained with a head), [`score`] (predictions → accuracies),
//! [`record`] and [`page`] (what is left in the run's folder).

pub mod encoder;
mod error;
pub mod features;
pub mod finetune;
pub mod knn;
pub mod linear;
pub mod page;
pub mod pictures;
pub mod record;
pub mod rows;
pub mod score;
pub mod spread;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use burn::backend::cuda::CudaDevice;
use burn::backend::{Autodiff, Cuda, Flex};
use storage::{Address, FileWriter, Storage};

use crate::checkpoint::{Checkpoint, Header};
use crate::data::Dataset;
use crate::device::DeviceKind;
use crate::export::{self, ExportError, find_checkpoint};
use crate::model::{Precision, State, alone};
use crate::progress::Console;
use crate::train::slices::Slices;
use encoder::FEATURE;
pub use error::EvalError;
use features::Features;
use finetune::stream::Labelled;
use finetune::{Compute, FinetuneSettings};
use record::{EVAL_FOLDER, EvalRecord, Method, Side, Split};
use rows::Encoders;
use score::Score;

/// What is to be evaluated, and on what.
#[derive(Debug, Clone)]
pub struct EvalRequest {
    /// A run's folder, for its newest checkpoint, or a checkpoint file.
    pub checkpoint: PathBuf,
    /// How shards are reached.
    pub storage: Storage,
    /// The train set: shards, or local pictures in class folders.
    pub train: Address,
    /// The test set; without one, the train set is parted.
    pub test: Option<Address>,
    /// The share of pictures that is parted off for the test.
    pub test_share: f64,
    /// How the encoder is judged.
    pub methods: Vec<Method>,
    /// The seed of the split and of the order of training rows.
    pub seed: u64,
    /// The folder for shards that are made of pictures; none for one in the run's own.
    pub cache: Option<PathBuf>,
    /// About how many rows of the train and of the test set are looked at, to whole row groups; all
    /// where none is given. Of frozen features only.
    pub most: Option<(u64, u64)>,
}

/// What an evaluation gave, and where it lies.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The figures.
    pub record: EvalRecord,
    /// Their file.
    pub json: PathBuf,
    /// The page that shows them.
    pub page: PathBuf,
    /// A fine-tuned encoder with its head, with timm's names.
    pub weights: Option<PathBuf>,
}

/// Judges a checkpoint's encoder by each method and writes what came out into the run's folder.
///
/// # Errors
/// [`EvalError`]; of the method that failed, nothing is written. If it failed in writing, the error
/// has the accuracy.
pub fn run(
    request: &EvalRequest,
    device: DeviceKind,
    console: &Console,
) -> Result<Vec<Evaluated>, EvalError> {
    check(request)?;
    let (path, checkpoint) = find_checkpoint(&request.checkpoint, console)?;
    let run = record::run_of(&path);
    writable(&run.join(EVAL_FOLDER))?;
    let cache = request.cache.clone().unwrap_or_else(|| run.join(EVAL_FOLDER));
    let header = &checkpoint.header;
    let from = (&checkpoint, path.as_path());

    let open =
        |at: &Address| pictures::open(&request.storage, at, &header.network, &cache, console);
    // Features are made once, whatever is made of them.
    let mut known: Option<Sides> = None;
    let mut done = vec![];
    for method in &request.methods {
        let tuned: Sides;
        let mut classifier = None;
        let make = || frozen(request, from, &open, device, console);
        let ((train, test), predictions) = match method {
            Method::Knn(settings) => {
                let sides = once(&mut known, make)?;
                (sides, knn::predict(&sides.0, &sides.1, settings))
            }
            Method::Linear(settings) => {
                let sides = once(&mut known, make)?;
                let judged = linear::predict(&sides.0, &sides.1, settings, request.seed)?;
                let linear::Judged { predictions, loss, guess } = judged;
                if loss > guess + 1e-3 {
                    console.message(&format!(
                        "warning: after training, the loss on the train rows is {loss:.3}, above the {guess:.3} of a classifier that knows nothing; --lr may be too high"
                    ));
                }
                (sides, predictions)
            }
            Method::Finetune(settings) => {
                let judged = finetuned(request, settings, from, &open, device, console)?;
                tuned = (judged.train, judged.test);
                classifier = Some(judged.classifier);
                (&tuned, judged.predictions)
            }
        };
        let shared_pictures = test.shared_pictures(train) as u64;
        if shared_pictures > 0 {
            let text = format!("warning: {shared_pictures} test pictures are train pictures too");
            console.message(&text);
        }
        let test_at = request.test.as_ref().unwrap_or(&request.train);
        let record = EvalRecord {
            method: method.clone(),
            step: header.step,
            checkpoint: path.clone(),
            recipe: header.settings.recipe.name().to_owned(),
            model: header.settings.model.name().to_owned(),
            feature: FEATURE.to_owned(),
            dim: alone::width(&header.network),
            seed: request.seed,
            train: Side::new(request.train.to_string(), train),
            test: Side::new(test_at.to_string(), test),
            split: request.test.is_none().then_some(Split { test_share: request.test_share }),
            shared_pictures,
            score: Score::new(&test.labels, &predictions, &train.classes),
        };
        let top1 = page::percent(record.score.top1);
        let figures = format!("{} of step {}: top-1 {top1}", method.name(), record.step);
        let classifier = classifier.map(|classifier| (header, classifier, &*train.classes));
        let kept = keep(record, classifier, &run, console);
        done.push(kept.map_err(|source| {
            let source = Box::new(source);
            EvalError::Unkept { figures, source }
        })?);
    }
    Ok(done)
}

/// Refuses a folder before the work of which nothing could be kept in it.
fn writable(folder: &Path) -> Result<(), EvalError> {
    // Never finished, so that nothing is left of it.
    FileWriter::create(&folder.join("probe"))
        .map(drop)
        .map_err(|source| EvalError::Folder { path: folder.to_owned(), source })
}

/// Both sides, and the predictions for the test rows.
struct Judged {
    train: Features,
    test: Features,
    predictions: Vec<Vec<u32>>,
    classifier: State,
}

/// The features of the train and of the test rows.
type Sides = (Features, Features);

/// Opens the set at an address.
type Open<'a> = dyn Fn(&Address) -> Result<Dataset, EvalError> + 'a;

/// What is kept, made if it is not there yet.
fn once(
    kept: &mut Option<Sides>,
    make: impl FnOnce() -> Result<Sides, EvalError>,
) -> Result<&Sides, EvalError> {
    let sides = match kept.take() {
        Some(sides) => sides,
        None => make()?,
    };
    Ok(kept.insert(sides))
}

/// The frozen features of both sides.
fn frozen(
    request: &EvalRequest,
    (checkpoint, path): (&Checkpoint, &Path),
    open: &Open<'_>,
    device: DeviceKind,
    console: &Console,
) -> Result<Sides, EvalError> {
    let features = |at: &Address, set: &Dataset, what: &str, most: Option<u64>| {
        let encoders = Encoders { device, path, checkpoints: &[checkpoint] };
        labelled(at, features::extract(encoders, set, what, most, console)?, console)
    };
    let (train_most, test_most) = request.most.unzip();
    let train_set = open_labelled(&request.train, open)?;
    match &request.test {
        Some(at) => {
            let test_set = open_labelled(at, open)?;
            if request.most.is_none() {
                foresee(at, &test_set, &train_set)?;
            }
            let train = features(&request.train, &train_set, "train features", train_most)?;
            let test = features(at, &test_set, "test features", test_most)?;
            let test = matched(test, at, &train.classes)?;
            Ok((train, test))
        }
        None => {
            let most = request.most.map(|(train, test)| train + test);
            let all = features(&request.train, &train_set, "features", most)?;
            let (train, test) = all.split(request.test_share, request.seed);
            parted(request, &train, &test, console)?;
            Ok((train, test))
        }
    }
}

/// Opens a set; an error if it is known to have no labels before its rows are read.
fn open_labelled(at: &Address, open: &Open<'_>) -> Result<Dataset, EvalError> {
    let set = open(at)?;
    if set.manifest().classes.is_empty() || set.rows() == 0 {
        return Err(EvalError::Unlabelled { at: at.to_string(), unlabelled: set.rows() });
    }
    Ok(set)
}

/// Refuses a test set with classes that the train set lacks before any feature is made.
fn foresee(at: &Address, test: &Dataset, train: &Dataset) -> Result<(), EvalError> {
    let known = &train.manifest().classes;
    let names: HashSet<&String> = known.iter().collect();
    if test.manifest().classes.iter().all(|class| names.contains(class)) {
        return Ok(());
    }
    // A class may be listed of which there is no row.
    matched(Labelled::open(test.clone())?.index(), at, known).map(drop)
}

/// Judges by fine-tuning.
fn finetuned(
    request: &EvalRequest,
    settings: &FinetuneSettings,
    from: (&Checkpoint, &Path),
    open: &Open<'_>,
    device: DeviceKind,
    console: &Console,
) -> Result<Judged, EvalError> {
    let rows = |at: &Address| -> Result<(Labelled, Features), EvalError> {
        let rows = Labelled::open(open(at)?)?;
        let index = labelled(at, rows.index(), console)?;
        Ok((rows, index))
    };
    let (all, all_index) = rows(&request.train)?;
    let (train, test) = match &request.test {
        Some(at) => {
            let (test, index) = rows(at)?;
            (all, test.with_index(&matched(index, at, &all_index.classes)?))
        }
        None => {
            let (train, test) = all.split(request.test_share, request.seed);
            parted(request, &train.index(), &test.index(), console)?;
            (train, test)
        }
    };
    let sides = (&train, &test);
    let (predictions, classifier) = match device {
        DeviceKind::Cuda(index) => {
            let device = CudaDevice::new(index);
            let slices = Slices::whole();
            let compute = Compute { device, precision: Precision::Bf16, slices, threads: 1 };
            finetune::predict::<Autodiff<Cuda>>(
                from,
                sides,
                settings,
                request.seed,
                &compute,
                console,
            )
        }
        DeviceKind::Cpu => {
            let threads = rayon::current_num_threads();
            let device = Default::default();
            let slices = Slices::over_threads(threads)?;
            let compute = Compute { device, precision: Precision::F32, slices, threads };
            finetune::predict::<Autodiff<Flex>>(
                from,
                sides,
                settings,
                request.seed,
                &compute,
                console,
            )
        }
    }?;
    Ok(Judged { train: train.index(), test: test.index(), predictions, classifier })
}

/// Says what was left out; an error where nothing is left.
fn labelled(at: &Address, rows: Features, console: &Console) -> Result<Features, EvalError> {
    let unlabelled = rows.unlabelled;
    if unlabelled > 0 {
        console.message(&format!("{at}: {unlabelled} rows without a label are left out"));
    }
    if rows.rows() == 0 {
        return Err(EvalError::Unlabelled { at: at.to_string(), unlabelled });
    }
    Ok(rows)
}

fn check(request: &EvalRequest) -> Result<(), EvalError> {
    let range = |ok: bool, flag, found: String, expected| {
        if ok { Ok(()) } else { Err(EvalError::Range { flag, found, expected }) }
    };
    let share = request.test_share;
    range(share > 0.0 && share < 1.0, "test-share", share.to_string(), "it lies between 0 and 1")?;
    let above = "it must be a finite number above 0";
    let positive = |value: f64| value.is_finite() && value > 0.0;
    request.methods.iter().try_for_each(|method| match method {
        Method::Knn(knn) => {
            range(knn.k >= 1, "k", knn.k.to_string(), "it must be at least 1")?;
            range(positive(knn.temperature), "temperature", knn.temperature.to_string(), above)
        }
        Method::Finetune(tune) => check_finetune(tune, &range),
        Method::Linear(linear) => {
            let counts = [("epochs", linear.epochs), ("batch-size", linear.batch_size as u64)];
            for (flag, count) in counts {
                let expected = "it must be at least 1 and fit 32 bits";
                let fits = count >= 1 && u32::try_from(count).is_ok();
                range(fits, flag, count.to_string(), expected)?;
            }
            range(positive(linear.lr), "lr", linear.lr.to_string(), above)?;
            let decay = linear.weight_decay;
            let expected = "it must be a finite number, not below 0";
            range(decay.is_finite() && decay >= 0.0, "weight-decay", decay.to_string(), expected)
        }
    })
}

fn check_finetune(
    tune: &FinetuneSettings,
    range: &dyn Fn(bool, &'static str, String, &'static str) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    for (flag, count) in [("epochs", tune.epochs), ("batch-size", tune.batch_size as u64)] {
        let fits = count >= 1 && u32::try_from(count).is_ok();
        range(fits, flag, count.to_string(), "it must be at least 1 and fit 32 bits")?;
    }
    let numbers = [
        ("lr", tune.lr),
        ("min-lr", tune.min_lr),
        ("warmup-epochs", tune.warmup_epochs),
        ("weight-decay", tune.weight_decay),
        ("mixup", tune.mixup),
        ("cutmix", tune.cutmix),
    ];
    for (flag, value) in numbers {
        let fits = value.is_finite() && value >= 0.0;
        range(fits, flag, value.to_string(), "it must be a finite number, not below 0")?;
    }
    for (flag, value) in
        [("drop-path", tune.drop_path), ("smoothing", tune.smoothing), ("erase", tune.erase)]
    {
        range((0.0..1.0).contains(&value), flag, value.to_string(), "it lies in [0, 1)")?;
    }
    let decay = tune.layer_decay;
    range(decay > 0.0 && decay <= 1.0, "layer-decay", decay.to_string(), "it lies in (0, 1]")
}

fn matched(test: Features, at: &Address, classes: &[String]) -> Result<Features, EvalError> {
    test.with_classes_of(classes).map_err(|unknown| {
        let known: Vec<_> = classes.iter().take(8).map(String::as_str).collect();
        let more = if classes.len() > known.len() { ", …" } else { "" };
        let known = format!("{}{more}", known.join(", "));
        EvalError::UnknownClasses { at: at.to_string(), unknown, known }
    })
}

/// Says how one set was parted; an error where a side is empty.
fn parted(
    request: &EvalRequest,
    train: &Features,
    test: &Features,
    console: &Console,
) -> Result<(), EvalError> {
    let pictures = train.picture_count() + test.picture_count();
    if train.rows() == 0 || test.rows() == 0 {
        let share = request.test_share;
        return Err(EvalError::TooFew { at: request.train.to_string(), pictures, share });
    }
    console.message(&format!(
        "no --test-shards: {} of {pictures} pictures are parted off for the test, by the hash of their content",
        test.picture_count(),
    ));
    Ok(())
}

/// Writes what came out into the run's folder, and a classifier with the classes that it tells.
fn keep(
    record: EvalRecord,
    classifier: Option<(&Header, State, &[String])>,
    run: &Path,
    console: &Console,
) -> Result<Evaluated, EvalError> {
    let mut kept = None;
    if let Some((header, classifier, classes)) = classifier {
        let weights = record.stem(run).with_extension("safetensors");
        match export::export_classifier(header, &classifier, classes, &weights) {
            Ok(()) => kept = Some(weights),
            Err(error @ ExportError::NoTopTap { .. }) => {
                console.message(&format!("the fine-tuned weights are not kept: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Evaluated { weights: kept, ..write(record, run)? })
}

fn write(record: EvalRecord, run: &Path) -> Result<Evaluated, EvalError> {
    let stem = record.stem(run);
    let (json, page) = (stem.with_extension("json"), stem.with_extension("html"));
    let text = serde_json::to_vec_pretty(&record).expect("names and numbers are always JSON");
    let html = page::page(&record)?;
    for (path, bytes) in [(&page, html.as_bytes()), (&json, &text)] {
        storage::write_file(path, bytes)
            .map_err(|source| EvalError::Write { path: path.clone(), source })?;
    }
    Ok(Evaluated { record, json, page, weights: None })
}
