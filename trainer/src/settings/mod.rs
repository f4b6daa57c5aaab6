//! Flags, recipes and files → one typed set of settings, parsed once.
//!
//! An [`Options`] is a set of choices, each of which may be open. The recipe's come first, then
//! those of `--config`, then the flags; [`Settings::resolve`] closes what is still open.

mod network;
mod options;
mod recipe;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use options::{NamedTaps, Options, Taps};
pub use recipe::Recipe;

use crate::device::DeviceKind;
use crate::model::layers::NORM_EPSILON;
use crate::model::mask::MaskKind;
use crate::model::{
    ConfigError, Coordinates, Decay, EncoderConfig, HeadKind, LossKind, MaskedInput, ModelName,
    Positions, Precision, TargetKind,
};

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
    pub model: ModelName,
    /// The side of the encoder's patch in pixels, if not the model's.
    pub patch: Option<usize>,
    /// The encoder's width, if not the model's.
    pub width: Option<usize>,
    /// The encoder's blocks, if not the model's.
    pub depths: Option<Vec<usize>>,
    /// The encoder's heads, if not the model's.
    pub heads: Option<Vec<usize>>,
    /// The side of a Swin's windows, if not the model's.
    pub window: Option<usize>,
    /// How a Swin's windows are cut after merging.
    pub coordinates: Coordinates,
    /// What a ViT adds to a token for its place.
    #[serde(default)]
    pub positions: Positions,
    /// What every layer norm adds to the variance.
    #[serde(default = "norm_epsilon")]
    pub norm_epsilon: f64,
    /// The side of what the encoder is given, if not the whole view.
    pub input_size: Option<usize>,
    /// What is predicted.
    pub target: TargetKind,
    /// The error that is minimised.
    pub loss: LossKind,
    /// Where the taps sit.
    pub taps: Taps,
    /// The target cell of each tap in pixels, if not the taps' own.
    pub cells: Option<Vec<usize>>,
    /// Each layer learns from the next tap alone.
    pub local_gradients: bool,
    /// What stands between latents and predictions.
    pub head: HeadKind,
    /// Width of the decoders.
    pub decoder_dim: usize,
    /// Transformer blocks of each decoder.
    pub decoder_depth: usize,
    /// Attention heads of the decoders.
    pub decoder_heads: usize,
    /// What the encoder is given where a patch is masked.
    pub masked: MaskedInput,
    /// How masks are drawn.
    pub mask: MaskKind,
    /// Share of the picture that is masked.
    pub mask_ratio: f64,
    /// Epochs of the whole schedule.
    pub epochs: u64,
    /// Optimizer steps of the whole schedule, in place of epochs.
    pub steps: Option<u64>,
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
    /// What it applies to.
    #[serde(default)]
    pub decay: Decay,
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

/// A run from before there was a choice.
fn norm_epsilon() -> f64 {
    NORM_EPSILON
}

impl Settings {
    /// Closes what `options` (flags over file) and the recipe leave open, for a kind of device.
    ///
    /// # Errors
    /// [`SettingsError::Range`] naming the flag whose value can't be.
    pub fn resolve(options: Options, device: DeviceKind) -> Result<Self, SettingsError> {
        let recipe = options.recipe.unwrap_or(Recipe::LocalmimHog);
        let mut preset = Options::parse(recipe.text(), recipe.name())?;
        if options.target == Some(TargetKind::Code) {
            // What the recipe says for its own target does not fit a codebook's.
            (preset.cells, preset.loss) = (None, None);
            (preset.input_size, preset.window) = (None, None);
        }
        if options.model.is_some_and(|model| matches!(model.encoder(), EncoderConfig::Swin { .. }))
        {
            // What a recipe for ViT says of positions is nothing to a Swin.
            preset.positions = None;
        }
        let o = options.over(preset);
        let cuda = matches!(device, DeviceKind::Cuda(_));
        let model = o.model.unwrap_or(match (recipe.needs_swin(), cuda) {
            (false, true) => ModelName::VitBase16,
            (false, false) => ModelName::VitTiny16,
            (true, true) => ModelName::SwinBase7,
            (true, false) => ModelName::SwinTiny7,
        });
        let precision = o.precision.unwrap_or(if cuda { Precision::Bf16 } else { Precision::F32 });
        let betas = o.betas.unwrap_or_default();
        let &[beta1, beta2] = betas.as_slice() else {
            return Err(SettingsError::Range {
                flag: "betas",
                found: format!("{betas:?}"),
                expected: "two numbers, as in 0.9,0.95",
            });
        };
        let target = o.target.unwrap_or(TargetKind::Hog);
        let settings = Self {
            recipe,
            model,
            patch: o.patch,
            width: o.width,
            depths: o.depths,
            heads: o.heads,
            window: o.window,
            coordinates: o.coordinates.unwrap_or(Coordinates::Spatial),
            positions: o.positions.unwrap_or_default(),
            norm_epsilon: o.norm_epsilon.unwrap_or(NORM_EPSILON),
            input_size: o.input_size,
            target,
            loss: o.loss.unwrap_or(match target {
                TargetKind::Code => LossKind::CrossEntropy,
                _ => LossKind::L2,
            }),
            taps: o.taps.unwrap_or(Taps::Named(NamedTaps::Default)),
            cells: o.cells,
            local_gradients: o.local_gradients.unwrap_or(false),
            head: o.head.unwrap_or(HeadKind::Decoder),
            decoder_dim: o.decoder_dim.unwrap_or(256),
            decoder_depth: o.decoder_depth.unwrap_or(1),
            decoder_heads: o.decoder_heads.unwrap_or(8),
            masked: o.masked.unwrap_or(MaskedInput::Dropped),
            mask: o.mask.unwrap_or(MaskKind::Random),
            mask_ratio: o.mask_ratio.unwrap_or(0.75),
            epochs: o.epochs.unwrap_or(100),
            steps: o.steps,
            max_steps: o.max_steps,
            batch_size: o.batch_size.unwrap_or(256),
            accum: o.accum.unwrap_or(1),
            lr: o.lr.unwrap_or(2e-4),
            min_lr: o.min_lr.unwrap_or(0.0),
            warmup_epochs: o.warmup_epochs.unwrap_or(10.0),
            betas: (beta1, beta2),
            weight_decay: o.weight_decay.unwrap_or(0.05),
            decay: o.decay.unwrap_or_default(),
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
            ("steps", self.steps.unwrap_or(1)),
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
            ("norm-epsilon", self.norm_epsilon),
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
        table(self).try_into().expect("every setting is an option")
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn resolve(options: Options) -> Result<Settings, SettingsError> {
        Settings::resolve(options, DeviceKind::Cpu)
    }

    #[test]
    fn a_copied_recipe_and_a_runs_settings_are_files_for_config() {
        for &recipe in Recipe::value_variants() {
            let copied = Options::parse(recipe.text(), "copy").unwrap();
            let settings = resolve(copied).unwrap();
            assert_eq!(settings.recipe, recipe);
            let saved = toml::to_string(&settings).unwrap();
            assert_eq!(
                resolve(Options::parse(&saved, "settings.toml").unwrap()).unwrap(),
                settings
            );
        }
    }

    #[test]
    fn taps_are_a_word_or_a_list() {
        let file = |text: &str| Options::parse(text, "file").unwrap().taps.unwrap();
        assert_eq!(file("taps = \"top\""), "top".parse().unwrap());
        assert_eq!(file("taps = [1, 3]"), "1,3".parse().unwrap());
        assert!("1,x".parse::<Taps>().is_err());
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
