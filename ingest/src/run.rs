//! The run: listing → shards → rejects → manifest, going on where an earlier run stopped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use archives::{Limits, Passed};
use bytes::Bytes;
use schemas::{CLASSES_FILE, MANIFEST_FILE, Manifest, Part, Reason};
use shards::write::ClosedShard;
use storage::Storage;

use crate::classes::Classes;
use crate::make::{Maker, Means, Start, threads, wanted};
use crate::output::plan::{Asked, Columns, Plan};
use crate::output::state::ShardState;
use crate::output::work::{Opened, Work, open};
use crate::source::{self, Listing, Request, Source};
use crate::stream::Wanted;
use crate::tally::Tally;
use crate::{CREATED_BY, IngestError, Progress, Settings};

/// What a run did.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The manifest that now stands in the output folder.
    pub manifest: Manifest,
    /// What this run added to the set, or had added before.
    pub part: Part,
    /// How many of its pictures were rejected, by reason.
    pub rejects: BTreeMap<Reason, u64>,
    /// Files that lie beside a picture, and tell of it alone.
    pub beside: u64,
    /// Files of metadata beside shards that were passed over.
    pub metadata: u64,
    /// What archives passed over, by kind.
    pub passed: Passed,
    /// Hidden files and folders that were passed over.
    pub hidden: u64,
    /// Symbolic links and special files that were passed over.
    pub irregular: u64,
    /// Entries of lists of rejects that were not tried anew, by the codes of their reasons.
    pub not_tried: BTreeMap<String, u64>,
    /// Pictures that this run looked at; earlier runs did the others.
    pub pictures: u64,
    /// The time this run took.
    pub time: Duration,
}

/// Makes the shards of every picture of the sources, or goes on with an earlier run's.
///
/// # Errors
/// [`IngestError`]; what was finished before it is kept, and the same call goes on from there.
pub fn run(settings: &Settings, progress: &dyn Progress) -> Result<Summary, IngestError> {
    let start = Instant::now();
    settings.check()?;
    if settings.ingest.scaled_decode {
        return Err(IngestError::ScaledDecode(settings.out.clone().into()));
    }
    let storage = settings.storage()?;
    let wanted = wanted(&settings.ingest, columns(settings), settings.classes.clone());
    let sources: Vec<Source> = settings.sources.iter().cloned().map(Source::from).collect();
    let listing = list(settings, &storage, &sources, &wanted.limits)?;
    let plan = plan(settings, &sources, &listing);
    let asked = if settings.append { Asked::Append } else { Asked::Ingest };
    let (manifest, part, pictures) =
        match open(&storage, &settings.out, plan, Some(&listing), asked)? {
            Opened::Finished(manifest, part) => (*manifest, part, 0),
            Opened::Work(work) => {
                let (tally, pictures) =
                    make_shards(settings, &storage, (&listing, &wanted), &work, progress)?;
                let manifest = finish(*work, tally, settings.classes.as_ref())?;
                let newest = manifest.parts.len() - 1;
                (manifest, newest, pictures)
            }
        };
    Ok(Summary {
        part: manifest.parts[part].clone(),
        rejects: manifest.parts[part].rejected.clone(),
        passed: manifest.parts[part].passed.clone().into(),
        manifest,
        beside: listing.beside,
        metadata: listing.metadata,
        hidden: listing.hidden,
        irregular: listing.irregular,
        not_tried: listing.not_tried.unwrap_or_default(),
        pictures,
        time: start.elapsed(),
    })
}

/// Lists the sources, in which there must be something to look at.
fn list(
    settings: &Settings,
    storage: &Storage,
    sources: &[Source],
    limits: &Limits,
) -> Result<Listing, IngestError> {
    let request = Request {
        sources,
        prefixed: sources.len() > 1 || settings.append,
        out: &settings.out,
        seed: settings.ingest.seed,
        follow_links: settings.follow_links,
        limits,
        private_addresses: settings.web.private_addresses,
    };
    let listing = source::list(storage, &request)?;
    if !listing.is_empty() {
        return Ok(listing);
    }
    let all: Vec<_> = sources.iter().map(|source| source.given.as_str()).collect();
    Err(match &listing.not_tried {
        None => IngestError::NothingFound(all.join(", ")),
        Some(passed) => IngestError::NothingAnew(passed.values().sum(), all.join(", ")),
    })
}

fn plan(settings: &Settings, sources: &[Source], listing: &Listing) -> Plan {
    Plan {
        created_by: CREATED_BY.to_owned(),
        version: 1,
        settings: settings.ingest.clone(),
        sources: sources.iter().map(|source| source.given.clone()).collect(),
        follow_links: settings.follow_links,
        columns: columns(settings),
        listing: listing.hash.to_hex().to_string(),
        units: (listing.loose.len() + listing.archives.len()) as u64,
        shards: None,
    }
}

/// The columns that were named.
fn columns(settings: &Settings) -> Columns {
    Columns {
        image_column: settings.image_column.clone(),
        label_column: settings.label_column.clone(),
        url_column: settings.url_column.clone(),
    }
}

/// Makes the shards that are not there yet; what all come to, and how many pictures this run did.
fn make_shards(
    settings: &Settings,
    storage: &Storage,
    (listing, wanted): (&Listing, &Wanted),
    work: &Work,
    progress: &dyn Progress,
) -> Result<(Tally, u64), IngestError> {
    let mut tally = Tally::new(work.base.as_ref());
    work.finished(|state| {
        tally.add(state);
        Ok(())
    })?;
    let done = tally.pictures;
    let start = Start {
        shard: tally.first_shard + tally.shards,
        number: tally.first + tally.pictures,
        place: tally.next,
        most: u64::MAX,
    };
    let threads = threads(settings.threads)?;
    let means = Means {
        storage,
        web: &settings.web,
        settings: &settings.ingest,
        codebooks: &settings.codebooks,
        memory: settings.memory,
        threads: &threads,
        progress,
    };

    let mut finished = work.base.as_ref().map(|base| base.shards.clone()).unwrap_or_default();
    finished.append(&tally.entries);
    let (mut known, mut names) = means.known(&settings.out, finished)?;

    progress.begin(listing.weight(), listing.weight_before(start.place.unit));
    let mut finish = |number, closed: Option<ClosedShard>, mut state: ShardState| {
        state.entry = closed.map(ClosedShard::publish).transpose()?;
        if let Some(entry) = &mut state.entry {
            (entry.first, entry.pictures, entry.start) = (state.first, state.pictures, state.start);
        }
        work.keep(number, &state)?;
        let entry = state.entry.clone();
        tally.add(state);
        match progress.shard(number) {
            ControlFlow::Continue(()) => Ok(entry),
            ControlFlow::Break(()) => Err(IngestError::Stopped),
        }
    };
    let maker = Maker::new(means, &settings.out)?;
    let behind = maker.make(listing, wanted, start, (&mut known, &mut names), &mut finish)?;
    tally.passed.merge(behind);
    let pictures = tally.pictures - done;
    Ok((tally, pictures))
}

/// Writes what makes a set of the shards, the manifest last.
pub(crate) fn finish(
    work: Work,
    tally: Tally,
    given: Option<&Classes>,
) -> Result<Manifest, IngestError> {
    let passed = tally.passed.clone();
    let rejects = work.write_rejects(tally.shards)?;
    let list = work.at(&rejects.file);
    let manifest = tally.manifest(&work.plan, work.base.as_ref(), given, rejects);
    if manifest.rows == 0 {
        let rejected = manifest.rejected;
        return Err(IngestError::NothingAccepted { rejected, rejects: list, passed });
    }
    work.publish(CLASSES_FILE, manifest.classes_text())?;
    let text = Bytes::from(manifest.to_text());
    work.publish(&Manifest::file_of_version(manifest.version), text.clone())?;
    work.publish(MANIFEST_FILE, text)?;
    work.remove()?;
    Ok(manifest)
}
