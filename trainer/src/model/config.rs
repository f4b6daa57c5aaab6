//! Every size of the network, checked once.

use serde::{Deserialize, Serialize};

/// The encoders of the ViT family that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum VitModel {
    /// 12 blocks of width 192, 3 heads, patch 16.
    #[value(name = "vit-tiny-16")]
    #[serde(rename = "vit-tiny-16")]
    Tiny16,
    /// 12 blocks of width 384, 6 heads, patch 16.
    #[value(name = "vit-small-16")]
    #[serde(rename = "vit-small-16")]
    Small16,
    /// 12 blocks of width 768, 12 heads, patch 16.
    #[value(name = "vit-base-16")]
    #[serde(rename = "vit-base-16")]
    Base16,
    /// 24 blocks of width 1024, 16 heads, patch 16.
    #[value(name = "vit-large-16")]
    #[serde(rename = "vit-large-16")]
    Large16,
    /// 32 blocks of width 1280, 16 heads, patch 14.
    #[value(name = "vit-huge-14")]
    #[serde(rename = "vit-huge-14")]
    Huge14,
}

impl VitModel {
    /// The name as flags, files and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny16 => "vit-tiny-16",
            Self::Small16 => "vit-small-16",
            Self::Base16 => "vit-base-16",
            Self::Large16 => "vit-large-16",
            Self::Huge14 => "vit-huge-14",
        }
    }

    /// (width, blocks, heads, patch in pixels).
    fn sizes(self) -> (usize, usize, usize, usize) {
        match self {
            Self::Tiny16 => (192, 12, 3, 16),
            Self::Small16 => (384, 12, 6, 16),
            Self::Base16 => (768, 12, 12, 16),
            Self::Large16 => (1024, 24, 16, 16),
            Self::Huge14 => (1280, 32, 16, 14),
        }
    }

    /// The patch's side in pixels.
    pub fn patch(self) -> usize {
        self.sizes().3
    }

    /// The target cells of the four taps, in pixels: a quarter, a half, one and two patches.
    ///
    /// A quarter of a 14-pixel patch is no whole number of pixels, so there the first two taps
    /// share the half patch.
    pub fn default_cells(self) -> [usize; 4] {
        match self.patch() {
            14 => [7, 7, 14, 28],
            patch => [patch / 4, patch / 2, patch, patch * 2],
        }
    }
}

/// What the decoders predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// Histograms of oriented gradients: 3·bins values a cell.
    Hog,
    /// Pixels normalised within their patch: cell²·3 values a cell.
    Pixel,
}

impl TargetKind {
    /// The name as flags, files and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hog => "hog",
            Self::Pixel => "pixel",
        }
    }

    /// Values a cell of `cell` pixels.
    pub fn channels(self, cell: usize, bins: usize) -> usize {
        match self {
            Self::Hog => 3 * bins,
            Self::Pixel => 3 * cell * cell,
        }
    }
}

/// The number format of matrix products; parameters, norms, softmax and loss are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit throughout.
    F32,
    /// Matrix products in bfloat16, master weights in f32.
    Bf16,
}

/// A layer whose output is reconstructed at a scale of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapConfig {
    /// The block after which the tap sits, counted from 1.
    pub block: usize,
    /// The target's cell in pixels.
    pub cell: usize,
}

/// The sizes of encoder and decoders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The side of a view in pixels.
    pub size: usize,
    /// The side of a patch in pixels.
    pub patch: usize,
    /// Width of the encoder.
    pub dim: usize,
    /// Blocks of the encoder.
    pub depth: usize,
    /// Attention heads of the encoder.
    pub heads: usize,
    /// The taps, from the lowest layer up.
    pub taps: Vec<TapConfig>,
    /// Width of the decoders.
    pub decoder_dim: usize,
    /// Transformer blocks of each decoder.
    pub decoder_depth: usize,
    /// Attention heads of the decoders.
    pub decoder_heads: usize,
    /// What is predicted.
    pub target: TargetKind,
    /// Orientation bins of a HOG target.
    pub bins: usize,
}

/// Sizes that do not fit together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ModelConfig {
    /// The paper's set-up for `model`: taps after blocks 2, 4, depth−2 and depth; decoders of one
    /// block, 256 wide, 8 heads.
    pub fn of_model(model: VitModel, size: usize, target: TargetKind, bins: usize) -> Self {
        let (dim, depth, heads, patch) = model.sizes();
        let taps = [2, 4, depth - 2, depth]
            .into_iter()
            .zip(model.default_cells())
            .map(|(block, cell)| TapConfig { block, cell })
            .collect();
        Self {
            size,
            patch,
            dim,
            depth,
            heads,
            taps,
            decoder_dim: 256,
            decoder_depth: 1,
            decoder_heads: 8,
            target,
            bins,
        }
    }

    /// Checks that all sizes fit together.
    ///
    /// # Errors
    /// [`ConfigError`] with the two numbers that do not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |text: String| Err(ConfigError(text));
        if self.patch == 0 || !self.size.is_multiple_of(self.patch) || self.size == 0 {
            return fail(format!(
                "patches of {} pixels do not tile views of {} pixels; ingest with a --size that {} divides",
                self.patch, self.size, self.patch
            ));
        }
        for (what, dim, heads) in
            [("encoder", self.dim, self.heads), ("decoders", self.decoder_dim, self.decoder_heads)]
        {
            if dim == 0 || !dim.is_multiple_of(4) || heads == 0 || !dim.is_multiple_of(heads) {
                return fail(format!(
                    "the {what} width {dim} must be a multiple of 4 and of its {heads} heads"
                ));
            }
        }
        if self.taps.is_empty() {
            return fail("at least one tap is needed".into());
        }
        if !self.taps.windows(2).all(|pair| pair[0].block < pair[1].block) {
            return fail("taps must rise from layer to layer".into());
        }
        if self.bins == 0 {
            return fail("a HOG target needs at least one bin".into());
        }
        for tap in &self.taps {
            if tap.block == 0 || tap.block > self.depth {
                return fail(format!(
                    "a tap sits after block {}, but blocks are 1 to {}",
                    tap.block, self.depth
                ));
            }
            self.scale(tap)?;
        }
        Ok(())
    }

    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.size / self.patch
    }

    /// Patches of a view.
    pub fn patches(&self) -> usize {
        self.grid().pow(2)
    }

    /// How a tap's decoder brings the patch grid to its target's.
    ///
    /// # Errors
    /// [`ConfigError`] if the target's cell is not a quarter, a half, one or a whole multiple of
    /// the patch, or does not tile the view.
    pub fn scale(&self, tap: &TapConfig) -> Result<Scale, ConfigError> {
        let (patch, cell) = (self.patch, tap.cell);
        match cell {
            _ if cell != 0 && cell * 4 == patch => Ok(Scale::Up4),
            _ if cell != 0 && cell * 2 == patch => Ok(Scale::Up2),
            _ if cell == patch => Ok(Scale::Same),
            _ if cell != 0 && cell.is_multiple_of(patch) && self.size.is_multiple_of(cell) => {
                Ok(Scale::Down(cell / patch))
            }
            _ => Err(ConfigError(format!(
                "the tap after block {} has cells of {cell} pixels; with patches of {patch} pixels and views of {} they must be a quarter, a half, one or a whole multiple of a patch, and tile the view",
                tap.block, self.size
            ))),
        }
    }

    /// Values a target cell of `tap`.
    pub fn channels(&self, tap: &TapConfig) -> usize {
        self.target.channels(tap.cell, self.bins)
    }
}

/// How a decoder brings the patch grid to its target's grid (LocalMIM, section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Two deconvolutions: four times the grid.
    Up4,
    /// One deconvolution: twice the grid.
    Up2,
    /// The patch grid itself.
    Same,
    /// Means over k×k patches.
    Down(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_valid_default() {
        for model in [
            VitModel::Tiny16,
            VitModel::Small16,
            VitModel::Base16,
            VitModel::Large16,
            VitModel::Huge14,
        ] {
            let config = ModelConfig::of_model(model, 224, TargetKind::Hog, 9);
            assert_eq!(config.check(), Ok(()));
            assert_eq!(config.taps.last().map(|tap| tap.block), Some(config.depth));
        }
    }

    #[test]
    fn a_cell_that_does_not_fit_the_patch_is_named() {
        let mut config = ModelConfig::of_model(VitModel::Base16, 224, TargetKind::Hog, 9);
        config.taps[2].cell = 14;
        assert!(config.check().unwrap_err().0.contains("14 pixels"));
    }
}
