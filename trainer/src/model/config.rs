//! Every size of the network, checked once.

use serde::{Deserialize, Serialize};

use super::kinds::{HeadKind, LossKind, MaskedInput, Positions, TargetKind};
use super::layers::NORM_EPSILON;
use super::limits::{ConfigError, MOST_BLOCKS, bounded, width};
use super::shape::{EncoderConfig, TapConfig};

/// A codebook whose codes are predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodebookSize {
    /// The side in pixels of the patch that a code stands for.
    pub cell: usize,
    /// How many codes there are.
    pub codes: usize,
}

/// The sizes of encoder and heads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The side of what the encoder is given, in pixels.
    pub size: usize,
    /// The encoder.
    pub encoder: EncoderConfig,
    /// What a ViT adds to a token for its place.
    #[serde(default, skip_serializing_if = "is_default")]
    pub positions: Positions,
    /// What every layer norm adds to the variance.
    #[serde(default = "norm_epsilon", skip_serializing_if = "is_norm_epsilon")]
    pub norm_epsilon: f64,
    /// What it is given where a patch is masked.
    pub masked: MaskedInput,
    /// The taps, from the lowest layer up.
    pub taps: Vec<TapConfig>,
    /// Each layer's parameters get the gradient of the next tap alone (LocalMIM, section 3.2).
    pub local_gradients: bool,
    /// What makes predictions of latents.
    pub head: HeadKind,
    /// Width of the decoders; of a Swin's lowest, half of it.
    pub decoder_dim: usize,
    /// Transformer blocks of each decoder.
    pub decoder_depth: usize,
    /// Attention heads of the decoders.
    pub decoder_heads: usize,
    /// What is predicted.
    pub target: TargetKind,
    /// The error that is minimised.
    pub loss: LossKind,
    /// Orientation bins of a HOG target.
    pub bins: usize,
    /// The codebooks of a code target, one for each cell of a tap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codebooks: Vec<CodebookSize>,
}

// What a checkpoint leaves unsaid is as it was before there was a choice.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn norm_epsilon() -> f64 {
    NORM_EPSILON
}

fn is_norm_epsilon(value: &f64) -> bool {
    *value == NORM_EPSILON
}

impl ModelConfig {
    /// The paper's set-up for an encoder: the taps of [`EncoderConfig::default_taps`]; decoders of
    /// one block, 256 wide, 8 heads; the squared error.
    pub fn local_mim(encoder: EncoderConfig, size: usize, target: TargetKind, bins: usize) -> Self {
        Self {
            size,
            positions: Positions::Fixed,
            norm_epsilon: NORM_EPSILON,
            masked: MaskedInput::Dropped,
            taps: encoder.default_taps(),
            encoder,
            local_gradients: false,
            head: HeadKind::Decoder,
            decoder_dim: 256,
            decoder_depth: 1,
            decoder_heads: 8,
            target,
            loss: LossKind::L2,
            bins,
            codebooks: vec![],
        }
    }

    /// Checks that all sizes fit together.
    ///
    /// # Errors
    /// [`ConfigError`] with the two numbers that do not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |text: String| Err(ConfigError(text));
        self.encoder.check()?;
        let unit = self.encoder.unit();
        if unit == 0 || !self.size.is_multiple_of(unit) || self.size == 0 {
            return fail(format!(
                "{} of {unit} pixels do not tile views of {} pixels; ingest with a --size that {unit} divides",
                if unit == self.encoder.patch() { "patches" } else { "a Swin's units" },
                self.size,
            ));
        }
        if self.taps.is_empty() {
            return fail("at least one tap is needed".into());
        }
        if !self.taps.windows(2).all(|pair| pair[0].layer < pair[1].layer) {
            return fail("taps must rise from layer to layer".into());
        }
        if self.bins == 0 {
            return fail("a HOG target needs at least one bin".into());
        }
        if self.head == HeadKind::Linear && self.masked == MaskedInput::Dropped {
            return fail(
                "a linear head predicts nothing where the encoder has no token; use decoders, or mask tokens (--masked token)".into(),
            );
        }
        if (self.target == TargetKind::Code) != (self.loss == LossKind::CrossEntropy) {
            return fail(
                "codes are learned by the cross-entropy, and nothing else is; give --target code with --loss cross-entropy, or neither".into(),
            );
        }
        bounded("--decoder-depth", self.decoder_depth, MOST_BLOCKS)?;
        for tap in &self.taps {
            let layer = self.encoder.layer_name();
            if tap.layer == 0 || tap.layer > self.encoder.layers() {
                return fail(format!(
                    "a tap sits after {layer} {}, but {layer}s are 1 to {}",
                    tap.layer,
                    self.encoder.layers()
                ));
            }
            if self.head == HeadKind::Decoder {
                width("decoders'", self.decoder_width(tap), self.decoder_heads)?;
            }
            self.scale(tap)?;
            if self.target == TargetKind::Code && self.codes(tap.cell) < 2 {
                let cells: Vec<_> = self.codebooks.iter().map(|codebook| codebook.cell).collect();
                return fail(format!(
                    "the tap after {layer} {} predicts codes of cells of {} pixels, but the shards hold codes of cells of {cells:?}; choose other --cells, or ingest with a --codebook of such patches",
                    tap.layer, tap.cell
                ));
            }
        }
        Ok(())
    }

    /// Masking units along a side.
    pub fn grid(&self) -> usize {
        self.size / self.encoder.unit()
    }

    /// Masking units of a view.
    pub fn units(&self) -> usize {
        self.grid().pow(2)
    }

    /// Tokens of a tap's latent along a side of the whole picture.
    pub fn tap_grid(&self, tap: &TapConfig) -> usize {
        self.size / self.encoder.latent(tap.layer).pixels
    }

    /// Width of a tap's decoder: half at a Swin's lowest tap, for its grid is the finest.
    pub fn decoder_width(&self, tap: &TapConfig) -> usize {
        match self.encoder {
            EncoderConfig::Swin { .. } if tap.layer == 1 => self.decoder_dim / 2,
            _ => self.decoder_dim,
        }
    }

    /// How a tap's head brings the latent's grid to its target's.
    ///
    /// # Errors
    /// [`ConfigError`] if the target's cell is not a quarter, a half, one or a whole multiple of
    /// the token, or does not tile the view; for a linear head, if it is no whole part of a token.
    pub fn scale(&self, tap: &TapConfig) -> Result<Scale, ConfigError> {
        let (token, cell) = (self.encoder.latent(tap.layer).pixels, tap.cell);
        let fail = |what: &str| {
            Err(ConfigError(format!(
                "the tap after {} {} has cells of {cell} pixels; with tokens of {token} pixels and views of {} they must be {what}",
                self.encoder.layer_name(),
                tap.layer,
                self.size
            )))
        };
        if self.head == HeadKind::Linear {
            return match cell {
                _ if cell == token => Ok(Scale::Same),
                _ if cell != 0 && token.is_multiple_of(cell) => Ok(Scale::Gathered(token / cell)),
                _ => fail("a token, or a whole part of one"),
            };
        }
        match cell {
            _ if cell != 0 && cell * 4 == token => Ok(Scale::Up4),
            _ if cell != 0 && cell * 2 == token => Ok(Scale::Up2),
            _ if cell == token => Ok(Scale::Same),
            _ if cell != 0 && cell.is_multiple_of(token) && self.size.is_multiple_of(cell) => {
                Ok(Scale::Down(cell / token))
            }
            _ => fail("a quarter, a half, one or a whole multiple of a token, and tile the view"),
        }
    }

    /// Cells along a side of what one prediction covers: more than 1 under a linear head whose
    /// tokens are larger than the target's cells.
    pub fn group(&self, tap: &TapConfig) -> usize {
        match self.scale(tap) {
            Ok(Scale::Gathered(group)) => group,
            _ => 1,
        }
    }

    /// Values a prediction of `tap`.
    pub fn channels(&self, tap: &TapConfig) -> usize {
        let values = match self.target {
            TargetKind::Code => self.codes(tap.cell),
            target => target.of_bins(self.bins).values(tap.cell),
        };
        self.group(tap).pow(2) * values
    }

    /// Codes for cells of `cell` pixels; 0 without such a codebook.
    pub fn codes(&self, cell: usize) -> usize {
        let codebook = self.codebooks.iter().find(|codebook| codebook.cell == cell);
        codebook.map_or(0, |codebook| codebook.codes)
    }
}

/// How a head brings the latent's grid to its target's (LocalMIM, section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Two deconvolutions: four times the grid.
    Up4,
    /// One deconvolution: twice the grid.
    Up2,
    /// The grid itself.
    Same,
    /// Means over k×k tokens.
    Down(usize),
    /// The grid itself; a prediction holds the values of k×k cells.
    Gathered(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelName;
    use clap::ValueEnum;

    #[test]
    fn every_model_has_a_valid_default() {
        for &model in ModelName::value_variants() {
            let config = ModelConfig::local_mim(model.encoder(), 224, TargetKind::Hog, 9);
            assert_eq!(config.check(), Ok(()), "{}", model.name());
            assert_eq!(config.taps.last().map(|tap| tap.layer), Some(config.encoder.layers()));
        }
    }

    #[test]
    fn a_shallow_vit_has_taps_too() {
        for depth in 1..13 {
            let encoder = EncoderConfig::Vit { patch: 16, dim: 24, depth, heads: 2 };
            let config = ModelConfig::local_mim(encoder, 224, TargetKind::Hog, 9);
            assert_eq!(config.check(), Ok(()), "{depth} blocks");
            assert_eq!(config.taps.last().map(|tap| tap.layer), Some(depth));
        }
    }

    #[test]
    fn a_swin_has_the_papers_grids_and_widths() {
        let config =
            ModelConfig::local_mim(ModelName::SwinBase7.encoder(), 224, TargetKind::Hog, 9);
        let taps: Vec<_> = config
            .taps
            .iter()
            .map(|tap| {
                let dim = config.encoder.latent(tap.layer).dim;
                (config.tap_grid(tap), dim / 128, tap.cell, config.decoder_width(tap))
            })
            .collect();
        assert_eq!(taps, [(28, 2, 8, 128), (14, 4, 16, 256), (7, 8, 32, 256), (7, 8, 32, 256)]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let vit = ModelConfig::local_mim(ModelName::VitBase16.encoder(), 224, TargetKind::Hog, 9);
        let error = |change: fn(&mut ModelConfig)| {
            let mut config = vit.clone();
            change(&mut config);
            config.check().unwrap_err().0
        };
        assert!(error(|config| config.taps[2].cell = 14).contains("14 pixels"));
        assert!(error(|config| config.taps[3].layer = 13).contains("blocks are 1 to 12"));
        assert!(error(|config| config.head = HeadKind::Linear).contains("mask tokens"));
        assert!(error(|config| config.decoder_dim = 1 << 40).contains("16384"));
        assert!(error(|config| config.decoder_depth = 100_000).contains("--decoder-depth"));
        assert!(error(|config| config.size = 200).contains("do not tile"));
    }
}
