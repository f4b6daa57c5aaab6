//! A checkpoint's encoder as safetensors with timm's names and shapes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointFolder, write_tensors};
use crate::model::positions;
use crate::model::state::{HostTensor, State};

/// An encoder that can't be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no checkpoint.
    #[error("{} holds no checkpoint; give a run's folder or a checkpoint file", .0.display())]
    Nothing(PathBuf),
    /// The encoder's uppermost block has no tap, so no norm was trained for it.
    #[error(
        "the topmost tap sits after block {tap} of {depth}; timm's encoder ends in a norm after the last block, which this network has not trained"
    )]
    NoTopTap {
        /// The topmost tap's block.
        tap: usize,
        /// Blocks of the encoder.
        depth: usize,
    },
    /// The output can't be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The checkpoint of a path: the file itself, or the newest whole one of a run's folder.
///
/// # Errors
/// [`ExportError`] if there is none or it can't be read.
pub fn find_checkpoint(path: &Path) -> Result<(PathBuf, Checkpoint), ExportError> {
    if path.is_dir() {
        let newest = CheckpointFolder::of_run(path).newest()?;
        let (path, checkpoint, _) = newest.ok_or_else(|| ExportError::Nothing(path.to_owned()))?;
        return Ok((path, checkpoint));
    }
    Ok((path.to_owned(), Checkpoint::read(path)?))
}

/// The encoder with timm's `VisionTransformer` names: `cls_token`, `pos_embed`
/// `[1, 1 + patches, width]`, `patch_embed.proj.*`, `blocks.*`, `norm.*` (the topmost tap's).
///
/// # Errors
/// [`ExportError::NoTopTap`] if the topmost tap is not after the last block.
pub fn to_timm(checkpoint: &Checkpoint) -> Result<State, ExportError> {
    let network = &checkpoint.header.network;
    let top = network.taps.len().saturating_sub(1);
    let tap = network.taps.get(top).map_or(0, |tap| tap.block);
    if tap != network.depth {
        return Err(ExportError::NoTopTap { tap, depth: network.depth });
    }
    let top_norm = format!("norm.{top}.");
    let mut encoder: State = checkpoint
        .model
        .iter()
        .filter_map(|(name, tensor)| {
            let name = if let Some(leaf) = name.strip_prefix(&top_norm) {
                format!("norm.{leaf}")
            } else if name.starts_with("decoder.") || name.starts_with("norm.") {
                return None;
            } else {
                name.clone()
            };
            Some((name, tensor.clone()))
        })
        .collect();
    let data = positions::sin_cos(network.dim, network.grid());
    let shape = vec![1, 1 + network.patches(), network.dim];
    encoder.insert("pos_embed".into(), HostTensor { shape, data });
    Ok(encoder)
}

/// Writes the encoder of `checkpoint` to `out`, whole or not at all.
///
/// # Errors
/// [`ExportError`] if the encoder has no top norm or the disk refuses.
pub fn export(checkpoint: &Checkpoint, out: &Path) -> Result<(), ExportError> {
    let encoder = to_timm(checkpoint)?;
    let header = &checkpoint.header;
    let network = &header.network;
    let metadata = HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("architecture".to_owned(), header.settings.model.name().to_owned()),
        ("img_size".to_owned(), network.size.to_string()),
        ("patch_size".to_owned(), network.patch.to_string()),
        ("embed_dim".to_owned(), network.dim.to_string()),
        ("depth".to_owned(), network.depth.to_string()),
        ("num_heads".to_owned(), network.heads.to_string()),
        ("step".to_owned(), header.step.to_string()),
    ]);
    let write = |source| ExportError::Write { path: out.to_owned(), source };
    let temporary = out.with_extension("tmp");
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).map_err(write)?;
    }
    write_tensors(encoder.iter().map(|(name, tensor)| (name.clone(), tensor)), metadata, &temporary)
        .and_then(|()| std::fs::File::open(&temporary)?.sync_all())
        .and_then(|()| std::fs::rename(&temporary, out))
        .map_err(|source| {
            let _ = std::fs::remove_file(&temporary);
            write(source)
        })
}
