//! Whole runs over every kind of source: stopped and taken up, added to, damaged and mended.

// The helpers unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod append;
// Of its writers only some are of use here.
mod beside;
mod case;
mod classes;
mod codebook;
mod engine;
mod failing;
mod killed;
mod lists;
#[allow(dead_code)]
#[path = "../../../archives/tests/archives/make/mod.rs"]
mod make_archives;
mod mended;
// It reads the memory of a process where Linux shows it.
#[cfg(target_os = "linux")]
mod memory;
mod reduced;
mod remote;
mod report;
mod sources;
mod told;
mod web;
