//! Flags, recipes and files → one typed set of settings, parsed once.
//!
//! An [`Options`] is a set of choices, each of which may be open. The recipe's come first, then
//! those of `--config`, then the flags; [`Settings::resolve`] closes what is still open.

mod options;
mod recipe;

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemas::{CodebookLayout, ShardLayout};
use serde::{Deserialize, Serialize};

pub use options::{NamedTaps, Options, Taps};
pub use recipe::Recipe;

use crate::data::mask::{MaskKind, MaskSpec};
use crate::device::DeviceKind;
use crate::model::{
    CodebookSize, ConfigError, Coordinates, EncoderConfig, HeadKind, LossKind, MaskedInput,
    ModelConfig, ModelName, Precision, TapConfig, TargetKind,
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
    pub fn resolve(options: Options, device: DeviceKind) -> Result<Self, SettingsError> {
        let recipe = options.recipe.unwrap_or(Recipe::LocalmimHog);
        let preset = Options::parse(recipe.text(), recipe.name())?;
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

    /// The encoder: the model's, changed where a size is given.
    ///
    /// # Errors
    /// [`ConfigError`] if a size belongs to another family of encoders.
    pub fn encoder(&self) -> Result<EncoderConfig, ConfigError> {
        let mut encoder = self.model.encoder();
        if self.recipe.needs_swin() && matches!(encoder, EncoderConfig::Vit { .. }) {
            return Err(ConfigError(format!(
                "{} is a method for Swin, and {} is a ViT; choose --model swin-tiny-7 or another Swin",
                self.recipe.name(),
                self.model.name()
            )));
        }
        let fail = |text: &str| Err(ConfigError(format!("{} {text}", self.model.name())));
        match &mut encoder {
            EncoderConfig::Vit { patch, dim, depth, heads } => {
                *patch = self.patch.unwrap_or(*patch);
                *dim = self.width.unwrap_or(*dim);
                for (value, given, flag) in
                    [(depth, &self.depths, "--depths"), (heads, &self.heads, "--heads")]
                {
                    match given.as_deref() {
                        None => {}
                        Some(&[given]) => *value = given,
                        Some(_) => return fail(&format!("is a ViT: {flag} is one number")),
                    }
                }
                if self.window.is_some() || self.coordinates != Coordinates::Spatial {
                    return fail(
                        "is a ViT, which has no windows; leave out --window and --coordinates",
                    );
                }
            }
            EncoderConfig::Swin { patch, dim, depths, heads, window, coordinates } => {
                *patch = self.patch.unwrap_or(*patch);
                *dim = self.width.unwrap_or(*dim);
                if let Some(given) = &self.depths {
                    depths.clone_from(given);
                }
                if let Some(given) = &self.heads {
                    heads.clone_from(given);
                }
                *window = self.window.unwrap_or(*window);
                *coordinates = self.coordinates;
            }
        }
        Ok(encoder)
    }

    /// The network for a set of shards.
    ///
    /// # Errors
    /// [`SettingsError`] if sizes do not fit together or nothing would stay visible or masked.
    pub fn network(&self, layout: &ShardLayout) -> Result<ModelConfig, SettingsError> {
        let (size, bins) = (layout.size as usize, layout.bins as usize);
        let input = self.input_size.unwrap_or(size);
        if input != size && (self.target != TargetKind::RawPixel || input > size) {
            return Err(ConfigError(format!(
                "--input-size {input} for stored views of {size} pixels: a part of a view has no stored {} targets, and none is larger than a view; leave it out, or ingest with --size {input}",
                self.target.name()
            ))
            .into());
        }
        let encoder = self.encoder()?;
        let layers = encoder.layers();
        let top = encoder.latent(layers).pixels;
        let defaults = encoder.default_taps();
        let mut config = ModelConfig {
            masked: self.masked,
            local_gradients: self.local_gradients,
            head: self.head,
            decoder_dim: self.decoder_dim,
            decoder_depth: self.decoder_depth,
            decoder_heads: self.decoder_heads,
            loss: self.loss,
            ..ModelConfig::local_mim(encoder, input, self.target, bins)
        };
        let taps: Vec<TapConfig> = match &self.taps {
            Taps::Named(NamedTaps::Default) => defaults.clone(),
            Taps::Named(NamedTaps::Top) => vec![TapConfig { layer: layers, cell: top }],
            // As many taps as the paper's have its cells, whatever the layers.
            Taps::After(after) => after
                .iter()
                .enumerate()
                .map(|(i, &layer)| {
                    let cell = defaults.get(i).filter(|_| after.len() == defaults.len());
                    TapConfig { layer, cell: cell.map_or(top, |tap| tap.cell) }
                })
                .collect(),
        };
        config.taps = match &self.cells {
            None => taps,
            Some(cells) if cells.len() == taps.len() => {
                taps.into_iter().zip(cells).map(|(tap, &cell)| TapConfig { cell, ..tap }).collect()
            }
            Some(cells) => {
                let layers: Vec<_> = taps.iter().map(|tap| tap.layer).collect();
                return Err(ConfigError(format!(
                    "{} target cells ({cells:?}) for {} taps ({layers:?}); --cells and --taps must be equally long",
                    cells.len(),
                    layers.len()
                ))
                .into());
            }
        };
        if self.target == TargetKind::Code {
            // A codebook fits one size of patch; where there is one alone, every tap predicts it.
            if let ([codebook], None) = (layout.codebooks.as_slice(), &self.cells) {
                config.taps.iter_mut().for_each(|tap| tap.cell = codebook.cell as usize);
            }
            config.codebooks = layout
                .codebooks
                .iter()
                .map(|&CodebookLayout { cell, codes, .. }| CodebookSize {
                    cell: cell as usize,
                    codes: codes as usize,
                })
                .filter(|codebook| config.taps.iter().any(|tap| tap.cell == codebook.cell))
                .collect();
        }
        config.check()?;
        if self.mask == MaskKind::Block && self.masked == MaskedInput::Dropped {
            return Err(ConfigError(
                "--mask block masks now more, now less; the encoder must see mask tokens (--masked token)".into(),
            )
            .into());
        }
        let masks = MaskSpec::new(&config, self.mask_ratio, self.mask);
        if masks.masked == 0 || masks.masked >= masks.units() {
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
        table(self).try_into().expect("every setting is an option")
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn layout() -> ShardLayout {
        ShardLayout::new(224, vec![4, 8, 16, 32], 9).unwrap()
    }

    fn codebook(cell: u32) -> CodebookLayout {
        CodebookLayout { cell, codes: 512, blake3: "0".repeat(64) }
    }

    #[test]
    fn every_tap_predicts_the_codebook_that_there_is() {
        let settings = resolve(Options::parse("target = \"code\"", "file").unwrap()).unwrap();
        assert_eq!(settings.loss, LossKind::CrossEntropy);
        let with = |cells: &[u32]| {
            let codebooks = cells.iter().map(|&cell| codebook(cell)).collect();
            settings.network(&ShardLayout { codebooks, ..layout() })
        };
        let network = with(&[16]).unwrap();
        assert!(network.taps.iter().all(|tap| tap.cell == 16 && network.channels(tap) == 512));
        let network = with(&[4, 8, 14, 16, 32]).unwrap();
        let cells = |taps: &[TapConfig]| taps.iter().map(|tap| tap.cell).collect::<Vec<_>>();
        assert_eq!(cells(&network.taps), [4, 8, 16, 32]);
        assert_eq!(network.codebooks.len(), 4, "none of 14 pixels is predicted");
        for (cells, missing) in [(&[][..], "4 pixels"), (&[4, 8], "16 pixels")] {
            let error = with(cells).unwrap_err().to_string();
            assert!(error.contains(missing) && error.contains("--codebook"), "{error}");
        }
        for text in ["target = \"code\"\nloss = \"l2\"", "loss = \"cross-entropy\""] {
            let settings = resolve(Options::parse(text, "file").unwrap()).unwrap();
            let error = settings.network(&layout()).unwrap_err().to_string();
            assert!(error.contains("--loss cross-entropy"), "{error}");
        }
    }

    fn resolve(options: Options) -> Result<Settings, SettingsError> {
        Settings::resolve(options, DeviceKind::Cpu)
    }

    #[test]
    fn every_recipe_makes_a_network_of_its_kind() {
        for &recipe in Recipe::value_variants() {
            let settings = resolve(Options { recipe: Some(recipe), ..Options::default() }).unwrap();
            let network = settings.network(&layout()).unwrap();
            let swin = matches!(network.encoder, EncoderConfig::Swin { .. });
            assert_eq!(swin, recipe.needs_swin(), "{}", recipe.name());
            let top_only = !recipe.name().starts_with("localmim");
            assert_eq!(network.taps.len() == 1, top_only, "{}", recipe.name());
        }
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
    fn sizes_of_another_family_are_refused() {
        let refused = |text: &str| {
            let settings = resolve(Options::parse(text, "file").unwrap()).unwrap();
            settings.network(&layout()).unwrap_err().to_string()
        };
        assert!(refused("window = 7").contains("no windows"));
        assert!(refused("depths = [2, 2]").contains("--depths"));
        assert!(
            refused("recipe = \"simmim\"\nmodel = \"vit-base-16\"").contains("method for Swin")
        );
        assert!(refused("input-size = 192").contains("--size 192"));
        assert!(refused("mask = \"block\"").contains("--masked token"));
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
