//! Tests across the crates.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod case;
mod eval;
mod golden;
mod loader;
mod parity_vit;
mod remote;
mod slices;
mod training;
