//! The threads between disk and trainer.
//!
//! A coordinator takes the windows of an epoch in order. While a pool of threads turns the rows of
//! one window into batches, it already reads and decodes the next. Batches wait in a bounded queue.
//! In memory at once: two windows of decoded rows (`window_groups` · rows a group · bytes a row
//! each), the rows left over from the window before, and `prefetch_batches` + 2 batches. The bytes of
//! batches that are handed back are filled again, once no device reads them any more.
//!
//! Where several devices share each batch, one loader a device gives its part, and one coordinator
//! makes the parts of all that are in this process, so that rows are read once.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use burn::tensor::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use kernels::input::{Layout, Memory, Target, ViewMut, zeros};
use rand::Rng;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use shards::columns::ColumnError;
use shards::{Columns, GroupRef, ShardSet};

use super::DataError;
use super::batch::{Batch, Content, RowRef};
use super::order::{EpochOrder, Position, batches_per_epoch, stream};
use super::sample::{self, Draw, StoredView};
use super::spec::SampleSpec;
use super::stored;
use crate::model::mask::{MaskKind, MaskSpec, Masking};
use crate::model::windows::{WindowPlan, Windows};
use crate::model::{MaskedInput, ModelConfig};

/// Row groups of a remote set that are under way at once: waiting for a store takes no core.
const REMOTE_READS: usize = 8;

/// What batches are made of, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderSettings {
    /// Views a batch.
    pub batch_size: usize,
    /// The seed of order, flips and masks.
    pub seed: u64,
    /// The sizes of a sample.
    pub sample: Arc<SampleSpec>,
    /// What is masked.
    pub masks: MaskSpec,
    /// The windows of a Swin.
    pub windows: Option<Windows>,
    /// Mirror half of the views.
    pub flip: bool,
    /// Row groups whose rows are shuffled together.
    pub window_groups: usize,
    /// Batches kept ready.
    pub prefetch_batches: usize,
    /// Threads that read, decode and prepare.
    pub threads: usize,
}

impl LoaderSettings {
    /// What a network asks for of stored views of `size` pixels, with masks of this share and kind;
    /// batches of 256, mirrored at random, two threads.
    pub fn new(network: &ModelConfig, mask_ratio: f64, mask: MaskKind, size: usize) -> Self {
        let masks = MaskSpec::new(network, mask_ratio, mask);
        Self {
            batch_size: 256,
            seed: 0,
            sample: Arc::new(SampleSpec::new(network, &masks, size)),
            masks,
            windows: Windows::of(&network.encoder, network.size),
            flip: true,
            window_groups: 8,
            prefetch_batches: 4,
            threads: 2,
        }
    }
}

/// An endless stream of batches, prepared in the background.
#[derive(Debug)]
pub struct Loader {
    batches: Option<Receiver<Result<Batch, DataError>>>,
    spent: Sender<Bytes>,
    // Dropped after the receiver above.
    coordinator: Arc<Running>,
}

/// The coordinator's thread, waited for when the last loader of it goes.
#[derive(Debug)]
struct Running {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

/// The part of each batch that a device takes.
pub struct Share {
    /// Where its bytes lie.
    pub memory: Memory,
    /// Its views among the batch's.
    pub views: Range<usize>,
}

impl Loader {
    /// Starts at `from`, which may be any place of any epoch.
    ///
    /// # Errors
    /// [`DataError`] if the shards lack a cell, or hold less than a batch.
    pub fn start(
        dataset: Arc<ShardSet>,
        settings: LoaderSettings,
        from: Position,
    ) -> Result<Self, DataError> {
        let share = Share::on_host(0..settings.batch_size);
        let mut loaders = Self::start_shares(vec![share], dataset, settings, from)?;
        Ok(loaders.pop().expect("there is a loader for each share"))
    }

    /// As [`start`](Self::start), a loader for each share of the batches. All are to be asked for
    /// their batches in turn, and where one is dropped the others end.
    ///
    /// # Errors
    /// As there.
    pub fn start_shares(
        shares: Vec<Share>,
        dataset: Arc<ShardSet>,
        settings: LoaderSettings,
        from: Position,
    ) -> Result<Vec<Self>, DataError> {
        let layout = dataset.layout();
        let stored = match settings.sample.one.target {
            Target::RawPixel => None,
            Target::Hog(_) | Target::Pixel => Some((layout.cells.clone(), "cells", "--cells")),
            Target::Code => {
                let cells = layout.codebooks.iter().map(|codebook| codebook.cell).collect();
                Some((cells, "codes of cells", "a --codebook"))
            }
        };
        if let Some((found, what, flag)) = stored {
            let mut cells = settings.sample.one.distinct_cells().into_iter();
            let lacks = |cell: &usize| !found.iter().any(|&stored| stored as usize == *cell);
            if let Some(cell) = cells.find(lacks) {
                let at = dataset.source().folder().to_string();
                return Err(DataError::Cell { at, cell, found, what, flag });
            }
        }
        // Without dropped units every batch has the same windows.
        let whole = (settings.masks.masked == MaskedInput::Token)
            .then(|| settings.windows.as_ref().map(|windows| Arc::new(windows.whole())))
            .flatten();
        let batches_per_epoch = batches_per_epoch(&dataset, settings.batch_size)?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(settings.threads)
            .thread_name(|i| format!("loader-{i}"))
            .build()
            .map_err(|error| DataError::Thread(error.to_string()))?;
        let pool = Arc::new(pool);
        let readers = if dataset.source().is_remote() {
            let readers = ThreadPoolBuilder::new()
                .num_threads(settings.threads.max(REMOTE_READS))
                .thread_name(|i| format!("fetch-{i}"))
                .build();
            Arc::new(readers.map_err(|error| DataError::Thread(error.to_string()))?)
        } else {
            Arc::clone(&pool)
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (outlets, inlets): (Vec<_>, Vec<_>) =
            shares.into_iter().map(|share| share.connect(settings.prefetch_batches)).unzip();
        let coordinator = Coordinator {
            outlets,
            columns: stored::columns(&settings.sample, layout.picture_column()),
            dataset,
            settings,
            whole,
            batches_per_epoch,
            pool,
            readers,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name("loader".into())
            .spawn(move || coordinator.run(from))
            .map_err(|error| DataError::Thread(error.to_string()))?;
        let coordinator = Arc::new(Running { thread: Some(thread), stop });
        let loader = |(batches, spent)| {
            let coordinator = Arc::clone(&coordinator);
            Self { batches: Some(batches), spent, coordinator }
        };
        Ok(inlets.into_iter().map(loader).collect())
    }

    /// The next batch; waits until it is ready.
    ///
    /// # Errors
    /// [`DataError`] of the shard that could not be read; after it, the stream is over.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Batch, DataError> {
        let batch = self.batches.as_ref().and_then(|batches| batches.recv().ok());
        batch.unwrap_or_else(|| Err(DataError::Thread("the stream of batches is over".into())))
    }

    /// The next batch, or why there is none, if that is known already.
    pub fn ready(&mut self) -> Option<Result<Batch, DataError>> {
        self.batches.as_ref().and_then(|batches| batches.try_recv().ok())
    }

    /// Takes a batch of this loader back, so that its memory serves again. Costs speed only if it
    /// is left out.
    pub fn give_back(&self, batch: Batch) {
        if let Some(bytes) = batch.into_bytes() {
            // More than can be in use are not needed.
            let _ = self.spent.try_send(bytes);
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.coordinator.stop.store(true, Ordering::Relaxed);
        // Without a receiver a blocked send ends at once.
        self.batches = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where a loader's batches come from, and where their memory goes.
type Inlet = (Receiver<Result<Batch, DataError>>, Sender<Bytes>);

/// The coordinator's end of a loader.
struct Outlet {
    share: Share,
    sender: Sender<Result<Batch, DataError>>,
    spent: Receiver<Bytes>,
}

impl Share {
    /// These views, with their bytes in the host's memory.
    pub fn on_host(views: Range<usize>) -> Self {
        Self { memory: Arc::new(zeros), views }
    }

    /// Both ends of a loader that keeps so many batches ready.
    fn connect(self, batches: usize) -> (Outlet, Inlet) {
        let (sender, receiver) = bounded(batches);
        let (give_back, spent) = bounded(batches + 2);
        (Outlet { share: self, sender, spent }, (receiver, give_back))
    }
}

/// The decoded rows of one window.
type Window = Vec<Arc<(GroupRef, RecordBatch)>>;

/// A row that waits to become part of a batch.
type Waiting = (Arc<(GroupRef, RecordBatch)>, usize);

struct Coordinator {
    outlets: Vec<Outlet>,
    dataset: Arc<ShardSet>,
    settings: LoaderSettings,
    /// The windows over all units, where all are given.
    whole: Option<Arc<WindowPlan>>,
    columns: Vec<String>,
    batches_per_epoch: u64,
    /// Makes batches.
    pool: Arc<ThreadPool>,
    /// Reads and decodes row groups; the same where disks are local.
    readers: Arc<ThreadPool>,
    stop: Arc<AtomicBool>,
}

impl Coordinator {
    fn run(self, from: Position) {
        let result = catch_unwind(AssertUnwindSafe(|| self.stream(from)));
        let error = match result {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => DataError::Thread(panic_text(&*panic)),
        };
        let text = error.to_string();
        let others = self.outlets.iter().skip(1).map(|_| DataError::Thread(text.clone()));
        for (outlet, error) in self.outlets.iter().zip([error].into_iter().chain(others)) {
            // If nobody listens any more, nobody needs to know.
            let _ = outlet.sender.send(Err(error));
        }
    }

    /// Sends batches until nobody takes them.
    fn stream(&self, from: Position) -> Result<(), DataError> {
        let batch_size = self.settings.batch_size;
        let mut position = from;
        loop {
            let order = Arc::new(EpochOrder::new(
                self.dataset.manifest().shards.clone(),
                self.settings.window_groups,
                self.settings.seed,
                position.epoch,
            ));
            let (first, mut skip) = order.find(position.batch * batch_size as u64);
            let mut waiting: Vec<Waiting> = Vec::new();
            let mut next = self.read_ahead(&order, first);
            for window in first..order.windows() {
                let groups =
                    next.recv().map_err(|_| DataError::Thread("a reader ended early".into()))??;
                next = self.read_ahead(&order, window + 1);
                let rows = order.rows(window).into_iter().skip(skip);
                skip = 0;
                waiting.extend(rows.map(|(at, row)| (Arc::clone(&groups[at]), row)));
                while waiting.len() >= batch_size {
                    let rest = waiting.split_off(batch_size);
                    // All or none: whoever has a part of a batch waits for the others'.
                    let make = |outlet| self.assemble(position, &waiting, outlet);
                    let parts: Result<Vec<_>, _> =
                        self.pool.install(|| self.outlets.iter().map(make).collect());
                    for (outlet, part) in self.outlets.iter().zip(parts?) {
                        if outlet.sender.send(Ok(part)).is_err() {
                            return Ok(());
                        }
                    }
                    waiting = rest;
                    position = position.next(self.batches_per_epoch);
                }
            }
        }
    }

    /// Begins to read a window, if there is one.
    fn read_ahead(
        &self,
        order: &Arc<EpochOrder>,
        window: usize,
    ) -> Receiver<Result<Window, DataError>> {
        let (sender, receiver) = bounded(1);
        if window >= order.windows() {
            return receiver;
        }
        let (dataset, order) = (Arc::clone(&self.dataset), Arc::clone(order));
        let (columns, stop) = (self.columns.clone(), Arc::clone(&self.stop));
        self.readers.spawn(move || {
            let read = |group: GroupRef| {
                if stop.load(Ordering::Relaxed) {
                    return Err(DataError::Thread("stopped".into()));
                }
                let batch = dataset.read(group, &columns)?;
                Ok(Arc::new((group, batch)))
            };
            let all = || order.window(window).into_par_iter().map(read).collect();
            let result = catch_unwind(AssertUnwindSafe(all))
                .unwrap_or_else(|panic| Err(DataError::Thread(panic_text(&*panic))));
            let _ = sender.send(result);
        });
        receiver
    }

    /// The part of the batch of `all` rows that goes to an outlet.
    fn assemble(
        &self,
        position: Position,
        all: &[Waiting],
        outlet: &Outlet,
    ) -> Result<Batch, DataError> {
        let LoaderSettings { sample: spec, masks, seed, .. } = &self.settings;
        let Share { memory, views } = &outlet.share;
        let rows = &all[views.clone()];
        let sizes = spec.sizes(rows.len());
        let layout = Layout::new(&sizes);
        let spent = outlet.spent.try_recv().ok().filter(|spent| spent.len() >= layout.bytes);
        let mut bytes = spent.unwrap_or_else(|| memory(layout.bytes));
        let shared = masks.shared.then(|| {
            let Position { epoch, batch } = position;
            masks.draw(&mut stream("localmim mask of a batch", *seed, epoch, batch))
        });
        let of_rows: Result<Vec<_>, _> = rows
            .par_iter()
            .zip(layout.views_mut(&mut bytes))
            .map(|((group, row), place)| {
                self.sample(position.epoch, shared.as_ref(), &group.1, group.0, *row, place)
            })
            .collect();
        let of_rows = of_rows?;
        match rows.len() == all.len() {
            true => layout.finish(&sizes, &mut bytes),
            false => {
                let masked = self.masked(position.epoch, shared.as_ref(), all)?;
                layout.finish_part(&sizes, masked, &mut bytes);
            }
        }
        let windows = match (&shared, &self.settings.windows) {
            (Some(masking), Some(windows)) => Some(Arc::new(windows.plan(&masking.keep))),
            _ => self.whole.clone(),
        };
        Ok(Batch {
            position,
            rows: of_rows,
            views: rows.len(),
            spec: Arc::clone(spec),
            windows,
            content: Content::Stored(Arc::new(bytes)),
        })
    }

    fn sample(
        &self,
        epoch: u64,
        shared: Option<&Masking>,
        batch: &RecordBatch,
        group: GroupRef,
        row: usize,
        place: ViewMut<'_>,
    ) -> Result<RowRef, DataError> {
        let spec = &self.settings.sample;
        let name = self.dataset.name(group.shard);
        let fault = |reason: String| DataError::from(self.dataset.fault(group, reason));
        let columns = Columns::of(batch);
        let lacks = |error: ColumnError| fault(error.to_string());
        let cells = spec.one.distinct_cells().into_iter();
        let stored = |cell| stored::stored_target(columns, spec.one.target, cell as u32, row);
        let taps = cells.map(stored).collect::<Result<_, _>>().map_err(lacks)?;
        let picture = columns.picture(self.dataset.layout()).map_err(lacks)?(row);
        let stored = StoredView { picture: &picture, taps };
        let id = columns.id().map_err(lacks)?(row);
        let draw = self.draw(epoch, shared, id);
        sample::fill(spec, &stored, &draw, place).map_err(|error| fault(error.to_string()))?;
        Ok(RowRef { shard: name, group: group.group, row, id, flipped: draw.flipped })
    }

    /// What a row becomes, by a stream of its own: neither the batch around it nor the threads
    /// matter.
    fn draw(&self, epoch: u64, shared: Option<&Masking>, id: u64) -> Draw {
        let LoaderSettings { sample: spec, masks, seed, .. } = &self.settings;
        let mut rng = stream("localmim flip and mask", *seed, epoch, id);
        let flipped = rng.random::<bool>() && self.settings.flip;
        let masking = match shared {
            Some(masking) => masking.clone(),
            None => masks.draw(&mut rng),
        };
        let room = spec.stored.saturating_sub(spec.one.size);
        let corner = (rng.random_range(0..=room), rng.random_range(0..=room));
        Draw { flipped, corner, masking }
    }

    /// How many units are masked in all of a batch, whoever makes which part of it.
    fn masked(
        &self,
        epoch: u64,
        shared: Option<&Masking>,
        rows: &[Waiting],
    ) -> Result<usize, DataError> {
        let masks = &self.settings.masks;
        let count = |masking: &Masking| masking.mask.iter().filter(|&&mask| mask > 0.0).count();
        if let Some(shared) = shared {
            return Ok(rows.len() * count(shared));
        }
        if masks.kind == MaskKind::Random {
            return Ok(rows.len() * masks.count.min(masks.units()));
        }
        let of_row = |(group, row): &Waiting| {
            let lacks = |error: ColumnError| {
                DataError::from(self.dataset.fault(group.0, error.to_string()))
            };
            let id = Columns::of(&group.1).id().map_err(lacks)?(*row);
            Ok(count(&self.draw(epoch, None, id).masking))
        };
        rows.par_iter().map(of_row).sum()
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason was given".into())
}
