//! Sets that are written, read back and damaged.

// The helpers unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod damaged;
mod made;
mod missing;
mod read;
