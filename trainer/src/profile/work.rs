//! What a step has to compute and to move, from the network's sizes alone.
//!
//! Arithmetic is that of matrix products, a multiplication and an addition for each pair of factors;
//! bytes are the least that must be moved: what each product, norm and attention reads and writes,
//! once. Backward a product is two.

use std::ops::{Add, AddAssign, Mul};

use crate::model::config::Scale;
use crate::model::{EncoderConfig, HeadKind, MaskedInput, ModelConfig, Precision};

/// Bytes of an f32.
const F32: f64 = 4.0;
/// What AdamW reads and writes of a parameter: it, gradient and two moments; it and the moments.
const ADAMW_BYTES: f64 = 7.0 * F32;
/// What AdamW computes of a parameter.
const ADAMW_FLOP: f64 = 14.0;

/// Arithmetic and traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations.
    pub flop: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flop: self.flop + other.flop, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<f64> for Work {
    type Output = Self;

    fn mul(self, by: f64) -> Self {
        Self { flop: self.flop * by, bytes: self.bytes * by }
    }
}

/// The work of a step, part by part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepWork {
    /// The encoder, forward.
    pub encoder: Work,
    /// The decoders and the loss, forward.
    pub decoders: Work,
    /// AdamW.
    pub optimizer: Work,
}

impl StepWork {
    /// That of a step over `views` views, `share` of which is masked, with so many `parameters`.
    pub fn of(
        network: &ModelConfig,
        precision: Precision,
        (views, share): (usize, f64),
        parameters: usize,
    ) -> Self {
        let counted = Counted { network, precision, keep: keep(network, share) };
        Self {
            encoder: counted.encoder() * views as f64,
            decoders: counted.decoders() * views as f64,
            optimizer: Work { flop: ADAMW_FLOP, bytes: ADAMW_BYTES } * parameters as f64,
        }
    }

    /// Forward and backward of a part that is `forward` so much.
    pub fn with_backward(forward: Work) -> Work {
        forward * 3.0
    }
}

/// The share of the tokens that the encoder is given.
fn keep(network: &ModelConfig, share: f64) -> f64 {
    match network.masked {
        MaskedInput::Dropped => {
            let units = network.units() as f64;
            (units * (1.0 - share)).floor().max(1.0) / units
        }
        MaskedInput::Token => 1.0,
    }
}

/// The work of one view.
struct Counted<'a> {
    network: &'a ModelConfig,
    precision: Precision,
    keep: f64,
}

impl Counted<'_> {
    /// Bytes of what a product takes and gives.
    fn each(&self) -> f64 {
        match self.precision {
            Precision::F32 => F32,
            Precision::Bf16 => F32 / 2.0,
        }
    }

    /// A product of `rows` with a matrix `input`×`output`; the matrix is read once a batch, which is
    /// next to nothing.
    fn product(&self, rows: f64, input: usize, output: usize) -> Work {
        let (input, output) = (input as f64, output as f64);
        Work { flop: 2.0 * rows * input * output, bytes: rows * (input + output) * self.each() }
    }

    /// A norm of `rows` of `width`, read and written.
    fn norm(rows: f64, width: usize) -> Work {
        Work { flop: 0.0, bytes: 2.0 * rows * width as f64 * F32 }
    }

    /// A transformer block over `rows` tokens, each of which attends to `others`.
    fn block(&self, rows: f64, others: f64, width: usize) -> Work {
        let wide = width as f64;
        // Queries, keys and values in, their mixture out; the scores need not leave the chip.
        let attention =
            Work { flop: 4.0 * rows * others * wide, bytes: 4.0 * rows * wide * self.each() };
        Self::norm(rows, width) * 2.0
            + self.product(rows, width, 3 * width)
            + attention
            + self.product(rows, width, width)
            + self.product(rows, width, 4 * width)
            + self.product(rows, 4 * width, width)
    }

    fn encoder(&self) -> Work {
        let encoder = &self.network.encoder;
        let top = self.network.taps.last().map_or(0, |tap| tap.layer);
        let pixels = 3 * encoder.patch().pow(2);
        let grid = |patch: usize| (self.network.size / patch).pow(2) as f64;
        match encoder {
            EncoderConfig::Vit { patch, dim, .. } => {
                let tokens = (grid(*patch) * self.keep).round();
                let rows = tokens + 1.0;
                self.product(tokens, pixels, *dim)
                    + self.block(rows, rows, *dim) * top as f64
                    + Self::norm(rows, *dim) * self.network.taps.len() as f64
            }
            EncoderConfig::Swin { patch, dim, depths, window, .. } => {
                let mut sum = self.product(grid(*patch) * self.keep, pixels, *dim);
                for (stage, &depth) in depths.iter().enumerate().take(top) {
                    let (width, side) = (dim << stage, self.network.size / (patch << stage));
                    let rows = (side * side) as f64 * self.keep;
                    // Of a window's tokens as many are there as of all.
                    let others = (side.min(*window).pow(2) as f64 * self.keep).max(1.0);
                    sum += self.block(rows, others, width) * depth as f64;
                    if stage + 1 < depths.len() {
                        sum += Self::norm(rows / 4.0, 4 * width)
                            + self.product(rows / 4.0, 4 * width, 2 * width);
                    }
                }
                sum
            }
        }
    }

    fn decoders(&self) -> Work {
        let mut sum = Work::default();
        for tap in &self.network.taps {
            let (network, latent) = (self.network, self.network.encoder.latent(tap.layer));
            let prefix = network.encoder.prefix() as f64;
            let tokens = network.tap_grid(tap).pow(2) as f64;
            let channels = network.channels(tap);
            if network.head == HeadKind::Linear {
                sum += self.product(tokens, latent.dim, channels);
                continue;
            }
            let (width, rows) = (network.decoder_width(tap), prefix + tokens);
            sum += self.product(prefix + tokens * self.keep, latent.dim, width)
                + self.block(rows, rows, width) * network.decoder_depth as f64
                + Self::norm(rows, width);
            // A deconvolution is a product with the four parts of a token.
            let (half, quarter) = (width / 2, width / 4);
            let (cells, last) = match network.scale(tap) {
                Ok(Scale::Up4) => {
                    sum += self.product(tokens, width, 4 * half)
                        + Self::norm(4.0 * tokens, half)
                        + self.product(4.0 * tokens, half, 4 * quarter);
                    (16.0 * tokens, quarter)
                }
                Ok(Scale::Up2) => {
                    sum += self.product(tokens, width, 4 * half);
                    (4.0 * tokens, half)
                }
                Ok(Scale::Down(by)) => (tokens / (by * by) as f64, width),
                _ => (tokens, width),
            };
            sum += self.product(cells, last, channels);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelName, TargetKind};

    fn step(model: ModelName, views: usize, precision: Precision) -> StepWork {
        let network = ModelConfig::local_mim(model.encoder(), 224, TargetKind::Hog, 9);
        StepWork::of(&network, precision, (views, 0.75), 1000)
    }

    #[test]
    fn a_vits_arithmetic_is_what_its_products_come_to() {
        // 49 patches and the class token through 12 blocks of 192: 2·(12·192² + 2·50·192) a token.
        let found = step(ModelName::VitTiny16, 1, Precision::F32).encoder.flop;
        let blocks = 12.0 * 50.0 * (24.0 * 192f64.powi(2) + 4.0 * 50.0 * 192.0);
        assert_eq!(found, blocks + 2.0 * 49.0 * 768.0 * 192.0);
    }

    #[test]
    fn a_block_is_as_large_as_its_five_products() {
        let network =
            ModelConfig::local_mim(ModelName::VitTiny16.encoder(), 224, TargetKind::Hog, 9);
        let counted = Counted { network: &network, precision: Precision::F32, keep: 1.0 };
        let work = counted.block(10.0, 7.0, 8);
        assert_eq!(work.flop, 10.0 * (24.0 * 64.0 + 4.0 * 7.0 * 8.0));
        // Queries, keys and values; attention; the way back; the MLP; two norms.
        assert_eq!(work.bytes, 10.0 * 8.0 * 4.0 * (4.0 + 4.0 + 2.0 + 10.0 + 4.0));
    }

    #[test]
    fn work_grows_with_views_and_halves_its_bytes_with_bf16() {
        let (one, four) = (
            step(ModelName::SwinTiny7, 1, Precision::F32),
            step(ModelName::SwinTiny7, 4, Precision::F32),
        );
        assert_eq!(one.encoder * 4.0, four.encoder);
        assert_eq!(one.optimizer, four.optimizer);
        let bf16 = step(ModelName::SwinTiny7, 1, Precision::Bf16);
        assert_eq!(bf16.decoders.flop, one.decoders.flop);
        assert!(bf16.decoders.bytes < one.decoders.bytes);
    }

    #[test]
    fn more_is_masked_and_less_is_to_do_only_where_masked_tokens_are_dropped() {
        let mut network =
            ModelConfig::local_mim(ModelName::VitTiny16.encoder(), 224, TargetKind::Hog, 9);
        let of = |network: &ModelConfig, share| {
            StepWork::of(network, Precision::F32, (1, share), 0).encoder.flop
        };
        assert!(of(&network, 0.75) < of(&network, 0.5));
        network.masked = MaskedInput::Token;
        assert_eq!(of(&network, 0.75), of(&network, 0.5));
    }
}
