//! A checkpoint's encoder, or a fine-tuned one with its head, as safetensors with timm's names and
//! shapes, and back.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::checkpoint::{
    CHECKPOINT_VERSION, Checkpoint, CheckpointError, CheckpointFolder, Header, write_tensors,
};
use crate::model::state::{HostTensor, State};
use crate::model::{EncoderConfig, ModelConfig, Positions, alone, positions};
use crate::progress::Console;

/// The key of the [`Header`], as JSON, in an exported file's metadata.
const HEADER_KEY: &str = "localmim.header";

/// The format's own bound on the bytes that tell a file's tensors and metadata.
const MOST_START: u64 = 100_000_000;

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
    /// An exported file that is not what it says.
    #[error("{}: {reason}; export the encoder anew from its run", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The encoder's uppermost layer has no tap, so no norm was trained for it.
    #[error(
        "the topmost tap sits after {layer} {tap} of {layers}; timm's encoder ends in a norm after the last {layer}, which this network has not trained"
    )]
    NoTopTap {
        /// What a layer is called.
        layer: &'static str,
        /// The topmost tap's block or stage.
        tap: usize,
        /// Blocks or stages of the encoder.
        layers: usize,
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

/// The checkpoint of a path: the file itself, or the newest whole one of a run's folder. Newer ones
/// that are damaged are told.
///
/// # Errors
/// [`ExportError`] if there is none or it can't be read.
pub fn find_checkpoint(
    path: &Path,
    console: &Console,
) -> Result<(PathBuf, Checkpoint), ExportError> {
    if path.is_dir() {
        let newest = CheckpointFolder::of_run(path).newest_told(console)?;
        return newest.ok_or_else(|| ExportError::Nothing(path.to_owned()));
    }
    Ok((path.to_owned(), Checkpoint::read(path)?))
}

/// As [`find_checkpoint`]; or the encoder of a file that [`export`] or [`export_classifier`] wrote,
/// as a checkpoint whose network ends in it.
///
/// # Errors
/// As [`find_checkpoint`], and [`ExportError::Unfit`] if the file's parameters are not those that
/// it says.
pub fn find_encoder(path: &Path, console: &Console) -> Result<(PathBuf, Checkpoint), ExportError> {
    let Some(header) = exported_header(path) else { return find_checkpoint(path, console) };
    let checkpoint = std::fs::read(path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| exported(&header, &bytes))
        .map_err(|reason| ExportError::Unfit { path: path.to_owned(), reason })?;
    Ok((path.to_owned(), checkpoint))
}

/// The header that an exported file has in its metadata; none of any other file.
fn exported_header(path: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Start {
        #[serde(rename = "__metadata__")]
        metadata: HashMap<String, String>,
    }
    let mut file = std::fs::File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut start = vec![];
    let most = u64::from_le_bytes(length).min(MOST_START);
    file.take(most).read_to_end(&mut start).ok()?;
    serde_json::from_slice::<Start>(&start).ok()?.metadata.remove(HEADER_KEY)
}

/// The encoder of an exported file with this header.
fn exported(header: &str, bytes: &[u8]) -> Result<Checkpoint, String> {
    let mut header: Header = serde_json::from_str(header).map_err(|error| error.to_string())?;
    if header.version != CHECKPOINT_VERSION {
        return Err(format!("has version {}, not {CHECKPOINT_VERSION}", header.version));
    }
    let network = alone::config(&header.network);
    let given = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut model = State::new();
    for name in alone::names(&network) {
        let Some(timm) = timm_name(&network, &name) else { continue };
        let view = given.tensor(&timm).map_err(|error| format!("`{timm}`: {error}"))?;
        let tensor = HostTensor::of_view(&view).ok_or_else(|| format!("`{timm}` is not f32"))?;
        // Put twice, the four tokens are in the order that they had.
        let is_merged = merging(bare(&name)).is_some();
        model.insert(name, if is_merged { column_by_column(&tensor) } else { tensor });
    }
    header.network = network;
    Ok(Checkpoint { header, model, moments: State::new() })
}

/// The encoder with timm's names.
///
/// Of a ViT those of `VisionTransformer`: `cls_token`, `pos_embed` `[1, 1 + patches, width]`,
/// `patch_embed.proj.*`, `blocks.*`, `norm.*` (the topmost tap's). Of a Swin those of
/// `SwinTransformer`: `patch_embed.*`, `layers.N.blocks.*`, `layers.N.downsample.*` (before stage N
/// there, the four tokens column by column), `norm.*`.
///
/// # Errors
/// [`ExportError::NoTopTap`] if the topmost tap is not after the last layer.
pub fn to_timm(checkpoint: &Checkpoint) -> Result<State, ExportError> {
    timm_names(&checkpoint.header.network, &checkpoint.model)
}

fn timm_names(network: &ModelConfig, model: &State) -> Result<State, ExportError> {
    let top = network.taps.len().saturating_sub(1);
    let tap = network.taps.get(top).map_or(0, |tap| tap.layer);
    let layers = network.encoder.layers();
    if tap != layers {
        let layer = network.encoder.layer_name();
        return Err(ExportError::NoTopTap { layer, tap, layers });
    }
    let mut encoder: State = model
        .iter()
        .filter_map(|(name, tensor)| {
            let is_merged = merging(bare(name)).is_some();
            let tensor = if is_merged { column_by_column(tensor) } else { tensor.clone() };
            Some((timm_name(network, name)?, tensor))
        })
        .collect();
    if let EncoderConfig::Vit { dim, .. } = network.encoder
        && network.positions == Positions::Fixed
    {
        let data = positions::sin_cos(dim, network.grid());
        let shape = vec![1, 1 + network.units(), dim];
        encoder.insert("pos_embed".into(), HostTensor { shape, data });
    }
    Ok(encoder)
}

/// timm's name of a parameter; none of what is no part of the encoder.
fn timm_name(network: &ModelConfig, name: &str) -> Option<String> {
    if name.starts_with("decoder.") || name.ends_with("mask_token") {
        return None;
    }
    let name = bare(name);
    let top = network.taps.len().saturating_sub(1);
    if let Some(leaf) = name.strip_prefix(&format!("norm.{top}.")) {
        return Some(format!("norm.{leaf}"));
    }
    if name.starts_with("norm.") {
        return None;
    }
    let is_swin = matches!(network.encoder, EncoderConfig::Swin { .. });
    if is_swin && let Some(leaf) = name.strip_prefix("head.") {
        return Some(format!("head.fc.{leaf}"));
    }
    if let Some((stage, leaf)) = merging(name) {
        return Some(format!("layers.{}.downsample.{leaf}", stage + 1));
    }
    Some(name.to_owned())
}

/// A parameter's name within the encoder.
fn bare(name: &str) -> &str {
    name.strip_prefix("encoder.").unwrap_or(name)
}

/// The stage and the rest of the name of a merging's parameter.
fn merging(name: &str) -> Option<(usize, &str)> {
    let (stage, leaf) = name.strip_prefix("layers.")?.split_once(".downsample.")?;
    Some((stage.parse().ok()?, leaf))
}

/// A merging's parameter, `[…, 4·width]`, whose four tokens come in rows here and in columns there;
/// or the other way round.
pub fn column_by_column(tensor: &HostTensor) -> HostTensor {
    let merged = tensor.shape.last().copied().unwrap_or(4).max(4);
    let mut data = tensor.data.clone();
    for row in data.chunks_exact_mut(merged) {
        let (_, rest) = row.split_at_mut(merged / 4);
        let (second, rest) = rest.split_at_mut(merged / 4);
        second.swap_with_slice(&mut rest[..merged / 4]);
    }
    HostTensor { shape: tensor.shape.clone(), data }
}

/// Writes the encoder of `checkpoint` to `out`, whole or not at all.
///
/// # Errors
/// [`ExportError`] if the encoder has no top norm or the disk refuses.
pub fn export(checkpoint: &Checkpoint, out: &Path) -> Result<(), ExportError> {
    write(&checkpoint.header, to_timm(checkpoint)?, [], out)
}

/// Writes a fine-tuned encoder and its head, of which these are the parameters, to `out`, whole or
/// not at all, with timm's names: the encoder's as in [`to_timm`], and `head.weight`, `head.bias`
/// (a ViT's) or `head.fc.*` (a Swin's). The head takes the mean of the normed patch tokens; its
/// classes are in the metadata.
///
/// # Errors
/// As [`export`].
pub fn export_classifier(
    header: &Header,
    classifier: &State,
    classes: &[String],
    out: &Path,
) -> Result<(), ExportError> {
    let named = timm_names(&alone::config(&header.network), classifier)?;
    let names = serde_json::to_string(classes).expect("names are always JSON");
    let of_head = [
        ("global_pool".to_owned(), "avg".to_owned()),
        ("num_classes".to_owned(), classes.len().to_string()),
        ("classes".to_owned(), names),
    ];
    write(header, named, of_head, out)
}

/// Writes tensors with timm's names, and what tells their network.
fn write<const N: usize>(
    header: &Header,
    tensors: State,
    more: [(String, String); N],
    out: &Path,
) -> Result<(), ExportError> {
    let network = &header.network;
    let list =
        |values: &[usize]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (dim, depths, heads) = match &network.encoder {
        EncoderConfig::Vit { dim, depth, heads, .. } => (*dim, list(&[*depth]), list(&[*heads])),
        EncoderConfig::Swin { dim, depths, heads, .. } => (*dim, list(depths), list(heads)),
    };
    // A name only for what the name stands for.
    let named = header.settings.model;
    let architecture = match &network.encoder {
        encoder if *encoder == named.encoder() => named.name(),
        EncoderConfig::Vit { .. } => "vit",
        EncoderConfig::Swin { .. } => "swin",
    };
    let mut metadata = HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("architecture".to_owned(), architecture.to_owned()),
        ("img_size".to_owned(), network.size.to_string()),
        ("patch_size".to_owned(), network.encoder.patch().to_string()),
        ("embed_dim".to_owned(), dim.to_string()),
        ("depth".to_owned(), depths),
        ("num_heads".to_owned(), heads),
        ("step".to_owned(), header.step.to_string()),
        (HEADER_KEY.to_owned(), serde_json::to_string(header).expect("settings are always JSON")),
    ]);
    metadata.extend(more);
    if let EncoderConfig::Swin { window, .. } = network.encoder {
        metadata.insert("window_size".to_owned(), window.to_string());
    }
    let write = |source| ExportError::Write { path: out.to_owned(), source };
    let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    write_tensors(tensors, metadata, out).map_err(write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceKind;
    use crate::model::init::init;
    use crate::model::{ModelName, Start, TargetKind};
    use crate::settings::{Options, Settings};

    #[test]
    fn a_head_has_the_name_that_timm_gives_it_in_each_family() {
        for (model, expected) in
            [(ModelName::VitTiny16, "head.weight"), (ModelName::SwinTiny7, "head.fc.weight")]
        {
            let network = ModelConfig::local_mim(model.encoder(), 224, TargetKind::Hog, 9);
            let alone = alone::config(&network);
            let mut classifier = alone::parameters(&network, &init(&network, Start::default(), 0));
            let width = alone::width(&network);
            let head = HostTensor { shape: vec![5, width], data: vec![0.5; 5 * width] };
            classifier.insert("head.weight".to_owned(), head.clone());
            let named = timm_names(&alone, &classifier).unwrap();
            let heads: Vec<_> = named.keys().filter(|name| name.starts_with("head.")).collect();
            assert_eq!(heads, [expected]);
            assert_eq!(named[expected], head);
            assert!(named.contains_key("norm.weight"), "{expected}");
        }
    }

    #[test]
    fn an_exported_encoder_is_read_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for model in [ModelName::VitTiny16, ModelName::SwinTiny7] {
            let options = Options { model: Some(model), ..Options::default() };
            let settings = Settings::resolve(options, DeviceKind::Cpu).unwrap();
            let network = ModelConfig::local_mim(model.encoder(), 224, TargetKind::Hog, 9);
            let header = Header::untrained(&settings, network.clone(), String::new());
            let moments = State::new();
            let checkpoint =
                Checkpoint { header, model: init(&network, Start::default(), 5), moments };
            let out = folder.path().join("encoder.safetensors");
            export(&checkpoint, &out).unwrap();
            let (_, back) = find_encoder(&out, &Console::quiet()).unwrap();
            let network = alone::config(&network);
            assert_eq!(back.header.network, network);
            let parameters = |of: &Checkpoint| alone::parameters(&of.header.network, &of.model);
            assert_eq!(parameters(&back), parameters(&checkpoint));
        }
    }
}
