//! The compiled part of the Python package `localmim`: record batches of pictures → rows and shards
//! ([`engine`]), shards → batches of views with finished targets ([`reader`], by [`batches`]), and
//! what a notebook shows ([`look`]). Record batches cross over by Arrow's C interface, without a
//! copy; the interpreter's lock is released while there is work.

mod batches;
mod engine;
mod error;
mod fill;
mod look;
mod pictures;
mod pool;
mod reader;
mod settings;
mod threads;

use pyo3::prelude::*;

/// The compiled part of `localmim`.
#[pymodule]
fn _localmim(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    error::add(module)?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<engine::Begun>()?;
    module.add_class::<reader::Reader>()?;
    module.add_class::<reader::Batches>()?;
    module.add_function(wrap_pyfunction!(engine::commit, module)?)?;
    module.add_function(wrap_pyfunction!(look::verify, module)?)?;
    module.add_function(wrap_pyfunction!(look::preview, module)?)?;
    module.add_function(wrap_pyfunction!(look::hog, module)?)?;
    Ok(())
}
