//! What an experiment leaves in a run's folder besides metrics and evaluations, so that the folder can
//! be read wherever it is brought.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use voice::terminal::counted;

use super::plan::{Arm, Bench};
use super::{ExperimentError, read_json, write_json};
use crate::device::DeviceKind;
use crate::settings::{SETTINGS_FILE, Settings, SettingsError};

/// The folder of runs in an experiment's.
pub(super) const RUNS_FOLDER: &str = "runs";
/// The file of what is settled, in an experiment's folder. Brought to another machine's, it has the
/// same arms make the same steps at the same rates there.
pub const SETTLED_FILE: &str = "settled.json";
/// The file in a run's folder.
pub const ARM_FILE: &str = "arm.json";

/// What runs must share to be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// In what they train.
    #[serde(flatten)]
    pub bench: Bench,
    /// How long, and on how many pictures they are judged.
    #[serde(flatten)]
    pub scale: Scale,
    /// Pictures to train on.
    pub pictures: u64,
    /// Their classes.
    pub classes: u64,
    /// On what they are judged.
    #[serde(default)]
    pub test: JudgedOn,
}

/// The pictures that encoders are judged on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JudgedOn {
    /// Earlier releases did not keep it; it may be any.
    #[default]
    Unknown,
    /// A part of those to train on.
    Parted,
    /// Pictures of their own.
    Set {
        /// How many.
        pictures: u64,
        /// What identifies them: 16 hexadecimal digits of BLAKE3 of their files' sorted hashes.
        content: String,
    },
}

impl JudgedOn {
    fn text(&self) -> String {
        match self {
            Self::Unknown => "unknown".to_owned(),
            Self::Parted => "a part of PICTURES".to_owned(),
            Self::Set { pictures, content } => format!("{pictures} pictures ({content})"),
        }
    }
}

impl Setup {
    /// What keeps runs of this setup from being compared with those of another, in words; nothing
    /// where they can be.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let texts = |setup: &Self| {
            let Self { bench, scale, pictures, classes, test } = setup;
            [
                ("--size", bench.size.to_string()),
                ("--model", bench.model.map_or("of each family", |model| model.name()).to_owned()),
                ("--precision", bench.precision.name().to_owned()),
                ("--minutes", scale.minutes.to_string()),
                ("what classifiers learn from (--judged-on)", scale.train_pictures.to_string()),
                ("what they are tested on (--judged-on)", scale.test_pictures.to_string()),
                ("PICTURES", format!("{pictures} of {classes} classes")),
                ("--test-pictures", test.text()),
            ]
        };
        let unknown = self.test == JudgedOn::Unknown || now.test == JudgedOn::Unknown;
        let of = if unknown { 7 } else { 8 };
        let both = texts(self).into_iter().zip(texts(now)).take(of);
        let differ = both.filter(|((_, before), (_, now))| before != now);
        differ.map(|((what, before), (_, now))| format!("{what}: {before}, here {now}")).collect()
    }

    /// Whether runs in both can be compared.
    pub fn fits(&self, other: &Self) -> bool {
        self.differences(other).is_empty()
    }
}

/// The size of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Minutes that each run trains, on a machine that does nothing else.
    pub minutes: f64,
    /// Pictures whose features the classifiers learn from.
    pub train_pictures: u64,
    /// Pictures they are tested on.
    pub test_pictures: u64,
}

impl Scale {
    /// What two cores do in an evening.
    pub const SMALL: Self = Self { minutes: 10.0, train_pictures: 5000, test_pictures: 5000 };
    /// What they do in two days.
    pub const FULL: Self = Self { minutes: 40.0, train_pictures: 20_000, test_pictures: 10_000 };
}

/// What a learning rate gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The base learning rate.
    pub rate: f64,
    /// Top-1 accuracy by a linear classifier on pictures held out from those to train on; 0 where
    /// the loss became no number.
    pub accuracy: f64,
}

/// Where a run was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name, where it says it.
    pub processor: String,
    /// Its cores.
    pub cores: usize,
    /// What computed.
    pub device: String,
    /// The processor did.
    pub on_cores: bool,
}

impl Machine {
    /// In a few words.
    pub fn text(&self) -> String {
        match self.on_cores {
            true => format!("{} of {}", counted(self.cores as u64, "core"), self.processor),
            false => format!("{} beside {}", self.device, self.processor),
        }
    }

    /// This one.
    pub fn here(device: DeviceKind) -> Self {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            processor: name.map_or("a processor", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            device: device.name().to_owned(),
            on_cores: device == DeviceKind::Cpu,
        }
    }
}

/// A run of an arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The arm.
    pub arm: Arm,
    /// Its seed.
    pub seed: u64,
    /// What it shares with those it is compared with.
    pub setup: Setup,
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Views a step.
    pub batch: u64,
    /// The base learning rate.
    pub rate: f64,
    /// The rates that were tried for it; none where it was given.
    pub tried: Vec<Trial>,
    /// Where it was begun.
    pub machine: Machine,
    /// Other machines that it went on on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Machine>,
    /// The point by which its numbers were none, which ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<u64>,
}

/// What decides a run of an arm, in words.
pub(super) fn told(steps: u64, rate: f64) -> String {
    format!("{steps} steps at a base rate of {rate:e}")
}

/// Whether a folder is an experiment's, if of no run yet.
pub(super) fn is_experiment(folder: &Path) -> bool {
    folder.join(RUNS_FOLDER).is_dir() || folder.join(SETTLED_FILE).is_file()
}

/// The runs in an experiment's folder, by the names of theirs; none where there is nothing yet.
pub(super) fn runs(experiment: &Path) -> Result<Vec<(PathBuf, RunRecord)>, ExperimentError> {
    let folder = experiment.join(RUNS_FOLDER);
    let io = |source| ExperimentError::Io { path: folder.clone(), source };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(io(error)),
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(io)?;
    paths.sort();
    let read = |path: PathBuf| Ok(RunRecord::read(&path)?.map(|run| (path, run)));
    paths.into_iter().filter_map(|path| read(path).transpose()).collect()
}

/// The folder of a run.
pub(super) fn folder(experiment: &Path, arm: Arm, seed: u64) -> PathBuf {
    experiment.join(RUNS_FOLDER).join(format!("{arm}-{seed}"))
}

/// What a run was trained with; none where its folder lacks it.
pub(super) fn settings(run: &Path) -> Result<Option<Settings>, ExperimentError> {
    Settings::of_run(run).map_err(|error| match error {
        SettingsError::Toml { source, .. } => ExperimentError::Unreadable {
            path: run.join(SETTINGS_FILE),
            reason: source.to_string(),
        },
        other => other.into(),
    })
}

impl RunRecord {
    /// The machine that made it; none where several did, so that its times say little.
    pub fn made_on(&self) -> Option<&Machine> {
        self.others.is_empty().then_some(&self.machine)
    }

    /// What decides it, in words.
    pub(super) fn told(&self) -> String {
        told(self.steps, self.rate)
    }

    /// This run as it is taken up, given what was kept of it. An error if it was another.
    pub(super) fn taken_up(&self, kept: Option<Self>, run: &Path) -> Result<Self, ExperimentError> {
        let Some(kept) = kept else { return Ok(self.clone()) };
        if (kept.steps, kept.rate) != (self.steps, self.rate) {
            return Err(ExperimentError::Other { out: run.to_owned(), found: kept.told() });
        }
        let Self { machine, mut others, diverged, .. } = kept;
        if machine != self.machine && !others.contains(&self.machine) {
            others.push(self.machine.clone());
        }
        Ok(Self { machine, others, diverged, ..self.clone() })
    }

    /// Writes it into the run's folder.
    pub(super) fn keep(&self, run: &Path) -> Result<(), ExperimentError> {
        write_json(&run.join(ARM_FILE), self)
    }

    /// That of a run's folder; none where it is no arm's.
    pub(super) fn read(run: &Path) -> Result<Option<Self>, ExperimentError> {
        read_json(&run.join(ARM_FILE))
    }
}
