//! The head of one tap: latents → predictions at the tap's scale (LocalMIM, section 3.3 and figure
//! 2b).

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use kernels::{Kernels, Op, Place, Pool, float};

use super::config::Scale;
use super::kinds::HeadKind;
use super::layers::{Block, Deconv, LayerNorm, Linear};
use super::shape::TapConfig;
use super::{ModelConfig, Precision, positions};

/// What makes predictions of a tap's latents.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a network has a handful of them")]
pub enum Head<B: Backend> {
    /// A small transformer.
    Decoder(Decoder<B>),
    /// One layer.
    Linear(LinearHead<B>),
}

impl<B: Backend> Head<B> {
    /// Of zeros, but for what is fixed. `config` has been checked.
    pub fn zeros(
        config: &ModelConfig,
        tap: &TapConfig,
        precision: Precision,
        device: &B::Device,
    ) -> Self {
        match config.head {
            HeadKind::Decoder => Self::Decoder(Decoder::zeros(config, tap, precision, device)),
            HeadKind::Linear => Self::Linear(LinearHead {
                pred: Linear::zeros(
                    config.encoder.latent(tap.layer).dim,
                    config.channels(tap),
                    precision,
                    device,
                ),
                prefix: config.encoder.prefix(),
            }),
        }
    }
}

impl<B: Kernels> Head<B> {
    /// Predictions `[views, target cells, channels]`, cells in rows.
    ///
    /// `latent` is `[views, prefix + tokens, encoder width]`; `restore` `[views, prefix + tokens of
    /// the whole picture]` gives, for each in rows after the prefix, which of the latent's tokens it
    /// is; −1 where it was masked.
    pub fn forward(&self, latent: Tensor<B, 3>, restore: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        match self {
            Self::Decoder(decoder) => decoder.forward(latent, restore),
            Self::Linear(head) => head.forward(latent, restore),
        }
    }
}

/// One linear layer on each token.
#[derive(Module, Debug)]
pub struct LinearHead<B: Backend> {
    /// Encoder width → the target's channels.
    pub pred: Linear<B>,
    prefix: usize,
}

impl<B: Kernels> LinearHead<B> {
    /// As [`Head::forward`]. Every token was seen.
    fn forward(&self, latent: Tensor<B, 3>, restore: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let ([views, places], [_, _, width]) = (restore.dims(), latent.dims());
        let tokens = places - self.prefix;
        let order = restore.narrow(1, self.prefix, tokens).reshape([views, tokens, 1]);
        let latent = latent.gather(1, order.expand([views, tokens, width]));
        self.pred.forward(latent)
    }
}

/// Linear → mask tokens put back in place → positions → blocks → norm → rescale → projection.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    /// Encoder width → decoder width.
    pub embed: Linear<B>,
    /// `[1, 1, width]`, stands where a patch was masked.
    pub mask_token: Param<Tensor<B, 3>>,
    /// The transformer blocks.
    pub blocks: Vec<Block<B>>,
    /// After the blocks.
    pub norm: LayerNorm<B>,
    /// To the target's grid.
    pub rescale: Rescale<B>,
    /// To the target's channels.
    pub pred: Linear<B>,
    /// `[prefix + tokens, width]`, fixed.
    positions: Tensor<B, 2>,
    /// Tokens of the latent before those of the patches.
    prefix: usize,
    /// Tokens of the whole picture along a side.
    grid: usize,
}

/// Brings the patch grid to the target's. Empty where the two are one.
#[derive(Module, Debug)]
pub struct Rescale<B: Backend> {
    /// Each doubles the grid and changes the width: to a half, then a quarter.
    pub deconv: Vec<Deconv<B>>,
    /// Between two deconvolutions, before a GELU.
    pub norm: Option<LayerNorm<B>>,
    /// Means over pool×pool patches; 1 for none.
    pool: usize,
}

impl<B: Backend> Rescale<B> {
    /// The rescaling, of zeros, and the width it ends with.
    fn zeros(
        scale: Scale,
        width: usize,
        epsilon: f64,
        precision: Precision,
        device: &B::Device,
    ) -> (Self, usize) {
        let (half, quarter) = (width / 2, width / 4);
        let deconv = |input, output| Deconv::zeros(input, output, precision, device);
        let plain = Self { deconv: vec![], norm: None, pool: 1 };
        match scale {
            Scale::Up4 => (
                Self {
                    deconv: vec![deconv(width, half), deconv(half, quarter)],
                    norm: Some(LayerNorm::zeros(half, epsilon, device)),
                    ..plain
                },
                quarter,
            ),
            Scale::Up2 => (Self { deconv: vec![deconv(width, half)], ..plain }, half),
            Scale::Same | Scale::Gathered(_) => (plain, width),
            Scale::Down(pool) => (Self { pool, ..plain }, width),
        }
    }
}

impl<B: Kernels> Rescale<B> {
    /// `[views, side², width]` → `[views, target cells, width after]`.
    fn forward(&self, mut x: Tensor<B, 3>, mut side: usize) -> Tensor<B, 3> {
        for (i, deconv) in self.deconv.iter().enumerate() {
            if i > 0
                && let Some(norm) = &self.norm
            {
                x = norm.forward_gelu(x);
            }
            x = deconv.forward(x, side);
            side *= 2;
        }
        if self.pool > 1 {
            return Op::Pool(Pool { side, by: self.pool }).of(vec![float(x)]);
        }
        x
    }
}

impl<B: Backend> Decoder<B> {
    /// Of zeros, but for the positions. `config` has been checked.
    pub fn zeros(
        config: &ModelConfig,
        tap: &TapConfig,
        precision: Precision,
        device: &B::Device,
    ) -> Self {
        let (width, heads) = (config.decoder_width(tap), config.decoder_heads);
        let scale = config.scale(tap).expect("ModelConfig::check has passed");
        let epsilon = config.norm_epsilon;
        let (rescale, rescaled) = Rescale::zeros(scale, width, epsilon, precision, device);
        let (grid, prefix) = (config.tap_grid(tap), config.encoder.prefix());
        let positions = positions::on_device(width, grid, device);
        Self {
            embed: Linear::zeros(config.encoder.latent(tap.layer).dim, width, precision, device),
            mask_token: Param::from_tensor(Tensor::zeros([1, 1, width], device)),
            blocks: (0..config.decoder_depth)
                .map(|_| Block::zeros(width, heads, epsilon, precision, device))
                .collect(),
            norm: LayerNorm::zeros(width, epsilon, device),
            rescale,
            pred: Linear::zeros(rescaled, config.channels(tap), precision, device),
            // The first position is the class token's.
            positions: positions.narrow(0, 1 - prefix, grid * grid + prefix),
            prefix,
            grid,
        }
    }
}

impl<B: Kernels> Decoder<B> {
    /// As [`Head::forward`].
    fn forward(&self, latent: Tensor<B, 3>, restore: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        // [views, prefix + visible, width]
        let x = self.embed.forward(latent);
        // [views, prefix + tokens, width]
        let place = Op::Place(Place { rows: Some(restore), at: None });
        let positions = float(self.positions.clone());
        let mut x = place.of(vec![float(x), float(self.mask_token.val()), positions]);
        for block in &self.blocks {
            x = block.forward(x, None);
        }
        // [views, tokens, width]
        let x = self.norm.forward_without(x, self.prefix);
        // [views, cells, width after]
        let x = self.rescale.forward(x, self.grid);
        self.pred.forward(x)
    }
}
