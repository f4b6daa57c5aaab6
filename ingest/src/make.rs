//! The stream of pictures → shards, one after the other.
//!
//! Three stages overlap: the stream reads ahead; pictures are worked on, a block of them at a time;
//! finished row groups are put into the file, which a thread of its own hashes and writes
//! ([`shards::write`]). A block goes through three steps: its pictures are decoded and their views
//! cut, in parallel; duplicates are told, in the order of the stream; rows are made of what is left,
//! in parallel.
//!
//! Pictures are cut into runs of a row group each, counted from the shard's first, so that a group
//! depends on its own run and on what is known before it, but not on threads or memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use archives::{Limits, Passed};
use crossbeam_channel::{Receiver, Sender, bounded};
use pictures::MemoryBudget;
use rayon::prelude::*;
use schemas::{IngestSettings, Place, Reject, ShardEntry, ShardTable};
use shards::write::{ClosedShard, Encoder, Group, ShardWriter};
use storage::{Address, Storage};

use crate::classes::Classes;
use crate::codebook::Codebook;
use crate::decode;
use crate::known::{Known, Names, Twin};
use crate::output::plan::Columns;
use crate::output::state::ShardState;
use crate::row::{Cut, Looker, RowMaker, Seen};
use crate::settings::{run_bytes, run_pictures};
use crate::source::Listing;
use crate::stream::{AHEAD_ON_THE_WEB, Feed, Item, Wanted};
use crate::{CREATED_BY, IngestError, Progress};

/// Where making shards begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// The number of the shard.
    pub shard: u64,
    /// The number of its first picture in the set.
    pub number: u64,
    /// Where in the stream that lies.
    pub place: Place,
    /// How many pictures are taken at most.
    pub most: u64,
}

/// What shards are made with.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub storage: &'a Storage,
    /// How addresses of lists are fetched.
    pub web: &'a web::Options,
    pub settings: &'a IngestSettings,
    pub codebooks: &'a [Codebook],
    /// About how many bytes pictures and rows in work may take.
    pub memory: u64,
    pub threads: &'a rayon::ThreadPool,
    pub progress: &'a dyn Progress,
}

impl<'a> Means<'a> {
    /// What is known after the finished shards of `out`, and the names of their pictures.
    pub fn known(
        self,
        out: &'a Address,
        finished: ShardTable,
    ) -> Result<(Known, Names<'a>), IngestError> {
        let (storage, views) = (self.storage, self.settings.views);
        let mut known = Known::new(self.settings);
        self.threads.install(|| known.learn(storage, out, &finished, views))?;
        Ok((known, Names::new(storage, out, views, finished)))
    }
}

/// Makes shards of streams.
pub(crate) struct Maker<'a> {
    means: Means<'a>,
    encoder: Encoder,
    /// Bounds what pictures take on their way.
    pub room: MemoryBudget,
    /// Bounds what they take while they are decoded.
    decoding: MemoryBudget,
    /// Runs that are worked on at once.
    runs_at_once: usize,
}

/// Told that a shard is whole: its number, its file if it has a row, and what became of its
/// pictures.
pub(crate) type Finish<'a> = dyn FnMut(u64, Option<ClosedShard>, ShardState) -> Result<Option<ShardEntry>, IngestError>
    + Send
    + 'a;

/// What goes to the thread that writes.
enum Step {
    Groups { shard: u64, groups: Vec<Group> },
    End { shard: u64, state: Box<ShardState> },
}

impl<'a> Maker<'a> {
    /// A maker of shards in `out`.
    pub fn new(means: Means<'a>, out: &Address) -> Result<Self, IngestError> {
        let Means { settings, memory, threads, .. } = means;
        let of_rows = rows_share(memory) / run_bytes(settings);
        let enough = 4 * threads.current_num_threads();
        Ok(Self {
            means,
            encoder: Encoder::new(out, settings, CREATED_BY)?,
            room: MemoryBudget::new(memory / 8),
            decoding: MemoryBudget::new(memory / 2),
            runs_at_once: usize::try_from(of_rows).unwrap_or(enough).clamp(1, enough),
        })
    }

    /// Makes all shards of the listing from `start` on. What archives passed over behind the last
    /// picture is given back; the rest is in the shards' states.
    ///
    /// # Errors
    /// [`IngestError`]; shards that were finished before it are whole.
    pub fn make(
        &self,
        listing: &Listing,
        wanted: &Wanted,
        start: Start,
        (known, names): (&mut Known, &mut Names<'_>),
        finish: &mut Finish<'_>,
    ) -> Result<Passed, IngestError> {
        self.make_of(wanted, start, (known, names), finish, |feeder, over| {
            let Means { storage, web, .. } = self.means;
            let room = &self.room;
            Feed { storage, web, listing, room, wanted, over }.run(start.place, feeder)
        })
    }

    /// As [`make`](Self::make), of pictures that `feed` sends, in order, until it is told that nobody
    /// wants more.
    ///
    /// # Errors
    /// As [`make`](Self::make).
    pub fn make_of(
        &self,
        wanted: &Wanted,
        start: Start,
        (known, names): (&mut Known, &mut Names<'_>),
        finish: &mut Finish<'_>,
        feed: impl FnOnce(&Sender<Result<Item, IngestError>>, &AtomicBool) -> Passed + Send,
    ) -> Result<Passed, IngestError> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (feeder, items) = bounded(AHEAD_ON_THE_WEB);
            let over = &over;
            let feed = scope.spawn(move || feed(&feeder, over));
            let (steps, to_write) = bounded(1);
            let (ended, finished) = crossbeam_channel::unbounded();
            let writer = scope.spawn(move || self.write(&to_write, &ended, finish));
            let worked = self.work(start, (&items, wanted), known, names, (&steps, &finished));
            // The writer ends when nothing more comes. The stream ends at its next picture, for which
            // it may wait until those that it sent give back their room.
            drop(steps);
            over.store(true, Ordering::Relaxed);
            items.into_iter().for_each(drop);
            let written = writer.join().unwrap_or(Err(IngestError::Threads(
                "the thread that writes shards panicked".into(),
            )));
            match (written, worked) {
                // Nothing is written after the writer failed, so that its error is the cause.
                (Err(error), _) => Err(error),
                (Ok(()), Err(Halt::Error(error))) => Err(*error),
                (Ok(()), Err(Halt::WriterGone) | Ok(())) => feed.join().map_err(|_| {
                    IngestError::Threads("the thread that reads sources panicked".into())
                }),
            }
        })
    }

    fn write(
        &self,
        steps: &Receiver<Step>,
        ended: &Sender<ShardEntry>,
        finish: &mut Finish<'_>,
    ) -> Result<(), IngestError> {
        let mut file = None;
        for step in steps {
            match step {
                Step::Groups { shard, groups } => {
                    for group in groups {
                        let file = match &mut file {
                            Some(file) => file,
                            None => file.insert(self.encoder.create(self.means.storage, shard)?),
                        };
                        file.append(group)?;
                    }
                }
                Step::End { shard, state } => {
                    let closed = file.take().map(ShardWriter::close).transpose()?;
                    if let Some(entry) = finish(shard, closed, *state)? {
                        // It is of no use where work has ended.
                        let _ = ended.send(entry);
                    }
                }
            }
        }
        Ok(())
    }

    fn work(
        &self,
        start: Start,
        (items, wanted): (&Receiver<Result<Item, IngestError>>, &Wanted),
        known: &mut Known,
        names: &mut Names<'_>,
        (steps, finished): (&Sender<Step>, &Receiver<ShardEntry>),
    ) -> Result<(), Halt> {
        let pictures_per_shard = u64::from(self.means.settings.pictures_per_shard);
        let a_block = self.a_run() * self.runs_at_once;
        let idle = Idle::default();
        let send = |step| steps.send(step).map_err(|_| Halt::WriterGone);

        let (mut shard, mut number, mut place) = (start.shard, start.number, start.place);
        let last = start.number.saturating_add(start.most);
        loop {
            names.begin_shard();
            let a_shard = pictures_per_shard.min(last - number);
            let mut state = ShardState { first: number, start: place, ..ShardState::default() };
            let mut ended = false;
            while state.pictures < a_shard && !ended {
                let want = a_block.min((a_shard - state.pictures) as usize);
                let block = self.look(items, want, wanted, &idle)?;
                ended = block.len() < want;
                let Some(newest) = block.last() else { break };
                (place, state.pictures) = (newest.after, state.pictures + block.len() as u64);
                self.means.progress.read(newest.done);
                finished.try_iter().for_each(|entry| names.finished(entry));
                let runs = self.judge(block, &mut state, known, names)?;
                let groups = self.encode(runs, &idle)?;
                if !groups.is_empty() {
                    send(Step::Groups { shard, groups })?;
                }
            }
            if state.pictures == 0 {
                return Ok(());
            }
            number += state.pictures;
            state.next = place;
            send(Step::End { shard, state: Box::new(state) })?;
            shard += 1;
            if ended || number == last {
                return Ok(());
            }
        }
    }

    /// Looks at the next pictures: decodes them and cuts their views.
    fn look<'s>(
        &'s self,
        items: &Receiver<Result<Item, IngestError>>,
        want: usize,
        wanted: &Wanted,
        idle: &Idle<'s>,
    ) -> Result<Vec<Looked>, IngestError> {
        let mut block: Vec<_> = self.means.threads.install(|| {
            items
                .iter()
                .take(want)
                .enumerate()
                .par_bridge()
                .map(|(index, item)| {
                    let mut item = item?;
                    let (passed, after, done) =
                        (std::mem::take(&mut item.passed), item.after, item.done);
                    let (name, label, body) = item.labelled(wanted.classes.as_ref())?;
                    let mut looker = pop(&idle.lookers)
                        .unwrap_or_else(|| Looker::new(self.means.settings, &self.decoding));
                    let seen = looker.look(name, label, body, wanted.limits.member_bytes);
                    push(&idle.lookers, looker);
                    Ok((index, Looked { seen: seen?, passed, after, done }))
                })
                .collect::<Result<_, IngestError>>()
        })?;
        block.sort_unstable_by_key(|(index, _)| *index);
        Ok(block.into_iter().map(|(_, looked)| looked).collect())
    }

    /// Tells duplicates, counts what becomes of each picture, and gives those that become rows, by
    /// runs.
    fn judge(
        &self,
        block: Vec<Looked>,
        state: &mut ShardState,
        known: &mut Known,
        names: &mut Names<'_>,
    ) -> Result<Vec<Run>, IngestError> {
        let first = state.first + state.pictures - block.len() as u64;
        let mut judged = Vec::with_capacity(block.len());
        for (number, looked) in (first..).zip(block) {
            state.passed.merge(looked.passed);
            judged.push(match looked.seen {
                Seen::Reject(reject) => Judged::Reject(reject),
                Seen::Cut(cut) => match known.judge(number, &cut) {
                    Some(twin) => Judged::Twin(twin, cut),
                    None => {
                        names.add(number, &cut.name);
                        Judged::Kept(Box::new(cut))
                    }
                },
            });
        }
        // To name a twin may need a look at its shard.
        let names = &*names;
        let judged: Vec<_> = self.means.threads.install(|| {
            judged
                .into_par_iter()
                .map(|judged| match judged {
                    Judged::Twin(twin, cut) => twin.reject(&cut, names).map(Judged::Reject),
                    other => Ok(other),
                })
                .collect::<Result<_, IngestError>>()
        })?;

        let a_run = self.a_run() as u64;
        let mut runs: BTreeMap<u64, Run> = BTreeMap::new();
        for (number, judged) in (first..).zip(judged) {
            match judged {
                Judged::Kept(cut) => {
                    state.accepted += 1;
                    state.cut_short += u64::from(cut.cut_short);
                    if let Some(label) = &cut.label {
                        *state.classes.entry(label.clone()).or_default() += 1;
                    }
                    self.means.progress.picture(false);
                    runs.entry((number - state.first) / a_run).or_default().push((number, *cut));
                }
                Judged::Reject(reject) => {
                    self.means.progress.picture(true);
                    state.rejects.push(reject);
                }
                Judged::Twin(..) => {}
            }
        }
        Ok(runs.into_values().collect())
    }

    /// Makes the row groups of some runs.
    fn encode<'s>(&'s self, runs: Vec<Run>, idle: &Idle<'s>) -> Result<Vec<Group>, IngestError> {
        let groups: Vec<Vec<Group>> = self.means.threads.install(|| {
            runs.into_par_iter()
                .map(|run| {
                    let rows: Vec<_> = run
                        .into_par_iter()
                        .map(|(number, cut)| {
                            let mut maker = match pop(&idle.makers) {
                                Some(maker) => maker,
                                None => RowMaker::new(self.means.settings, self.means.codebooks)?,
                            };
                            let rows = maker.rows(number, cut);
                            push(&idle.makers, maker);
                            rows
                        })
                        .collect::<Result<_, IngestError>>()?;
                    let rows = rows.into_iter().flatten().collect::<Vec<_>>();
                    rows.par_chunks(self.means.settings.rows_per_group as usize)
                        .map(|rows| Ok(self.encoder.encode(rows)?))
                        .collect::<Result<_, IngestError>>()
                })
                .collect::<Result<_, IngestError>>()
        })?;
        Ok(groups.into_iter().flatten().collect())
    }

    fn a_run(&self) -> usize {
        run_pictures(self.means.settings) as usize
    }
}

/// What is taken of the sources.
pub(crate) fn wanted(
    settings: &IngestSettings,
    columns: Columns,
    classes: Option<Classes>,
) -> Wanted {
    let Columns { image_column, label_column, url_column } = columns;
    let member_bytes = decode::options(settings).most_bytes();
    let limits =
        Limits { member_bytes, image_column, label_column, url_column, ..Limits::default() };
    Wanted { limits, classes }
}

/// Worker threads; 0 takes one a core.
pub(crate) fn threads(number: usize) -> Result<rayon::ThreadPool, IngestError> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(number).build();
    threads.map_err(|error| IngestError::Threads(error.to_string()))
}

/// What rows may take of the memory. Of the rest, half is for decoding and an eighth for pictures on
/// their way.
pub(crate) fn rows_share(memory: u64) -> u64 {
    memory / 8 * 3
}

/// A picture that was looked at.
struct Looked {
    seen: Seen,
    /// What archives passed over before it.
    passed: Passed,
    /// Where the stream goes on after it.
    after: Place,
    /// How much of the listing lies before that.
    done: u64,
}

/// What is to become of a picture.
enum Judged {
    Kept(Box<Cut>),
    Reject(Reject),
    Twin(Twin, Cut),
}

/// The pictures of one run that become rows, with their numbers.
type Run = Vec<(u64, Cut)>;

/// Why work ended early.
enum Halt {
    Error(Box<IngestError>),
    /// The writer has ended, and knows why.
    WriterGone,
}

impl From<IngestError> for Halt {
    fn from(error: IngestError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// What waits for the next picture, so that none is made twice for a thread.
#[derive(Default)]
struct Idle<'a> {
    lookers: Mutex<Vec<Looker<'a>>>,
    makers: Mutex<Vec<RowMaker<'a>>>,
}

fn pop<T>(idle: &Mutex<Vec<T>>) -> Option<T> {
    idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn push<T>(idle: &Mutex<Vec<T>>, item: T) {
    idle.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}
