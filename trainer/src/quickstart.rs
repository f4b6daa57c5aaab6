//! The whole job on a small collection of its own: pictures → shards → encoder → report.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::checkpoint::{CheckpointError, CheckpointFolder};
use crate::data::ShardSource;
use crate::device::DeviceKind;
use crate::model::ModelName;
use crate::progress::Console;
use crate::report::{self, ReportError};
use crate::settings::{Options, Recipe, Settings, SettingsError};
use crate::train;
use crate::train::run::{Resume, RunPaths, TrainError};

/// Whole pictures in the collection.
const PICTURES: usize = 480;
/// The side of a view, smaller than the paper's so that two cores are enough.
const SIZE: u32 = 128;
/// Views cut from each picture.
const VIEWS: u32 = 2;

/// What stops a quickstart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuickstartError {
    /// Making or ingesting the pictures.
    #[error(transparent)]
    Ingest(#[from] ingest::IngestError),
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An earlier quickstart's checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The report.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// The settings of the quickstart's training.
///
/// # Errors
/// [`SettingsError`] only if these constants do not fit the recipe.
pub fn settings(device: DeviceKind) -> Result<Settings, SettingsError> {
    let options = Options {
        recipe: Some(Recipe::LocalmimHog),
        model: Some(ModelName::VitTiny16),
        epochs: Some(10),
        warmup_epochs: Some(0.5),
        batch_size: Some(32),
        // Few steps on few pictures bear, and need, a far higher rate than the paper's.
        lr: Some(16e-3),
        // A sample scene's hue tells which way it is turned; that of its mirror image would not.
        flip: Some(false),
        clip_grad: Some(3.0),
        log_every: Some(5),
        checkpoint_every: Some(100),
        ..Options::default()
    };
    Settings::resolve(options, device)
}

/// How a quickstart ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// All is done; this is the report.
    Report(PathBuf),
    /// It was asked to stop before; the same call goes on from what there is.
    Interrupted,
}

/// Ingests until it is asked to stop.
struct Stoppable<'a> {
    bar: ingest::Bar,
    stop: &'a AtomicBool,
}

impl ingest::Progress for Stoppable<'_> {
    fn begin(&self, bytes: u64, done: u64) {
        self.bar.begin(bytes, done);
    }

    fn read(&self, done: u64) {
        self.bar.read(done);
    }

    fn picture(&self, rejected: bool) {
        self.bar.picture(rejected);
    }

    fn shard(&self, _: u64) -> ControlFlow<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Fills `out` with `raw/`, `shards/`, `run/` and `report.html`; what an earlier call has finished
/// is taken up.
///
/// # Errors
/// [`QuickstartError`]; the same call goes on from there.
pub fn run(
    out: &Path,
    device: DeviceKind,
    console: &Console,
    stop: &AtomicBool,
) -> Result<Ending, QuickstartError> {
    let (raw, shards, run) = (out.join("raw"), out.join("shards"), out.join("run"));
    if !raw.exists() {
        let sample = ingest::sample::write(&raw, PICTURES, 0)?;
        console.message(&format!(
            "drew {} pictures and {} broken files in {}",
            sample.pictures,
            sample.broken,
            raw.display()
        ));
    }

    let mut ingest_settings = ingest::Settings::new(&raw, &shards);
    ingest_settings.ingest.views = VIEWS;
    ingest_settings.ingest.layout.size = SIZE;
    let progress = Stoppable { bar: ingest::Bar::new(), stop };
    let summary = match ingest::run(&ingest_settings, &progress) {
        Err(ingest::IngestError::Stopped) => return Ok(Ending::Interrupted),
        summary => summary?,
    };
    drop(progress);
    console.message(&format!(
        "{} accepted, {} rejected; {} rows in {}",
        summary.manifest.accepted,
        summary.manifest.rejected,
        summary.manifest.rows,
        shards.display()
    ));

    let newest = CheckpointFolder::of_run(&run).newest_told(console)?;
    let resume = newest.map(|(path, checkpoint)| Resume { path, checkpoint });
    let source = ShardSource::local(shards.as_path());
    let paths = RunPaths { shards: source.clone(), out: run.clone() };
    let outcome = train::run_on(device, &paths, &settings(device)?, resume, console, stop)?;
    if outcome.interrupted {
        return Ok(Ending::Interrupted);
    }

    let page = out.join("report.html");
    report::write(&run, &source, &page, report::DEFAULT_VIEWS, console)?;
    Ok(Ending::Report(page))
}
