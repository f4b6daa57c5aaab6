//! What a run needs before its first step: the lock of its folder, the set, the schedule, and how
//! its loader is set.

use std::path::Path;

use shards::{ShardSet, ShardSource};
use storage::{Address, Lock, Storage};

use super::error::TrainError;
use super::schedule::Schedule;
use super::trainee::Resume;
use crate::checkpoint::Checkpoint;
use crate::data::{DataError, LoaderSettings};
use crate::model::ModelConfig;
use crate::progress::Console;
use crate::ranks::Alike;
use crate::settings::{SETTINGS_FILE, Settings};

/// The file in a run's folder that is locked while a run is at work.
const LOCK_FILE: &str = ".lock";

/// The lock of a run's folder.
pub fn lock(out: &Path) -> Result<Lock, TrainError> {
    let lock = Storage::local().lock(&Address::from(out.join(LOCK_FILE)))?;
    lock.ok_or_else(|| TrainError::Locked(out.to_owned()))
}

/// The set of a run: the newest, or of one that goes on the pictures that it began with.
pub fn dataset(
    shards: &ShardSource,
    resume: Option<&Resume>,
    console: &Console,
) -> Result<ShardSet, TrainError> {
    let newest = ShardSet::open_whole(shards.clone()).map_err(DataError::from)?;
    let Some(Resume { path, checkpoint }) = resume else { return Ok(newest) };
    let now = newest.rows();
    let begun_with = newest.as_of(&checkpoint.header.dataset).map_err(DataError::from)?;
    let begun_with = begun_with.ok_or_else(|| TrainError::OtherShards {
        path: path.clone(),
        shards: shards.folder().to_string(),
    })?;
    if begun_with.rows() != now {
        console.message(&format!(
            "goes on with the {} rows that the run began with, of {now} now",
            begun_with.rows()
        ));
    }
    Ok(begun_with)
}

/// The schedule in optimizer steps.
pub fn schedule(settings: &Settings, batches_per_epoch: u64) -> Result<Schedule, TrainError> {
    let accum = settings.accum as u64;
    let batches = settings.epochs.saturating_mul(batches_per_epoch);
    if batches < accum && settings.steps.is_none() {
        return Err(TrainError::TooFew {
            batches,
            batch_size: settings.batch_size,
            accum: settings.accum,
        });
    }
    let steps_per_epoch = batches_per_epoch as f64 / accum as f64;
    Ok(Schedule {
        peak: Schedule::peak(settings.lr, settings.batch_size * settings.accum),
        floor: settings.min_lr,
        warmup_steps: (settings.warmup_epochs * steps_per_epoch).round() as u64,
        total_steps: settings.steps.unwrap_or(batches / accum),
    })
}

/// How the batches of a run on views of `size` pixels are made.
pub fn loader_settings(settings: &Settings, network: &ModelConfig, size: usize) -> LoaderSettings {
    LoaderSettings {
        batch_size: settings.batch_size,
        seed: settings.seed,
        flip: settings.flip,
        window_groups: settings.window_groups,
        prefetch_batches: settings.prefetch,
        threads: settings.loader_threads,
        ..LoaderSettings::new(network, settings.mask_ratio, settings.mask, size)
    }
}

/// What processes that train together must have alike.
pub fn alike(settings: &Settings, set: &ShardSet, resume: Option<&Resume>) -> Alike {
    let begins = resume.map_or("at no checkpoint".to_owned(), |resume| {
        let Checkpoint { header, model, .. } = &resume.checkpoint;
        let mut hasher = blake3::Hasher::new();
        for (name, tensor) in model {
            hasher.update(name.as_bytes()).update(bytemuck::cast_slice(&tensor.data));
        }
        format!("at the checkpoint {} of step {}", hasher.finalize().to_hex(), header.step)
    });
    let mut alike = settings.shared();
    alike.extend([
        ("the release".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("the shard set".to_owned(), set.fingerprint()),
        ("where it begins".to_owned(), begins),
    ]);
    alike
}

/// Saves the resolved settings with the run.
pub fn write_settings(out: &Path, settings: &Settings) -> Result<(), TrainError> {
    let path = out.join(SETTINGS_FILE);
    let io = |source| TrainError::Io { path: path.clone(), source };
    let text = toml::to_string(settings).map_err(|error| io(std::io::Error::other(error)))?;
    storage::write_file(&path, text).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceKind;
    use crate::settings::Options;

    #[test]
    fn a_schedule_may_be_given_in_steps() {
        let of = |steps| {
            let options = Options {
                steps,
                epochs: Some(2),
                warmup_epochs: Some(0.5),
                accum: Some(2),
                ..Options::default()
            };
            schedule(&Settings::resolve(options, DeviceKind::Cpu).unwrap(), 8).unwrap()
        };
        assert_eq!((of(None).total_steps, of(None).warmup_steps), (8, 2));
        assert_eq!((of(Some(3)).total_steps, of(Some(3)).warmup_steps), (3, 2));
        assert_eq!(of(Some(3)).at(3), of(Some(3)).floor);
    }
}
