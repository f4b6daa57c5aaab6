//! The methods, each a preset in TOML.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The methods that can be trained, each with its paper's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// LocalMIM (arXiv 2303.05251), HOG targets at four scales.
    LocalmimHog,
    /// LocalMIM (arXiv 2303.05251), normalised pixels at four scales.
    LocalmimPixel,
    /// MAE (arXiv 2111.06377): ViT, visible patches, normalised pixels at the top.
    Mae,
    /// MaskFeat (arXiv 2112.09133): ViT, mask tokens, HOG at the top.
    Maskfeat,
    /// SimMIM (arXiv 2111.09886): Swin, mask tokens, raw pixels at the top.
    Simmim,
    /// GreenMIM (arXiv 2205.13515): Swin, visible patches, normalised pixels at the top.
    Greenmim,
}

impl Recipe {
    /// The name as flags, files and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalmimHog => "localmim-hog",
            Self::LocalmimPixel => "localmim-pixel",
            Self::Mae => "mae",
            Self::Maskfeat => "maskfeat",
            Self::Simmim => "simmim",
            Self::Greenmim => "greenmim",
        }
    }

    /// The preset, a TOML file to read and to copy.
    pub fn text(self) -> &'static str {
        match self {
            Self::LocalmimHog => include_str!("../../recipes/localmim-hog.toml"),
            Self::LocalmimPixel => include_str!("../../recipes/localmim-pixel.toml"),
            Self::Mae => include_str!("../../recipes/mae.toml"),
            Self::Maskfeat => include_str!("../../recipes/maskfeat.toml"),
            Self::Simmim => include_str!("../../recipes/simmim.toml"),
            Self::Greenmim => include_str!("../../recipes/greenmim.toml"),
        }
    }

    /// Whether the method is one of Swin alone.
    pub fn needs_swin(self) -> bool {
        matches!(self, Self::Simmim | Self::Greenmim)
    }
}
