//! The run: listing → shards → rejects → manifest, going on where an earlier run stopped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use archives::{Limits, Passed};
use schemas::{
    CLASSES_FILE, IngestSettings, MANIFEST_FILE, Manifest, Part, Place, Reason, SCHEMA_VERSION,
    ShardEntry,
};
use shards::set;
use shards::write::ClosedShard;
use storage::Storage;

use crate::classes::Classes;
use crate::decode;
use crate::known::{Known, Names};
use crate::make::{Maker, Start};
use crate::plan::Plan;
use crate::source::{self, Listing, Request, Source};
use crate::state::{self, Found, ShardState, Work};
use crate::stream::Wanted;
use crate::{IngestError, Progress, Settings};

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
    let storage = settings.storage()?;
    refuse_reduced(settings, &storage)?;
    let wanted = wanted(&settings.ingest, Columns::of(settings), settings.classes.clone());
    let sources: Vec<Source> = settings.sources.iter().cloned().map(Source::from).collect();
    let listing = source::list(
        &storage,
        &Request {
            sources: &sources,
            prefixed: sources.len() > 1 || settings.append,
            out: &settings.out,
            seed: settings.ingest.seed,
            follow_links: settings.follow_links,
            limits: &wanted.limits,
            private_addresses: settings.web.private_addresses,
        },
    )?;
    if listing.is_empty() {
        let all: Vec<_> = sources.iter().map(|source| source.given.as_str()).collect();
        return Err(match &listing.not_tried {
            None => IngestError::NothingFound(all.join(", ")),
            Some(passed) => IngestError::NothingAnew(passed.values().sum(), all.join(", ")),
        });
    }
    let summary = |manifest: Manifest, part: usize, pictures| Summary {
        part: manifest.parts[part].clone(),
        rejects: manifest.parts[part].rejected.clone(),
        passed: manifest.parts[part].passed.clone().into(),
        manifest,
        beside: listing.beside,
        metadata: listing.metadata,
        hidden: listing.hidden,
        irregular: listing.irregular,
        not_tried: listing.not_tried.clone().unwrap_or_default(),
        pictures,
        time: start.elapsed(),
    };
    let plan = plan(settings, &sources, &listing);
    let work = match state::open(&storage, &settings.out, plan, &listing, settings.append)? {
        Found::Finished(manifest, part) => return Ok(summary(*manifest, part, 0)),
        Found::Open(work) => work,
    };

    let (tally, pictures) = make_shards(settings, &storage, (&listing, &wanted), &work, progress)?;
    let manifest = manifest(&work, &tally, settings.classes.as_ref())?;
    if manifest.rows == 0 {
        return Err(IngestError::NothingAccepted {
            rejected: manifest.rejected,
            rejects: settings.out.join(&work.rejects_file()),
            passed: tally.passed,
        });
    }
    work.publish(CLASSES_FILE, manifest.classes_text())?;
    let text = manifest.to_text();
    work.publish(&Manifest::file_of_version(manifest.version), text.clone())?;
    work.publish(MANIFEST_FILE, text)?;
    work.remove()?;
    let newest = manifest.parts.len() - 1;
    Ok(summary(manifest, newest, pictures))
}

fn plan(settings: &Settings, sources: &[Source], listing: &Listing) -> Plan {
    Plan {
        created_by: state::created_by(),
        version: 1,
        settings: settings.ingest.clone(),
        sources: sources.iter().map(|source| source.given.clone()).collect(),
        follow_links: settings.follow_links,
        image_column: settings.image_column.clone(),
        label_column: settings.label_column.clone(),
        url_column: settings.url_column.clone(),
        listing: listing.hash.to_hex().to_string(),
        units: (listing.loose.len() + listing.archives.len()) as u64,
    }
}

/// Refuses to make a set of reduced pictures, or a part of one: none decodes as it did.
fn refuse_reduced(settings: &Settings, storage: &Storage) -> Result<(), IngestError> {
    // What else is wrong with a manifest, who goes by it tells.
    let is_of_such = matches!(
        set::manifest::find(storage, &settings.out),
        Ok(Some(manifest)) if manifest.settings.scaled_decode
    );
    match settings.ingest.scaled_decode || is_of_such {
        true => Err(IngestError::ScaledDecode(settings.out.clone().into())),
        false => Ok(()),
    }
}

/// What a part's shards come to.
#[derive(Debug, Default)]
struct Tally {
    shards: u64,
    pictures: u64,
    next: Place,
    accepted: u64,
    cut_short: u64,
    classes: BTreeMap<String, u64>,
    rejected: BTreeMap<Reason, u64>,
    passed: Passed,
    entries: Vec<ShardEntry>,
}

impl Tally {
    fn add(&mut self, state: ShardState) {
        self.shards += 1;
        self.pictures += state.pictures;
        self.next = state.next;
        self.accepted += state.accepted;
        self.cut_short += state.cut_short;
        for (class, pictures) in state.classes {
            *self.classes.entry(class).or_default() += pictures;
        }
        for reject in &state.rejects {
            *self.rejected.entry(reject.reason).or_default() += 1;
        }
        self.passed.merge(state.passed);
        self.entries.extend(state.entry);
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
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads)
        .build()
        .map_err(|error| IngestError::Threads(error.to_string()))?;
    let mut tally = Tally::default();
    work.finished(|state| {
        tally.add(state);
        Ok(())
    })?;
    let done = tally.pictures;
    let start = Start {
        shard: work.first_shard() + tally.shards,
        number: work.first_picture() + tally.pictures,
        place: tally.next,
        most: u64::MAX,
    };

    let views = settings.ingest.views;
    let base = work.base.as_ref().map_or(&[][..], |base| &base.shards);
    let finished: Vec<_> = base.iter().chain(&tally.entries).cloned().collect();
    let mut known = Known::new(&settings.ingest);
    threads.install(|| known.learn(storage, &settings.out, &finished, views))?;
    let mut names = Names::new(storage, &settings.out, views, finished);

    let maker = Maker::new(
        (storage, &settings.web),
        &settings.out,
        (&settings.ingest, &settings.codebooks),
        settings.memory,
        &threads,
        progress,
    )?;
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
    let behind = maker.make(listing, wanted, start, (&mut known, &mut names), &mut finish)?;
    tally.passed.merge(behind);
    let pictures = tally.pictures - done;
    Ok((tally, pictures))
}

/// The columns that were named.
pub(crate) struct Columns {
    pub image: Option<String>,
    pub label: Option<String>,
    pub url: Option<String>,
}

impl Columns {
    fn of(settings: &Settings) -> Self {
        let Settings { image_column, label_column, url_column, .. } = settings;
        Self { image: image_column.clone(), label: label_column.clone(), url: url_column.clone() }
    }
}

/// What is taken of the sources.
pub(crate) fn wanted(
    settings: &IngestSettings,
    columns: Columns,
    classes: Option<Classes>,
) -> Wanted {
    let limits = Limits {
        member_bytes: decode::options(settings).most_bytes(),
        image_column: columns.image,
        label_column: columns.label,
        url_column: columns.url,
        ..Limits::default()
    };
    Wanted { limits, classes }
}

/// The manifest of the set to which the part belongs.
fn manifest(work: &Work, tally: &Tally, given: Option<&Classes>) -> Result<Manifest, IngestError> {
    let Plan { version, settings, sources, .. } = &work.plan;
    let first_shard = work.first_shard();
    let part = Part {
        sources: sources.clone(),
        follow_links: work.plan.follow_links,
        image_column: work.plan.image_column.clone(),
        label_column: work.plan.label_column.clone(),
        url_column: work.plan.url_column.clone(),
        listing: work.plan.listing.clone(),
        first: work.first_picture(),
        pictures: tally.pictures,
        first_shard,
        shards: tally.shards,
        accepted: tally.accepted,
        cut_short: tally.cut_short,
        rejected: tally.rejected.clone(),
        passed: tally.passed.clone().into(),
        rejects: work.write_rejects(first_shard + tally.shards)?,
    };
    let (mut parts, mut shards, mut classes, mut class_pictures) = match &work.base {
        Some(base) => (
            base.parts.clone(),
            base.shards.clone(),
            base.classes.clone(),
            base.class_pictures.clone(),
        ),
        None => {
            let classes = given.map_or_else(Vec::new, |given| given.names().to_vec());
            let class_pictures = vec![0; classes.len()];
            (vec![], vec![], classes, class_pictures)
        }
    };
    parts.push(part);
    shards.extend(tally.entries.iter().cloned());
    let mut indices: BTreeMap<_, _> = classes.iter().cloned().zip(0..).collect();
    for (class, &pictures) in &tally.classes {
        let index = *indices.entry(class.clone()).or_insert_with(|| {
            classes.push(class.clone());
            class_pictures.push(0);
            classes.len() - 1
        });
        class_pictures[index] += pictures;
    }
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        created_by: work.plan.created_by.clone(),
        version: *version,
        settings: settings.clone(),
        accepted: 0,
        cut_short: 0,
        rejected: 0,
        parts,
        classes,
        class_pictures,
        rows: 0,
        bytes: 0,
        shards,
    };
    Ok(manifest.with_totals())
}
