//! Published weights → a checkpoint of this program.
//!
//! `file` lists the tensors of PyTorch's `.pth` or of safetensors, `names` tells what they are
//! called here. A file may hold the parameters directly or under any name, beside whatever else:
//! of several networks the one with the shortest name is taken. Every tensor is held against the
//! network's sizes before its values are read.

mod file;
mod names;

use std::path::{Path, PathBuf};

use schemas::{PictureFilter, ShardLayout};

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointFolder, Header};
use crate::export;
use crate::model::init::init;
use crate::model::state::{HostTensor, State, StateError};
use crate::model::{ModelConfig, TargetKind, positions};
use crate::settings::{Settings, SettingsError};
use file::{Listing, Stored};

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
        "{}: `{name}` differs from the fixed sine-cosine positions of this network by {off:.3}; --positions learned takes a ViT's own positions in",
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
    /// What stands before the parameters' names in the file.
    pub under: String,
    /// Tensors of the file that are no part of the network: an optimizer's, another network's.
    pub passed: usize,
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
    let fail = |reason| ImportError::Read { path: file.to_owned(), reason };
    let listing = file::open(file).map_err(fail)?;
    let listed = listing.len();
    let (under, listing) = of_one_network(listing).map_err(fail)?;
    let passed = listed - listing.len();
    let first = init(&network, settings.start, settings.seed);
    let mut model = parameters(listing, &network, &first, file)?;
    let found = model.len();
    let mut fresh = 0;
    // A file without its heads is of use all the same: for evaluation and export.
    for (name, tensor) in first {
        if model.contains_key(&name) {
            continue;
        }
        if !is_of_a_head(&name, network.taps.len().saturating_sub(1)) {
            if file.file_name().is_some_and(|name| name.to_string_lossy().contains("-of-")) {
                return Err(fail(format!(
                    "has no `{name}`: it is one of several files that hold a network together; load them with PyTorch and save all their parameters in one"
                )));
            }
            let source = StateError::Missing(name);
            return Err(ImportError::Parameter { path: file.to_owned(), source });
        }
        model.insert(name, tensor);
        fresh += 1;
    }
    let dataset = format!("imported from {}", file.display());
    let header = Header::untrained(settings, network, dataset);
    let checkpoint =
        folder.save(&Checkpoint { header, model, moments: State::new() }, settings.keep)?;
    Ok(Imported { checkpoint, found, fresh, under, passed })
}

/// The name here of a parameter that `network`'s authors publish.
pub fn name_here(published: &str, network: &ModelConfig) -> String {
    names::renamed(published, network, false)
}

/// The tensors of a file's first network, by their names in it, and what stood before these.
fn of_one_network(listing: Listing) -> Result<(String, Listing), String> {
    let mut named = Listing::new();
    for (name, tensor) in listing {
        let name = names::unwrapped(&name);
        if named.insert(name.clone(), tensor).is_some() {
            return Err(format!(
                "holds `{name}` twice, once as wrapped by another module; save one of the two alone"
            ));
        }
    }
    let roots: Vec<String> = names::roots(named.keys()).into_iter().map(Into::into).collect();
    let Some(root) = roots.first().cloned() else {
        let some: Vec<_> = named.keys().take(3).map(|name| format!("`{name}`")).collect();
        let holds = match some.as_slice() {
            [] => "no tensors".into(),
            some => format!("{} tensors such as {}", named.len(), some.join(", ")),
        };
        return Err(format!(
            "holds {holds}, but no `patch_embed.proj.weight`: it is no ViT or Swin by its authors' or timm's names, or one of several files that hold one together, which PyTorch can save as one"
        ));
    };
    let of_another = |name: &str| {
        roots.iter().any(|other| other.len() > root.len() && name.starts_with(other.as_str()))
    };
    let own = named.into_iter().filter(|(name, _)| name.starts_with(&root) && !of_another(name));
    let own = own.map(|(name, tensor)| (name[root.len()..].to_owned(), tensor)).collect();
    Ok((root, own))
}

/// A network's parameters by their names here, without what is fixed. `expected` has them all.
fn parameters(
    listing: Listing,
    network: &ModelConfig,
    expected: &State,
    file: &Path,
) -> Result<State, ImportError> {
    let path = || file.to_owned();
    let other = |source| ImportError::Parameter { path: path(), source };
    let unread = |name: &str, reason| ImportError::Read {
        path: path(),
        reason: format!("`{name}` {reason}"),
    };
    let merges_first = names::merges_first(listing.keys());
    let in_columns = names::merges_in_columns(listing.keys());
    let mut out = State::new();
    for (name, stored) in listing {
        if names::is_fixed(&name) {
            continue;
        }
        let renamed = names::renamed(&name, network, merges_first);
        if names::is_positions(&name) && !expected.contains_key(&renamed) {
            check_positions(&name, &stored, file)?;
            continue;
        }
        let Some(HostTensor { shape: wanted, .. }) = expected.get(&renamed) else {
            // Tables of indices are no parameters.
            if !stored.is_float() {
                continue;
            }
            return Err(other(StateError::Unknown(name)));
        };
        if pointwise(&stored.shape) != pointwise(wanted) {
            return Err(other(StateError::Shape {
                name,
                expected: wanted.clone(),
                found: stored.shape,
            }));
        }
        let data = stored.read().map_err(|reason| unread(&name, reason))?;
        let mut tensor = HostTensor { shape: wanted.clone(), data };
        if names::by_channel(&name) {
            let channels = match network.target {
                TargetKind::Hog => 3 * network.bins,
                _ => 3,
            };
            tensor = names::by_cell(tensor, channels);
        }
        if in_columns && name.contains(".downsample.") {
            tensor = export::column_by_column(&tensor);
        }
        out.insert(renamed, tensor);
    }
    Ok(out)
}

/// Whether a parameter serves pre-training alone: of a head, or the norm of a tap below the top.
fn is_of_a_head(name: &str, top: usize) -> bool {
    let of_lower_tap = name
        .strip_prefix("encoder.")
        .unwrap_or(name)
        .strip_prefix("norm.")
        .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok())
        .is_some_and(|tap| tap < top);
    of_lower_tap || name.starts_with("decoder.") || name.ends_with("mask_token")
}

/// A projection of a pixel is a convolution of kernel 1 in the one and linear in the other.
fn pointwise(shape: &[usize]) -> &[usize] {
    match shape {
        [linear @ .., 1, 1] if linear.len() == 2 => linear,
        other => other,
    }
}

/// More places, and a larger width, than any network here has.
const MOST_PLACES: usize = 1 << 16;
const MOST_DIM: usize = 1 << 14;

/// Positions that are fixed here: a file's must be the same, of all patches, with or without the
/// class token's.
fn check_positions(name: &str, stored: &Stored, file: &Path) -> Result<(), ImportError> {
    let dim = stored.shape.last().copied().unwrap_or(0);
    let count = match stored.shape.as_slice() {
        &[1, count, _] => count,
        _ => 0,
    };
    let grid = count.isqrt();
    let class = count - grid * grid;
    let mut off = f32::INFINITY;
    // No network is larger, so that nothing larger is read.
    if class <= 1 && count <= MOST_PLACES && (4..=MOST_DIM).contains(&dim) {
        let fixed = positions::sin_cos(dim, grid);
        let given = stored.read().map_err(|reason| ImportError::Read {
            path: file.to_owned(),
            reason: format!("`{name}` {reason}"),
        })?;
        let pairs = fixed[(1 - class) * dim..].iter().zip(&given);
        off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    }
    // bfloat16 keeps eight bits, of which 1/256 is half of the last below 1.
    if off > 4e-3 {
        return Err(ImportError::Positions { path: file.to_owned(), name: name.to_owned(), off });
    }
    Ok(())
}
