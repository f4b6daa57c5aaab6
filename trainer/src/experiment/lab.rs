//! Pictures → shards; and what is done with them: an arm trains, a checkpoint is judged.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use schemas::ShardLayout;
use shards::{ShardSet, ShardSource};
use storage::Address;

use super::kept::{self, JudgedOn, RunRecord, Setup};
use super::plan::{Arm, Family, Plan, RATES};
use super::{ExperimentError, ExperimentRequest};
use crate::device::DeviceKind;
use crate::encode::encoder::Layers;
use crate::encode::pictures::{self, ingest_told};
use crate::eval::record::Method;
use crate::eval::{self, Evaluated};
use crate::model::{TapConfig, TargetKind};
use crate::progress::Console;
use crate::settings::Settings;
use crate::train::TrainRequest;
use crate::train::run::{Resume, RunPaths};

/// The folder of the sets that encoders are judged on.
const JUDGED_ON: &str = "judged-on";

/// What all runs of an experiment have in common.
pub(super) struct Lab<'a> {
    pub request: &'a ExperimentRequest,
    pub setup: Setup,
    pub device: DeviceKind,
    pub console: &'a Console,
    /// By the views of each picture that they hold.
    sets: Vec<(u32, ShardSet)>,
    stop: &'a AtomicBool,
}

impl<'a> Lab<'a> {
    /// Makes the shards that the arms train on, if they are not there.
    pub fn open(
        request: &'a ExperimentRequest,
        device: DeviceKind,
        console: &'a Console,
        stop: &'a AtomicBool,
    ) -> Result<Self, ExperimentError> {
        check(request, device)?;
        let mut sets: Vec<(u32, ShardSet)> = vec![];
        // Arms that are changed train at the rate of another, which may have to be found.
        for arm in request.arms.iter().flat_map(|arm| [arm.rated_by(), *arm]) {
            if sets.iter().all(|(views, _)| *views != arm.views()) {
                sets.push((arm.views(), open_shards(request, arm.views(), console)?));
            }
        }
        let about = sets.first().map(|(_, set)| (set.manifest().accepted, &set.manifest().classes));
        let (pictures, classes) = about.map_or((0, 0), |(all, classes)| (all, classes.len()));
        let setup = Setup {
            bench: request.bench,
            scale: request.scale,
            pictures,
            classes: classes as u64,
            test: JudgedOn::Unknown,
        };
        let mut lab = Self { request, setup, device, console, sets, stop };
        lab.setup.test = lab.judged_on()?;
        Ok(lab)
    }

    /// What encoders are judged on, which is made into a set if it is not there.
    fn judged_on(&self) -> Result<JudgedOn, ExperimentError> {
        let ExperimentRequest { test, out, storage, .. } = self.request;
        let (Some(at), Some(&arm)) = (test, self.request.arms.first()) else {
            return Ok(JudgedOn::Parted);
        };
        let settings = self.settings(arm, (1, RATES[0], 0))?;
        let network = settings.network(self.set(arm).layout())?;
        let set = pictures::open(storage, at, &network, &out.join(JUDGED_ON), self.console)?;
        let views = set.manifest().settings.views;
        let mut hashes = vec![];
        for shard in 0..set.manifest().shards.len() {
            let pictures = set.shard(shard).fingerprints(views)?;
            hashes.extend(pictures.into_iter().map(|picture| picture.content));
        }
        hashes.sort_unstable();
        let content = blake3::hash(hashes.as_flattened()).to_hex()[..16].to_owned();
        Ok(JudgedOn::Set { pictures: hashes.len() as u64, content })
    }

    /// The shards that an arm trains on.
    pub fn set(&self, arm: Arm) -> &ShardSet {
        let of = self.sets.iter().find(|(views, _)| *views == arm.views());
        &of.expect("every arm's shards are opened first").1
    }

    /// The settings of an arm.
    pub fn settings(
        &self,
        arm: Arm,
        (steps, rate, seed): (u64, f64, u64),
    ) -> Result<Settings, ExperimentError> {
        let plan = Plan { steps, rate, rows: self.set(arm).rows(), seed };
        Ok(arm.settings(self.request.bench, plan, self.device)?)
    }

    /// The folder of a run.
    pub fn folder(&self, run: &RunRecord) -> PathBuf {
        kept::folder(&self.request.out, run.arm, run.seed)
    }

    /// Trains into the folder `out`.
    pub fn train(
        &self,
        arm: Arm,
        out: &Path,
        settings: &Settings,
        resume: Option<Resume>,
    ) -> Result<(), ExperimentError> {
        let paths = RunPaths { shards: self.set(arm).source().clone(), out: out.to_owned() };
        let (console, stop) = (&Console::quiet(), self.stop);
        TrainRequest { paths: &paths, settings, resume, console, stop }.on(self.device)?;
        self.go_on()
    }

    /// Whether nobody has asked to stop.
    pub fn go_on(&self) -> Result<(), ExperimentError> {
        if self.stop.load(Ordering::Relaxed) { Err(ExperimentError::Stopped) } else { Ok(()) }
    }

    /// Judges a checkpoint's encoder, each layer: on a set of its own, or on a part of the pictures to
    /// train on, which the seed parts off.
    pub fn judge(
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
            layers: Layers::All,
            stop: None,
        };
        Ok(eval::run(&evaluation, self.device, console)?)
    }
}

/// Refuses what can't be made before anything is.
fn check(request: &ExperimentRequest, device: DeviceKind) -> Result<(), ExperimentError> {
    if let Some(model) = request.bench.model {
        let family = Family::of(model);
        if let Some(&arm) = request.arms.iter().find(|arm| arm.family != family) {
            return Err(ExperimentError::Model { model: model.name(), arm });
        }
    }
    for &(arm, rate) in &request.rates {
        if !request.arms.iter().any(|made| *made == arm || made.rated_by() == arm) {
            return Err(ExperimentError::Unmade { arm, rate });
        }
    }
    let layout = request.bench.layout(ingest::Settings::new("", "").ingest.layout);
    for &arm in &request.arms {
        let plan = Plan { steps: 1, rate: RATES[0], rows: 1, seed: 0 };
        let settings = arm.settings(request.bench, plan, device)?;
        let unfit = |reason: String| ExperimentError::Unfit { arm, reason };
        let network = settings.network(&layout).map_err(|error| unfit(error.to_string()))?;
        let lacks = |tap: &&TapConfig| !layout.cells.contains(&(tap.cell as u32));
        if network.target != TargetKind::RawPixel
            && let Some(tap) = network.taps.iter().find(lacks)
        {
            let ShardLayout { size, cells, .. } = &layout;
            let cell = tap.cell;
            return Err(unfit(format!(
                "views of {size} pixels are made with cells of {cells:?}, but a tap needs {cell}"
            )));
        }
    }
    Ok(())
}

/// The folder of shards with so many views of each picture.
pub(super) fn shards_of(request: &ExperimentRequest, views: u32) -> PathBuf {
    request.out.join(format!("shards-{views}"))
}

/// Pictures → shards.
fn open_shards(
    request: &ExperimentRequest,
    views: u32,
    console: &Console,
) -> Result<ShardSet, ExperimentError> {
    let shards = shards_of(request, views);
    let mut settings = ingest::Settings::new("", "");
    settings.sources = vec![request.pictures.clone()];
    settings.out = Address::from(shards.as_path());
    settings.ingest.layout = request.bench.layout(settings.ingest.layout);
    settings.ingest.views = views;
    // Small pictures are what this is for.
    settings.ingest.min_side = 1;
    settings.ingest.one_colour = 0;
    let summary = ingest_told(&settings, console)?;
    console.message(&format!(
        "{}: {} pictures, {views} views each, in {}",
        request.pictures,
        summary.manifest.accepted,
        shards.display()
    ));
    Ok(ShardSet::open_whole(ShardSource::local(shards.as_path()))?)
}
