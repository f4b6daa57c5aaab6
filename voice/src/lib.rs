//! What both programs say, and how: [`terminal`] reads flags and tells lines, numbers and errors,
//! [`mod@options`] is the table of their options, [`range`] words what a number may be, [`progress`]
//! shows how far the work is, [`draw`] draws pictures and HOG, [`html`] is the frame of their
//! pages, with tables and pictures.
//!
//! It knows nothing of what the programs do.

#![forbid(unsafe_code)]

pub mod draw;
pub mod html;
pub mod options;
pub mod progress;
pub mod range;
pub mod terminal;

pub use progress::{Bar, Progress, Silent};
