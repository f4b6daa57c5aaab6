//! Shards → batches that are ready for the device.
//!
//! The host masks, normalises, cuts patches, decodes targets and mirrors; what is left for the
//! device is encoder, decoders and optimizer. Row groups are read by `shards`. In order: [`order`]
//! (which rows make which batch), [`spec`] (the sizes of a sample), [`sample`] (one row → its part
//! of a batch, with a mask of [`model::mask`](crate::model::mask)), [`batch`], [`loader`] (the
//! threads between disk and trainer).

pub mod batch;
mod error;
pub mod loader;
pub mod order;
pub mod sample;
pub mod spec;

pub use batch::{Batch, RowRef, TapTarget};
pub use error::DataError;
pub use loader::{Loader, LoaderSettings};
pub use order::Position;
