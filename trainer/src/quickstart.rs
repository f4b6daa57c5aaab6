//! The whole job on a small collection of its own: pictures → shards → encoder → report.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use schemas::ShardLayout;
use shards::{ShardSet, ShardSource, ShardsError};
use storage::Storage;

use crate::checkpoint::{CheckpointError, CheckpointFolder};
use crate::device::DeviceKind;
use crate::encode::encoder::Layers;
use crate::eval::knn::KnnSettings;
use crate::eval::record::{EvalRecord, Method};
use crate::eval::score::percent;
use crate::eval::{self, EvalError};
use crate::model::{ModelName, Start};
use crate::progress::Console;
use crate::report::{self, Contents, ReportError};
use crate::settings::{Options, Recipe, Settings, SettingsError};
use crate::train::TrainRequest;
use crate::train::run::{Resume, RunPaths, TrainError};

/// Whole pictures in the collection.
const PICTURES: usize = 1200;
/// The side of a view, smaller than the paper's so that two cores make many epochs in minutes.
const SIZE: u32 = 64;
/// The target cells: half a patch, a patch, two patches.
const CELLS: [u32; 3] = [4, 8, 16];
/// Views cut from each picture.
const VIEWS: u32 = 2;
/// Optimizer steps.
const STEPS: u64 = 600;

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
    /// The shards.
    #[error(transparent)]
    Shards(#[from] ShardsError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Judging the encoder.
    #[error(transparent)]
    Eval(#[from] EvalError),
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
        patch: Some(8),
        width: Some(128),
        depths: Some(vec![6]),
        heads: Some(vec![4]),
        cells: Some(vec![4, 4, 8, 16]),
        decoder_dim: Some(48),
        decoder_heads: Some(4),
        steps: Some(STEPS),
        warmup_epochs: Some(1.0),
        batch_size: Some(64),
        // Few steps on few pictures bear, and need, a far higher rate than the paper's.
        lr: Some(4e-3),
        clip_grad: Some(1.0),
        // On these few pictures the encoder learns far more so (docs/EXPERIMENT.md).
        start: Some(Start::Mae),
        log_every: Some(10),
        checkpoint_every: Some(100),
        // So that the untrained encoder's stays.
        keep: Some(STEPS as usize / 100 + 1),
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
    ingest_settings.ingest.layout =
        ShardLayout { size: SIZE, cells: CELLS.to_vec(), ..ingest_settings.ingest.layout };
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

    let source = ShardSource::local(shards.as_path());
    let settings = settings(device)?;
    let folder = CheckpointFolder::of_run(&run);
    let dataset = ShardSet::open_whole(source.clone())?;
    let network = settings.network(dataset.layout())?;
    let (path, checkpoint) =
        folder.newest_or_untrained(&settings, network, dataset.fingerprint(), console)?;
    let newest = Resume { path, checkpoint };
    let paths = RunPaths { shards: source.clone(), out: run.clone() };
    let (paths, settings, resume) = (&paths, &settings, Some(newest));
    let outcome = TrainRequest { paths, settings, resume, console, stop }.on(device)?;
    if outcome.interrupted {
        return Ok(Ending::Interrupted);
    }

    for step in [0, STEPS] {
        judge(&raw, folder.path(step), device, console)?;
    }
    let page = out.join("report.html");
    let contents = Contents { sample: PICTURES, ..Contents::default() };
    report::write(&run, &source, &page, contents, console)?;
    Ok(Ending::Report(page))
}

/// Judges an encoder by its k-NN on a fifth of the pictures, each seen whole.
fn judge(
    raw: &Path,
    checkpoint: PathBuf,
    device: DeviceKind,
    console: &Console,
) -> Result<(), EvalError> {
    let evaluation = eval::EvalRequest {
        checkpoint,
        storage: Storage::local(),
        train: raw.into(),
        test: None,
        test_share: 0.2,
        methods: vec![Method::Knn(KnnSettings::default())],
        seed: 0,
        cache: None,
        most: None,
        layers: Layers::Top,
        stop: None,
    };
    // What is said of the pictures is known since they were ingested.
    for done in eval::run(&evaluation, device, &Console::quiet())? {
        let EvalRecord { step, score, .. } = done.record;
        let whose = if step == 0 { "untrained" } else { "trained" };
        console.message(&format!(
            "k-NN with the {whose} encoder: {} of the pictures' classes are told",
            percent(score.top1)
        ));
    }
    Ok(())
}
