//! The sizes of a sample, which a batch carries.

use kernels::input::{Sizes, Tap};

use crate::model::mask::MaskSpec;
use crate::model::{MaskedInput, ModelConfig};

/// The sizes of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleSpec {
    /// The side of a stored view in pixels.
    pub stored: usize,
    /// Those of a batch of one sample: of a stored view, or of a part of it at random.
    pub one: Sizes,
    /// Codes of the codebook of each of [`Sizes::distinct_cells`]; 0 where codes are not the target.
    pub codes: Vec<usize>,
}

impl SampleSpec {
    /// The samples of a network, from stored views of `stored` pixels.
    pub fn new(network: &ModelConfig, masks: &MaskSpec, stored: usize) -> Self {
        let unit = network.encoder.unit();
        let taps = network.taps.iter().map(|tap| Tap {
            cell: tap.cell,
            group: network.group(tap),
            inner: unit / network.encoder.latent(tap.layer).pixels,
        });
        let one = Sizes {
            views: 1,
            size: network.size,
            patch: network.encoder.patch(),
            unit,
            kept: masks.kept(),
            prefix: network.encoder.prefix(),
            tokens: masks.masked == MaskedInput::Token,
            target: network.target.of_bins(network.bins),
            taps: taps.collect(),
        };
        let codes = one.distinct_cells().into_iter().map(|cell| network.codes(cell)).collect();
        Self { stored, one, codes }
    }

    /// The sizes of a batch of `views` samples, as its bytes are laid out by.
    pub fn sizes(&self, views: usize) -> Sizes {
        Sizes { views, ..self.one.clone() }
    }
}
