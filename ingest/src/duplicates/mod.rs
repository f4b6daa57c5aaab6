//! Tells pictures that are there twice, to the byte or to the eye.
//!
//! Pictures are offered to a [`DuplicateIndex`] in a fixed order, each with the hash of its file
//! and the [`perceptual_hash`] of its pixels. The first stays; what equals a picture that stayed,
//! or lies within the radius of one, is told with that picture and not kept. So the verdicts follow
//! from the order alone, and two pictures that stay are never duplicates of each other.

mod index;
mod pages;
mod phash;
mod table;

pub use index::{DuplicateIndex, MOST_RADIUS, Verdict};
pub use phash::perceptual_hash;
