//! Streams shards and trains a LocalMIM encoder on them.
//!
//! In the order in which data flows: [`data`] (shards → batches), [`model`] (batch → predictions
//! and losses), [`train`] (the loop), [`metrics`] and [`checkpoint`] (what a run leaves),
//! [`export`] and [`report`] (what is made of it), [`encode`] (pictures → what it makes of them),
//! [`eval`] (what it has learned), [`embed`] (its features as a file), [`neighbours`] (which
//! pictures are alike to it), [`analyze`] (where it looks), [`compare`] (runs beside each other),
//! [`experiment`] (the paper's comparison at a small size). [`settings`] and [`device`] are settled
//! first; [`ranks`] are the devices that train as one; [`profile`] says what a run makes of its
//! machine.

pub mod analyze;
pub mod checkpoint;
pub mod compare;
pub mod data;
pub mod device;
pub mod embed;
pub mod encode;
pub mod eval;
pub mod experiment;
pub mod export;
pub mod import;
pub mod metrics;
pub mod model;
pub mod neighbours;
pub mod plot;
pub mod profile;
pub mod progress;
pub mod quickstart;
pub mod range;
pub mod ranks;
pub mod report;
pub mod settings;
pub mod train;
