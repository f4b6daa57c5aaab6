//! Streams shards and trains a LocalMIM encoder on them.
//!
//! In the order in which data flows: [`data`] (shards → batches), [`model`] (batch → predictions
//! and losses), [`train`] (the loop), [`metrics`] and [`checkpoint`] (what a run leaves),
//! [`export`] and [`report`] (what is made of it). [`settings`] and [`device`] are settled first.

pub mod checkpoint;
pub mod data;
pub mod device;
pub mod export;
pub mod import;
pub mod metrics;
pub mod model;
pub mod progress;
pub mod quickstart;
pub mod report;
pub mod settings;
pub mod train;
