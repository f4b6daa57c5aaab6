//! Flags, recipes and files → one typed set of settings, parsed once.
//!
//! Every setting is a row of the [`table`]. An [`Options`] is a set of choices, each of which may be
//! open. The recipe's come first, then those of `--config`, then the flags; [`Settings::resolve`]
//! closes what is still open.

mod form;
mod network;
mod recipe;
pub mod table;
mod taps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use recipe::Recipe;
pub use table::{Options, Settings};
pub use taps::{NamedTaps, Taps};

use crate::device::DeviceKind;
use crate::model::{ConfigError, EncoderConfig, TargetKind};
use crate::range::{self, OutOfRange};

/// The file in a run's folder that holds its settings.
pub const SETTINGS_FILE: &str = "settings.toml";

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
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// Sizes that do not fit together.
    #[error(transparent)]
    Model(#[from] ConfigError),
}

/// What a TOML text says; `origin` names it in errors.
fn of_toml<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, SettingsError> {
    toml::from_str(text).map_err(|source| SettingsError::Toml {
        origin: origin.to_owned(),
        source: Box::new(source),
    })
}

/// What a TOML file says.
fn of_file<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    of_toml(&text, &path.display().to_string())
}

/// The fields that are set, by their flags' names.
fn toml_of(values: &impl Serialize) -> toml::Table {
    toml::Table::try_from(values).expect("settings are strings, numbers and lists of them")
}

impl Options {
    /// The choices of a TOML text; `origin` names it in errors.
    ///
    /// # Errors
    /// [`SettingsError::Toml`] with line and column.
    pub fn parse(text: &str, origin: &str) -> Result<Self, SettingsError> {
        of_toml(text, origin)
    }

    /// The choices of a TOML file.
    ///
    /// # Errors
    /// [`SettingsError`] if it can't be read or is no TOML of settings.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        of_file(path)
    }

    /// These choices, and `base`'s where they are open. How long the schedule is is one choice.
    #[must_use]
    pub fn over(self, mut base: Self) -> Self {
        if self.epochs.is_some() {
            base.steps = None;
        }
        self.or(base)
    }

    /// Whether each choice is in its range.
    fn check(&self) -> Result<(), SettingsError> {
        for row in table::rows() {
            row.check(self).map_err(|problem| OutOfRange { flag: row.flag, problem })?;
        }
        let betas = self.betas.as_deref().unwrap_or(&[0.0; 2]);
        if betas.len() != 2 {
            let problem = format!("must be two numbers, as in 0.9,0.95, not {betas:?}");
            return Err(OutOfRange { flag: "--betas", problem }.into());
        }
        for &beta in betas {
            range::check("--betas", beta, 0.0..1.0)?;
        }
        Ok(())
    }
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
        let options = Options { recipe: Some(recipe), ..options.over(preset) };
        options.check()?;
        Ok(Self::close(&options, device))
    }

    /// Those that a run was trained with; none where its folder lacks them.
    ///
    /// # Errors
    /// [`SettingsError`] if they can't be read or are none.
    pub fn of_run(folder: &Path) -> Result<Option<Self>, SettingsError> {
        let path = folder.join(SETTINGS_FILE);
        if path.exists() { of_file(&path).map(Some) } else { Ok(None) }
    }

    /// What may change in mid-run: when to stop, how fast to read, what to write; and in which numbers
    /// to multiply, for another machine may have no products in those of this one.
    pub fn is_free(flag: &str) -> bool {
        table::FREE.contains(&flag.replace('-', "_").as_str())
    }

    /// Settings of `self` that differ from `earlier`'s and would change the course of its run, as
    /// `(flag, earlier value, value now)`.
    pub fn conflicts(&self, earlier: &Self) -> Vec<(String, String, String)> {
        let (now, earlier) = (toml_of(self), toml_of(earlier));
        let spell = |value: Option<&toml::Value>| value.map_or("unset".into(), ToString::to_string);
        let flags: BTreeSet<_> = now.keys().chain(earlier.keys()).collect();
        flags
            .into_iter()
            .filter(|flag| !Self::is_free(flag) && now.get(*flag) != earlier.get(*flag))
            .map(|flag| (flag.clone(), spell(earlier.get(flag)), spell(now.get(flag))))
            .collect()
    }

    /// Each setting that processes which train together must share, as its flag and its value.
    pub fn shared(&self) -> BTreeMap<String, String> {
        let own = ["keep", "loader-threads", "prefetch", "profile"];
        let shared = toml_of(self).into_iter().filter(|(flag, _)| !own.contains(&flag.as_str()));
        shared.map(|(flag, value)| (format!("--{flag}"), value.to_string())).collect()
    }

    /// These settings as choices, all closed: the base of a resumed run.
    pub fn to_options(&self) -> Options {
        toml_of(self).try_into().expect("every setting is an option")
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::model::Precision;

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
        let precision = Precision::Bf16;
        let other = Settings { max_steps: Some(3), precision, seed: 9, ..settings.clone() };
        let flags: Vec<_> = other.conflicts(&settings).into_iter().map(|(flag, ..)| flag).collect();
        assert_eq!(flags, ["seed"]);
    }
}
