//! Tests across the crates.

mod bad_input;
mod case;
mod golden;
mod loader;
mod parity_vit;
mod slices;
mod training;
