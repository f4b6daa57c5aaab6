//! Pictures to reconstruction targets.
