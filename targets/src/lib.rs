//! Pictures to reconstruction targets: exact multi-scale HOG and normalised pixels.
//!
//! Pure functions of a [`View`], a square RGB picture of bytes (LocalMIM, arXiv 2303.05251, figure
//! 2a, and its published code for the constants):
//!
//! - [`HogExtractor`]: histograms of oriented gradients at several cell sizes at once, exact to
//!   the last tie ([`hog`] says how);
//! - [`mirror_hog`]: the HOG of the mirrored view from that of the view;
//! - [`Codebook`]: the nearest code of each patch;
//! - [`patch_stats`] and [`normalised_pixels`]: pixels less their patch's mean, over its deviation.

#![forbid(unsafe_code)]

mod codebook;
mod direction;
pub mod hog;
mod kernels;
mod mirror;
mod pixel;
mod view;

pub use codebook::{Codebook, PatchInput, Projection};
pub use direction::tie_edges;
pub use hog::{Hog, HogExtractor};
pub use mirror::{mirror_hog, mirror_picture};
pub use pixel::{
    PatchStats, normalised_pixels, normalised_pixels_into, patch_stats, patch_stats_of,
};
pub use view::{IMAGENET_MEAN, IMAGENET_STD, NORMALISED, TargetError, View};
