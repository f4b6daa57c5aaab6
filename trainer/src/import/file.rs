//! A file of weights → its tensors by name, their values not yet read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use half::{bf16, f16};
use pytorch_reader::{DType, PickleError, PytorchError, PytorchReader};
use safetensors::{Dtype, SafeTensors};

/// Makes values of a tensor's bytes.
type Convert = fn(&[u8]) -> Vec<f32>;

/// A tensor of a file.
pub struct Stored {
    /// The sizes, outermost first.
    pub shape: Vec<usize>,
    /// Its type as the file calls it.
    dtype: String,
    values: Values,
}

type Read32 = Box<dyn Fn() -> Result<Vec<f32>, String>>;

enum Values {
    /// Of floating point, row-major.
    Floats(Read32),
    /// Indices, masks, quantised weights.
    Others,
}

/// Tensors by their names in the file.
pub type Listing = BTreeMap<String, Stored>;

impl Stored {
    /// Whether the values are of floating point; others are no parameters as they stand.
    pub fn is_float(&self) -> bool {
        matches!(self.values, Values::Floats(_))
    }

    /// The values, row-major.
    ///
    /// # Errors
    /// Why they can't be had, or are no numbers.
    pub fn read(&self) -> Result<Vec<f32>, String> {
        let Values::Floats(read) = &self.values else {
            return Err(format!(
                "is {}, as weights are that were quantised; save it as float32",
                self.dtype
            ));
        };
        let values = read()?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err("holds values that are no finite numbers in float32".into()),
        }
    }
}

/// The tensors of a file.
///
/// # Errors
/// Why it can't be read, and the way out.
pub fn open(path: &Path) -> Result<Listing, String> {
    if path.is_dir() {
        return Err("is a folder; name the file of weights in it".into());
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(64).read_to_end(&mut start))
        .map_err(|error| error.to_string())?;
    // A safetensors file begins with its header's length and the header's brace.
    if start.get(8) == Some(&b'{') {
        return safetensors(path);
    }
    if let Some(what) = no_weights(&start) {
        return Err(what.into());
    }
    pytorch(path)
}

/// What a file is, by its first bytes, that is often met in the place of weights.
fn no_weights(start: &[u8]) -> Option<&'static str> {
    let text = start.trim_ascii_start();
    if text.starts_with(b"version https://git-lfs") {
        return Some("is Git LFS's pointer to the weights; fetch them with git lfs pull");
    }
    if text.starts_with(b"<") {
        return Some("is a web page, as a failed download leaves; download the file anew");
    }
    if text.starts_with(b"{") {
        return Some(
            "is JSON, as the index of weights in several files is; load those with PyTorch and save all their parameters in one file",
        );
    }
    start.is_empty().then_some("is empty; download the file anew")
}

fn safetensors(path: &Path) -> Result<Listing, String> {
    let bytes = Arc::new(std::fs::read(path).map_err(|error| error.to_string())?);
    let broken = |error| format!("can't be read as safetensors ({error}); download the file anew");
    let tensors = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let listing = tensors.iter().map(|(name, view)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        let first = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        let range = first..first + view.data().len();
        let convert: Option<Convert> = match dtype {
            Dtype::F16 => Some(from_f16),
            Dtype::BF16 => Some(from_bf16),
            Dtype::F32 => Some(from_f32),
            Dtype::F64 => Some(from_f64),
            _ => None,
        };
        let values = convert.map_or(Values::Others, |convert| {
            let bytes = bytes.clone();
            Values::Floats(Box::new(move || Ok(convert(&bytes[range.clone()]))))
        });
        (name.to_owned(), Stored { shape, dtype: format!("{dtype:?}"), values })
    });
    Ok(listing.collect())
}

fn pytorch(path: &Path) -> Result<Listing, String> {
    let reader = PytorchReader::new(path).map_err(|error| {
        let path = path.display();
        if matches!(error, PytorchError::Zip(_) | PytorchError::Io(_)) {
            return format!("can't be read ({error}); download the file anew");
        }
        if let PytorchError::Pickle(PickleError::UnsupportedType(what)) = &error {
            return format!(
                "holds a {what}, which is no tensor of plain numbers: save all parameters with PyTorch as dense float32, as .dequantize() and .to_dense() make them"
            );
        }
        format!(
            "can't be read as PyTorch's or safetensors ({error}); save the parameters alone, as in torch.save({{'model': torch.load('{path}', weights_only=False)['model']}}, 'weights.pth'), if you trust the file"
        )
    })?;
    let listing = reader.into_tensors().into_iter().map(|(name, tensor)| {
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        let convert: Option<Convert> = match dtype {
            DType::F16 => Some(from_f16),
            DType::BF16 => Some(from_bf16),
            DType::F32 => Some(from_f32),
            DType::F64 => Some(from_f64),
            _ => None,
        };
        let values = convert.map_or(Values::Others, |convert| {
            Values::Floats(Box::new(move || {
                let bytes = tensor.read().map_err(|error| format!("can't be read: {error}"))?;
                Ok(convert(&bytes))
            }))
        });
        (name, Stored { shape, dtype: format!("{dtype:?}"), values })
    });
    Ok(listing.collect())
}

fn from_f16(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&word| f16::from_le_bytes(word).to_f32()).collect()
}

fn from_bf16(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&word| bf16::from_le_bytes(word).to_f32()).collect()
}

fn from_f32(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

fn from_f64(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&word| f64::from_le_bytes(word) as f32).collect()
}
