//! The decoder of one tap: latents of the visible patches → predictions at the tap's scale.

use burn::module::{Module, Param};
use burn::tensor::activation::gelu;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::config::{Scale, TapConfig};
use super::layers::{Block, Deconv, LayerNorm, Linear, to_f32};
use super::{ModelConfig, Precision, positions};

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
    /// `[1 + patches, width]`, fixed.
    positions: Tensor<B, 2>,
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
                    norm: Some(LayerNorm::zeros(half, device)),
                    ..plain
                },
                quarter,
            ),
            Scale::Up2 => (Self { deconv: vec![deconv(width, half)], ..plain }, half),
            Scale::Same => (plain, width),
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
        let ModelConfig { decoder_dim: width, decoder_heads: heads, .. } = *config;
        let scale = config.scale(tap).expect("ModelConfig::check has passed");
        let (rescale, rescaled) = Rescale::zeros(scale, width, precision, device);
        Self {
            embed: Linear::zeros(config.dim, width, precision, device),
            mask_token: Param::from_tensor(Tensor::zeros([1, 1, width], device)),
            blocks: (0..config.decoder_depth)
                .map(|_| Block::zeros(width, heads, precision, device))
                .collect(),
            norm: LayerNorm::zeros(width, device),
            rescale,
            pred: Linear::zeros(rescaled, config.channels(tap), precision, device),
            positions: Tensor::from_data(
                TensorData::new(
                    positions::sin_cos(width, config.grid()),
                    [1 + config.patches(), width],
                ),
                device,
            ),
        }
    }

    /// Predictions `[batch, target cells, channels]`, cells in rows.
    ///
    /// `latent` is `[batch, 1 + visible, encoder width]`; `restore` `[batch, patches]` gives, for
    /// each patch, its place among the visible ones followed by the masked ones.
    pub fn forward(&self, latent: Tensor<B, 3>, restore: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [batch, patches] = restore.dims();
        let x = to_f32(self.embed.forward(latent));
        let [_, tokens, width] = x.dims();
        let visible = tokens - 1;
        let class = x.clone().narrow(1, 0, 1);
        let masked = self.mask_token.val().expand([batch, patches - visible, width]);
        let shuffled = Tensor::cat(vec![x.narrow(1, 1, visible), masked], 1);
        // A row number over the whole batch makes the gather a plain selection of rows.
        let first = Tensor::<B, 1, Int>::arange(0..batch as i64, &restore.device())
            .reshape([batch, 1])
            * patches as i64;
        let rows = (restore + first).reshape([batch * patches]);
        let placed = shuffled
            .reshape([batch * patches, width])
            .select(0, rows)
            .reshape([batch, patches, width]);
        let mut x = Tensor::cat(vec![class, placed], 1) + self.positions.clone().unsqueeze();

        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = self.norm.forward(x).narrow(1, 1, patches);
        let x = self.rescale.forward(x, patches.isqrt());
        to_f32(self.pred.forward(x))
    }
}
