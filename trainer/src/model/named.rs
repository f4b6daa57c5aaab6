//! The encoders that have a name.

use serde::{Deserialize, Serialize};

use super::kinds::Coordinates;
use super::shape::EncoderConfig;

/// The encoders that have a name; `vit-SIZE-PATCH` and `swin-SIZE-WINDOW`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum ModelName {
    /// ViT: 12 blocks of width 192, 3 heads, patch 16.
    #[value(name = "vit-tiny-16")]
    #[serde(rename = "vit-tiny-16")]
    VitTiny16,
    /// ViT: 12 blocks of width 384, 6 heads, patch 16.
    #[value(name = "vit-small-16")]
    #[serde(rename = "vit-small-16")]
    VitSmall16,
    /// ViT: 12 blocks of width 768, 12 heads, patch 16.
    #[value(name = "vit-base-16")]
    #[serde(rename = "vit-base-16")]
    VitBase16,
    /// ViT: 24 blocks of width 1024, 16 heads, patch 16.
    #[value(name = "vit-large-16")]
    #[serde(rename = "vit-large-16")]
    VitLarge16,
    /// ViT: 32 blocks of width 1280, 16 heads, patch 14.
    #[value(name = "vit-huge-14")]
    #[serde(rename = "vit-huge-14")]
    VitHuge14,
    /// Swin: 2, 2, 6, 2 blocks of width 96 to 768, window 7.
    #[value(name = "swin-tiny-7")]
    #[serde(rename = "swin-tiny-7")]
    SwinTiny7,
    /// Swin: 2, 2, 18, 2 blocks of width 128 to 1024, window 7.
    #[value(name = "swin-base-7")]
    #[serde(rename = "swin-base-7")]
    SwinBase7,
    /// Swin: 2, 2, 18, 2 blocks of width 128 to 1024, window 14.
    #[value(name = "swin-base-14")]
    #[serde(rename = "swin-base-14")]
    SwinBase14,
    /// Swin: 2, 2, 18, 2 blocks of width 192 to 1536, window 14.
    #[value(name = "swin-large-14")]
    #[serde(rename = "swin-large-14")]
    SwinLarge14,
}

impl ModelName {
    /// The name as flags, files and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::VitTiny16 => "vit-tiny-16",
            Self::VitSmall16 => "vit-small-16",
            Self::VitBase16 => "vit-base-16",
            Self::VitLarge16 => "vit-large-16",
            Self::VitHuge14 => "vit-huge-14",
            Self::SwinTiny7 => "swin-tiny-7",
            Self::SwinBase7 => "swin-base-7",
            Self::SwinBase14 => "swin-base-14",
            Self::SwinLarge14 => "swin-large-14",
        }
    }

    /// The encoder's sizes.
    pub fn encoder(self) -> EncoderConfig {
        let vit = |dim, depth, heads, patch| EncoderConfig::Vit { patch, dim, depth, heads };
        let swin = |dim: usize, third, window| EncoderConfig::Swin {
            patch: 4,
            dim,
            depths: vec![2, 2, third, 2],
            heads: [1, 2, 4, 8].map(|factor| dim / 32 * factor).to_vec(),
            window,
            coordinates: Coordinates::Spatial,
        };
        match self {
            Self::VitTiny16 => vit(192, 12, 3, 16),
            Self::VitSmall16 => vit(384, 12, 6, 16),
            Self::VitBase16 => vit(768, 12, 12, 16),
            Self::VitLarge16 => vit(1024, 24, 16, 16),
            Self::VitHuge14 => vit(1280, 32, 16, 14),
            Self::SwinTiny7 => swin(96, 6, 7),
            Self::SwinBase7 => swin(128, 18, 7),
            Self::SwinBase14 => swin(128, 18, 14),
            Self::SwinLarge14 => swin(192, 18, 14),
        }
    }
}
