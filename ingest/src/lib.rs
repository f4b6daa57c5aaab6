//! Pictures → views → targets → Parquet shards.
//!
//! [`run`] does the whole job for [`Settings`] and tells a [`Progress`] what it does. The modules
//! are the steps, in the order in which the data flows: [`source`] lists what the sources hold, the
//! stream reads it one picture after the other (out of archives and lists through the crate
//! `archives`), the crate `pictures` decodes one ([`decode`]), [`view`] cuts it, [`duplicates`] tells
//! those that are there twice, then come rows with the targets, shards and the run itself.
//! [`repair`](mod@repair) looks after what was made, [`inspect`] and [`report`] look at it;
//! [`sample`] makes pictures to try it with. What is on disk is described by the crate `schemas`,
//! written and read by `shards`, what is said to people by `voice`.

#![forbid(unsafe_code)]

mod classes;
mod codebook;
pub mod decode;
pub mod duplicates;
pub mod engine;
mod error;
pub mod inspect;
mod known;
mod make;
mod output;
pub mod repair;
pub mod report;
mod row;
mod run;
pub mod sample;
pub mod settings;
pub mod source;
pub mod source_list;
mod stream;
mod tally;
pub mod view;

pub use voice::{Bar, Progress, Silent};

pub use classes::Classes;
pub use codebook::Codebook;
pub use error::IngestError;
pub use run::{Summary, run};
pub use settings::{LEAST_MEMORY, Settings, USER_AGENT, default_pictures_per_shard};

/// The program and its version, as shards and manifest name it.
pub const CREATED_BY: &str = concat!("localmim-ingest version ", env!("CARGO_PKG_VERSION"));
