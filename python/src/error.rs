//! Errors of the crates → exceptions by kind, with their causes in their text.

use std::error::Error as StdError;

use ingest::IngestError;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use shards::ShardsError;
use storage::StorageError;

create_exception!(localmim, Error, PyException, "What localmim raises.");
create_exception!(
    localmim,
    InputError,
    Error,
    "A setting, an address or a table is not as it should be."
);
create_exception!(localmim, StoreError, Error, "A folder or a store could not be read or written.");
create_exception!(
    localmim,
    SetError,
    Error,
    "A shard set is missing, unfinished, damaged, or another one than was meant."
);

/// Adds the exceptions to the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Error", py.get_type::<Error>())?;
    module.add("InputError", py.get_type::<InputError>())?;
    module.add("StoreError", py.get_type::<StoreError>())?;
    module.add("SetError", py.get_type::<SetError>())
}

/// An input that is of no use, in words.
pub fn input(problem: impl ToString) -> PyErr {
    InputError::new_err(problem.to_string())
}

/// The exception of an error of `ingest`.
pub fn of_ingest(error: IngestError) -> PyErr {
    let text = told(&error);
    match error {
        IngestError::Shards(error) => of_shards(error),
        IngestError::Storage(_)
        | IngestError::Io { .. }
        | IngestError::Write { .. }
        | IngestError::NotSeen { .. }
        | IngestError::Vanished { .. }
        | IngestError::Fetch { .. } => StoreError::new_err(text),
        IngestError::Setting { .. }
        | IngestError::NoSource(_)
        | IngestError::NothingFound(_)
        | IngestError::NothingAccepted { .. }
        | IngestError::Counted { .. } => InputError::new_err(text),
        IngestError::Foreign { .. }
        | IngestError::Differs { .. }
        | IngestError::Finished { .. }
        | IngestError::Damaged { .. }
        | IngestError::Incomplete { .. }
        | IngestError::Locked(_) => SetError::new_err(text),
        _ => Error::new_err(text),
    }
}

/// The exception of an error about a shard set.
pub fn of_shards(error: ShardsError) -> PyErr {
    let text = told(&error);
    match error {
        ShardsError::Storage(_) | ShardsError::Read { .. } | ShardsError::Write { .. } => {
            StoreError::new_err(text)
        }
        _ => SetError::new_err(text),
    }
}

/// The exception of a store's error.
pub fn of_storage(error: StorageError) -> PyErr {
    match &error {
        StorageError::Address { .. } => InputError::new_err(told(&error)),
        _ => StoreError::new_err(told(&error)),
    }
}

/// An error with its causes.
fn told(error: &dyn StdError) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
