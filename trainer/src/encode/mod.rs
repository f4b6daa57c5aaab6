//! What a user names → views → what a frozen encoder makes of each.
//!
//! In the order in which data flows: [`pictures`] (what was named → a shard set), [`encoder`] (the
//! one touch with the network), [`spread`] (over the cores), [`rows`] (row groups → a feature a
//! view, as they come), [`nearest`] (the features most like another). Evaluations, embeddings,
//! neighbours and analyses begin here.

pub mod encoder;
mod error;
pub mod nearest;
pub mod pictures;
pub mod rows;
pub mod spread;

pub use error::EncodeError;
