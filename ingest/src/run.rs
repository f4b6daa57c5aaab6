//! The run: listing → shards → rejects → manifest, going on where an earlier run stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use schemas::{
    IngestSettings, MANIFEST_FILE, Manifest, REJECTS_FILE, Reason, Reject, SCHEMA_VERSION,
};

use crate::picture::MemoryBudget;
use crate::row::{Outcome, Row, RowMaker};
use crate::shard::{Group, ShardWriter};
use crate::source::{self, Source};
use crate::state::{self, Found, Plan, ShardState, Work};
use crate::{CREATED_BY, IngestError, Progress, Settings, read};

/// Bytes that the pictures in work may take together.
const MEMORY: u64 = 2 << 30;

/// What a run did.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The manifest that now stands in the output folder.
    pub manifest: Manifest,
    /// How many pictures were rejected, by reason.
    pub rejects: BTreeMap<Reason, u64>,
    /// Hidden files and folders that were passed over.
    pub hidden: u64,
    /// Symbolic links and special files that were passed over.
    pub irregular: u64,
    /// Files that this run looked at; earlier runs did the others.
    pub pictures: u64,
    /// The time this run took.
    pub time: Duration,
}

/// Makes the shards of every picture under the root, or goes on with an earlier run's.
///
/// # Errors
/// [`IngestError`]; what was finished before it is kept, and the same call goes on from there.
pub fn run(settings: &Settings, progress: &dyn Progress) -> Result<Summary, IngestError> {
    let start = Instant::now();
    settings.check()?;
    let listing =
        source::list(&settings.root, &settings.out, settings.ingest.seed, settings.follow_links)?;
    if listing.sources.is_empty() {
        return Err(IngestError::NothingFound(settings.root.clone()));
    }
    let plan = Plan::new(&settings.ingest, &listing);
    let summary = |manifest, rejects: &[Reject], pictures| Summary {
        manifest,
        rejects: by_reason(rejects),
        hidden: listing.hidden,
        irregular: listing.irregular,
        pictures,
        time: start.elapsed(),
    };
    let work = match state::open(&settings.out, &plan)? {
        Found::Finished(manifest) => {
            return Ok(summary(*manifest, &read::rejects(&settings.out)?, 0));
        }
        Found::Open(work) => work,
    };

    let (states, pictures) = make_shards(settings, &listing.sources, &work, progress)?;
    let rejects: Vec<_> = states.iter().flat_map(|state| &state.rejects).cloned().collect();
    let mut lines = String::new();
    for reject in &rejects {
        lines += &serde_json::to_string(reject)
            .map_err(|error| IngestError::io("write", Path::new(REJECTS_FILE))(error.into()))?;
        lines.push('\n');
    }
    work.publish(REJECTS_FILE, &lines)?;
    let manifest = manifest(&plan, &states, rejects.len() as u64);
    if manifest.rows == 0 {
        return Err(IngestError::NothingAccepted {
            rejected: manifest.rejected,
            rejects: settings.out.join(REJECTS_FILE),
        });
    }
    work.publish(MANIFEST_FILE, &manifest.to_text())?;
    work.remove()?;
    Ok(summary(manifest, &rejects, pictures))
}

fn by_reason(rejects: &[Reject]) -> BTreeMap<Reason, u64> {
    let mut counts = BTreeMap::new();
    for reject in rejects {
        *counts.entry(reject.reason).or_default() += 1;
    }
    counts
}

fn manifest(plan: &Plan, states: &[ShardState], rejected: u64) -> Manifest {
    let classes: BTreeSet<_> = states.iter().flat_map(|state| &state.labels).cloned().collect();
    let shards: Vec<_> = states.iter().filter_map(|state| state.entry.clone()).collect();
    Manifest {
        schema_version: SCHEMA_VERSION,
        created_by: CREATED_BY.to_owned(),
        settings: plan.settings.clone(),
        listing: plan.listing.clone(),
        classes: classes.into_iter().collect(),
        accepted: states.iter().map(|state| state.accepted).sum(),
        cut_short: states.iter().map(|state| state.cut_short).sum(),
        rejected,
        rows: shards.iter().map(|shard| shard.rows).sum(),
        bytes: shards.iter().map(|shard| shard.bytes).sum(),
        shards,
    }
}

/// Makes the shards that are not there yet; what became of all, and how many files this run did.
fn make_shards(
    settings: &Settings,
    sources: &[Source],
    work: &Work,
    progress: &dyn Progress,
) -> Result<(Vec<ShardState>, u64), IngestError> {
    let a_shard = settings.ingest.pictures_per_shard as usize;
    let finished: Vec<_> = (0..sources.len().div_ceil(a_shard))
        .map(|index| work.finished(index as u64))
        .collect::<Result<_, _>>()?;
    let done: usize = sources
        .chunks(a_shard)
        .zip(&finished)
        .filter(|(_, state)| state.is_some())
        .map(|(pictures, _)| pictures.len())
        .sum();
    progress.begin(sources.len() as u64, done as u64);

    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads)
        .build()
        .map_err(|error| IngestError::Threads(error.to_string()))?;
    let memory = MemoryBudget::new(MEMORY);
    let makers = Makers { settings, memory, idle: Mutex::new(Vec::new()) };
    let mut states = Vec::with_capacity(finished.len());
    for (index, (pictures, state)) in sources.chunks(a_shard).zip(finished).enumerate() {
        let state = match state {
            Some(state) => state,
            None => {
                let first = (index * a_shard) as u64;
                let path = work.shard_path(index as u64);
                let state =
                    threads.install(|| make_shard(&path, first, pictures, &makers, progress))?;
                work.keep(index as u64, &state)?;
                if progress.shard(index as u64).is_break() {
                    return Err(IngestError::Stopped);
                }
                state
            }
        };
        states.push(state);
    }
    Ok((states, (sources.len() - done) as u64))
}

/// Makes one shard.
///
/// Its pictures are cut into runs of a row group each, so that a group depends on nothing but its
/// own run: runs are worked on in parallel, pictures within a run and columns of a group too.
fn make_shard(
    path: &Path,
    first: u64,
    pictures: &[Source],
    makers: &Makers<'_>,
    progress: &dyn Progress,
) -> Result<ShardState, IngestError> {
    let IngestSettings { views, rows_per_group, .. } = makers.settings.ingest;
    let a_run = (rows_per_group / views).max(1) as usize;
    // Memory holds the groups of so many runs at once, and no more.
    let runs_at_once = 4 * rayon::current_num_threads();

    let mut shard = ShardWriter::create(path, &makers.settings.ingest)?;
    let mut state = ShardState::default();
    let numbered: Vec<_> = (first..).zip(pictures).collect();
    for block in numbered.chunks(a_run * runs_at_once) {
        let runs: Vec<Run> = block
            .par_chunks(a_run)
            .map(|pictures| make_run(pictures, &shard, makers, progress))
            .collect::<Result<_, _>>()?;
        for run in runs {
            run.groups.into_iter().try_for_each(|group| shard.append(group))?;
            state.accepted += run.state.accepted;
            state.cut_short += run.state.cut_short;
            state.labels.extend(run.state.labels);
            state.rejects.extend(run.state.rejects);
        }
    }
    state.entry = shard.finish()?;
    Ok(state)
}

/// What became of the pictures of one run.
struct Run {
    groups: Vec<Group>,
    state: ShardState,
}

fn make_run(
    pictures: &[(u64, &Source)],
    shard: &ShardWriter,
    makers: &Makers<'_>,
    progress: &dyn Progress,
) -> Result<Run, IngestError> {
    let outcomes: Vec<_> = pictures
        .par_iter()
        .map(|&(number, source)| {
            let outcome = makers.with(|maker| maker.make(number, source))?;
            progress.picture(matches!(outcome, Outcome::Reject(_)));
            Ok(outcome)
        })
        .collect::<Result<_, IngestError>>()?;

    let mut state = ShardState::default();
    let mut rows: Vec<Row> = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Reject(reject) => state.rejects.push(reject),
            Outcome::Rows { rows: views, cut_short } => {
                state.accepted += 1;
                state.cut_short += u64::from(cut_short);
                state.labels.extend(views.first().and_then(|row| row.label.clone()));
                rows.extend(views);
            }
        }
    }
    let groups = rows
        .par_chunks(makers.settings.ingest.rows_per_group as usize)
        .map(|rows| shard.encode(rows))
        .collect::<Result<_, _>>()?;
    Ok(Run { groups, state })
}

/// Row makers that wait for the next picture, so that none is made twice for a thread.
struct Makers<'a> {
    settings: &'a Settings,
    memory: MemoryBudget,
    idle: Mutex<Vec<RowMaker<'a>>>,
}

impl<'a> Makers<'a> {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut RowMaker<'a>) -> Result<T, IngestError>,
    ) -> Result<T, IngestError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let mut maker = match waiting {
            Some(maker) => maker,
            None => RowMaker::new(&self.settings.root, &self.settings.ingest, &self.memory)?,
        };
        let result = work(&mut maker);
        idle().push(maker);
        result
    }
}
