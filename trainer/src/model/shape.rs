//! The sizes of an encoder, and where taps may sit in it.

use serde::{Deserialize, Serialize};

use super::kinds::Coordinates;
use super::limits::{ConfigError, MOST_BLOCKS, MOST_WIDTH, bounded, width};

/// The sizes of an encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderConfig {
    /// A columnar encoder: one grid of patches throughout.
    Vit {
        /// The side of a patch in pixels.
        patch: usize,
        /// Width.
        dim: usize,
        /// Blocks.
        depth: usize,
        /// Attention heads.
        heads: usize,
    },
    /// A pyramidal encoder: between stages 2×2 tokens are merged and the width doubles.
    Swin {
        /// The side of a patch in pixels.
        patch: usize,
        /// Width of the first stage.
        dim: usize,
        /// Blocks of each stage.
        depths: Vec<usize>,
        /// Attention heads of each stage.
        heads: Vec<usize>,
        /// Side of an attention window in tokens.
        window: usize,
        /// By which places windows are cut.
        coordinates: Coordinates,
    },
}

/// The tokens of a latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latent {
    /// Its width.
    pub dim: usize,
    /// The side of a token in pixels.
    pub pixels: usize,
}

/// A layer whose output is reconstructed at a scale of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapConfig {
    /// The block or stage after which the tap sits, counted from 1.
    pub layer: usize,
    /// The target's cell in pixels.
    pub cell: usize,
}

impl EncoderConfig {
    /// The side of a patch in pixels.
    pub fn patch(&self) -> usize {
        match *self {
            Self::Vit { patch, .. } | Self::Swin { patch, .. } => patch,
        }
    }

    /// The side in pixels of what is masked as one: a ViT's patch, Swin's coarsest token.
    pub fn unit(&self) -> usize {
        match self {
            Self::Vit { patch, .. } => *patch,
            Self::Swin { patch, depths, .. } => patch << depths.len().saturating_sub(1),
        }
    }

    /// Where taps may sit: after each block of a ViT, after each stage of a Swin.
    pub fn layers(&self) -> usize {
        match self {
            Self::Vit { depth, .. } => *depth,
            Self::Swin { depths, .. } => depths.len(),
        }
    }

    /// The side in pixels of a token of each block, up to the layer `top`.
    pub fn blocks(&self, top: usize) -> Vec<usize> {
        match self {
            Self::Vit { patch, .. } => vec![*patch; top],
            Self::Swin { patch, depths, .. } => {
                let stages = depths.iter().take(top).enumerate();
                stages.flat_map(|(stage, &depth)| vec![patch << stage; depth]).collect()
            }
        }
    }

    /// What a layer is called.
    pub fn layer_name(&self) -> &'static str {
        match self {
            Self::Vit { .. } => "block",
            Self::Swin { .. } => "stage",
        }
    }

    /// The latent after `layer`, counted from 1. Swin's stages but the last end in a merging.
    pub fn latent(&self, layer: usize) -> Latent {
        match self {
            Self::Vit { patch, dim, .. } => Latent { dim: *dim, pixels: *patch },
            Self::Swin { patch, dim, depths, .. } => {
                let merged = layer.min(depths.len().saturating_sub(1));
                Latent { dim: dim << merged, pixels: patch << merged }
            }
        }
    }

    /// Tokens before those of the patches: a ViT's class token.
    pub fn prefix(&self) -> usize {
        match self {
            Self::Vit { .. } => 1,
            Self::Swin { .. } => 0,
        }
    }

    /// The paper's taps (LocalMIM, section 4.1): a ViT's after blocks 2, 4, depth−2 and depth, on
    /// cells of a quarter, a half, one and two patches; one after each stage of a Swin, on its own
    /// tokens.
    ///
    /// A quarter of a 14-pixel patch is no whole number of pixels, so there the first two taps
    /// share the half patch.
    pub fn default_taps(&self) -> Vec<TapConfig> {
        match *self {
            Self::Vit { patch, depth, .. } => {
                let cells = match patch {
                    14 => [7, 7, 14, 28],
                    patch => [patch / 4, patch / 2, patch, patch * 2],
                };
                // A shallow encoder's are spread evenly, as many as there are blocks.
                let layers = match depth {
                    0..7 => (1..=4).map(|i| (depth * i).div_ceil(4)).collect(),
                    _ => vec![2, 4, depth - 2, depth],
                };
                let mut taps: Vec<TapConfig> = layers
                    .into_iter()
                    .zip(cells)
                    .map(|(layer, cell)| TapConfig { layer, cell })
                    .collect();
                taps.dedup_by_key(|tap| tap.layer);
                taps
            }
            Self::Swin { .. } => (1..=self.layers())
                .map(|layer| TapConfig { layer, cell: self.latent(layer).pixels })
                .collect(),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let fail = |text: String| Err(ConfigError(text));
        let widths: Vec<(usize, usize)> = match self {
            Self::Vit { dim, depth, heads, .. } => {
                bounded("the encoder's depth", *depth, MOST_BLOCKS)?;
                vec![(*dim, *heads)]
            }
            Self::Swin { dim, depths, heads, window, .. } => {
                if depths.len() != heads.len() || depths.is_empty() || depths.len() > 6 {
                    return fail(format!(
                        "a Swin has one to six stages, each with a number of blocks ({depths:?}) and of heads ({heads:?})"
                    ));
                }
                for &depth in depths {
                    bounded("the depth of a stage", depth, MOST_BLOCKS)?;
                }
                bounded("the window", *window, 256)?;
                bounded("the encoder's width", *dim, MOST_WIDTH)?;
                heads.iter().enumerate().map(|(stage, &heads)| (dim << stage, heads)).collect()
            }
        };
        bounded("the patch", self.patch(), 1024)?;
        widths.into_iter().try_for_each(|(dim, heads)| width("encoder", dim, heads))
    }
}
