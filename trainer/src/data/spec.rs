//! The sizes of a sample, which a batch carries.

use kernels::input::{Sizes, Tap, Target};

use crate::model::mask::MaskSpec;
use crate::model::{MaskedInput, ModelConfig, TargetKind};

/// The sizes of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleSpec {
    /// The side of a stored view in pixels.
    pub size: usize,
    /// The side of what the encoder is given: a stored view, or a part of it at random.
    pub input: usize,
    /// The side of an encoder's patch in pixels.
    pub patch: usize,
    /// The side of a masking unit in pixels, a multiple of the patch's.
    pub unit: usize,
    /// Tokens of a latent before those of the patches.
    pub prefix: usize,
    /// Units the encoder is given.
    pub kept: usize,
    /// What it is given where a unit is masked: nothing, or tokens, which are among these then.
    pub masked: MaskedInput,
    /// What is predicted.
    pub target: TargetKind,
    /// Where, at each tap.
    pub taps: Vec<TapSpec>,
    /// Orientation bins of the stored HOG.
    pub bins: usize,
}

/// The sizes of a tap's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapSpec {
    /// The target's cell in pixels.
    pub cell: usize,
    /// Cells along a side of what one prediction covers.
    pub group: usize,
    /// The latent's tokens along a unit's side.
    pub inner: usize,
    /// Codes of the codebook, if that is the target.
    pub codes: usize,
}

impl SampleSpec {
    /// The samples of a network, from stored views of `size` pixels.
    pub fn new(network: &ModelConfig, masks: &MaskSpec, size: usize) -> Self {
        let unit = network.encoder.unit();
        let tap = |tap: usize| TapSpec {
            cell: network.taps[tap].cell,
            group: network.group(&network.taps[tap]),
            inner: unit / network.encoder.latent(network.taps[tap].layer).pixels,
            codes: network.codes(network.taps[tap].cell),
        };
        Self {
            size,
            input: network.size,
            patch: network.encoder.patch(),
            unit,
            prefix: network.encoder.prefix(),
            kept: masks.kept(),
            masked: masks.masked,
            target: network.target,
            taps: (0..network.taps.len()).map(tap).collect(),
            bins: network.bins,
        }
    }

    /// Masking units along a side of a view.
    pub fn grid(&self) -> usize {
        self.input / self.unit
    }

    /// Masking units of a view.
    pub fn units(&self) -> usize {
        self.grid().pow(2)
    }

    /// Patches of a unit: one of a ViT, more of a Swin.
    pub fn patches(&self) -> usize {
        (self.unit / self.patch).pow(2)
    }

    /// Patches the encoder is given.
    pub fn tokens(&self) -> usize {
        self.kept * self.patches()
    }

    /// Values of a patch.
    pub fn patch_values(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Values of the patches the encoder is given.
    pub fn pixels(&self) -> usize {
        self.tokens() * self.patch_values()
    }

    /// Predictions of a tap.
    pub fn cells(&self, tap: usize) -> usize {
        let TapSpec { cell, group, .. } = self.taps[tap];
        (self.input / (cell * group)).pow(2)
    }

    /// Values of the target of a prediction of a tap.
    pub fn channels(&self, tap: usize) -> usize {
        let TapSpec { cell, group, .. } = self.taps[tap];
        group * group * self.target.values(cell, self.bins)
    }

    /// The first tap of each cell size: what is stored is stored once for all that share it.
    pub fn stored_taps(&self) -> impl Iterator<Item = &TapSpec> {
        let first = |(i, tap): &(usize, &TapSpec)| {
            self.taps[..*i].iter().all(|before| before.cell != tap.cell)
        };
        self.taps.iter().enumerate().filter(first).map(|(_, tap)| tap)
    }

    /// The sizes of a batch of `views` views, as its bytes are laid out by.
    pub fn sizes(&self, views: usize) -> Sizes {
        let tap = |tap: &TapSpec| Tap { cell: tap.cell, group: tap.group, inner: tap.inner };
        Sizes {
            views,
            size: self.input,
            patch: self.patch,
            unit: self.unit,
            kept: self.kept,
            prefix: self.prefix,
            tokens: self.masked == MaskedInput::Token,
            target: match self.target {
                TargetKind::Hog => Target::Hog(self.bins),
                TargetKind::Pixel => Target::Pixel,
                TargetKind::RawPixel => Target::RawPixel,
                TargetKind::Code => Target::Code,
            },
            taps: self.taps.iter().map(tap).collect(),
        }
    }
}
