//! A run's state on disk: one safetensors file a checkpoint, complete or not there at all.
//!
//! Parameters stand under `model.`, AdamW's moments under `optim.`, with the authors' names and
//! PyTorch's shapes; the metadata's `localmim` is a [`Header`] as JSON, `localmim.blake3` the
//! checksum of header and tensors.

mod folder;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use storage::FileWriter;

use crate::data::Position;
use crate::model::ModelConfig;
use crate::model::init::init;
use crate::model::state::{HostTensor, State};
use crate::settings::Settings;
pub use folder::{CheckpointFolder, EVAL_FOLDER, run_of};

/// The version of the checkpoint's form; a reader refuses any other.
pub const CHECKPOINT_VERSION: u32 = 2;

const HEADER_KEY: &str = "localmim";
/// BLAKE3, in hexadecimal, as [`checksum`] makes it. Checkpoints of older releases have none.
const CHECKSUM_KEY: &str = "localmim.blake3";
const MODEL: &str = "model.";
const OPTIM: &str = "optim.";

/// Everything of a checkpoint but its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`CHECKPOINT_VERSION`].
    pub version: u32,
    /// Optimizer steps made.
    pub step: u64,
    /// Steps that AdamW's moments have seen.
    pub optimizer_steps: u64,
    /// The next batch.
    pub position: Position,
    /// The settings of the run.
    pub settings: Settings,
    /// The sizes of the network.
    pub network: ModelConfig,
    /// What identifies the shard set, as [`ShardSet::fingerprint`](shards::ShardSet::fingerprint)
    /// makes it of its shards' checksums and rows.
    pub dataset: String,
}

impl Header {
    /// That of a network that has made no step on the shards that `dataset` identifies.
    pub fn untrained(settings: &Settings, network: ModelConfig, dataset: String) -> Self {
        Self {
            version: CHECKPOINT_VERSION,
            step: 0,
            optimizer_steps: 0,
            position: Position { epoch: 0, batch: 0 },
            settings: settings.clone(),
            network,
            dataset,
        }
    }
}

/// A checkpoint in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Everything but the tensors.
    pub header: Header,
    /// The parameters.
    pub model: State,
    /// AdamW's moments.
    pub moments: State,
}

impl Checkpoint {
    /// That of the network with which training by these settings begins.
    pub fn untrained(settings: &Settings, network: ModelConfig, dataset: String) -> Self {
        Self {
            model: init(&network, settings.start, settings.seed),
            moments: State::new(),
            header: Header::untrained(settings, network, dataset),
        }
    }
}

/// A checkpoint that can't be written or read.
#[derive(Debug, thiserror::Error)]
#[error("checkpoint {}: {reason}{advice}", path.display())]
pub struct CheckpointError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and the way out.
    pub reason: String,
    /// The way out for one who named the file.
    pub advice: &'static str,
}

/// The way out of a damaged checkpoint.
const EARLIER: &str = "; use an earlier one of the run, as --resume without a file does";

fn fail(path: &Path) -> impl Fn(String) -> CheckpointError + '_ {
    |reason| CheckpointError { path: path.to_owned(), reason, advice: "" }
}

impl Checkpoint {
    /// Writes the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// [`CheckpointError`] if the disk refuses; an earlier file of this name is then still whole.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let error = fail(path);
        self.write_to(path).map_err(|source| {
            error(format!("can't be written: {source}; free space or choose another --out"))
        })
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let model = self.model.iter().map(|(name, tensor)| (format!("{MODEL}{name}"), tensor));
        let moments = self.moments.iter().map(|(name, tensor)| (format!("{OPTIM}{name}"), tensor));
        let header = serde_json::to_string(&self.header)?;
        let metadata = HashMap::from([
            (CHECKSUM_KEY.to_owned(), checksum(&header, &self.model, &self.moments)),
            (HEADER_KEY.to_owned(), header),
        ]);
        write_tensors(model.chain(moments), metadata, path)
    }

    /// Reads a checkpoint whole.
    ///
    /// # Errors
    /// [`CheckpointError`] if it can't be read, is cut short or damaged, or of another version.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let error = fail(path);
        let bytes = fs::read(path).map_err(|source| error(format!("can't be read: {source}")))?;
        let broken = |what: String| CheckpointError {
            advice: EARLIER,
            ..error(format!("is damaged or no checkpoint of trainer ({what})"))
        };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|source| broken(source.to_string()))?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let text = metadata
            .get(HEADER_KEY)
            .ok_or_else(|| broken(format!("no `{HEADER_KEY}` in its metadata")))?;
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } =
            serde_json::from_str(text).map_err(|source| broken(source.to_string()))?;
        if version != CHECKPOINT_VERSION {
            return Err(error(format!(
                "has version {version}, but this program reads version {CHECKPOINT_VERSION}; use the release that wrote it"
            )));
        }
        let header: Header =
            serde_json::from_str(text).map_err(|source| broken(source.to_string()))?;
        // Else a checksum whose name is damaged would not be missed.
        if let Some(key) = metadata.keys().find(|key| *key != HEADER_KEY && *key != CHECKSUM_KEY) {
            return Err(broken(format!("unknown `{key}` in its metadata")));
        }
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|source| broken(source.to_string()))?;
        let (mut model, mut moments) = (State::new(), State::new());
        for (name, view) in tensors.iter() {
            let tensor = HostTensor::of_view(&view)
                .ok_or_else(|| broken(format!("`{name}` is {:?}", view.dtype())))?;
            if let Some(name) = name.strip_prefix(MODEL) {
                model.insert(name.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix(OPTIM) {
                moments.insert(name.to_owned(), tensor);
            } else {
                return Err(broken(format!("unknown tensor `{name}`")));
            }
        }
        let expected = metadata.get(CHECKSUM_KEY);
        if expected.is_some_and(|expected| *expected != checksum(text, &model, &moments)) {
            return Err(broken("its checksum differs".to_owned()));
        }
        Ok(Self { header, model, moments })
    }
}

/// BLAKE3 over the header's text and every tensor's name, sizes and values.
fn checksum(header: &str, model: &State, moments: &State) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    part(header.as_bytes());
    for (prefix, state) in [(MODEL, model), (OPTIM, moments)] {
        for (name, tensor) in state {
            part(prefix.as_bytes());
            part(name.as_bytes());
            let shape: Vec<_> =
                tensor.shape.iter().flat_map(|&size| (size as u64).to_le_bytes()).collect();
            part(&shape);
            part(bytemuck::cast_slice(&tensor.data));
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Writes named f32 tensors as safetensors, whole or not at all.
pub(crate) fn write_tensors<'a>(
    tensors: impl Iterator<Item = (String, &'a HostTensor)>,
    metadata: HashMap<String, String>,
    path: &Path,
) -> io::Result<()> {
    let views: Result<Vec<_>, _> = tensors
        .map(|(name, tensor)| {
            let bytes = bytemuck::cast_slice(&tensor.data);
            TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map(|view| (name, view))
        })
        .collect();
    let views = views.map_err(io::Error::other)?;
    let file = FileWriter::create(path)?;
    safetensors::serialize_to_file(views, Some(metadata), file.unfinished())
        .map_err(io::Error::other)?;
    file.finish()
}

#[cfg(test)]
mod tests {
    use schemas::ShardLayout;

    use super::*;
    use crate::device::DeviceKind;
    use crate::settings::Options;

    pub fn checkpoint(step: u64) -> Checkpoint {
        let settings = Settings::resolve(Options::default(), DeviceKind::Cpu).unwrap();
        let network = settings.network(&ShardLayout::new(224, vec![4], 9).unwrap()).unwrap();
        let tensor =
            HostTensor { shape: vec![2, 2], data: vec![1.5, -2.0, f32::MIN_POSITIVE, 0.1] };
        Checkpoint {
            header: Header {
                version: CHECKPOINT_VERSION,
                step,
                optimizer_steps: step,
                position: Position { epoch: 1, batch: 3 },
                settings,
                network,
                dataset: "00".into(),
            },
            model: State::from([("a.weight".into(), tensor.clone())]),
            moments: State::from([("exp_avg.a.weight".into(), tensor)]),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let mut checkpoint = checkpoint(5);
        // To the last bit: a run is taken up only with the settings that it began with.
        for steps in 1000..2000 {
            checkpoint.header.settings.warmup_epochs = 0.1 * f64::from(steps) / 3125.0;
            checkpoint.header.settings.lr = 1.0 / f64::from(steps);
            let text = serde_json::to_string(&checkpoint.header).unwrap();
            assert_eq!(serde_json::from_str::<Header>(&text).unwrap(), checkpoint.header);
        }
        checkpoint.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
    }

    #[test]
    fn a_byte_that_changed_anywhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        checkpoint(5).write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let error = Checkpoint::read(&path).expect_err(&format!("byte {at} changed"));
            assert_eq!(error.path, path);
        }
        // A value: what only a checksum can notice.
        let mut bytes = whole;
        *bytes.last_mut().unwrap() ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let error = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(error.contains("x.safetensors") && error.contains("checksum"), "{error}");
        assert!(error.contains("earlier one"), "{error}");
    }

    #[test]
    fn a_checkpoint_from_before_checksums_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let checkpoint = checkpoint(5);
        let tensors = [(MODEL, &checkpoint.model), (OPTIM, &checkpoint.moments)];
        let tensors = tensors.into_iter().flat_map(|(prefix, state)| {
            state.iter().map(move |(name, tensor)| (format!("{prefix}{name}"), tensor))
        });
        let header = serde_json::to_string(&checkpoint.header).unwrap();
        let metadata = HashMap::from([(HEADER_KEY.to_owned(), header)]);
        write_tensors(tensors, metadata, &path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
    }
}
