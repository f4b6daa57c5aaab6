//! The shard format: what a published set is, at any address, read and written.
//!
//! [`set`] says which files belong to a set and which version of it they are; [`write`](mod@write)
//! makes a shard of rows. What the bytes mean is described by the crate `schemas`, how they are
//! reached by `storage`.

#![forbid(unsafe_code)]

mod error;
pub mod set;
pub mod write;

pub use error::ShardsError;
