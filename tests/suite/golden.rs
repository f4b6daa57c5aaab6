//! Reference vectors: the project's own and those of the folder named by `LOCALMIM_GOLDEN`.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use trainer::model::state::HostTensor;

/// A reference file in memory.
pub struct Golden {
    pub path: PathBuf,
    bytes: Vec<u8>,
}

impl Golden {
    /// Every reference file that holds a tensor of this name; the project's own are always there.
    pub fn with(tensor: &str) -> Vec<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        let folders = [Some(own), std::env::var_os("LOCALMIM_GOLDEN").map(PathBuf::from)];
        let mut found = vec![];
        for folder in folders.into_iter().flatten() {
            let entries = std::fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            paths.retain(|path| path.extension().is_some_and(|ext| ext == "safetensors"));
            paths.sort();
            for path in paths {
                let golden = Self { bytes: std::fs::read(&path).unwrap(), path };
                if golden.tensors().names().contains(&tensor) {
                    found.push(golden);
                }
            }
        }
        found
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    /// The JSON under `config` in the file's metadata.
    pub fn config<T: serde::de::DeserializeOwned>(&self) -> T {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).unwrap();
        let text = metadata.metadata().as_ref().unwrap().get("config").unwrap().clone();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    /// The names that begin with `prefix`, without it.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let tensors = self.tensors();
        let mut names: Vec<_> = tensors
            .names()
            .iter()
            .filter_map(|name| name.strip_prefix(prefix))
            .map(Into::into)
            .collect();
        names.sort();
        names
    }

    /// A tensor, its numbers as f32.
    pub fn tensor(&self, name: &str) -> HostTensor {
        let tensors = self.tensors();
        let view = tensors
            .tensor(name)
            .unwrap_or_else(|error| panic!("{}: {name}: {error}", self.path.display()));
        let words = view.data().chunks_exact(4).map(|word| <[u8; 4]>::try_from(word).unwrap());
        let data = match view.dtype() {
            Dtype::F32 => words.map(f32::from_le_bytes).collect(),
            Dtype::I32 => words.map(|word| i32::from_le_bytes(word) as f32).collect(),
            Dtype::I64 => {
                let words = view.data().as_chunks().0.iter();
                words.map(|&word| i64::from_le_bytes(word) as f32).collect()
            }
            Dtype::U8 => view.data().iter().map(|&byte| f32::from(byte)).collect(),
            other => panic!("{}: {name} is {other:?}", self.path.display()),
        };
        HostTensor { shape: view.shape().to_vec(), data }
    }

    /// Fails unless every value lies within `tolerance` of the tensor's largest.
    pub fn assert_close(&self, name: &str, found: &[f32], tolerance: f32) {
        let expected = self.tensor(name);
        assert_eq!(found.len(), expected.data.len(), "{}: {name}", self.path.display());
        let largest = expected.data.iter().fold(0f32, |max, x| max.max(x.abs()));
        for (i, (a, b)) in found.iter().zip(&expected.data).enumerate() {
            assert!(
                (a - b).abs() <= tolerance * largest,
                "{}: {name}[{i}] is {a}, but should be {b} (largest {largest})",
                self.path.display()
            );
        }
    }
}
