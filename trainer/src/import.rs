//! Published weights → a checkpoint of this program.
//!
//! What is understood: the authors' checkpoints of LocalMIM (ViT and Swin), with or without the
//! decoders, and MAE's, as PyTorch's `.pth` or as safetensors. A file may hold the parameters
//! directly, or under `model` or `state_dict`. What else stands beside them may keep Burn's reader
//! from it, an optimizer's state above all; the error then says how to save the parameters alone.

use std::path::{Path, PathBuf};

use burn_store::pytorch::PytorchReader;
use safetensors::SafeTensors;
use schemas::{PictureFilter, ShardLayout};

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointFolder, Header};
use crate::model::init::init;
use crate::model::state::{HostTensor, State, StateError};
use crate::model::{EncoderConfig, LocalMim, MaskedInput, ModelConfig, Precision, positions};
use crate::settings::{Settings, SettingsError};

/// Weights that can't be taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file can't be read.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why, and the way out.
        reason: String,
    },
    /// The parameters are another network's.
    #[error(
        "{}: {source}; choose the --model, --patch and --recipe that the file was made with, and its pictures' --size",
        path.display()
    )]
    Parameter {
        /// The file.
        path: PathBuf,
        /// Which one, and how it differs.
        source: StateError,
    },
    /// Positions that were learned.
    #[error(
        "{}: `{name}` differs from the fixed sine-cosine positions of this program's ViT by {off:.3}; only encoders with those can be taken in",
        path.display()
    )]
    Positions {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// By how much, at most.
        off: f32,
    },
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The output's folder holds a run.
    #[error("{} holds a run already; choose another --out", .0.display())]
    Occupied(PathBuf),
}

/// What was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// Parameters found in the file.
    pub found: usize,
    /// Parameters of heads that the file lacks, which have their first values.
    pub fresh: usize,
}

/// Takes the weights of `file` into a checkpoint at step 0 in the run's folder `out`, for a network
/// that `settings` make on views of `size` pixels with HOG of `bins`.
///
/// # Errors
/// [`ImportError`] if the file can't be read or holds another network.
pub fn import(
    file: &Path,
    out: &Path,
    settings: &Settings,
    size: usize,
    bins: usize,
) -> Result<Imported, ImportError> {
    let folder = CheckpointFolder::of_run(out);
    if !folder.steps()?.is_empty() {
        return Err(ImportError::Occupied(out.to_owned()));
    }
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let layout = ShardLayout {
        size: number(size),
        cells: vec![],
        bins: number(bins),
        codebooks: vec![],
        picture_filter: PictureFilter::default(),
    };
    let network = settings.network(&layout)?;
    let given = authors_names(read(file)?, &network, file)?;
    let found = given.len();
    let mut model = given;
    let mut fresh = 0;
    // A file without its heads is of use all the same: for evaluation and export.
    for (name, tensor) in init(&network, settings.seed) {
        let head = name.starts_with("decoder.") || name.ends_with("mask_token");
        if head && !model.contains_key(&name) {
            model.insert(name, tensor);
            fresh += 1;
        }
    }
    let device = Default::default();
    LocalMim::<burn::backend::Flex>::from_state(&network, Precision::F32, &model, &device)
        .map_err(|source| ImportError::Parameter { path: file.to_owned(), source })?;
    let dataset = format!("imported from {}", file.display());
    let header = Header::untrained(settings, network, dataset);
    let checkpoint =
        folder.save(&Checkpoint { header, model, moments: State::new() }, settings.keep)?;
    Ok(Imported { checkpoint, found, fresh })
}

/// The tensors of a file, by their own names.
fn read(file: &Path) -> Result<State, ImportError> {
    let fail = |reason: String| ImportError::Read { path: file.to_owned(), reason };
    let prefix = std::fs::File::open(file)
        .and_then(|mut file| {
            let mut start = [0; 9];
            std::io::Read::read(&mut file, &mut start).map(|_| start)
        })
        .map_err(|error| fail(error.to_string()))?;
    // A safetensors file begins with its header's length and the header's brace.
    if prefix[8] == b'{' {
        let bytes = std::fs::read(file).map_err(|error| fail(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| fail(error.to_string()))?;
        return tensors
            .iter()
            .map(|(name, view)| {
                let fault = || fail(format!("`{name}` is {:?}; save it as float32", view.dtype()));
                Ok((name.to_owned(), HostTensor::of_view(&view).ok_or_else(fault)?))
            })
            .collect();
    }
    let nested = ["model", "state_dict"].into_iter().find_map(|key| {
        PytorchReader::with_top_level_key(file, key).ok().filter(|r| !r.is_empty())
    });
    let reader = match nested {
        Some(reader) => reader,
        None => PytorchReader::new(file).map_err(|error| {
            fail(format!(
                "can't be read as PyTorch's or safetensors ({error}); save the parameters alone, as in torch.save({{'model': torch.load('{0}')['model']}}, 'weights.pth')",
                file.display()
            ))
        })?,
    };
    let mut state = State::new();
    for (name, snapshot) in reader.into_tensors() {
        // Tables of indices are no parameters.
        if !snapshot.dtype.is_float() {
            continue;
        }
        let shape = snapshot.shape.to_vec();
        let data = snapshot
            .to_data()
            .map_err(|error| fail(format!("`{name}` can't be read: {error:?}")))?;
        let data = data
            .convert::<f32>()
            .into_vec()
            .map_err(|error| fail(format!("`{name}` can't be read: {error:?}")))?;
        state.insert(name, HostTensor { shape, data });
    }
    if state.is_empty() {
        return Err(fail(
            "holds no parameters, neither directly nor under model or state_dict".into(),
        ));
    }
    Ok(state)
}

/// A file's parameters by the names of [`crate::model::state`], without what is fixed here.
fn authors_names(given: State, network: &ModelConfig, file: &Path) -> Result<State, ImportError> {
    let vit = matches!(network.encoder, EncoderConfig::Vit { .. });
    let mut out = State::new();
    for (name, tensor) in given {
        let name = name.strip_prefix("module.").unwrap_or(&name);
        if name.ends_with("relative_position_index") || name.ends_with("attn_mask") {
            continue;
        }
        if name.ends_with("pos_embed") {
            check_positions(name, &tensor, file)?;
            continue;
        }
        let renamed = match network.masked {
            _ if !vit => swin_name(name),
            MaskedInput::Dropped => mae_name(name, network.taps.len() - 1),
            MaskedInput::Token => name.to_owned(),
        };
        let tensor = match renamed.rsplit_once('.') {
            // A projection of a pixel is a convolution of kernel 1 in the one and linear in the
            // other.
            Some((module, "weight")) if module.contains(".pred.") && tensor.shape.len() == 2 => {
                HostTensor { shape: vec![tensor.shape[0], tensor.shape[1], 1, 1], ..tensor }
            }
            _ => tensor,
        };
        out.insert(renamed, tensor);
    }
    Ok(out)
}

/// The name here of a parameter of MAE, or of LocalMIM's ViT, which has it already.
fn mae_name(name: &str, top: usize) -> String {
    let whole = [
        ("mask_token", "decoder.0.mask_token"),
        ("norm.weight", "norm.TOP.weight"),
        ("norm.bias", "norm.TOP.bias"),
    ];
    if let Some((_, to)) = whole.iter().find(|(from, _)| *from == name) {
        return to.replace("TOP", &top.to_string());
    }
    let prefixes = [
        ("decoder_embed.", "decoder.0.embed."),
        ("decoder_blocks.", "decoder.0.blocks."),
        ("decoder_norm.", "decoder.0.norm."),
        ("decoder_pred.", "decoder.0.pred.0."),
    ];
    for (from, to) in prefixes {
        if let Some(rest) = name.strip_prefix(from) {
            return format!("{to}{rest}");
        }
    }
    name.to_owned()
}

/// The name here of a parameter of LocalMIM's Swin, whose encoder may have been saved alone.
fn swin_name(name: &str) -> String {
    let bare = ["patch_embed.", "layers.", "norm."];
    if bare.iter().any(|prefix| name.starts_with(prefix)) {
        return format!("encoder.{name}");
    }
    name.to_owned()
}

/// Positions are fixed here, so a file's must be the same: of all patches, with or without the
/// class token's.
fn check_positions(name: &str, tensor: &HostTensor, file: &Path) -> Result<(), ImportError> {
    let dim = tensor.shape.last().copied().unwrap_or(0);
    let count = tensor.data.len().checked_div(dim).unwrap_or(0);
    let grid = count.isqrt();
    let fixed = positions::sin_cos(dim, grid);
    let class = count - grid * grid;
    let fixed = fixed.get((1 - class.min(1)) * dim..).unwrap_or_default();
    let off = if fixed.len() == tensor.data.len() && class <= 1 {
        let pairs = fixed.iter().zip(&tensor.data);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    } else {
        f32::INFINITY
    };
    // float16 keeps three digits.
    if off > 2e-3 {
        return Err(ImportError::Positions { path: file.to_owned(), name: name.to_owned(), off });
    }
    Ok(())
}
