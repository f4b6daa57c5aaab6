//! The head of one tap: latents → predictions at the tap's scale (LocalMIM, section 3.3 and figure
//! 2b).

use burn::module::{Module, Param};
use burn::tensor::activation::gelu;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::config::Scale;
use super::input::gather_rows;
use super::kinds::HeadKind;
use super::layers::{Block, Deconv, LayerNorm, Linear, to_f32};
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

    /// Predictions `[views, target cells, channels]`, cells in rows.
    ///
    /// `latent` is `[views, prefix + tokens, encoder width]`; `restore` `[views, tokens of the
    /// whole picture]` gives, for each in rows, its place among the tokens that the encoder saw
    /// followed by the masked ones.
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

impl<B: Backend> LinearHead<B> {
    /// As [`Head::forward`].
    fn forward(&self, latent: Tensor<B, 3>, restore: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [views, tokens, width] = latent.dims();
        let tokens = tokens - self.prefix;
        let latent = latent.narrow(1, self.prefix, tokens).reshape([views * tokens, width]);
        to_f32(self.pred.forward(gather_rows(latent, restore, tokens)))
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

    /// `[batch, side², width]` → `[batch, target cells, width after]`.
    fn forward(&self, mut x: Tensor<B, 3>, mut side: usize) -> Tensor<B, 3> {
        for (i, deconv) in self.deconv.iter().enumerate() {
            if i > 0
                && let Some(norm) = &self.norm
            {
                x = gelu(norm.forward(x));
            }
            x = deconv.forward(x, side);
            side *= 2;
        }
        if self.pool > 1 {
            let [batch, _, width] = x.dims();
            let coarse = side / self.pool;
            let x: Tensor<B, 6> = x.reshape([batch, coarse, self.pool, coarse, self.pool, width]);
            return x.mean_dim(4).mean_dim(2).reshape([batch, coarse * coarse, width]);
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
        let places = 1 + grid * grid;
        let positions = TensorData::new(positions::sin_cos(width, grid), [places, width]);
        let positions = Tensor::from_data(positions, device);
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
            positions: positions.narrow(0, 1 - prefix, places - 1 + prefix),
            prefix,
            grid,
        }
    }

    /// As [`Head::forward`].
    fn forward(&self, latent: Tensor<B, 3>, restore: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [_, tokens] = restore.dims();
        // [views, prefix + visible, width]
        let x = to_f32(self.embed.forward(latent));
        // [views, prefix + tokens, width]
        let mut x = self.fill_in(x, restore) + self.positions.clone().unsqueeze();
        for block in &self.blocks {
            x = block.forward(x, None);
        }
        // [views, tokens, width]
        let x = self.norm.forward(x).narrow(1, self.prefix, tokens);
        // [views, cells, width after]
        let x = self.rescale.forward(x, self.grid);
        to_f32(self.pred.forward(x))
    }

    /// Puts the visible tokens back in rows, mask tokens between them:
    /// `[views, prefix + visible, width]` → `[views, prefix + tokens, width]`.
    fn fill_in(&self, x: Tensor<B, 3>, restore: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let ([views, tokens], [_, count, width]) = (restore.dims(), x.dims());
        let visible = count - self.prefix;
        let prefix = (self.prefix > 0).then(|| x.clone().narrow(1, 0, self.prefix));
        let masked = self.mask_token.val().expand([views, tokens - visible, width]);
        let shuffled = if visible == tokens {
            x.narrow(1, self.prefix, visible)
        } else {
            Tensor::cat(vec![x.narrow(1, self.prefix, visible), masked], 1)
        };
        let placed = gather_rows(shuffled.reshape([views * tokens, width]), restore, tokens);
        match prefix {
            Some(prefix) => Tensor::cat(vec![prefix, placed], 1),
            None => placed,
        }
    }
}
