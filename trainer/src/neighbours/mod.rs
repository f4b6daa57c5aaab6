//! Which pictures an encoder takes for alike, beside what the same encoder did before training.
//!
//! In the order in which data flows: `sample` (a set → pictures drawn from it, with features),
//! `query` (which of them, or others, are asked for), the search here, `page` (what is shown).

mod page;
mod query;
mod sample;

use std::path::PathBuf;
use std::sync::Arc;

use storage::Storage;

use crate::checkpoint::Checkpoint;
use crate::data::Dataset;
use crate::device::DeviceKind;
use crate::eval::EvalError;
use crate::eval::knn::nearest;
use crate::eval::pictures::Given;
use crate::eval::record::{EVAL_FOLDER, run_of};
use crate::eval::rows::Encoders;
use crate::export::{ExportError, find_encoder};
use crate::model::State;
use crate::model::init::init;
use crate::progress::Console;
pub use page::{page, section};
use query::Query;
use sample::{Picture, Sample};

/// The side of a thumbnail in pixels, at most.
const THUMBNAIL: u32 = 128;
/// Pictures of the sample whose neighbours count for [`Agreement`], at most.
const JUDGED: usize = 2000;

/// Neighbours that can't be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NeighboursError {
    /// The encoder.
    #[error(transparent)]
    Run(#[from] ExportError),
    /// The views.
    #[error(transparent)]
    Views(#[from] EvalError),
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
    #[arg(long, default_value_t = 12)]
    pub queries: usize,
    /// Neighbours of each
    #[arg(long, default_value_t = 8)]
    pub k: usize,
    /// Pictures of the set, drawn by the seed, among which neighbours are looked for
    #[arg(long, default_value_t = 2000)]
    pub sample: usize,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 0)]
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
    let untrained = Checkpoint {
        header: header.clone(),
        model: init(&header.network, header.settings.seed),
        moments: State::new(),
    };
    let cache = request.cache.clone().unwrap_or_else(|| run_of(&path).join(EVAL_FOLDER));
    let set = request.given.open(&request.storage, &header.network, &cache, console)?;
    let both = [&checkpoint, &untrained];
    let encoders = Encoders { device, path: &path, checkpoints: &both };

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

fn check(settings: &NeighbourSettings) -> Result<(), EvalError> {
    let counts = [
        ("queries", settings.queries, 1, "it must be at least 1"),
        ("k", settings.k, 1, "it must be at least 1"),
        ("sample", settings.sample, 2, "it must be at least 2"),
    ];
    for (flag, found, least, expected) in counts {
        if found < least {
            return Err(EvalError::Range { flag, found: found.to_string(), expected });
        }
    }
    Ok(())
}

/// The nearest pictures of the sample to a query that are not the query itself, by each encoder.
fn others(sample: &Sample, queries: &[Query], k: usize) -> [Vec<Vec<(f32, usize)>>; 2] {
    [0, 1].map(|encoder| {
        let features: Vec<f32> =
            queries.iter().flat_map(|query| query.features[encoder].iter().copied()).collect();
        let found = nearest(&sample.features[encoder], &features, sample.dim, k + 1);
        let is_other = |query: &Query, place: usize| sample.pictures[place].hash != query.hash;
        found
            .into_iter()
            .zip(queries)
            .map(|(mut found, query)| {
                found.retain(|&(_, place)| is_other(query, place));
                found.truncate(k);
                found
            })
            .collect()
    })
}

fn search(
    queries: &[Query],
    sample: &Sample,
    k: usize,
    set: &Dataset,
) -> Result<Vec<Row>, NeighboursError> {
    let [trained, untrained] = others(sample, queries, k);
    let wanted = trained.iter().chain(&untrained).flatten().map(|&(_, place)| place);
    let thumbnails = sample.thumbnails(wanted.collect(), set)?;
    let strip = |query: &Query, found: &[(f32, usize)]| {
        let shown = found.iter().map(|&(similarity, place)| {
            let Picture { key, label, .. } = &sample.pictures[place];
            let same = query.label.as_ref().zip(label.as_ref()).map(|(a, b)| a == b);
            let thumbnail = Arc::clone(&thumbnails[&place]);
            let shown = Shown { key: key.clone(), label: label.clone(), thumbnail };
            Neighbour { shown, similarity, same_class: same }
        });
        shown.collect()
    };
    let rows = queries.iter().zip(trained.iter().zip(&untrained));
    rows.map(|(query, (trained, untrained))| {
        let thumbnail = query.thumbnail(set)?;
        let (key, label) = (query.key.clone(), query.label.clone());
        let (trained, untrained) = (strip(query, trained), strip(query, untrained));
        Ok(Row { query: Shown { key, label, thumbnail }, trained, untrained })
    })
    .collect()
}

/// How often the neighbours of labelled pictures, spread over the sample, are of their class.
fn agreement(sample: &Sample, k: usize) -> Option<Agreement> {
    let labelled = sample.labelled();
    let counts = labelled.class_counts();
    if counts.len() < 2 {
        return None;
    }
    let every = labelled.pictures.len().div_ceil(JUDGED);
    let judged: Vec<Query> = labelled.queries().step_by(every).collect();
    let label = |place: usize| labelled.pictures[place].label.as_ref();
    let shares = others(&labelled, &judged, k).map(|found| {
        let pairs = found.iter().zip(&judged);
        let all: usize = found.iter().map(Vec::len).sum();
        let same = pairs.map(|(found, query)| {
            found.iter().filter(|&&(_, place)| label(place) == query.label.as_ref()).count()
        });
        same.sum::<usize>() as f64 / all.max(1) as f64
    });
    let alike = judged.iter().map(|query| counts[query.label.as_ref().expect("labelled")] - 1);
    let pairs = judged.len() * (labelled.pictures.len() - 1);
    Some(Agreement {
        judged: judged.len(),
        classes: counts.len(),
        trained: shares[0],
        untrained: shares[1],
        chance: alike.sum::<usize>() as f64 / pairs.max(1) as f64,
    })
}
