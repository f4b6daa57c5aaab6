//! Which pictures an encoder takes for alike, beside what the same encoder did before training.
//!
//! In the order in which data flows: `sample` (a set → pictures drawn from it, with features),
//! `query` (which of them, or others, are asked for), `search` (who is near to whom), `page` (what
//! is shown).

mod page;
mod query;
mod sample;
mod search;

use std::path::PathBuf;
use std::sync::Arc;

use storage::Storage;

use crate::checkpoint::{Checkpoint, EVAL_FOLDER, run_of};
use crate::device::DeviceKind;
use crate::encode::EncodeError;
use crate::encode::encoder::Layers;
use crate::encode::pictures::Given;
use crate::encode::rows::Encoders;
use crate::export::{ExportError, find_encoder};
use crate::progress::Console;
use crate::range::{self, OutOfRange};
pub use page::{page, section};
use sample::Sample;
use search::{agreement, search};

/// Neighbours that can't be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NeighboursError {
    /// The encoder.
    #[error(transparent)]
    Run(#[from] ExportError),
    /// A setting out of its range.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// The views.
    #[error(transparent)]
    Views(#[from] EncodeError),
    /// A query that names nothing.
    #[error(
        "--query {query}: neither a file nor a key of {given}; keys are as its column `source` has them, such as {such}"
    )]
    NoQuery {
        /// What was asked for.
        query: String,
        /// The set.
        given: String,
        /// A key that there is.
        such: String,
    },
    /// A set in which nothing has a neighbour.
    #[error("{given}: holds {found} different pictures; a picture and a neighbour are the least")]
    TooFew {
        /// The set.
        given: String,
        /// Its pictures.
        found: usize,
    },
    /// An encoder whose features are no numbers.
    #[error(
        "checkpoint {}: what it makes of {key} is no number; use an earlier checkpoint",
        path.display()
    )]
    NotFinite {
        /// The checkpoint.
        path: PathBuf,
        /// The view's picture.
        key: String,
    },
    /// A thumbnail can't be made.
    #[error("{key}: can't be drawn: {reason}")]
    Draw {
        /// The picture.
        key: String,
        /// Why.
        reason: String,
    },
}

/// How much is looked at and shown.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct NeighbourSettings {
    /// Pictures to draw from the set and show with their neighbours, where no --query is given
    #[arg(long, default_value_t = NeighbourSettings::default().queries)]
    pub queries: usize,
    /// Neighbours of each
    #[arg(long, default_value_t = NeighbourSettings::default().k)]
    pub k: usize,
    /// Pictures of the set, drawn by the seed, among which neighbours are looked for
    #[arg(long, default_value_t = NeighbourSettings::default().sample)]
    pub sample: usize,
    /// Seed of what is drawn
    #[arg(long, default_value_t = NeighbourSettings::default().seed)]
    pub seed: u64,
}

impl Default for NeighbourSettings {
    fn default() -> Self {
        Self { queries: 12, k: 8, sample: 2000, seed: 0 }
    }
}

/// Whose neighbours are looked for, and where.
#[derive(Debug, Clone)]
pub struct NeighboursRequest {
    /// A run's folder, for its newest checkpoint, a checkpoint file or an exported encoder.
    pub checkpoint: PathBuf,
    /// How addresses are reached.
    pub storage: Storage,
    /// The pictures.
    pub given: Given,
    /// Files, or keys of the set; none for pictures drawn by the seed.
    pub queries: Vec<String>,
    /// How much is looked at and shown.
    pub settings: NeighbourSettings,
    /// The folder for shards that are made of pictures; none for one in the run's own.
    pub cache: Option<PathBuf>,
}

/// A picture as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Where it lies, as the shards' `source` has it; or the file that was named.
    pub key: String,
    /// Its class.
    pub label: Option<String>,
    /// A JPEG file.
    pub thumbnail: Arc<[u8]>,
}

/// A picture near to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// The picture.
    pub shown: Shown,
    /// The cosine of both features.
    pub similarity: f32,
    /// Whether it is of the query's class, where both have one.
    pub same_class: Option<bool>,
}

/// A picture and those nearest to it, the nearest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The picture.
    pub query: Shown,
    /// By the encoder.
    pub trained: Vec<Neighbour>,
    /// By the same encoder before training.
    pub untrained: Vec<Neighbour>,
}

/// How often neighbours are of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// Labelled pictures of the sample whose neighbours were counted.
    pub judged: usize,
    /// Classes in the sample.
    pub classes: usize,
    /// The share of neighbours of the same class by the encoder.
    pub trained: f64,
    /// The same before training.
    pub untrained: f64,
    /// The same of pictures drawn blindly.
    pub chance: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The run's recipe, encoder and step.
    pub title: String,
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// What was looked through.
    pub given: String,
    /// Neighbours of each picture.
    pub k: usize,
    /// The seed of what was drawn, and of the untrained encoder's parameters.
    pub seeds: (u64, u64),
    /// Rows of the set.
    pub rows_of_set: u64,
    /// Different pictures that were looked through.
    pub sampled: usize,
    /// They are all that there are.
    pub is_whole: bool,
    /// Over the whole sample; none where it has no two classes.
    pub agreement: Option<Agreement>,
    /// Each query.
    pub rows: Vec<Row>,
}

/// Finds the neighbours of pictures by cosine similarity of features, with the encoder and with the
/// same one as it was before training. A picture has each other once, whatever its views and copies,
/// and never itself.
///
/// # Errors
/// [`NeighboursError`] if the encoder or the pictures can't be read, or a query names nothing.
pub fn find(
    request: &NeighboursRequest,
    device: DeviceKind,
    console: &Console,
) -> Result<Found, NeighboursError> {
    check(&request.settings)?;
    let (path, checkpoint) = find_encoder(&request.checkpoint, console)?;
    let header = &checkpoint.header;
    let untrained =
        Checkpoint::untrained(&header.settings, header.network.clone(), header.dataset.clone());
    let cache = request.cache.clone().unwrap_or_else(|| run_of(&path).join(EVAL_FOLDER));
    let set = request.given.open(&request.storage, &header.network, &cache, console)?;
    let both = [&checkpoint, &untrained];
    let encoders = Encoders { device, path: &path, checkpoints: &both, layers: Layers::Top };

    // What can be known to be missing is, before anything is encoded.
    let named = query::named(request, &set, &header.network)?;
    let sample = Sample::draw(&set, encoders, &request.settings, console)?;
    if sample.pictures.len() < 2 {
        let given = request.given.named();
        return Err(NeighboursError::TooFew { given, found: sample.pictures.len() });
    }
    let queries = match request.queries.is_empty() {
        true => query::drawn(&sample, &request.settings),
        false => query::encode(named, &set, &sample, encoders, console)?,
    };
    let rows = search(&queries, &sample, request.settings.k, &set)?;
    Ok(Found {
        title: format!(
            "{} · {} at step {}",
            header.settings.recipe.name(),
            header.settings.model.name(),
            header.step
        ),
        checkpoint: path.clone(),
        given: request.given.named(),
        k: request.settings.k,
        seeds: (request.settings.seed, header.settings.seed),
        rows_of_set: set.rows(),
        sampled: sample.pictures.len(),
        is_whole: sample.is_whole,
        agreement: agreement(&sample, request.settings.k),
        rows,
    })
}

fn check(settings: &NeighbourSettings) -> Result<(), OutOfRange> {
    let NeighbourSettings { queries, k, sample, .. } = *settings;
    range::check("--queries", queries, 1..)?;
    range::check("--k", k, 1..)?;
    range::check("--sample", sample, 2..)
}
