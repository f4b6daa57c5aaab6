//! The paper's comparison at a small size, as one command: every recipe trains equally long on the
//! same shards, from several seeds, and its encoder is judged as it goes.
//!
//! In the order in which data flows: [`plan`] (what is compared), this file (pictures → shards →
//! runs → evaluations), [`settle`] (shards → steps and rates), [`outcome`] (evaluations → means,
//! spreads, times), [`page`].

pub mod outcome;
pub mod page;
pub mod plan;
pub mod settle;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use schemas::ShardLayout;
use serde::{Deserialize, Serialize};
use storage::{Address, Storage};

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointFolder, Header};
use crate::compare::CompareError;
use crate::data::{DataError, Dataset, ShardSource};
use crate::device::DeviceKind;
use crate::eval::knn::KnnSettings;
use crate::eval::linear::LinearSettings;
use crate::eval::pictures::ingest_told;
use crate::eval::record::{self, Method};
use crate::eval::{self, EvalError};
use crate::html::write_whole;
use crate::metrics::MetricsError;
use crate::model::init::init;
use crate::model::state::State;
use crate::plot::PlotError;
use crate::progress::Console;
use crate::settings::{Settings, SettingsError};
use crate::train;
use crate::train::run::{Resume, RunPaths, TrainError};
use outcome::Outcome;
use plan::{Arm, CELLS, Plan, SIZE};

/// The folder of the sets that encoders are judged on.
const JUDGED_ON: &str = "judged-on";

/// An experiment that can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// Making shards.
    #[error(transparent)]
    Ingest(#[from] ingest::IngestError),
    /// Reading them.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// An evaluation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A run's folder.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A plot.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A file of the experiment.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds an experiment with other settings.
    #[error(
        "{} holds an experiment with other settings ({found}); give them again to go on, or choose another --out",
        out.display()
    )]
    Other {
        /// The folder.
        out: PathBuf,
        /// What it was begun with.
        found: String,
    },
    /// It was asked to stop.
    #[error("stopped; the same command goes on")]
    Stopped,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Request {
    /// Labelled pictures to train on, in class folders or an archive.
    pub pictures: Address,
    /// Labelled pictures to judge on; none to part some of the former off.
    pub test: Option<Address>,
    /// The folder of the experiment.
    pub out: PathBuf,
    /// How long each run trains, and from how many seeds; on how many pictures it is judged.
    pub scale: Scale,
    /// What is compared.
    pub arms: Vec<Arm>,
    /// How stores are reached.
    pub storage: Storage,
}

/// The size of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Minutes that each run trains.
    pub minutes: f64,
    /// Seeds of each arm.
    pub seeds: u64,
    /// Pictures whose features the classifiers learn from.
    pub train_pictures: u64,
    /// Pictures they are tested on.
    pub test_pictures: u64,
}

impl Scale {
    /// What two cores do in under ninety minutes.
    pub const SMALL: Self =
        Self { minutes: 2.0, seeds: 3, train_pictures: 4000, test_pictures: 2000 };
    /// A night's work.
    pub const FULL: Self =
        Self { minutes: 25.0, seeds: 3, train_pictures: 20_000, test_pictures: 10_000 };
}

/// Makes an experiment, or goes on with it: what is finished is not made again.
///
/// # Errors
/// [`ExperimentError`]; the same call goes on from there.
pub fn run(
    request: &Request,
    device: DeviceKind,
    console: &Console,
    stop: &AtomicBool,
) -> Result<Outcome, ExperimentError> {
    let shards = request.out.join("shards");
    ingest_pictures(request, &shards, console)?;
    let dataset = Dataset::open(ShardSource::local(shards.as_path()))?;
    let settled = settle::settle(request, &dataset, device, console, stop)?;

    let runs = request.arms.len() as u64 * request.scale.seeds;
    let mut number = 0;
    // Seeds outermost, so that an experiment that is cut short has all arms.
    for seed in 0..request.scale.seeds {
        for arm in &request.arms {
            number += 1;
            let settled = settled.of(*arm);
            let plan =
                Plan { steps: settled.steps, rate: settled.rate(), rows: dataset.rows(), seed };
            let settings = arm.settings(plan, device)?;
            let run = run_folder(&request.out, *arm, seed);
            console.message(&format!("run {number} of {runs}: {}, seed {seed}", arm.name()));
            train_one(&run, &settings, &dataset, device, console, stop)?;
            judge(request, &run, device, console, stop)?;
        }
    }
    let outcome = Outcome::read(&request.out, &settled, request.scale)?;
    let json = serde_json::to_vec_pretty(&outcome).expect("names and numbers are always JSON");
    write(&request.out.join("experiment.json"), &json)?;
    write(&request.out.join("experiment.html"), page::page(&outcome)?.as_bytes())?;
    Ok(outcome)
}

/// The folder of a run.
pub(crate) fn run_folder(out: &Path, arm: Arm, seed: u64) -> PathBuf {
    out.join("runs").join(format!("{}-{seed}", arm.name()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExperimentError> {
    write_whole(path, bytes).map_err(|source| ExperimentError::Io { path: path.to_owned(), source })
}

/// Pictures → the shards that every run trains on.
fn ingest_pictures(
    request: &Request,
    shards: &Path,
    console: &Console,
) -> Result<(), ExperimentError> {
    let mut settings = ingest::Settings::new("", "");
    settings.sources = vec![request.pictures.clone()];
    settings.out = Address::from(shards);
    settings.ingest.layout =
        ShardLayout { size: SIZE, cells: CELLS.to_vec(), bins: 9, codebooks: vec![] };
    // Small pictures are what this is for.
    settings.ingest.min_side = 1;
    settings.ingest.one_colour = 0;
    let summary = ingest_told(&settings, console)?;
    console.message(&format!(
        "{}: {} pictures in {}",
        request.pictures,
        summary.manifest.accepted,
        shards.display()
    ));
    Ok(())
}

/// Trains a run to its end, from a checkpoint of the untrained network on.
fn train_one(
    run: &Path,
    settings: &Settings,
    dataset: &Dataset,
    device: DeviceKind,
    console: &Console,
    stop: &AtomicBool,
) -> Result<(), ExperimentError> {
    let folder = CheckpointFolder::of_run(run);
    let newest = match folder.newest_told(console)? {
        Some((path, checkpoint)) => Resume { path, checkpoint },
        None => {
            let layout = dataset.layout();
            let network = settings.network(layout)?;
            let checkpoint = Checkpoint {
                model: init(&network, settings.seed),
                moments: State::new(),
                header: Header::untrained(settings, network, dataset.fingerprint()),
            };
            let path = folder.save(&checkpoint, settings.keep)?;
            Resume { path, checkpoint }
        }
    };
    if Some(newest.checkpoint.header.step) == settings.steps {
        return Ok(());
    }
    let paths = RunPaths { shards: dataset.source().clone(), out: run.to_owned() };
    train::run_on(device, &paths, settings, Some(newest), console, stop)?;
    if stop.load(Ordering::Relaxed) {
        return Err(ExperimentError::Stopped);
    }
    Ok(())
}

/// What hears of an evaluation on so many sets: the console, while they have yet to be made, which
/// takes a while.
fn listener(request: &Request, sets: usize, console: &Console) -> Console {
    let made = std::fs::read_dir(request.out.join(JUDGED_ON)).map_or(0, Iterator::count);
    if made < sets && !console.is_quiet() { Console::new() } else { Console::quiet() }
}

/// Judges each of a run's checkpoints that has not been.
fn judge(
    request: &Request,
    run: &Path,
    device: DeviceKind,
    console: &Console,
    stop: &AtomicBool,
) -> Result<(), ExperimentError> {
    let methods = [Method::Knn(KnnSettings::default()), Method::Linear(LinearSettings::default())];
    let io = |source| ExperimentError::Io { path: run.to_owned(), source };
    let made = record::read_all(run).map_err(io)?;
    let folder = CheckpointFolder::of_run(run);
    for step in folder.steps()? {
        if methods.iter().all(|method| {
            made.iter().any(|eval| eval.step == step && eval.method.name() == method.name())
        }) {
            continue;
        }
        if stop.load(Ordering::Relaxed) {
            return Err(ExperimentError::Stopped);
        }
        let evaluation = eval::Request {
            checkpoint: folder.path(step),
            storage: request.storage.clone(),
            train: request.pictures.clone(),
            test: request.test.clone(),
            test_share: 0.2,
            methods: methods.to_vec(),
            seed: 0,
            cache: Some(request.out.join(JUDGED_ON)),
            most: Some((request.scale.train_pictures, request.scale.test_pictures)),
        };
        let sets = 1 + usize::from(request.test.is_some());
        for done in eval::run(&evaluation, device, &listener(request, sets, console))? {
            console.message(&format!(
                "step {step}: {} {}",
                done.record.method.name(),
                eval::page::percent(done.record.score.top1)
            ));
        }
    }
    Ok(())
}
