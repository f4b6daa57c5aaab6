//! What the processes of an engine call: marks, rows, shards, and the commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{
    ArrayRef, AsArray, FixedSizeBinaryBuilder, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::Int64Type;
use arrow_pyarrow::PyArrowType;
use ingest::engine::{self, Mark, Output};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use schemas::{Manifest, Reject};

use crate::error::{SetError, input, of_ingest};
use crate::pictures::pictures;
use crate::settings::{given_settings, settings};
use crate::threads;

/// Makes shards of what an engine brings; one a process.
#[pyclass(frozen, module = "localmim")]
pub struct Engine(engine::Engine);

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (out, settings=None))]
    fn new(out: &str, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let settings = self::settings(out, settings)?;
        Ok(Self(engine::Engine::new(settings).map_err(of_ingest)?))
    }

    /// Pictures of a shard.
    #[getter]
    fn shard_pictures(&self) -> u32 {
        self.0.settings().ingest.pictures_per_shard
    }

    /// Refuses an output that no set can be made at.
    fn look(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.look()).map_err(of_ingest)
    }

    /// (key, bytes or at, label?) → (order, hash?): by what the engine shuffles.
    fn mark(
        &self,
        py: Python<'_>,
        batch: PyArrowType<RecordBatch>,
    ) -> PyResult<PyArrowType<RecordBatch>> {
        let given = pictures(&batch.0)?;
        py.detach(|| {
            let marks = self.0.marks(&given).map_err(of_ingest)?;
            let orders = marks.iter().map(|mark| Mark::place(&mark.order)).collect::<Vec<_>>();
            let mut hashes = FixedSizeBinaryBuilder::with_capacity(given.len(), 32);
            for mark in marks {
                match mark.content_hash {
                    Some(hash) => hashes.append_value(hash).map_err(input)?,
                    None => hashes.append_null(),
                }
            }
            let columns: [(&str, ArrayRef, bool); 2] = [
                ("order", Arc::new(Int64Array::from(orders)), false),
                ("hash", Arc::new(hashes.finish()), true),
            ];
            Ok(PyArrowType(RecordBatch::try_from_iter_with_nullable(columns).map_err(input)?))
        })
    }

    /// Keys → their places in the order of the set.
    fn order(
        &self,
        py: Python<'_>,
        keys: PyArrowType<RecordBatch>,
    ) -> PyResult<PyArrowType<RecordBatch>> {
        let given = pictures(&keys.0)?;
        py.detach(|| {
            let orders = given.iter().map(|of| Mark::place(&self.0.order(&of.name)));
            let orders: ArrayRef = Arc::new(Int64Array::from_iter_values(orders));
            Ok(PyArrowType(RecordBatch::try_from_iter([("order", orders)]).map_err(input)?))
        })
    }

    /// (key, bytes or at, label?) → the rows of a shard, of which the first picture has this number, and
    /// the rejects.
    #[pyo3(signature = (batch, first=0))]
    fn rows(
        &self,
        py: Python<'_>,
        batch: PyArrowType<RecordBatch>,
        first: u64,
    ) -> PyResult<(PyArrowType<RecordBatch>, PyArrowType<RecordBatch>)> {
        let given = pictures(&batch.0)?;
        py.detach(|| {
            let (rows, rejects) = self.0.rows(first, given).map_err(of_ingest)?;
            let layout = &self.0.settings().ingest.layout;
            let rows = shards::write::batch(layout, &rows).map_err(input)?;
            Ok((PyArrowType(rows), PyArrowType(of_rejects(&rejects)?)))
        })
    }

    /// Writes a shard, whose `place` is (its number in the part, that of its first picture, how many
    /// it has), of the pictures of these batches: (accepted, rejected, bytes).
    fn shard(
        &self,
        py: Python<'_>,
        place: (u64, u64, u64),
        part: (u64, u64),
        batches: Vec<PyArrowType<RecordBatch>>,
    ) -> PyResult<(u64, u64, u64)> {
        let mut given = vec![];
        for batch in &batches {
            given.extend(pictures(&batch.0)?);
        }
        let made = py.detach(|| self.0.shard(place, part, given));
        let made = made.map_err(of_ingest)?;
        Ok((made.accepted, made.rejected, made.bytes))
    }

    /// Takes hold of the output for pictures of these orders, sorted, in so many shards.
    fn begin(
        &self,
        py: Python<'_>,
        sources: Vec<String>,
        orders: PyArrowType<RecordBatch>,
        shards: u64,
    ) -> PyResult<Begun> {
        let orders =
            orders.0.column_by_name("order").and_then(|of| of.as_primitive_opt::<Int64Type>());
        let orders =
            orders.ok_or_else(|| input("the record batch has no column `order` of numbers"))?;
        let begun = py.detach(|| {
            let listing = engine::listing(orders.values().iter().copied());
            self.0.begin(sources, listing, (orders.len() as u64, shards))
        });
        Ok(match begun.map_err(of_ingest)? {
            Output::Finished(manifest) => Begun { done: Some(manifest), work: Mutex::new(None) },
            Output::Begun(work) => Begun { done: None, work: Mutex::new(Some(work)) },
        })
    }
}

/// A shard and a picture, by their numbers.
type Place = (u64, u64);

/// An output that is held until it is committed or forgotten.
#[pyclass(frozen, module = "localmim")]
pub struct Begun {
    done: Option<Box<Manifest>>,
    work: Mutex<Option<Box<engine::Begun>>>,
}

#[pymethods]
impl Begun {
    /// Where the part begins in the set, (shard, picture), and the shards that need not be made;
    /// none if the set is finished.
    fn state(&self, py: Python<'_>) -> PyResult<Option<(Place, Vec<u64>)>> {
        py.detach(|| {
            let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(work) = work.as_ref() else { return Ok(None) };
            Ok(Some((work.start(), work.finished().map_err(of_ingest)?)))
        })
    }

    /// The shards that are there by now, as far as their names tell.
    fn made(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        py.detach(|| {
            let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            work.as_ref().map_or(Ok(vec![]), |work| work.made()).map_err(of_ingest)
        })
    }

    /// Makes a set of the shards.
    fn commit<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        if let Some(manifest) = &self.done {
            return summary(py, manifest);
        }
        let manifest = py.detach(|| {
            let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
            let work = work.ok_or_else(|| SetError::new_err("it is committed already"))?;
            work.commit().map_err(of_ingest)
        })?;
        summary(py, &manifest)
    }

    /// Lets go of the output; the same call goes on from there.
    fn release(&self) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Makes a set of the shards that an engine made at `out`; settings need not be given again, but must
/// be those that they were made with.
#[pyfunction]
#[pyo3(signature = (out, **settings))]
pub fn commit<'py>(
    py: Python<'py>,
    out: &str,
    settings: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyDict>> {
    let (settings, given) = given_settings(out, settings)?;
    let manifest = threads::detach(py, || engine::commit(settings, &given).map_err(of_ingest))?;
    summary(py, &manifest)
}

fn of_rejects(rejects: &[Reject]) -> PyResult<RecordBatch> {
    let text = |of: fn(&Reject) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rejects.iter().map(of)))
    };
    let bytes = UInt64Array::from_iter_values(rejects.iter().map(|reject| reject.bytes));
    let labels = StringArray::from_iter(rejects.iter().map(|reject| reject.label.as_deref()));
    RecordBatch::try_from_iter_with_nullable([
        ("source", text(|reject| &reject.source), false),
        ("bytes", Arc::new(bytes), false),
        ("reason", text(|reject| reject.reason.code()), false),
        ("message", text(|reject| &reject.message), false),
        ("label", Arc::new(labels), true),
    ])
    .map_err(input)
}

/// What a set came to.
fn summary<'py>(py: Python<'py>, manifest: &Manifest) -> PyResult<Bound<'py, PyDict>> {
    let mut reasons = BTreeMap::<&str, u64>::new();
    for (reason, pictures) in manifest.parts.last().iter().flat_map(|part| &part.rejected) {
        *reasons.entry(reason.code()).or_default() += pictures;
    }
    let summary = PyDict::new(py);
    summary.set_item("accepted", manifest.accepted)?;
    summary.set_item("rejected", manifest.rejected)?;
    summary.set_item("rows", manifest.rows)?;
    summary.set_item("bytes", manifest.bytes)?;
    summary.set_item("shards", manifest.shards.len())?;
    summary.set_item("version", manifest.version)?;
    summary.set_item("rejects", reasons)?;
    Ok(summary)
}
