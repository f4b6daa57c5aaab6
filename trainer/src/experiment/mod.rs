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
use shards::{ShardSet, ShardSource, ShardsError};
use storage::{Address, Storage};

use crate::checkpoint::{CheckpointError, CheckpointFolder};
use crate::compare::CompareError;
use crate::device::DeviceKind;
use crate::encode::pictures::ingest_told;
use crate::eval::knn::KnnSettings;
use crate::eval::linear::LinearSettings;
use crate::eval::record::{self, Method};
use crate::eval::{self, EvalError, Evaluated};
use crate::metrics::MetricsError;
use crate::plot::PlotError;
use crate::progress::Console;
use crate::settings::{Settings, SettingsError};
use crate::train::TrainRequest;
use crate::train::run::{Resume, RunPaths, TrainError};
use outcome::ExperimentOutcome;
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
    Shards(#[from] ShardsError),
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
pub struct ExperimentRequest {
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
    request: &ExperimentRequest,
    device: DeviceKind,
    console: &Console,
    stop: &AtomicBool,
) -> Result<ExperimentOutcome, ExperimentError> {
    let shards = request.out.join("shards");
    ingest_pictures(request, &shards, console)?;
    let dataset = ShardSet::open_whole(ShardSource::local(shards.as_path()))?;
    let bench = Bench { request, dataset: &dataset, device, console, stop };
    let settled = settle::settle(&bench)?;

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
            bench.train_whole(&run, &settings)?;
            bench.judge_all(&run)?;
        }
    }
    let outcome = ExperimentOutcome::read(&request.out, &settled, request.scale)?;
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
    storage::write_file(path, bytes)
        .map_err(|source| ExperimentError::Io { path: path.to_owned(), source })
}

/// Pictures → the shards that every run trains on.
fn ingest_pictures(
    request: &ExperimentRequest,
    shards: &Path,
    console: &Console,
) -> Result<(), ExperimentError> {
    let mut settings = ingest::Settings::new("", "");
    settings.sources = vec![request.pictures.clone()];
    settings.out = Address::from(shards);
    settings.ingest.layout =
        ShardLayout { size: SIZE, cells: CELLS.to_vec(), bins: 9, ..settings.ingest.layout };
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

/// What all runs of an experiment have in common.
struct Bench<'a> {
    request: &'a ExperimentRequest,
    dataset: &'a ShardSet,
    device: DeviceKind,
    console: &'a Console,
    stop: &'a AtomicBool,
}

impl Bench<'_> {
    /// Trains into the folder `out`.
    fn train(
        &self,
        out: &Path,
        settings: &Settings,
        resume: Option<Resume>,
    ) -> Result<(), ExperimentError> {
        let paths = RunPaths { shards: self.dataset.source().clone(), out: out.to_owned() };
        let Self { console, stop, .. } = self;
        TrainRequest { paths: &paths, settings, resume, console, stop }.on(self.device)?;
        self.go_on()
    }

    /// Whether nobody has asked to stop.
    fn go_on(&self) -> Result<(), ExperimentError> {
        if self.stop.load(Ordering::Relaxed) { Err(ExperimentError::Stopped) } else { Ok(()) }
    }

    /// Judges a checkpoint's encoder: on a set of its own, or on a part of the pictures to train on,
    /// which the seed parts off.
    fn judge(
        &self,
        checkpoint: PathBuf,
        test: Option<&Address>,
        methods: &[Method],
        seed: u64,
    ) -> Result<Vec<Evaluated>, ExperimentError> {
        let ExperimentRequest { pictures, out, scale, storage, .. } = self.request;
        let cache = out.join(JUDGED_ON);
        // The sets are made where they are first looked at, which takes a while.
        let made = std::fs::read_dir(&cache).map_or(0, Iterator::count);
        let quiet = Console::quiet();
        let sets = 1 + usize::from(test.is_some());
        let console = if made < sets { self.console } else { &quiet };
        let evaluation = eval::EvalRequest {
            checkpoint,
            storage: storage.clone(),
            train: pictures.clone(),
            test: test.cloned(),
            test_share: 0.2,
            methods: methods.to_vec(),
            seed,
            cache: Some(cache),
            most: Some((scale.train_pictures, scale.test_pictures)),
        };
        Ok(eval::run(&evaluation, self.device, console)?)
    }

    /// Trains a run to its end, from a checkpoint of the untrained network on.
    fn train_whole(&self, run: &Path, settings: &Settings) -> Result<(), ExperimentError> {
        let folder = CheckpointFolder::of_run(run);
        let network = settings.network(self.dataset.layout())?;
        let dataset = self.dataset.fingerprint();
        let (path, checkpoint) =
            folder.newest_or_untrained(settings, network, dataset, self.console)?;
        if Some(checkpoint.header.step) == settings.steps {
            return Ok(());
        }
        self.train(run, settings, Some(Resume { path, checkpoint }))
    }

    /// Judges each of a run's checkpoints that has not been.
    fn judge_all(&self, run: &Path) -> Result<(), ExperimentError> {
        let methods =
            [Method::Knn(KnnSettings::default()), Method::Linear(LinearSettings::default())];
        let io = |source| ExperimentError::Io { path: run.to_owned(), source };
        let made = record::read_all(run).map_err(io)?;
        let folder = CheckpointFolder::of_run(run);
        for step in folder.steps()? {
            if methods.iter().all(|method| {
                made.iter().any(|eval| eval.step == step && eval.method.name() == method.name())
            }) {
                continue;
            }
            self.go_on()?;
            let test = self.request.test.as_ref();
            for done in self.judge(folder.path(step), test, &methods, 0)? {
                self.console.message(&format!(
                    "step {step}: {} {}",
                    done.record.method.name(),
                    eval::score::percent(done.record.score.top1)
                ));
            }
        }
        Ok(())
    }
}
