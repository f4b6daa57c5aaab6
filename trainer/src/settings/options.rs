//! Choices that may be open: a recipe's, a file's, the flags'.

use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Recipe, SettingsError};
use crate::model::mask::MaskKind;
use crate::model::{
    Coordinates, Decay, HeadKind, LossKind, MaskedInput, ModelName, Positions, Precision,
    TargetKind,
};

/// Where the taps sit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Taps {
    /// After these layers.
    After(Vec<usize>),
    /// In a word.
    Named(NamedTaps),
}

/// Places for taps that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedTaps {
    /// Those of LocalMIM's paper.
    Default,
    /// After the last layer alone.
    Top,
}

impl FromStr for Taps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Named(NamedTaps::Default)),
            "top" => Ok(Self::Named(NamedTaps::Top)),
            list => {
                let layers: Result<_, _> = list.split(',').map(str::parse).collect();
                layers
                    .map(Self::After)
                    .map_err(|_| "expected top, default, or layers as in 2,4,10,12".into())
            }
        }
    }
}

/// Choices that may be open. A TOML file has the flags' names as keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Options {
    /// Method, with its paper's defaults [default: localmim-hog]
    #[arg(long, value_enum, help_heading = "Network")]
    pub recipe: Option<Recipe>,
    /// Encoder [default: vit-base-16 or swin-base-7 on CUDA, vit-tiny-16 or swin-tiny-7 on the CPU]
    #[arg(long, value_enum, help_heading = "Network")]
    pub model: Option<ModelName>,
    /// Side of the encoder's patch in pixels [default: the model's]
    #[arg(long, help_heading = "Network")]
    pub patch: Option<usize>,
    /// Width of the encoder; of a Swin's first stage [default: the model's]
    #[arg(long, help_heading = "Network")]
    pub width: Option<usize>,
    /// Blocks of the encoder; of each stage of a Swin, as in 2,2,6,2 [default: the model's]
    #[arg(long, value_delimiter = ',', help_heading = "Network")]
    pub depths: Option<Vec<usize>>,
    /// Attention heads of the encoder; of each stage of a Swin [default: the model's]
    #[arg(long, value_delimiter = ',', help_heading = "Network")]
    pub heads: Option<Vec<usize>>,
    /// Side of a Swin's windows in tokens [default: the model's]
    #[arg(long, help_heading = "Network")]
    pub window: Option<usize>,
    /// How a Swin's windows are cut after merging [default: spatial]
    #[arg(long, value_enum, help_heading = "Network")]
    pub coordinates: Option<Coordinates>,
    /// What a ViT adds to a token for its place [default: the recipe's, else fixed]
    #[arg(long, value_enum, help_heading = "Network")]
    pub positions: Option<Positions>,
    /// What every layer norm adds to the variance [default: the recipe's, else 1e-6]
    #[arg(long, help_heading = "Network")]
    pub norm_epsilon: Option<f64>,
    /// Side in pixels of a part of each view, at random, that the encoder is given; raw pixels only
    /// [default: the whole view]
    #[arg(long, help_heading = "Network")]
    pub input_size: Option<usize>,
    /// What is predicted; codes need shards made with `ingest --codebook` [default: the recipe's]
    #[arg(long, value_enum, help_heading = "Network")]
    pub target: Option<TargetKind>,
    /// Error that is minimised [default: the recipe's, else l2; of codes the cross-entropy]
    #[arg(long, value_enum, help_heading = "Network")]
    pub loss: Option<LossKind>,
    /// After which blocks, or stages of a Swin, the taps sit, from 1; `top` for the last alone
    /// [default: 2,4,depth-2,depth, or each stage]
    #[arg(long, help_heading = "Network")]
    pub taps: Option<Taps>,
    /// Target cell of each tap in pixels [default: the recipe's, else a quarter, a half, one, two
    /// patches, or the token of each stage; of codes the codebook's patch, if there is one codebook]
    #[arg(long, value_delimiter = ',', help_heading = "Network")]
    pub cells: Option<Vec<usize>>,
    /// Each layer learns from the next tap alone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Network")]
    pub local_gradients: Option<bool>,
    /// What stands between latents and predictions [default: decoder]
    #[arg(long, value_enum, help_heading = "Network")]
    pub head: Option<HeadKind>,
    /// Width of the decoders; half of it at a Swin's lowest tap
    #[arg(long, help_heading = "Network")]
    pub decoder_dim: Option<usize>,
    /// Transformer blocks of each decoder
    #[arg(long, help_heading = "Network")]
    pub decoder_depth: Option<usize>,
    /// Attention heads of the decoders
    #[arg(long, help_heading = "Network")]
    pub decoder_heads: Option<usize>,
    /// What the encoder is given where a patch is masked [default: dropped]
    #[arg(long, value_enum, help_heading = "Network")]
    pub masked: Option<MaskedInput>,
    /// How masks are drawn [default: random]
    #[arg(long, value_enum, help_heading = "Network")]
    pub mask: Option<MaskKind>,
    /// Share of the picture that is masked
    #[arg(long, help_heading = "Network")]
    pub mask_ratio: Option<f64>,

    /// Epochs of the whole schedule
    #[arg(long, conflicts_with = "steps", help_heading = "Optimisation")]
    pub epochs: Option<u64>,
    /// Optimizer steps of the whole schedule, in place of --epochs
    #[arg(long, help_heading = "Optimisation")]
    pub steps: Option<u64>,
    /// Stop after this many optimizer steps; the schedule stays as it is
    #[arg(long, help_heading = "Optimisation")]
    pub max_steps: Option<u64>,
    /// Views a batch
    #[arg(long, help_heading = "Optimisation")]
    pub batch_size: Option<usize>,
    /// Batches whose gradients make one step
    #[arg(long, help_heading = "Optimisation")]
    pub accum: Option<usize>,
    /// Base learning rate; the peak is base · batch-size · accum / 256
    #[arg(long, help_heading = "Optimisation")]
    pub lr: Option<f64>,
    /// Learning rate at the end
    #[arg(long, help_heading = "Optimisation")]
    pub min_lr: Option<f64>,
    /// Epochs of linear warm-up
    #[arg(long, help_heading = "Optimisation")]
    pub warmup_epochs: Option<f64>,
    /// AdamW's two decay rates, as in 0.9,0.95
    #[arg(long, value_delimiter = ',', num_args = 1, help_heading = "Optimisation")]
    pub betas: Option<Vec<f64>>,
    /// Decoupled weight decay
    #[arg(long, help_heading = "Optimisation")]
    pub weight_decay: Option<f64>,
    /// What weight decay applies to [default: the recipe's, else matrices]
    #[arg(long, value_enum, help_heading = "Optimisation")]
    pub decay: Option<Decay>,
    /// Clip the gradient to this norm [default: no clipping]
    #[arg(long, help_heading = "Optimisation")]
    pub clip_grad: Option<f64>,
    /// Matrix products in f32 or bf16 [default: bf16 on CUDA, f32 on the CPU]
    #[arg(long, value_enum, help_heading = "Optimisation")]
    pub precision: Option<Precision>,
    /// Seed of parameters, order, masks and flips [default: 0]
    #[arg(long, help_heading = "Optimisation")]
    pub seed: Option<u64>,

    /// Mirror half of the views
    #[arg(long, value_name = "BOOL", help_heading = "Data")]
    pub flip: Option<bool>,
    /// Row groups whose rows are shuffled together [default: 8]
    #[arg(long, help_heading = "Data")]
    pub window_groups: Option<usize>,
    /// Threads that read and prepare batches [default: 2]
    #[arg(long, help_heading = "Data")]
    pub loader_threads: Option<usize>,
    /// Batches kept ready [default: 4]
    #[arg(long, help_heading = "Data")]
    pub prefetch: Option<usize>,

    /// Optimizer steps between two lines of metrics [default: 10]
    #[arg(long, help_heading = "Run")]
    pub log_every: Option<u64>,
    /// Optimizer steps between two checkpoints [default: 500]
    #[arg(long, help_heading = "Run")]
    pub checkpoint_every: Option<u64>,
    /// Checkpoints kept [default: 3]
    #[arg(long, help_heading = "Run")]
    pub keep: Option<usize>,
}

impl Options {
    /// The choices of a TOML text; `origin` names it in errors.
    ///
    /// # Errors
    /// [`SettingsError::Toml`] with line and column.
    pub fn parse(text: &str, origin: &str) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|source| SettingsError::Toml {
            origin: origin.to_owned(),
            source: Box::new(source),
        })
    }

    /// The choices of a TOML file.
    ///
    /// # Errors
    /// [`SettingsError`] if it can't be read or is no TOML of settings.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// These choices, and `base`'s where they are open. How long the schedule is is one choice.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            recipe: self.recipe.or(base.recipe),
            model: self.model.or(base.model),
            patch: self.patch.or(base.patch),
            width: self.width.or(base.width),
            depths: self.depths.or(base.depths),
            heads: self.heads.or(base.heads),
            window: self.window.or(base.window),
            coordinates: self.coordinates.or(base.coordinates),
            positions: self.positions.or(base.positions),
            norm_epsilon: self.norm_epsilon.or(base.norm_epsilon),
            input_size: self.input_size.or(base.input_size),
            target: self.target.or(base.target),
            loss: self.loss.or(base.loss),
            taps: self.taps.or(base.taps),
            cells: self.cells.or(base.cells),
            local_gradients: self.local_gradients.or(base.local_gradients),
            head: self.head.or(base.head),
            decoder_dim: self.decoder_dim.or(base.decoder_dim),
            decoder_depth: self.decoder_depth.or(base.decoder_depth),
            decoder_heads: self.decoder_heads.or(base.decoder_heads),
            masked: self.masked.or(base.masked),
            mask: self.mask.or(base.mask),
            mask_ratio: self.mask_ratio.or(base.mask_ratio),
            epochs: self.epochs.or(base.epochs),
            steps: if self.epochs.is_some() { self.steps } else { self.steps.or(base.steps) },
            max_steps: self.max_steps.or(base.max_steps),
            batch_size: self.batch_size.or(base.batch_size),
            accum: self.accum.or(base.accum),
            lr: self.lr.or(base.lr),
            min_lr: self.min_lr.or(base.min_lr),
            warmup_epochs: self.warmup_epochs.or(base.warmup_epochs),
            betas: self.betas.or(base.betas),
            weight_decay: self.weight_decay.or(base.weight_decay),
            decay: self.decay.or(base.decay),
            clip_grad: self.clip_grad.or(base.clip_grad),
            precision: self.precision.or(base.precision),
            seed: self.seed.or(base.seed),
            flip: self.flip.or(base.flip),
            window_groups: self.window_groups.or(base.window_groups),
            loader_threads: self.loader_threads.or(base.loader_threads),
            prefetch: self.prefetch.or(base.prefetch),
            log_every: self.log_every.or(base.log_every),
            checkpoint_every: self.checkpoint_every.or(base.checkpoint_every),
            keep: self.keep.or(base.keep),
        }
    }
}
