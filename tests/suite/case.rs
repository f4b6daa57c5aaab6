//! A small shard set and runs on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ingest::{Codebook, Silent};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use schemas::PictureFilter;
use shards::{ShardSet, ShardSource};
use tempfile::TempDir;
use trainer::checkpoint::{Checkpoint, CheckpointFolder};
use trainer::data::LoaderSettings;
use trainer::device::DeviceKind;
use trainer::metrics::{self, Record};
use trainer::model::mask::MaskKind;
use trainer::model::{ModelConfig, ModelName, TargetKind};
use trainer::progress::Console;
use trainer::settings::{Options, Recipe, Settings};
use trainer::train::run::{Resume, RunPaths, TrainError, Trained};
use trainer::train::{Place, TrainRequest};

/// Views of this side, so that a step takes no time.
pub const SIZE: u32 = 64;

/// A temporary folder with `shards/` in it.
pub struct Case {
    pub folder: TempDir,
}

impl Case {
    /// Shards of `pictures` pictures, two views each, in several files of several row groups.
    pub fn with_shards(pictures: usize) -> Self {
        Self::with(pictures, PictureFilter::GreenUp, vec![])
    }

    /// As [`Self::with_shards`], pictures stored as they are.
    pub fn with_plain_pictures(pictures: usize) -> Self {
        Self::with(pictures, PictureFilter::None, vec![])
    }

    /// As [`Self::with_shards`], with the codes of a codebook for patches of 16 pixels.
    pub fn with_codes(pictures: usize) -> Self {
        Self::with(pictures, PictureFilter::GreenUp, vec![codebook()])
    }

    fn with(pictures: usize, filter: PictureFilter, codebooks: Vec<Codebook>) -> Self {
        let case = Self { folder: tempfile::tempdir().unwrap() };
        let mut settings = case.settings("raw", pictures, 1);
        settings.ingest.layout.picture_filter = filter;
        ingest::run(&settings.with_codebooks(codebooks), &Silent).unwrap();
        case
    }

    /// Adds as many other pictures to the set.
    pub fn append(&self, pictures: usize) {
        let mut settings = self.settings("more", pictures, 2);
        settings.append = true;
        ingest::run(&settings, &Silent).unwrap();
    }

    fn settings(&self, raw: &str, pictures: usize, seed: u64) -> ingest::Settings {
        let raw = self.path(raw);
        ingest::sample::write(&raw, pictures, seed).unwrap();
        let mut settings = ingest::Settings::new(raw, self.shards());
        settings.ingest.layout.size = SIZE;
        settings.ingest.views = 2;
        settings.ingest.pictures_per_shard = 10;
        settings.ingest.rows_per_group = 6;
        settings
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn shards(&self) -> PathBuf {
        self.path("shards")
    }

    pub fn dataset(&self) -> Arc<ShardSet> {
        Arc::new(ShardSet::open_whole(ShardSource::local(self.shards())).unwrap())
    }

    /// Trains into the folder `out`, taking up its newest checkpoint if `resume`.
    pub fn train(
        &self,
        out: &str,
        settings: &Settings,
        resume: bool,
    ) -> Result<Trained, TrainError> {
        self.train_until(out, settings, resume, &AtomicBool::new(false))
    }

    pub fn train_until(
        &self,
        out: &str,
        settings: &Settings,
        resume: bool,
        stop: &AtomicBool,
    ) -> Result<Trained, TrainError> {
        self.train_at(Place::of(DeviceKind::Cpu), out, settings, resume, stop)
    }

    /// As [`Self::train`], on so many ranks of this process.
    pub fn train_on_ranks(
        &self,
        ranks: usize,
        out: &str,
        settings: &Settings,
        resume: bool,
    ) -> Result<Trained, TrainError> {
        let devices = vec![DeviceKind::Cpu; ranks];
        let place = Place { devices, ..Place::of(DeviceKind::Cpu) };
        self.train_at(place, out, settings, resume, &AtomicBool::new(false))
    }

    fn train_at(
        &self,
        place: Place,
        out: &str,
        settings: &Settings,
        resume: bool,
        stop: &AtomicBool,
    ) -> Result<Trained, TrainError> {
        let out = self.path(out);
        let newest = if resume { CheckpointFolder::of_run(&out).newest().unwrap() } else { None };
        let resume = newest.map(|(path, checkpoint, _)| Resume { path, checkpoint });
        let paths = RunPaths { shards: ShardSource::local(self.shards()), out };
        let (paths, console) = (&paths, &Console::quiet());
        TrainRequest { paths, settings, resume, console, stop }.at(place)
    }

    /// Trains anew into the folder `out`, on shards that lie elsewhere.
    pub fn train_on(
        &self,
        shards: ShardSource,
        out: &str,
        settings: &Settings,
    ) -> Result<Trained, TrainError> {
        let paths = RunPaths { shards, out: self.path(out) };
        let stop = AtomicBool::new(false);
        let (paths, console, stop) = (&paths, &Console::quiet(), &stop);
        TrainRequest { paths, settings, resume: None, console, stop }.on(DeviceKind::Cpu)
    }

    pub fn records(&self, out: &str) -> Vec<Record> {
        metrics::read(&self.path(out)).unwrap()
    }

    pub fn checkpoint(&self, outcome: &Trained) -> Checkpoint {
        Checkpoint::read(&outcome.checkpoint).unwrap()
    }
}

/// Settings of a small run; `change` closes what a test is about.
/// 64 colours, as flat patches of 16 pixels.
fn codebook() -> Codebook {
    let level =
        |code: usize, channel: usize| [-1.5f32, -0.5, 0.5, 1.5][(code >> (2 * channel)) % 4];
    let value = |i: usize| level(i / (3 * 16 * 16), i % 3);
    let bytes: Vec<u8> = (0..64 * 3 * 16 * 16).flat_map(|i| value(i).to_le_bytes()).collect();
    let codes = TensorView::new(Dtype::F32, vec![64, 3 * 16 * 16], &bytes).unwrap();
    Codebook::parse(&safetensors::serialize([("codes", codes)], None).unwrap()).unwrap()
}

pub fn settings(change: impl FnOnce(&mut Options)) -> Settings {
    settings_of(Recipe::LocalmimHog, change)
}

pub fn settings_of(recipe: Recipe, change: impl FnOnce(&mut Options)) -> Settings {
    let mut options = Options {
        recipe: Some(recipe),
        model: Some(if recipe.needs_swin() { ModelName::SwinTiny7 } else { ModelName::VitTiny16 }),
        decoder_dim: Some(32),
        decoder_heads: Some(2),
        batch_size: Some(8),
        epochs: Some(4),
        warmup_epochs: Some(0.5),
        lr: Some(1e-2),
        window_groups: Some(2),
        log_every: Some(1),
        ..Options::default()
    };
    change(&mut options);
    Settings::resolve(options, DeviceKind::Cpu).unwrap()
}

/// What a loader of these runs is asked for.
pub fn loader_settings() -> LoaderSettings {
    let network =
        ModelConfig::local_mim(ModelName::VitTiny16.encoder(), SIZE as usize, TargetKind::Hog, 9);
    LoaderSettings {
        batch_size: 8,
        seed: 3,
        window_groups: 2,
        prefetch_batches: 2,
        ..LoaderSettings::new(&network, 0.75, MaskKind::Random, SIZE as usize)
    }
}

/// Replaces some bytes of a file in its middle, keeping its length.
pub fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle - 400..middle + 400] {
        *byte ^= 0x5a;
    }
    std::fs::write(path, bytes).unwrap();
}
