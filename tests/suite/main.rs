//! Tests across the crates.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod before;
mod case;
mod embed;
mod eval;
mod experiment;
mod golden;
mod house;
mod import;
mod loader;
mod local_gradients;
mod parity;
mod parity_methods;
mod parity_swin;
mod parity_vit;
mod ranks;
mod recipes;
mod remote;
mod slices;
mod starts;
mod training;
mod vulkan;
mod whole_files;
