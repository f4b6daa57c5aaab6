//! What commands are given alike: the run they work on, the device, the store.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use ingest::IngestError;
use storage::{Notice, Storage, StorageOptions};
use trainer::device::{self, Chosen, DeviceChoice, DeviceKind};
use voice::terminal::{tell, visible};

/// The run that a command works on.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A run's folder, for its newest checkpoint, or a checkpoint file
    #[arg(required = true, conflicts_with = "checkpoint")]
    run: Option<PathBuf>,
    /// As it was given before it had a place of its own
    #[arg(long, hide = true)]
    checkpoint: Option<PathBuf>,
}

impl RunArgs {
    /// The run's folder or file.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        self.run.or(self.checkpoint).context("RUN is missing; see --help")
    }
}

/// The runs that a command works on.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Runs' folders, for their newest checkpoints, or checkpoint files
    #[arg(required = true, conflicts_with = "checkpoint", value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// As they were given before they had a place of their own
    #[arg(long, hide = true, num_args = 1..)]
    checkpoint: Vec<PathBuf>,
}

impl RunsArgs {
    /// The runs' folders and files.
    pub fn paths(self) -> Vec<PathBuf> {
        [self.runs, self.checkpoint].concat()
    }
}

/// What computes.
#[derive(Debug, Clone, Copy, Args)]
pub struct DeviceArgs {
    /// What computes: auto (the first CUDA device, else the CPU), cuda:N, vulkan:N or cpu
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

impl DeviceArgs {
    /// Which device is asked for.
    pub fn choice(self) -> DeviceChoice {
        self.device
    }

    /// The device, which is told.
    pub fn choose(self) -> anyhow::Result<DeviceKind> {
        let Chosen { device, lines } = device::choose(self.device)?;
        lines.into_iter().for_each(tell);
        Ok(device)
    }
}

/// How addresses are reached.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// URL of an S3-compatible store for s3:// addresses
    #[arg(long)]
    endpoint: Option<String>,
}

impl StoreArgs {
    /// The storage, which says so when a store does not answer for a while.
    pub fn storage(&self) -> anyhow::Result<Storage> {
        let notice = Some(Notice::new(|sentence| tell(visible(sentence))));
        let endpoint = self.endpoint.clone();
        Ok(Storage::new(StorageOptions { endpoint, notice, ..StorageOptions::default() })?)
    }
}

/// Refuses to write over a file of a shard set.
pub fn spare(out: &Path) -> anyhow::Result<()> {
    if shards::set::is_of_a_set(out) {
        return Err(IngestError::OverSet(out.to_owned())).context("--out");
    }
    Ok(())
}
