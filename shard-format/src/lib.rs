//! The shard format: what a published set is, at any address, read and written.
//!
//! In the order in which a reader meets them: [`set`] says which files belong to a set and which
//! version of it they are, and gives its rows; [`source`] fetches what is wanted of its shards and
//! holds it against checksums; [`columns`] says what a column holds, [`pictures`] which pictures a
//! shard has. [`write`](mod@write) makes a shard of rows, [`verify`](mod@verify) holds every byte of
//! a set against what was written. What the bytes mean is described by the crate `schemas`, how they
//! are reached by `storage`.

#![forbid(unsafe_code)]

pub mod columns;
mod error;
pub mod pictures;
pub mod set;
pub mod source;
pub mod verify;
pub mod write;

pub use columns::Columns;
pub use columns::row::{StoredCells, StoredCodes, StoredRow};
pub use error::ShardsError;
pub use schemas::GroupRef;
pub use set::ShardSet;
pub use source::{Cache, ShardFile, ShardSource};
