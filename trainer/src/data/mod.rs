//! Shards → batches that are ready for the device.
//!
//! The host masks, normalises, cuts patches, decodes targets and mirrors; what is left for the
//! device is encoder, decoders and optimizer. In order: [`source`] (where shards lie, with
//! [`cache`]), [`dataset`] (which shards belong to the set), [`order`] (which rows make which batch), [`sample`] (one row → its part of a batch,
//! with [`mask`]), [`loader`] (the threads between disk and trainer).

pub mod cache;
pub mod dataset;
mod error;
pub mod loader;
pub mod mask;
pub mod order;
pub mod sample;
pub mod source;

pub use cache::Cache;
pub use dataset::Dataset;
pub use error::DataError;
pub use loader::{Batch, Loader, LoaderSettings, RowRef, TapTarget};
pub use order::Position;
pub use source::ShardSource;
