//! Streams shards and trains a LocalMIM encoder on them.

pub mod model;
pub mod train;
