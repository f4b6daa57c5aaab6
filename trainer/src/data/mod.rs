//! Shards → batches of bytes that are ready for the device.
//!
//! The host masks, mirrors, cuts and copies; patches and targets are made of the bytes where they are
//! needed ([`kernels::input`]). Row groups are read by `shards`. In order: [`order`]
//! (which rows make which batch), [`spec`] (the sizes of a sample), [`sample`] (one row → its part
//! of a batch, with a mask of [`model::mask`](crate::model::mask)), [`batch`], [`loader`] (the
//! threads between disk and trainer).

pub mod batch;
mod error;
pub mod loader;
pub mod order;
pub mod sample;
pub mod spec;
mod stored;

pub use batch::{Batch, Content, RowRef};
pub use error::DataError;
pub use kernels::input::host::Values;
pub use loader::{Loader, LoaderSettings, Share};
pub use order::Position;
