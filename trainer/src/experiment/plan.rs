//! What is compared: an arm is a recipe on an encoder, at a size that two cores can train.

use serde::{Deserialize, Serialize};

use crate::device::DeviceKind;
use crate::model::{Decay, ModelName, Positions};
use crate::settings::{Options, Recipe, Settings, SettingsError};

/// The side of a view in pixels.
///
/// Small pictures are enlarged: on 32 pixels with patches of 4, a quarter of a patch would be a HOG
/// cell of one pixel, which has one gradient and no histogram. On 64 with patches of 8 the finest
/// cell is half a patch, 4 pixels, as it is for the paper's 14-pixel patches.
pub const SIZE: u32 = 64;

/// The target cells that the shards hold.
pub const CELLS: [u32; 3] = [4, 8, 16];

/// Views a batch.
pub const BATCH: usize = 64;

/// The base learning rates that are tried for each arm.
pub const RATES: [f64; 3] = [5e-4, 1.5e-3, 4.5e-3];

/// The part of a run's steps that a rate is tried for.
pub const TRIAL: f64 = 1.0 / 6.0;

/// The kinds of encoders that are compared among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Columnar: patches of 8 pixels, 6 blocks of width 128.
    Vit,
    /// Pyramidal: patches of 2 pixels, 2, 2, 2, 2 blocks of width 32 to 256.
    Swin,
}

/// What a run of an arm is given.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Optimizer steps.
    pub steps: u64,
    /// The base learning rate.
    pub rate: f64,
    /// Rows of the shard set.
    pub rows: u64,
    /// The seed.
    pub seed: u64,
}

/// A recipe on an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// The encoder.
    pub family: Family,
    /// The recipe.
    pub recipe: Recipe,
}

impl Arm {
    /// Every arm: LocalMIM with both targets, MAE and MaskFeat on a ViT; LocalMIM and GreenMIM on a
    /// Swin.
    pub fn all() -> Vec<Self> {
        let vit = [Recipe::LocalmimHog, Recipe::LocalmimPixel, Recipe::Mae, Recipe::Maskfeat];
        let swin = [Recipe::LocalmimHog, Recipe::Greenmim];
        let arm = |family| move |recipe| Self { family, recipe };
        vit.into_iter()
            .map(arm(Family::Vit))
            .chain(swin.into_iter().map(arm(Family::Swin)))
            .collect()
    }

    /// The arm's name, as in `vit-mae`.
    pub fn name(self) -> String {
        let family = match self.family {
            Family::Vit => "vit",
            Family::Swin => "swin",
        };
        format!("{family}-{}", self.recipe.name())
    }

    /// The settings of a run.
    ///
    /// Recipes keep what makes them: targets, masks, taps, AdamW's betas and how much decays. Decoders
    /// are narrowed as the encoder is against the paper's. Positions and what decays are the same for
    /// all, so that encoders differ in what they learned alone; so are batch, warm-up, clipping and
    /// the last rate, for the papers' are for hundreds of epochs of large batches. The rate is each
    /// arm's own, of [`RATES`].
    ///
    /// # Errors
    /// [`SettingsError`] only if these constants do not fit a recipe.
    pub fn settings(self, plan: Plan, device: DeviceKind) -> Result<Settings, SettingsError> {
        let Plan { steps, rate, rows, seed } = plan;
        let local = matches!(self.recipe, Recipe::LocalmimHog | Recipe::LocalmimPixel);
        let mut options = Options {
            recipe: Some(self.recipe),
            steps: Some(steps),
            batch_size: Some(BATCH),
            lr: Some(rate),
            min_lr: Some(0.0),
            positions: Some(Positions::Fixed),
            decay: Some(Decay::Matrices),
            warmup_epochs: Some(0.1 * steps as f64 / (rows / BATCH as u64).max(1) as f64),
            clip_grad: Some(1.0),
            seed: Some(seed),
            log_every: Some((steps / 50).max(1)),
            checkpoint_every: Some(steps.div_ceil(POINTS)),
            keep: Some(POINTS as usize + 2),
            ..Options::default()
        };
        match self.family {
            Family::Vit => {
                options.model = Some(ModelName::VitTiny16);
                options.patch = Some(8);
                options.width = Some(128);
                options.depths = Some(vec![6]);
                options.heads = Some(vec![4]);
                if local {
                    options.cells = Some(vec![4, 4, 8, 16]);
                    options.decoder_dim = Some(48);
                    options.decoder_heads = Some(4);
                }
                if self.recipe == Recipe::Mae {
                    options.decoder_dim = Some(88);
                    options.decoder_depth = Some(4);
                    options.decoder_heads = Some(4);
                }
                if self.recipe == Recipe::Maskfeat {
                    options.cells = Some(vec![4]);
                }
            }
            Family::Swin => {
                options.model = Some(ModelName::SwinTiny7);
                options.patch = Some(2);
                options.width = Some(32);
                options.depths = Some(vec![2; 4]);
                options.heads = Some(vec![1, 2, 4, 8]);
                options.window = Some(7);
                options.decoder_dim = Some(if local { 64 } else { 128 });
                options.decoder_heads = Some(4);
            }
        }
        Settings::resolve(options, device)
    }
}

/// Evaluations of a run, besides that of the untrained encoder.
pub const POINTS: u64 = 4;

#[cfg(test)]
mod tests {
    use schemas::ShardLayout;

    use super::*;

    #[test]
    fn every_arm_fits_the_shards() {
        for arm in Arm::all() {
            let plan = Plan { steps: 100, rate: RATES[0], rows: 50, seed: 0 };
            let settings = arm.settings(plan, DeviceKind::Cpu).unwrap();
            let network =
                settings.network(&ShardLayout::new(SIZE, CELLS.to_vec(), 9).unwrap()).unwrap();
            for tap in &network.taps {
                assert!(CELLS.contains(&(tap.cell as u32)), "{}: {}", arm.name(), tap.cell);
            }
        }
    }
}
