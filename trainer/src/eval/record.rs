//! What an evaluation leaves behind in a run's folder: `eval/KIND-step-N.json`, with each layer's
//! accuracy `eval/KIND-layers-step-N.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use voice::terminal::counted;

use super::features::Features;
use super::finetune::FinetuneSettings;
use super::knn::KnnSettings;
use super::linear::LinearSettings;
use super::score::{Score, percent};
use crate::checkpoint::EVAL_FOLDER;
use crate::range::OutOfRange;

/// How the encoder was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Method {
    /// Weighted nearest neighbours.
    Knn(KnnSettings),
    /// A linear classifier.
    Linear(LinearSettings),
    /// The encoder trained with a linear head.
    Finetune(FinetuneSettings),
}

impl Method {
    /// The name as commands, files and messages spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Knn(_) => "knn",
            Self::Linear(_) => "linear",
            Self::Finetune(_) => "finetune",
        }
    }

    /// Refuses settings that no encoder can be judged by.
    pub(super) fn check(&self) -> Result<(), OutOfRange> {
        match self {
            Self::Knn(settings) => settings.check(),
            Self::Linear(settings) => settings.check(),
            Self::Finetune(settings) => settings.check(),
        }
    }
}

/// Rows on one side of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Where they lie.
    pub shards: String,
    /// Labelled views.
    pub rows: u64,
    /// Pictures of which they are views.
    pub pictures: u64,
    /// Rows of the set that were left out since they have no label.
    pub unlabelled: u64,
}

impl Side {
    /// What is told of features of the set at `shards`.
    pub fn new(shards: String, features: &Features) -> Self {
        Self {
            shards,
            rows: features.rows() as u64,
            pictures: features.picture_count() as u64,
            unlabelled: features.unlabelled,
        }
    }
}

/// How one set was parted into train and test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// About which share of the pictures is for the test; their content decides.
    pub test_share: f64,
}

/// How well a layer's features did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayerScore {
    /// The block, or stage of a Swin, counted from 1.
    pub layer: usize,
    /// Top-1 accuracy.
    pub top1: f64,
}

impl LayerScore {
    /// The one that did best; the lowest of several that did equally well.
    pub fn best(layers: &[Self]) -> Option<Self> {
        let better = |a: Self, b: Self| if b.top1 > a.top1 { b } else { a };
        layers.iter().copied().reduce(better)
    }
}

/// One evaluation of one checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// How it was judged, with all settings.
    #[serde(flatten)]
    pub method: Method,
    /// The checkpoint's step.
    pub step: u64,
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// The run's recipe.
    pub recipe: String,
    /// The run's encoder.
    pub model: String,
    /// What a feature is.
    pub feature: String,
    /// Numbers a feature.
    pub dim: usize,
    /// The seed of the split, and of the order of training rows.
    pub seed: u64,
    /// On what it was trained.
    pub train: Side,
    /// On what it was tested.
    pub test: Side,
    /// How one set was parted, if it was.
    pub split: Option<Split>,
    /// Test pictures whose bytes are those of a train picture.
    pub shared_pictures: u64,
    /// Each layer's accuracy, where several were judged; all else is told of the best of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerScore>,
    /// How well it did.
    #[serde(flatten)]
    pub score: Score,
}

impl EvalRecord {
    /// What a reader of the accuracies must know: of the scores, and of a test set that is too small
    /// for them.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.score.warnings();
        let (pictures, classes) = (self.test.pictures, self.score.classes.len() as u64);
        if pictures < classes {
            warnings.push(format!(
                "{} for {}: some class is not tested at all, and each picture moves the accuracy by {}; test on more",
                counted(pictures, "test picture"),
                counted(classes, "class"),
                percent(1.0 / pictures.max(1) as f64)
            ));
        }
        warnings
    }

    /// The kind of evaluation. Where layers were judged one by one it is another, so that neither
    /// replaces the other, nor is held against it.
    pub fn kind(&self) -> String {
        let layers = if self.layers.is_empty() { "" } else { "-layers" };
        format!("{}{layers}", self.method.name())
    }

    /// The record's file without its extension: `eval/KIND-step-N` in the run's folder.
    pub fn stem(&self, run: &Path) -> PathBuf {
        let name = format!("{}-step-{:08}", self.kind(), self.step);
        run.join(EVAL_FOLDER).join(name)
    }
}

/// The records in a run's folder, by kind and step. Files of other programs are passed over; a
/// record that can't be read is an error.
///
/// # Errors
/// What the system or the parser says, with the file's name.
pub fn read_all(run: &Path) -> io::Result<Vec<EvalRecord>> {
    let mut records: Vec<EvalRecord> = read_folder(&run.join(EVAL_FOLDER), "")?;
    records.sort_by_key(|record| (record.method.name(), record.step));
    Ok(records)
}

/// The records in a folder whose files are `NAME-step-N.json`, with a name that begins so, in any
/// order; none where there is no folder.
///
/// # Errors
/// As [`read_all`].
pub fn read_folder<T: DeserializeOwned>(folder: &Path, begins: &str) -> io::Result<Vec<T>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(named(folder, error)),
    };
    let mut records = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| named(folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !(name.starts_with(begins) && name.contains("-step-") && name.ends_with(".json")) {
            continue;
        }
        let text = fs::read(&path).map_err(|error| named(&path, error))?;
        records.push(serde_json::from_slice(&text).map_err(|error| named(&path, error.into()))?);
    }
    Ok(records)
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
