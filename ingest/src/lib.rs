//! Pictures → views → targets → Parquet shards.
//!
//! [`run`] does the whole job for [`Settings`] and tells a [`Progress`] what it does. The modules
//! are the steps, in the order in which the data flows: [`source`] lists the files, [`picture`]
//! decodes one, [`view`] cuts it, then come rows with the targets, shards and the run itself.
//! [`read`], [`inspect`] and [`draw`] look at what was made; [`sample`] makes pictures to try it
//! with. What is on disk is described by the crate `schemas`.

#![forbid(unsafe_code)]

pub mod draw;
pub mod duplicates;
mod error;
pub mod inspect;
pub mod picture;
mod progress;
pub mod read;
mod row;
mod run;
pub mod sample;
mod settings;
mod shard;
pub mod source;
mod state;
pub mod view;

pub use error::IngestError;
pub use progress::{Bar, Progress, Silent};
pub use run::{Summary, run};
pub use settings::{Settings, default_pictures_per_shard};

/// The program and its version, as shards and manifest name it.
pub const CREATED_BY: &str = concat!("localmim-ingest version ", env!("CARGO_PKG_VERSION"));
