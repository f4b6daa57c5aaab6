//! What an experiment leaves in a run's folder besides metrics and evaluations, so that the folder can
//! be read wherever it is brought.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::plan::{Arm, Bench};
use super::{ExperimentError, read_json, write_json};
use crate::device::DeviceKind;

/// The folder of runs in an experiment's.
pub(super) const RUNS_FOLDER: &str = "runs";
/// The file in a run's folder.
pub const ARM_FILE: &str = "arm.json";

/// What runs must share to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
    /// Where it was made.
    pub machine: Machine,
}

impl RunRecord {
    /// Writes it into the run's folder.
    pub(super) fn keep(&self, run: &Path) -> Result<(), ExperimentError> {
        write_json(&run.join(ARM_FILE), self)
    }

    /// That of a run's folder; none where it is no arm's.
    pub(super) fn read(run: &Path) -> Result<Option<Self>, ExperimentError> {
        read_json(&run.join(ARM_FILE))
    }
}
