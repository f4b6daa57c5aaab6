//! Where a run's checkpoints lie, and to which run one belongs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use storage::{Address, Storage};
use voice::terminal::counted;

use super::{Checkpoint, CheckpointError, fail};
use crate::model::ModelConfig;
use crate::progress::Console;
use crate::settings::{SETTINGS_FILE, Settings};

/// The folder of checkpoints in a run's folder.
const CHECKPOINTS_FOLDER: &str = "checkpoints";
/// The folder of evaluations in a run's folder, and of what was made for them.
pub const EVAL_FOLDER: &str = "eval";

/// The checkpoints of a run's folder.
#[derive(Debug, Clone)]
pub struct CheckpointFolder(PathBuf);

impl CheckpointFolder {
    /// `out/checkpoints`, which need not exist yet.
    pub fn of_run(out: &Path) -> Self {
        Self(out.join(CHECKPOINTS_FOLDER))
    }

    /// The file of a step.
    pub fn path(&self, step: u64) -> PathBuf {
        self.0.join(format!("step-{step:08}.safetensors"))
    }

    /// The steps of which there is a file, rising.
    ///
    /// # Errors
    /// [`CheckpointError`] if the folder is there but can't be listed.
    pub fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(source) => return Err(fail(&self.0)(format!("can't be listed: {source}"))),
        };
        let mut steps: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
            })
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Writes a checkpoint and removes the oldest beyond `keep`.
    ///
    /// # Errors
    /// [`CheckpointError`] if it can't be written.
    pub fn save(&self, checkpoint: &Checkpoint, keep: usize) -> Result<PathBuf, CheckpointError> {
        fs::create_dir_all(&self.0)
            .map_err(|source| fail(&self.0)(format!("can't be made: {source}")))?;
        let path = self.path(checkpoint.header.step);
        checkpoint.write(&path)?;
        // A run that was killed while it wrote one may have left gigabytes. What can't be removed
        // costs space, not the run.
        let _ = Storage::local().sweep(&Address::from(self.0.as_path()));
        let steps = self.steps()?;
        for step in steps.iter().take(steps.len().saturating_sub(keep)) {
            let _ = fs::remove_file(self.path(*step));
        }
        Ok(path)
    }

    /// The newest checkpoint that is whole, and what is wrong with newer ones; none if there is
    /// no file at all.
    ///
    /// # Errors
    /// [`CheckpointError`] with what is wrong with the newest if none is whole.
    #[allow(clippy::type_complexity)]
    pub fn newest(
        &self,
    ) -> Result<Option<(PathBuf, Checkpoint, Vec<CheckpointError>)>, CheckpointError> {
        let mut broken = vec![];
        for step in self.steps()?.into_iter().rev() {
            match Checkpoint::read(&self.path(step)) {
                Ok(checkpoint) => return Ok(Some((self.path(step), checkpoint, broken))),
                // Whoever gave the folder has not named this file.
                Err(error) => broken.push(CheckpointError { advice: "", ..error }),
            }
        }
        let Some(newest) = broken.first() else { return Ok(None) };
        let settings = self.0.with_file_name(SETTINGS_FILE);
        Err(fail(&self.0)(format!(
            "none of the {} here can be used; the newest, {}: {}; bring one back from a copy, or begin a new run with the same settings: --config {} --out ANOTHER",
            counted(broken.len() as u64, "checkpoint"),
            newest.path.display(),
            newest.reason,
            settings.display()
        )))
    }

    /// The newest checkpoint that is whole, if there is any; what is wrong with newer ones is told.
    ///
    /// # Errors
    /// As [`Self::newest`].
    pub fn newest_told(
        &self,
        console: &Console,
    ) -> Result<Option<(PathBuf, Checkpoint)>, CheckpointError> {
        let Some((path, checkpoint, damaged)) = self.newest()? else { return Ok(None) };
        for error in damaged {
            console.message(&format!("passed over: {error}"));
        }
        Ok(Some((path, checkpoint)))
    }

    /// The newest checkpoint, as [`Self::newest_told`] finds it; where there is none, that of the
    /// network with which training by these settings begins, which is saved first: so the untrained
    /// encoder can be judged, too.
    ///
    /// # Errors
    /// As [`Self::newest`], and if the first can't be written.
    pub fn newest_or_untrained(
        &self,
        settings: &Settings,
        network: ModelConfig,
        dataset: String,
        console: &Console,
    ) -> Result<(PathBuf, Checkpoint), CheckpointError> {
        if let Some(newest) = self.newest_told(console)? {
            return Ok(newest);
        }
        let checkpoint = Checkpoint::untrained(settings, network, dataset);
        Ok((self.save(&checkpoint, settings.keep)?, checkpoint))
    }
}

/// The run's folder to which a checkpoint belongs, by the path it was given with.
pub fn run_of(checkpoint: &Path) -> PathBuf {
    let folder = checkpoint.parent().unwrap_or(Path::new(""));
    let inside = |name: &std::ffi::OsStr| name == CHECKPOINTS_FOLDER || name == EVAL_FOLDER;
    let run = if folder.file_name().is_some_and(inside) {
        folder.parent().unwrap_or(Path::new(""))
    } else {
        folder
    };
    if run.as_os_str().is_empty() { PathBuf::from(".") } else { run.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::checkpoint;
    use super::*;

    #[test]
    fn the_oldest_go_and_a_broken_newest_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let run = CheckpointFolder::of_run(folder.path());
        assert!(run.newest().unwrap().is_none());
        let left = run.path(10).with_file_name(".writing-killed");
        storage::write_file(&left, "half").unwrap();
        for step in [10, 20, 30] {
            run.save(&checkpoint(step), 2).unwrap();
        }
        assert_eq!(run.steps().unwrap(), [20, 30]);
        assert!(!left.exists());
        let bytes = fs::read(run.path(30)).unwrap();
        fs::write(run.path(30), &bytes[..bytes.len() / 2]).unwrap();
        let (path, newest, broken) = run.newest().unwrap().unwrap();
        assert_eq!((path, newest.header.step), (run.path(20), 20));
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].path, run.path(30));

        // With none left, there is no earlier one to be sent to.
        fs::write(run.path(20), "").unwrap();
        let text = run.newest().unwrap_err().to_string();
        assert!(text.contains("none of the 2 checkpoints"), "{text}");
        assert!(text.contains("--config") && text.contains("settings.toml"), "{text}");
        assert!(!text.contains("earlier"), "{text}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("checkpoints");
        fs::write(&file, "in the way").unwrap();
        let error = CheckpointFolder::of_run(folder.path()).save(&checkpoint(1), 1).unwrap_err();
        assert_eq!(error.path, file);
    }

    #[test]
    fn a_checkpoint_belongs_to_the_run_in_whose_folder_it_lies() {
        let run = |path: &str| run_of(Path::new(path));
        assert_eq!(run("runs/a/checkpoints/step-1.safetensors"), Path::new("runs/a"));
        assert_eq!(run("runs/a/eval/finetune-step-1.safetensors"), Path::new("runs/a"));
        assert_eq!(run("elsewhere/step-1.safetensors"), Path::new("elsewhere"));
        assert_eq!(run("checkpoints/step-1.safetensors"), Path::new("."));
        assert_eq!(run("step-1.safetensors"), Path::new("."));
    }
}
