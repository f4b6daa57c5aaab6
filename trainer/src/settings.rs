//! Flags, recipes and files → one typed set of settings, parsed once.
//!
//! An [`Options`] is a set of choices, each of which may be open. The recipe's come first, then
//! those of `--config`, then the flags; [`Settings::resolve`] closes what is still open.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::device::DeviceKind;
use crate::model::config::TapConfig;
use crate::model::{ConfigError, ModelConfig, Precision, TargetKind, VitModel};

/// The methods that can be trained, each with its paper's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// LocalMIM, HOG targets at four scales.
    LocalmimHog,
    /// LocalMIM, normalised pixels at four scales.
    LocalmimPixel,
}

impl Recipe {
    /// The name as flags, files and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalmimHog => "localmim-hog",
            Self::LocalmimPixel => "localmim-pixel",
        }
    }

    /// The preset, a TOML file to read and to copy.
    pub fn text(self) -> &'static str {
        match self {
            Self::LocalmimHog => include_str!("../recipes/localmim-hog.toml"),
            Self::LocalmimPixel => include_str!("../recipes/localmim-pixel.toml"),
        }
    }
}

/// Choices that may be open. A TOML file has the flags' names as keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Options {
    /// Encoder [default: vit-base-16 on CUDA, vit-tiny-16 on the CPU]
    #[arg(long, value_enum, help_heading = "Network")]
    pub model: Option<VitModel>,
    /// What the decoders predict
    #[arg(long, value_enum, help_heading = "Network")]
    pub target: Option<TargetKind>,
    /// After which blocks the taps sit, from 1 [default: 2,4,depth-2,depth]
    #[arg(long, value_delimiter = ',', help_heading = "Network")]
    pub taps: Option<Vec<usize>>,
    /// Target cell of each tap in pixels [default: a quarter, a half, one, two patches]
    #[arg(long, value_delimiter = ',', help_heading = "Network")]
    pub cells: Option<Vec<usize>>,
    /// Width of the decoders
    #[arg(long, help_heading = "Network")]
    pub decoder_dim: Option<usize>,
    /// Transformer blocks of each decoder
    #[arg(long, help_heading = "Network")]
    pub decoder_depth: Option<usize>,
    /// Attention heads of the decoders
    #[arg(long, help_heading = "Network")]
    pub decoder_heads: Option<usize>,
    /// Share of the patches that the encoder does not see
    #[arg(long, help_heading = "Network")]
    pub mask_ratio: Option<f64>,

    /// Epochs of the whole schedule
    #[arg(long, help_heading = "Optimisation")]
    pub epochs: Option<u64>,
    /// Stop after this many optimizer steps; the schedule stays that of --epochs
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
    /// Decoupled weight decay, on matrices only
    #[arg(long, help_heading = "Optimisation")]
    pub weight_decay: Option<f64>,
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

/// Settings that do not fit together, or a file that can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no TOML of settings.
    #[error("{origin}: {source}")]
    Toml {
        /// The file.
        origin: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value out of its range.
    #[error("--{flag} {found} is out of range: {expected}")]
    Range {
        /// The flag.
        flag: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Sizes that do not fit together.
    #[error(transparent)]
    Model(#[from] ConfigError),
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

    /// These choices, and `base`'s where they are open.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            model: self.model.or(base.model),
            target: self.target.or(base.target),
            taps: self.taps.or(base.taps),
            cells: self.cells.or(base.cells),
            decoder_dim: self.decoder_dim.or(base.decoder_dim),
            decoder_depth: self.decoder_depth.or(base.decoder_depth),
            decoder_heads: self.decoder_heads.or(base.decoder_heads),
            mask_ratio: self.mask_ratio.or(base.mask_ratio),
            epochs: self.epochs.or(base.epochs),
            max_steps: self.max_steps.or(base.max_steps),
            batch_size: self.batch_size.or(base.batch_size),
            accum: self.accum.or(base.accum),
            lr: self.lr.or(base.lr),
            min_lr: self.min_lr.or(base.min_lr),
            warmup_epochs: self.warmup_epochs.or(base.warmup_epochs),
            betas: self.betas.or(base.betas),
            weight_decay: self.weight_decay.or(base.weight_decay),
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

/// The fields that are set, by their flags' names.
fn table(values: &impl Serialize) -> toml::Table {
    toml::Table::try_from(values).expect("settings are strings, numbers and lists of them")
}

/// Everything that decides a run, closed. Saved with the run and in every checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// The method.
    pub recipe: Recipe,
    /// The encoder's name.
    pub model: VitModel,
    /// What the decoders predict.
    pub target: TargetKind,
    /// After which blocks the taps sit; empty for the method's own.
    pub taps: Vec<usize>,
    /// The target cell of each tap in pixels.
    pub cells: Vec<usize>,
    /// Width of the decoders.
    pub decoder_dim: usize,
    /// Transformer blocks of each decoder.
    pub decoder_depth: usize,
    /// Attention heads of the decoders.
    pub decoder_heads: usize,
    /// Share of the patches that the encoder does not see.
    pub mask_ratio: f64,
    /// Epochs of the whole schedule.
    pub epochs: u64,
    /// Stop after this many optimizer steps, if earlier.
    pub max_steps: Option<u64>,
    /// Views a batch.
    pub batch_size: usize,
    /// Batches a step.
    pub accum: usize,
    /// Base learning rate.
    pub lr: f64,
    /// Learning rate at the end.
    pub min_lr: f64,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// AdamW's decay rates.
    pub betas: (f64, f64),
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The norm to which gradients are clipped.
    pub clip_grad: Option<f64>,
    /// The number format of matrix products.
    pub precision: Precision,
    /// The seed of parameters, order, masks and flips.
    pub seed: u64,
    /// Mirror half of the views.
    pub flip: bool,
    /// Row groups whose rows are shuffled together.
    pub window_groups: usize,
    /// Threads that read and prepare batches.
    pub loader_threads: usize,
    /// Batches kept ready.
    pub prefetch: usize,
    /// Optimizer steps between two lines of metrics.
    pub log_every: u64,
    /// Optimizer steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints kept.
    pub keep: usize,
}

impl Settings {
    /// Closes what `options` (flags over file) and the recipe leave open, for a kind of device.
    ///
    /// # Errors
    /// [`SettingsError::Range`] naming the flag whose value can't be.
    pub fn resolve(
        recipe: Recipe,
        options: Options,
        device: DeviceKind,
    ) -> Result<Self, SettingsError> {
        let preset = Options::parse(recipe.text(), recipe.name())?;
        let o = options.over(preset);
        let cuda = matches!(device, DeviceKind::Cuda(_));
        let model = o.model.unwrap_or(if cuda { VitModel::Base16 } else { VitModel::Tiny16 });
        let precision = o.precision.unwrap_or(if cuda { Precision::Bf16 } else { Precision::F32 });
        let betas = o.betas.unwrap_or_default();
        let &[beta1, beta2] = betas.as_slice() else {
            return Err(SettingsError::Range {
                flag: "betas",
                found: format!("{betas:?}"),
                expected: "two numbers, as in 0.9,0.95",
            });
        };
        let settings = Self {
            recipe,
            model,
            target: o.target.unwrap_or(TargetKind::Hog),
            taps: o.taps.unwrap_or_default(),
            cells: o.cells.unwrap_or_else(|| model.default_cells().to_vec()),
            decoder_dim: o.decoder_dim.unwrap_or(256),
            decoder_depth: o.decoder_depth.unwrap_or(1),
            decoder_heads: o.decoder_heads.unwrap_or(8),
            mask_ratio: o.mask_ratio.unwrap_or(0.75),
            epochs: o.epochs.unwrap_or(100),
            max_steps: o.max_steps,
            batch_size: o.batch_size.unwrap_or(256),
            accum: o.accum.unwrap_or(1),
            lr: o.lr.unwrap_or(2e-4),
            min_lr: o.min_lr.unwrap_or(0.0),
            warmup_epochs: o.warmup_epochs.unwrap_or(10.0),
            betas: (beta1, beta2),
            weight_decay: o.weight_decay.unwrap_or(0.05),
            clip_grad: o.clip_grad,
            precision,
            seed: o.seed.unwrap_or(0),
            flip: o.flip.unwrap_or(true),
            window_groups: o.window_groups.unwrap_or(8),
            loader_threads: o.loader_threads.unwrap_or(2),
            prefetch: o.prefetch.unwrap_or(4),
            log_every: o.log_every.unwrap_or(10),
            checkpoint_every: o.checkpoint_every.unwrap_or(500),
            keep: o.keep.unwrap_or(3),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let range = |ok: bool, flag, found: String, expected| {
            if ok { Ok(()) } else { Err(SettingsError::Range { flag, found, expected }) }
        };
        let count_range = "it must be at least 1 and fit 32 bits";
        let counts = [
            ("epochs", self.epochs),
            ("max-steps", self.max_steps.unwrap_or(1)),
            ("batch-size", self.batch_size as u64),
            ("accum", self.accum as u64),
            ("window-groups", self.window_groups as u64),
            ("loader-threads", self.loader_threads as u64),
            ("prefetch", self.prefetch as u64),
            ("log-every", self.log_every),
            ("checkpoint-every", self.checkpoint_every),
            ("keep", self.keep as u64),
        ];
        for (flag, value) in counts {
            let fits = value >= 1 && u32::try_from(value).is_ok();
            range(fits, flag, value.to_string(), count_range)?;
        }
        for (flag, value) in [("loader-threads", self.loader_threads), ("prefetch", self.prefetch)]
        {
            range(value <= 1024, flag, value.to_string(), "it must be at most 1024")?;
        }
        // TOML's integers are signed.
        let fits = i64::try_from(self.seed).is_ok();
        range(fits, "seed", self.seed.to_string(), "it must fit 63 bits")?;
        let (beta1, beta2) = self.betas;
        for beta in [beta1, beta2] {
            range((0.0..1.0).contains(&beta), "betas", beta.to_string(), "each lies in [0, 1)")?;
        }
        let not_negative = "it must be a finite number, not below 0";
        let rates = [
            ("lr", self.lr),
            ("min-lr", self.min_lr),
            ("warmup-epochs", self.warmup_epochs),
            ("weight-decay", self.weight_decay),
        ];
        for (flag, value) in rates {
            range(value.is_finite() && value >= 0.0, flag, value.to_string(), not_negative)?;
        }
        let clip = self.clip_grad.unwrap_or(1.0);
        range(
            clip.is_finite() && clip > 0.0,
            "clip-grad",
            clip.to_string(),
            "it must be a finite number above 0",
        )?;
        range(
            self.mask_ratio > 0.0 && self.mask_ratio < 1.0,
            "mask-ratio",
            self.mask_ratio.to_string(),
            "it must lie between 0 and 1",
        )
    }

    /// The network for views of `size` pixels and HOG of `bins`.
    ///
    /// # Errors
    /// [`SettingsError`] if sizes do not fit together or no patch would stay visible or masked.
    pub fn network(&self, size: usize, bins: usize) -> Result<ModelConfig, SettingsError> {
        let mut config = ModelConfig::of_model(self.model, size, self.target, bins);
        config.decoder_dim = self.decoder_dim;
        config.decoder_depth = self.decoder_depth;
        config.decoder_heads = self.decoder_heads;
        let blocks = if self.taps.is_empty() {
            config.taps.iter().map(|tap| tap.block).collect()
        } else {
            self.taps.clone()
        };
        if blocks.len() != self.cells.len() {
            return Err(ConfigError(format!(
                "{} target cells ({:?}) for {} taps ({blocks:?}); --cells and --taps must be equally long",
                self.cells.len(),
                self.cells,
                blocks.len()
            ))
            .into());
        }
        config.taps = blocks
            .into_iter()
            .zip(&self.cells)
            .map(|(block, &cell)| TapConfig { block, cell })
            .collect();
        config.check()?;
        let visible = (config.patches() as f64 * (1.0 - self.mask_ratio)) as usize;
        if visible == 0 || visible == config.patches() {
            return Err(SettingsError::Range {
                flag: "mask-ratio",
                found: self.mask_ratio.to_string(),
                expected: "it must leave some patches visible and some masked",
            });
        }
        Ok(config)
    }

    /// Settings of `self` that differ from `earlier`'s and would change the course of its run, as
    /// `(flag, earlier value, value now)`.
    pub fn conflicts(&self, earlier: &Self) -> Vec<(String, String, String)> {
        // What may change in mid-run: when to stop, how fast to read, what to write.
        const FREE: [&str; 6] =
            ["max-steps", "loader-threads", "prefetch", "log-every", "checkpoint-every", "keep"];
        let (now, earlier) = (table(self), table(earlier));
        let spell = |value: Option<&toml::Value>| value.map_or("unset".into(), ToString::to_string);
        let flags: BTreeSet<_> = now.keys().chain(earlier.keys()).collect();
        flags
            .into_iter()
            .filter(|flag| !FREE.contains(&flag.as_str()) && now.get(*flag) != earlier.get(*flag))
            .map(|flag| (flag.clone(), spell(earlier.get(flag)), spell(now.get(flag))))
            .collect()
    }

    /// These settings as choices, all closed: the base of a resumed run.
    pub fn to_options(&self) -> Options {
        let mut values = table(self);
        values.remove("recipe");
        values.try_into().expect("every setting but the recipe is an option")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(options: Options) -> Result<Settings, SettingsError> {
        Settings::resolve(Recipe::LocalmimHog, options, DeviceKind::Cpu)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_recipe() {
        let file = Options::parse("lr = 0.5\nepochs = 7", "file").unwrap();
        let flags = Options { epochs: Some(3), ..Options::default() };
        let settings = resolve(flags.over(file)).unwrap();
        let preset = Options::parse(Recipe::LocalmimHog.text(), "preset").unwrap();
        assert_eq!((settings.lr, settings.epochs), (0.5, 3));
        assert_eq!(Some(settings.batch_size), preset.batch_size);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line() {
        let error = Options::parse("epochs = 3\nlearning-rate = 1", "mine.toml").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("mine.toml") && text.contains("learning-rate"), "{text}");
        assert!(text.contains("line 2"), "{text}");
    }

    #[test]
    fn values_out_of_range_name_their_flag() {
        let with =
            |text: &str| resolve(Options::parse(text, "file").unwrap()).unwrap_err().to_string();
        assert!(with("mask-ratio = 1.0").contains("--mask-ratio"));
        assert!(with("batch-size = 0").contains("--batch-size"));
        assert!(with("betas = [0.9]").contains("--betas"));
        assert!(with("lr = inf").contains("--lr"));
    }

    #[test]
    fn resolved_settings_give_themselves_back() {
        let settings = resolve(Options { clip_grad: Some(2.0), ..Options::default() }).unwrap();
        assert_eq!(resolve(settings.to_options()).unwrap(), settings);
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings);
    }

    #[test]
    fn only_what_changes_the_course_of_a_run_is_a_conflict() {
        let settings = resolve(Options::default()).unwrap();
        let other = Settings { max_steps: Some(3), seed: 9, ..settings.clone() };
        let flags: Vec<_> = other.conflicts(&settings).into_iter().map(|(flag, ..)| flag).collect();
        assert_eq!(flags, ["seed"]);
    }
}
