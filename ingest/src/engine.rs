//! Pictures that an engine of many machines brings (Spark, Ray) → the shards of a set.
//!
//! The engine reads and shuffles; here is what its processes do of it, by the code that `ingest`
//! itself runs:
//!
//! 1. Each picture is looked at ([`Engine::marks`]): where it stands in the order of the set, and the
//!    hash of its bytes, by which the engine tells duplicates.
//! 2. The order cuts the set into shards, whose pictures are counted before the first is made
//!    ([`Engine::begin`], with a [`listing`] of the whole order).
//! 3. The pictures of a shard come together in one process, which writes it ([`Engine::shard`]): the
//!    file that `ingest` writes of the same pictures. A process that does so a second time, or while
//!    another does, writes the same bytes.
//! 4. When all are there, the manifest makes a set of them ([`Begun::commit`]).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use pictures::MemoryBudget;
use rayon::prelude::*;
use schemas::{IngestSettings, Manifest, Place, Reject};
use shards::set::manifest;
use shards::write::{ClosedShard, Row};
use storage::Storage;
use voice::options::Given as Options;

use crate::known::{Known, Names};
use crate::make::{Maker, Means, Start, threads, wanted};
use crate::output::decide::{self, Fit};
use crate::output::differences::settings_differences;
use crate::output::found::look;
use crate::output::plan::{Asked, Columns, Plan};
use crate::output::refusal::Refusal;
use crate::output::state::{ShardState, keep};
use crate::output::work::{Opened, Work, open};
use crate::row::{Looker, RowMaker, Seen};
use crate::run::finish;
use crate::settings::options::All;
use crate::source::order;
use crate::stream::{FETCHES, Item, Reach, Wanted};
use crate::tally::Tally;
use crate::{CREATED_BY, IngestError, Settings, Silent};

pub use crate::stream::given::{Brought, Given, Named};

/// What the engine shuffles pictures by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where it stands in the set: before all of a higher one. It depends on seed and name alone.
    pub order: [u8; 32],
    /// BLAKE3 of its bytes; none if it can't be a duplicate, nor another be one of it.
    pub content_hash: Option<[u8; 32]>,
}

impl Mark {
    /// The first 64 bits of its order, as a number that engines know: it sorts alike.
    pub fn place(order: &[u8; 32]) -> i64 {
        let (bytes, _) = order.split_at(8);
        let number = bytes.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
        (number ^ 1 << 63) as i64
    }
}

/// What an engine's [`listing`] begins with.
const LISTING: &str = "engine:";

/// A hash of all pictures' places, sorted, which tells a set's pictures from others: of an engine
/// no more than that is known at once.
pub fn listing(places: impl IntoIterator<Item = i64>) -> String {
    let mut hasher = blake3::Hasher::new();
    for place in places {
        hasher.update(&place.to_le_bytes());
    }
    format!("{LISTING}{}", hasher.finalize().to_hex())
}

/// Whether it is the [`listing`] of an engine, not that of sources.
pub(crate) fn is_listing(listing: &str) -> bool {
    listing.starts_with(LISTING)
}

/// What a shard came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Pictures that became rows.
    pub accepted: u64,
    /// Pictures that did not.
    pub rejected: u64,
    /// Bytes of its file; 0 if it has none, as not one picture became a row.
    pub bytes: u64,
}

/// A set in the making, for as long as this is held: no other run can write to its output.
pub struct Begun {
    settings: Settings,
    work: Box<Work>,
}

/// What is done with an output.
pub enum Output {
    /// The part belongs to a finished set.
    Finished(Box<Manifest>),
    /// Shards are to be made.
    Begun(Box<Begun>),
}

/// Makes shards of what an engine brings. One a process.
pub struct Engine {
    settings: Settings,
    storage: Storage,
    wanted: Wanted,
    threads: rayon::ThreadPool,
    /// What waits for stores, once a picture lies there.
    fetches: OnceLock<rayon::ThreadPool>,
}

impl Engine {
    /// An engine's part in one process, by these settings; their sources mean nothing.
    ///
    /// # Errors
    /// [`IngestError::Setting`] if they are out of range, or ask for near duplicates or those of an
    /// earlier part, which only one process that sees all pictures can tell.
    pub fn new(settings: Settings) -> Result<Self, IngestError> {
        settings.check()?;
        if settings.ingest.near_duplicates.is_some() {
            let problem = "pictures that look alike are told by one process that sees them all: by `ingest`, not by engines of many";
            return Err(IngestError::Setting {
                flag: "--near-duplicates",
                problem: problem.into(),
            });
        }
        if settings.append && !settings.ingest.keep_duplicates {
            let problem = "what engines add is not held against the pictures of the set; add it with `ingest --append`, or keep duplicates, too";
            return Err(IngestError::Setting { flag: "--append", problem: problem.into() });
        }
        let storage = settings.storage()?;
        let wanted = wanted(&settings.ingest, Columns::default(), settings.classes.clone());
        let threads = threads(settings.threads)?;
        Ok(Self { settings, storage, wanted, threads, fetches: OnceLock::new() })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Refuses at once an output that no set can be made at, whatever its pictures.
    ///
    /// # Errors
    /// [`IngestError`] if something else is there.
    pub fn look(&self) -> Result<(), IngestError> {
        let out = &self.settings.out;
        let (found, _) = look(&self.storage, out)?;
        match decide::make(found, self.asked(), Fit::Same) {
            // Whether it is this set, only its pictures tell.
            Err(Refusal::Finished { .. }) | Ok(_) => Ok(()),
            Err(refusal) if refusal.is_of_a_run() => Ok(()),
            Err(refusal) => Err(refusal.at(&self.storage, out)),
        }
    }

    fn asked(&self) -> Asked {
        if self.settings.append { Asked::Append } else { Asked::Ingest }
    }

    /// Where a picture of this name stands in the set.
    pub fn order(&self, name: &str) -> [u8; 32] {
        order(self.settings.ingest.seed, name)
    }

    /// What the engine shuffles each of these pictures by; those of buckets are fetched several at
    /// once.
    ///
    /// # Errors
    /// [`IngestError`] if a store does not give what it has, or a folder that others may see.
    pub fn marks(&self, pictures: &[Given]) -> Result<Vec<Mark>, IngestError> {
        let marks = || pictures.par_iter().map(|given| self.mark(given)).collect();
        match pictures.iter().any(|given| given.file.is_remote()) {
            true => self.fetches()?.install(marks),
            false => self.threads.install(marks),
        }
    }

    fn fetches(&self) -> Result<&rayon::ThreadPool, IngestError> {
        if let Some(fetches) = self.fetches.get() {
            return Ok(fetches);
        }
        let fetches = threads(FETCHES)?;
        Ok(self.fetches.get_or_init(|| fetches))
    }

    fn mark(&self, Given { name, label, file, .. }: &Given) -> Result<Mark, IngestError> {
        let has = |label: &String| self.wanted.classes.as_ref().is_none_or(|of| of.has(label));
        // One of no class that is wanted becomes no row, and so others are no duplicates of it.
        let counts = !self.settings.ingest.keep_duplicates && label.as_ref().is_none_or(has);
        let body = match counts {
            true => file.read(&self.storage, self.wanted.limits.member_bytes)?.ok(),
            false => None,
        };
        let content_hash = body.map(|body| *blake3::hash(&body).as_bytes());
        Ok(Mark { order: self.order(name), content_hash })
    }

    /// The rows of some pictures, of which the first has this number in the set, and those that
    /// become none. Duplicates are those that were told.
    ///
    /// # Errors
    /// [`IngestError`] if this machine is at fault; a bad picture is a reject.
    pub fn rows(
        &self,
        first: u64,
        pictures: Vec<Given>,
    ) -> Result<(Vec<Row>, Vec<Reject>), IngestError> {
        let Settings { ingest, memory, .. } = &self.settings;
        let decoding = MemoryBudget::new(memory / 2);
        let tools = || (Looker::new(ingest, &decoding), None);
        let made: Vec<Result<Vec<Row>, Reject>> = self.threads.install(|| {
            pictures
                .into_par_iter()
                .enumerate()
                .map_init(tools, |tools, (at, given)| self.of_one(tools, first + at as u64, given))
                .collect::<Result<_, IngestError>>()
        })?;
        let (mut rows, mut rejects) = (vec![], vec![]);
        for made in made {
            match made {
                Ok(of_picture) => rows.extend(of_picture),
                Err(reject) => rejects.push(reject),
            }
        }
        Ok((rows, rejects))
    }

    fn of_one<'a>(
        &'a self,
        (looker, maker): &mut (Looker<'a>, Option<RowMaker<'a>>),
        number: u64,
        given: Given,
    ) -> Result<Result<Vec<Row>, Reject>, IngestError> {
        let most = self.wanted.limits.member_bytes;
        let body = given.file.read(&self.storage, most)?;
        let item = Item::here(given.name, given.label, body, most, Place::default());
        let (name, label, body) = item.labelled(self.wanted.classes.as_ref())?;
        match (looker.look(name, label, body, most)?, given.twin) {
            (Seen::Reject(reject), _) => Ok(Err(reject)),
            (Seen::Cut(cut), Some(twin)) => Ok(Err(Known::reject(&cut, &twin))),
            (Seen::Cut(cut), None) => {
                let Settings { ingest, codebooks, .. } = &self.settings;
                let maker = match maker {
                    Some(maker) => maker,
                    none => none.insert(RowMaker::new(ingest, codebooks)?),
                };
                maker.rows(number, cut).map(Ok)
            }
        }
    }

    /// Takes hold of the output for a part of so many pictures in so many shards. `sources` says
    /// where they come from, the [`listing`] tells them from others.
    ///
    /// # Errors
    /// [`IngestError`] if what is there is in the way, or another run is at work.
    pub fn begin(
        &self,
        sources: Vec<String>,
        listing: String,
        (pictures, shards): (u64, u64),
    ) -> Result<Output, IngestError> {
        let plan = Plan {
            created_by: CREATED_BY.to_owned(),
            version: 1,
            settings: self.settings.ingest.clone(),
            sources,
            follow_links: false,
            columns: Columns::default(),
            listing,
            units: pictures,
            shards: Some(shards),
        };
        let settings = self.settings.clone();
        Ok(match open(&self.storage, &self.settings.out, plan, None, self.asked())? {
            Opened::Finished(manifest, _) => Output::Finished(manifest),
            Opened::Work(work) => Output::Begun(Box::new(Begun { settings, work })),
        })
    }

    /// Makes a shard of its pictures, and keeps what became of them. `shard` counts from the part's
    /// first, `first` is the number of its first picture in the part, and it has `planned` of them;
    /// `part` is where the part begins in the set, as [`Begun::start`] tells it.
    ///
    /// # Errors
    /// [`IngestError`], [`IngestError::Counted`] if other pictures came; nothing is seen at the output
    /// of a shard that is not whole.
    pub fn shard(
        &self,
        (shard, first, planned): (u64, u64, u64),
        part: (u64, u64),
        mut pictures: Vec<Given>,
    ) -> Result<Made, IngestError> {
        let Settings { out, ingest, codebooks, memory, web, .. } = &self.settings;
        pictures.par_sort_by_cached_key(|given| (self.order(&given.name), given.file.clone()));
        let count = pictures.len() as u64;
        if count != planned {
            return Err(IngestError::Counted { shard, planned, found: count });
        }
        let of_one_shard = IngestSettings { pictures_per_shard: u32::MAX, ..ingest.clone() };
        let means = Means {
            storage: &self.storage,
            web,
            settings: &of_one_shard,
            codebooks,
            memory: *memory,
            threads: &self.threads,
            progress: &Silent,
        };
        let number = part.1 + first;
        let twins = (number..).zip(&mut pictures);
        let told = twins.filter_map(|(number, given)| Some((number, given.twin.take()?)));
        let mut known = Known::told(told.collect::<BTreeMap<_, _>>());
        let mut names = Names::new(&self.storage, out, ingest.views, Default::default());
        let start = Start {
            shard: part.0 + shard,
            number,
            place: Place { unit: first, ..Place::default() },
            most: count,
        };
        let mut made = Made { accepted: 0, rejected: 0, bytes: 0 };
        let mut finish = |number, closed: Option<ClosedShard>, mut state: ShardState| {
            state.entry = closed.map(ClosedShard::publish).transpose()?;
            if let Some(entry) = &mut state.entry {
                (entry.first, entry.pictures) = (state.first, state.pictures);
                entry.start = state.start;
                made.bytes = entry.bytes;
            }
            (made.accepted, made.rejected) = (state.accepted, state.rejects.len() as u64);
            keep(&self.storage, out, number, &state)?;
            Ok(None)
        };
        let maker = Maker::new(means, out)?;
        let reach = Reach {
            storage: &self.storage,
            web,
            room: &maker.room,
            most: self.wanted.limits.member_bytes,
        };
        maker.make_of(
            &self.wanted,
            start,
            (&mut known, &mut names),
            &mut finish,
            move |items, over| reach.send(pictures, first, items, over),
        )?;
        Ok(made)
    }
}

impl Begun {
    /// The number of the part's first shard, and that of its first picture, in the set.
    pub fn start(&self) -> (u64, u64) {
        let Tally { first_shard, first, .. } = Tally::new(self.work.base.as_ref());
        (first_shard, first)
    }

    /// The shards that an earlier run made, counted from the part's first.
    ///
    /// # Errors
    /// [`IngestError`] if that can't be told.
    pub fn finished(&self) -> Result<Vec<u64>, IngestError> {
        self.work.finished_in_any_order()
    }

    /// The shards that are there by now, counted from the part's first, as far as their names tell.
    ///
    /// # Errors
    /// [`IngestError`] if that can't be told.
    pub fn made(&self) -> Result<Vec<u64>, IngestError> {
        self.work.kept()
    }

    /// Makes a set of the shards: each must be there, whole, with what became of its pictures.
    ///
    /// # Errors
    /// [`IngestError::Incomplete`] if one is not; then nothing is written.
    pub fn commit(self) -> Result<Manifest, IngestError> {
        let Self { settings, mut work } = self;
        work.look_again()?;
        let mut tally = Tally::new(work.base.as_ref());
        work.finished(|state| {
            tally.add(state);
            Ok(())
        })?;
        let planned = work.plan.shards.unwrap_or(tally.shards);
        if tally.shards != planned || tally.pictures != work.plan.units {
            return Err(IngestError::Incomplete {
                out: Box::new(settings.out),
                made: work.finished_in_any_order()?.len() as u64,
                planned,
            });
        }
        finish(*work, tally, settings.classes.as_ref())
    }
}

/// Makes a set of the shards in the output of the settings that an engine made, whoever began it;
/// the settings tell how the output is reached, and the classes. Others of them need not be given.
///
/// # Errors
/// As [`Begun::commit`]; if there is no set in the making, and if it is not made by what is given.
pub fn commit(settings: Settings, given: &Options<All>) -> Result<Manifest, IngestError> {
    let storage = settings.storage()?;
    let out = settings.out.clone();
    let Some(plan) = crate::output::state::read_plan(&storage, &out)? else {
        let found = manifest::find(&storage, &out)?;
        let found = found.ok_or_else(|| manifest::missing(&storage, &out))?;
        refuse_others(&settings, given, &found.settings)?;
        return Ok(found);
    };
    refuse_others(&settings, given, &plan.settings)?;
    let asked = if plan.version > 1 { Asked::Append } else { Asked::Ingest };
    match open(&storage, &out, plan, None, asked)? {
        Opened::Finished(manifest, _) => Ok(*manifest),
        Opened::Work(work) => Begun { settings, work }.commit(),
    }
}

/// An error if what is given would make another set than these settings do.
fn refuse_others(
    settings: &Settings,
    given: &Options<All>,
    made_by: &IngestSettings,
) -> Result<(), IngestError> {
    let Settings { out, ingest: asked, .. } =
        Settings { ingest: made_by.clone(), ..settings.clone() }.with_given(given);
    let differences = settings_differences(made_by, &asked);
    match differences.is_empty() {
        true => Ok(()),
        false => {
            let hint = "Leave them out to commit what is there.";
            Err(IngestError::Differs { out: out.into(), differences, hint })
        }
    }
}
