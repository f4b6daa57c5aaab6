//! What is asked of a set or a picture at once: damage, a preview, HOG.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, Float32Array};
use arrow_pyarrow::PyArrowType;
use ingest::inspect;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shards::{ShardSet, ShardSource};
use storage::{Address, Storage};
use targets::{HogExtractor, View};

use crate::error::{input, of_shards, of_storage};
use crate::threads;

/// A set by its address.
pub fn set(shards: &str) -> PyResult<ShardSet> {
    let folder: Address = shards.parse().map_err(of_storage)?;
    ShardSet::open(ShardSource::new(Storage::local(), folder, None)).map_err(of_shards)
}

/// Holds every byte of a set against its checksum: a sentence for each damaged file.
#[pyfunction]
pub fn verify(py: Python<'_>, shards: &str) -> PyResult<Vec<String>> {
    threads::detach(py, || {
        let set = set(shards)?;
        let (storage, folder) = (set.source().storage(), set.source().folder());
        let damages = shards::verify::verify(storage, folder, set.manifest(), &|_| ());
        let damages = damages.map_err(of_shards)?;
        Ok(damages.iter().map(ToString::to_string).collect())
    })
}

/// A PNG of some rows of a set, each view beside its HOG.
#[pyfunction]
#[pyo3(signature = (shards, count=4, seed=0))]
pub fn preview<'py>(
    py: Python<'py>,
    shards: &str,
    count: usize,
    seed: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let png = threads::detach(py, || {
        let set = set(shards)?;
        let rows = inspect::sample(&set, count, seed).map_err(of_shards)?;
        inspect::preview(set.manifest(), &rows).png().map_err(input)
    })?;
    Ok(PyBytes::new(py, &png))
}

/// The HOG of an RGB picture of `side` pixels a side, at each cell size: `[grid², 3·bins]`.
#[pyfunction]
pub fn hog(
    py: Python<'_>,
    picture: &[u8],
    side: usize,
    cells: Vec<usize>,
    bins: usize,
) -> PyResult<Vec<PyArrowType<ArrayData>>> {
    py.detach(|| {
        let view = View::new(picture, side).map_err(input)?;
        let mut extractor = HogExtractor::new(side, bins, &cells).map_err(input)?;
        let hogs = extractor.compute(view).map_err(input)?;
        let array = |values: Vec<f32>| -> ArrayRef { Arc::new(Float32Array::from(values)) };
        Ok(hogs.into_iter().map(|hog| PyArrowType(array(hog.values).to_data())).collect())
    })
}
