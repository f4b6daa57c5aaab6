//! The batches of an epoch, made ahead by threads of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Int64Array,
    RecordBatch, UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field};
use arrow_pyarrow::PyArrowType;
use crossbeam_channel::{Receiver, Sender, bounded};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rayon::ThreadPool;
use rayon::prelude::*;
use shards::{Columns, ShardSet};

use crate::batches::{Order, Window};
use crate::error::{Error, input, of_shards};
use crate::fill::{Filled, Pictures, RowOf, Target, Wanted};
use crate::look::set;
use crate::pool::{Lent, Pool};

/// Batches that are made ahead.
const AHEAD: usize = 2;
/// Batches whose memory is kept for others: those ahead, one in the making, and two that are used.
const KEPT: usize = AHEAD + 3;

/// A set, and what is wanted of it.
struct Source {
    set: ShardSet,
    wanted: Wanted,
    order: Order,
    /// Rows are mirrored or not, as their number and the epoch say.
    flip: bool,
    sizes: Vec<usize>,
    classes: BTreeMap<String, i64>,
    threads: ThreadPool,
}

/// Reads a set, an epoch at a time.
#[pyclass(frozen, module = "localmim")]
pub struct Reader {
    source: Arc<Source>,
}

/// The batches of an epoch, as they come. Without it nothing is made ahead, and no memory is kept.
#[pyclass(frozen, module = "localmim")]
pub struct Batches {
    coming: Receiver<PyResult<RecordBatch>>,
    /// None once it has ended.
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[pymethods]
impl Reader {
    /// `part` of `parts` is what this process reads.
    #[new]
    #[pyo3(signature = (shards, *, target, cells, normalised, batch, shuffle, flip, seed, part, parts, even, threads))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        shards: &str,
        target: &str,
        cells: Option<Vec<u32>>,
        normalised: bool,
        batch: usize,
        shuffle: bool,
        flip: bool,
        seed: u64,
        part: usize,
        parts: usize,
        even: bool,
        threads: usize,
    ) -> PyResult<Self> {
        let target = match target {
            "hog" => Target::Hog,
            "pixel" => Target::Pixel,
            "none" => Target::None,
            other => {
                return Err(input(format!("target is `hog`, `pixel` or `none`, not `{other}`")));
            }
        };
        if batch == 0 || parts == 0 || part >= parts {
            return Err(input("a batch has at least one row, and a part is one of the parts"));
        }
        let threads =
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(input)?;
        // By these threads and not by those that all share: a forked process has none of the latter.
        let set = py.detach(|| threads.install(|| set(shards)))?;
        let layout = set.layout().clone();
        let cells = cells.unwrap_or_else(|| layout.cells.clone());
        if let Some(cell) = cells.iter().find(|cell| !layout.cells.contains(cell)) {
            return Err(input(format!(
                "the set has cells of {:?}, and none of {cell}",
                layout.cells
            )));
        }
        let wanted = Wanted { layout, target, cells, normalised };
        let source = Source {
            sizes: set.groups().map(|group| group.rows).collect(),
            classes: set.manifest().classes.iter().cloned().zip(0..).collect(),
            wanted,
            order: Order { shuffle, seed, batch, part, parts, even },
            set,
            flip,
            threads,
        };
        Ok(Self { source: Arc::new(source) })
    }

    /// What the set and the batches are: sizes and names for the arrays in Python.
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Source { set, wanted, .. } = &*self.source;
        let described = PyDict::new(py);
        described.set_item("rows", set.rows())?;
        described.set_item("size", wanted.layout.size)?;
        described.set_item("bins", wanted.layout.bins)?;
        described.set_item("cells", wanted.cells.clone())?;
        described.set_item("classes", set.manifest().classes.clone())?;
        described.set_item("fingerprint", set.fingerprint())?;
        Ok(described)
    }

    /// Batches of an epoch.
    fn batches(&self) -> usize {
        self.source.order.batches(&self.source.sizes)
    }

    /// An epoch behind its first `skip` batches.
    fn start(&self, epoch: u64, skip: usize) -> PyResult<Batches> {
        let (sender, coming) = bounded(AHEAD);
        let source = Arc::clone(&self.source);
        let thread = std::thread::Builder::new()
            .name("localmim".into())
            .spawn(move || {
                let pool = Pool::new(KEPT * source.wanted.lists());
                source.send(epoch, skip, &pool, &sender);
                pool.close();
            })
            .map_err(input)?;
        Ok(Batches { coming, thread: Mutex::new(Some(thread)) })
    }
}

#[pymethods]
impl Batches {
    /// The next batch; none at the end of the epoch. That no more come is its end only if the thread
    /// that made them has ended well.
    fn next(&self, py: Python<'_>) -> PyResult<Option<PyArrowType<RecordBatch>>> {
        let batch = py.detach(|| match self.coming.recv() {
            Ok(batch) => batch.map(Some),
            Err(_) => {
                let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
                thread.map_or(Ok(()), JoinHandle::join).map(|()| None).map_err(|_| panicked())
            }
        });
        Ok(batch?.map(PyArrowType))
    }
}

/// A row group that is read.
type Group = Arc<RecordBatch>;

impl Source {
    /// Sends the batches of an epoch, until nobody takes them; an error is the last.
    fn send(&self, epoch: u64, skip: usize, pool: &Arc<Pool>, out: &Sender<PyResult<RecordBatch>>) {
        let mut left = self.order.batches(&self.sizes).saturating_sub(skip);
        let windows = self.order.windows(&self.sizes, epoch, skip.saturating_mul(self.order.batch));
        let mut next = windows.first().map(|window| self.read(window));
        // Rows that make no batch yet.
        let mut waiting: Vec<(Group, usize)> = vec![];
        for at in 0..windows.len() {
            let groups = match next.take().unwrap_or_else(|| Ok(vec![])) {
                Ok(groups) => groups,
                Err(error) => return drop(out.send(Err(error))),
            };
            let of_window = windows[at].rows.iter();
            waiting.extend(of_window.map(|&(group, row)| (Arc::clone(&groups[group]), row)));
            let is_last = at + 1 == windows.len();
            let whole = waiting.len() / self.order.batch * self.order.batch;
            let ready = if is_last && !self.order.even { waiting.len() } else { whole };
            let rows: Vec<_> = waiting.drain(..ready).collect();
            let mut sent = true;
            // What comes is read while batches are made of what is here.
            std::thread::scope(|scope| {
                let ahead = (!is_last).then(|| scope.spawn(|| self.read(&windows[at + 1])));
                for rows in rows.chunks(self.order.batch).take(left) {
                    let batch = self.threads.install(|| self.batch(epoch, rows, pool));
                    let failed = batch.is_err();
                    sent = out.send(batch).is_ok() && !failed;
                    if !sent {
                        break;
                    }
                    left -= 1;
                }
                next = ahead.map(|ahead| ahead.join().unwrap_or_else(|_| Err(panicked())));
            });
            if !sent || left == 0 {
                return;
            }
        }
    }

    fn read(&self, window: &Window) -> PyResult<Vec<Group>> {
        let columns = self.wanted.columns(self.flip);
        self.threads.install(|| {
            let groups = window.groups.par_iter();
            let read = |&at: &usize| self.set.read(self.set.group(at), &columns).map(Arc::new);
            groups.map(read).collect::<Result<_, _>>().map_err(of_shards)
        })
    }

    fn batch(
        &self,
        epoch: u64,
        rows: &[(Group, usize)],
        pool: &Arc<Pool>,
    ) -> PyResult<RecordBatch> {
        let (mut ids, mut labels) = (vec![], vec![]);
        for (group, row) in rows {
            let columns = Columns::of(group);
            ids.push(columns.id().map_err(input)?(*row));
            let label = columns.label().map_err(input)?(*row);
            labels.push(label.and_then(|label| self.classes.get(label)).copied().unwrap_or(-1));
        }
        let mirrored: Vec<_> =
            ids.iter().map(|&id| self.flip && coin(self.order.seed, epoch, id)).collect();
        let rows: Vec<_> = rows
            .iter()
            .zip(&mirrored)
            .map(|((group, row), &mirrored)| RowOf { group, row: *row, mirrored })
            .collect();
        let Filled { pictures, targets } = self.wanted.fill(&rows, pool).map_err(Error::new_err)?;
        let picture: ArrayRef = match pictures {
            Pictures::Floats(values) => floats(values, self.wanted.picture())?,
            Pictures::Bytes(bytes) => {
                let width = self.wanted.picture() as i32;
                let buffer = Buffer::from_vec(bytes);
                Arc::new(FixedSizeBinaryArray::try_new(width, buffer, None).map_err(input)?)
            }
        };
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("id".to_owned(), Arc::new(UInt64Array::from(ids))),
            ("label".to_owned(), Arc::new(Int64Array::from(labels))),
            ("mirrored".to_owned(), Arc::new(BooleanArray::from(mirrored))),
            ("picture".to_owned(), picture),
        ];
        for (&cell, values) in self.wanted.cells.iter().zip(targets) {
            columns.push((cell.to_string(), floats(values, self.wanted.values(cell))?));
        }
        RecordBatch::try_from_iter(columns).map_err(input)
    }
}

/// What is raised for a thread that panicked; what it was has been printed.
fn panicked() -> PyErr {
    Error::new_err(
        "a thread that makes batches ended in a panic, which standard error tells of: the epoch is not \
         whole. That is a fault of localmim; state_dict() tells where a new Dataset goes on",
    )
}

/// Rows of so many floats.
fn floats(values: Lent, width: usize) -> PyResult<ArrayRef> {
    let field = Arc::new(Field::new("item", DataType::Float32, false));
    let values = Arc::new(Float32Array::new(values.into(), None));
    Ok(Arc::new(FixedSizeListArray::try_new(field, width as i32, values, None).map_err(input)?))
}

/// Heads or tails, of seed, epoch and row alone.
fn coin(seed: u64, epoch: u64, id: u64) -> bool {
    let mut state = seed ^ epoch.rotate_left(32) ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state ^ (state >> 31)) & 1 == 1
}
