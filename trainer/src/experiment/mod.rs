//! The paper's comparison at a small size, as one command: every arm trains equally long, from
//! several seeds, and its encoder is judged as it goes. What was made on several evenings and machines
//! is put together from the folders.
//!
//! In the order in which data flows: [`plan`] (what is compared), `lab` (pictures → shards, and
//! what is done with them), `settle` (shards → steps and rates), `ahead` (what is left to do), `make`
//! (an arm and a seed → a run, judged as it goes), [`kept`] and [`judged`] (what a run's folder
//! holds), [`gather`] (folders → runs that can be compared, trained `alike`), [`ratio`] (curves →
//! how much sooner, and how sure), [`outcome`] (runs → what is told, by [`claims`], with `notes`; in
//! words: `tables`), `page` (with its `figures` and the `command`s that make it).

mod ahead;
mod alike;
pub mod claims;
mod command;
mod figures;
pub mod gather;
pub mod judged;
pub mod kept;
mod lab;
mod layers;
mod make;
mod notes;
pub mod outcome;
mod page;
pub mod plan;
pub mod ratio;
mod settle;
mod tables;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use serde::de::DeserializeOwned;
use storage::{Address, Storage};

use crate::analyze::AnalyzeError;
use crate::checkpoint::CheckpointError;
use crate::device::DeviceKind;
use crate::encode::EncodeError;
use crate::eval::EvalError;
use crate::metrics::MetricsError;
use crate::plot::PlotError;
use crate::progress::Console;
use crate::settings::SettingsError;
use crate::train::run::TrainError;
use ahead::Ahead;
use kept::Scale;
use lab::Lab;
use outcome::ExperimentOutcome;
use plan::{Arm, Bench};
use shards::ShardsError;

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
    /// Views.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// An evaluation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// An analysis.
    #[error(transparent)]
    Analyze(#[from] AnalyzeError),
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
    /// An arm that the encoder is not for.
    #[error("--model {model}: {arm} is an arm of another kind of encoder; leave it out of --arms")]
    Model {
        /// The encoder.
        model: &'static str,
        /// The arm.
        arm: Arm,
    },
    /// Two runs that would count twice.
    #[error(
        "{} and {} are runs of one arm from one seed; leave one of their folders out, or make it with other --seeds",
        a.display(),
        b.display()
    )]
    Twice {
        /// One.
        a: PathBuf,
        /// The other.
        b: PathBuf,
    },
    /// What was trained before was trained otherwise than what would be trained beside it.
    #[error(
        "{} is of another release: {trained} was trained with other settings there ({differences}) than {arm} would be now, so that they could not be compared; go on with that release, or {way_out}",
        there.display()
    )]
    OtherRelease {
        /// Where.
        there: PathBuf,
        /// The arm that was trained there.
        trained: Arm,
        /// In what they differ, in words.
        differences: String,
        /// The arm that is to be trained.
        arm: Arm,
        /// What else can be done.
        way_out: &'static str,
    },
    /// A rate of an arm that is not made.
    #[error(
        "--rate {arm}={rate:e}: {arm} is not among the arms that are made; add it to --arms, or leave its rate out"
    )]
    Unmade {
        /// The arm.
        arm: Arm,
        /// Its rate.
        rate: f64,
    },
    /// An arm that can't be trained on views of this size.
    #[error(
        "{arm}: {reason}; choose --size and --model that go together, or leave the arm out of --arms"
    )]
    Unfit {
        /// The arm.
        arm: Arm,
        /// Why.
        reason: String,
    },
    /// A folder whose steps and rates were to be taken has none.
    #[error("--like {}: it has not settled {what} yet; make it so far first, or leave --like out", like.display())]
    Unsettled {
        /// The folder.
        like: PathBuf,
        /// What is missing.
        what: String,
    },
    /// Folders that are no experiments'.
    #[error(
        "{}: no experiment lies there; give folders that `trainer experiment --out` made",
        named(folders)
    )]
    NoExperiment {
        /// The folders.
        folders: Vec<PathBuf>,
    },
    /// A file of the experiment that says nothing to this release.
    #[error("{}: {reason}; another release may have written it: go on with that, or choose another --out", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Folders without a finished run.
    #[error("no finished run lies in {}; `trainer experiment` makes them", named(folders))]
    NoRuns {
        /// The folders.
        folders: Vec<PathBuf>,
    },
    /// It was asked to stop.
    #[error("stopped; the same command goes on")]
    Stopped,
}

impl ExperimentError {
    /// Whether training, or judging what came of it, met with numbers that are none.
    fn is_not_finite(&self) -> bool {
        matches!(
            self,
            Self::Train(TrainError::NotFinite { .. }) | Self::Eval(EvalError::NotFinite { .. })
        )
    }
}

fn named(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
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
    /// In what every run trains.
    pub bench: Bench,
    /// How long it trains, and on how many pictures it is judged.
    pub scale: Scale,
    /// The seeds of each arm.
    pub seeds: Vec<u64>,
    /// What is compared.
    pub arms: Vec<Arm>,
    /// Base learning rates that need not be tried for.
    pub rates: Vec<(Arm, f64)>,
    /// Another experiment's folder, whose steps and rates are taken.
    pub like: Option<PathBuf>,
    /// How stores are reached.
    pub storage: Storage,
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
    let lab = Lab::open(request, device, console, stop)?;
    let settled = settle::settle(&lab)?;
    // Seeds outermost, so that an experiment that is cut short has all arms.
    let of_seed = |&seed| request.arms.iter().map(move |&arm| (arm, seed));
    let runs = request.seeds.iter().flat_map(of_seed);
    let runs = runs.map(|(arm, seed)| lab.record(&settled, arm, seed)).collect::<Vec<_>>();
    let ahead = Ahead::of(&lab, &settled, &runs)?;
    console.message(&ahead.told()?);
    for run in &runs {
        lab.make(run, &ahead)?;
    }
    put_together(std::slice::from_ref(&request.out), &request.out)
}

/// Reads the runs in the folders of experiments and writes what they show together into `out`:
/// `experiment.json`, `experiment.html`, and the page's plots as SVG files.
///
/// # Errors
/// [`ExperimentError`] if they can't be read or do not fit together, or the files can't be written.
pub fn put_together(folders: &[PathBuf], out: &Path) -> Result<ExperimentOutcome, ExperimentError> {
    let gathered = gather::gather(folders)?;
    let outcome = ExperimentOutcome::new(&gathered);
    write_json(&out.join("experiment.json"), &outcome)?;
    let (page, figures) = page::page(&gathered, &outcome, &command::of_page(folders, out))?;
    for (name, svg) in figures.files {
        write(&out.join(name), svg.as_bytes())?;
    }
    write(&out.join("experiment.html"), page.as_bytes())?;
    Ok(outcome)
}

fn write_json(path: &Path, what: &impl Serialize) -> Result<(), ExperimentError> {
    write(path, &serde_json::to_vec_pretty(what).expect("names and numbers are always JSON"))
}

/// What [`write_json`] wrote; none where there is no file.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ExperimentError> {
    let path = path.to_owned();
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| ExperimentError::Unreadable { path, reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ExperimentError::Io { path, source }),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExperimentError> {
    storage::write_file(path, bytes)
        .map_err(|source| ExperimentError::Io { path: path.to_owned(), source })
}
