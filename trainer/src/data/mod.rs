//! Shards → batches that are ready for the device.
//!
//! The host masks, normalises, cuts patches, decodes targets and mirrors; what is left for the
//! device is encoder, decoders and optimizer. Row groups are read by `shards`. In order: [`order`]
//! (which rows make which batch), [`sample`] (one row → its part of a batch, with [`mask`]),
//! [`loader`] (the threads between disk and trainer).

mod error;
pub mod loader;
pub mod mask;
pub mod order;
pub mod sample;

pub use error::DataError;
pub use loader::{Batch, Loader, LoaderSettings, RowRef, TapTarget};
pub use order::Position;
