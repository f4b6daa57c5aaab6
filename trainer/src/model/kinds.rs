//! What a network can be made of.

use kernels::input::Target;
use serde::{Deserialize, Serialize};

/// What a tap's head predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// Histograms of oriented gradients: 3·bins values a cell.
    Hog,
    /// Pixels normalised within their cell: cell²·3 values a cell.
    Pixel,
    /// Pixels normalised by ImageNet's statistics alone: cell²·3 values a cell.
    RawPixel,
    /// The number of the codebook's code that is nearest to a cell: one value a cell, told by a
    /// logit for each code.
    Code,
}

impl TargetKind {
    /// The name as flags, files and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hog => "hog",
            Self::Pixel => "pixel",
            Self::RawPixel => "raw-pixel",
            Self::Code => "code",
        }
    }

    /// The target itself, of HOG with `bins` bins a colour.
    pub fn of_bins(self, bins: usize) -> Target {
        match self {
            Self::Hog => Target::Hog(bins),
            Self::Pixel => Target::Pixel,
            Self::RawPixel => Target::RawPixel,
            Self::Code => Target::Code,
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

impl Precision {
    /// As flags and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// What the encoder is given where a patch is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MaskedInput {
    /// Nothing: it sees the visible patches only (MAE, GreenMIM, LocalMIM).
    Dropped,
    /// A learned token in each one's place (SimMIM, MaskFeat).
    Token,
}

/// What stands between a tap's latents and its predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// A small transformer that fills in the masked places, rescaling, a projection.
    Decoder,
    /// One linear layer.
    Linear,
}

/// The error whose mean is the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// The squared difference.
    L2,
    /// The absolute difference.
    L1,
    /// The negative logarithm of the probability that is given to the target's code.
    CrossEntropy,
}

/// By which places Swin's windows are cut once patches have been merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinates {
    /// Where a token lies in the picture.
    Spatial,
    /// As the published code has it: from the second stage on, a token's number in unit order is
    /// read as if it were one in rows.
    Published,
}

/// What weight decay applies to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Matrices alone (GreenMIM, LocalMIM's Swin).
    #[default]
    Matrices,
    /// Matrices, and a Swin's tables of relative positions (SimMIM).
    Tables,
    /// Matrices, and a ViT's tokens and learned positions (MAE, MaskFeat, LocalMIM's ViT).
    Tokens,
}

/// What a ViT adds to a token for its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// Sines and cosines of its row and column (MAE, LocalMIM).
    #[default]
    Fixed,
    /// Parameters, as the class token has (MaskFeat).
    Learned,
}

/// Whose code the parameters begin as in. In all of them norms begin with weight 1, tokens and
/// tables normal with deviation 0.02, deconvolutions and the bias of the patch embedding as PyTorch
/// has convolutions: uniform in ±1/√fan-in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// As runs did before there was a choice: as MAE's, but the bias of the patch embedding zero.
    #[default]
    Early,
    /// Matrices uniform after Xavier, other biases zero (MAE, GreenMIM).
    Mae,
    /// So, too; but a ViT's predictions as convolutions.
    Localmim,
    /// Matrices normal with deviation 0.02, other biases zero; patch embedding and predictions as
    /// convolutions.
    Simmim,
    /// Matrices normal with deviation 0.02; biases 0.02 in the encoder, zero behind it.
    Maskfeat,
}
