//! The file of a codebook → what finds each patch's nearest code.

use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use schemas::CodebookLayout;
use targets::{PatchInput, Projection, TargetError, View};

/// The key in the file's metadata that says what is looked up of a patch.
const INPUT: &str = "input";

/// A codebook as a file gives it, and what tells it from every other.
#[derive(Debug, Clone)]
pub struct Codebook {
    layout: CodebookLayout,
    codes: Arc<targets::Codebook>,
}

impl Codebook {
    /// Reads a safetensors file of 32-bit floats:
    ///
    /// - `codes` `[codes, dim]`, 2 to 65,536 of them;
    /// - optionally `weight`, and `bias` `[dim]`, a linear map of a patch to the space of the
    ///   codes: `[dim, patch²·3]` with a patch's pixels ordered (row, column, channel), or
    ///   `[dim, 3, patch, patch]` as a convolution's kernel has it. Without it dim is patch²·3.
    ///
    /// The metadata's `input` says what a patch is: `imagenet` (also where it is not there), its
    /// pixels normalised by ImageNet's statistics, or `normalised`, the same less the patch's mean,
    /// over its deviation.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("can't be read: {error}"))?;
        Self::parse(&bytes)
    }

    /// Reads the bytes of such a file.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wrong = |error| format!("is no safetensors file: {error}");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(wrong)?;
        let file = SafeTensors::deserialize(bytes).map_err(wrong)?;
        let metadata = header.metadata().as_ref();
        let input = match metadata.and_then(|metadata| metadata.get(INPUT)).map(String::as_str) {
            None | Some("imagenet") => PatchInput::Imagenet,
            Some("normalised") => PatchInput::Normalised,
            Some(other) => {
                return Err(format!(
                    "has `{other}` as `{INPUT}` in its metadata; it must be imagenet or normalised"
                ));
            }
        };
        let names = file.names();
        let find = |name: &str| file.tensor(name).ok();
        let codes = find("codes").ok_or_else(|| {
            format!("has no tensor `codes` [codes, dim]; its tensors are {}", names.join(", "))
        })?;
        let dim = match *codes.shape() {
            [_, dim] if dim > 0 => dim,
            ref other => return Err(format!("`codes` must be [codes, dim], not {other:?}")),
        };
        let (patch, projection) = match (find("weight"), find("bias")) {
            (None, None) => (patch_of(dim).ok_or_else(|| no_patch("codes", dim))?, None),
            (Some(weight), bias) => {
                let (patch, projection) = projection(&weight, bias.as_ref(), dim)?;
                (patch, Some(projection))
            }
            (None, Some(_)) => {
                return Err("has a `bias` but no `weight`; give both, or none".into());
            }
        };
        let codes = floats("codes", &codes)?;
        let codes = targets::Codebook::new(patch, input, projection, codes)
            .map_err(|error| error.to_string())?;
        let layout = CodebookLayout {
            cell: u32::try_from(codes.patch()).map_err(|_| no_patch("codes", dim))?,
            // 65,536 at most.
            codes: codes.count() as u32,
            blake3: blake3::hash(bytes).to_hex().to_string(),
        };
        Ok(Self { layout, codes: Arc::new(codes) })
    }

    /// Codebooks by rising patch, as settings have them.
    pub fn by_patch(mut codebooks: Vec<Self>) -> Vec<Self> {
        codebooks.sort_by_key(|codebook| codebook.layout.cell);
        codebooks
    }

    /// What tells it from every other, as the settings of a set name it.
    pub fn layout(&self) -> &CodebookLayout {
        &self.layout
    }

    /// `[grid²]`: the nearest code of each patch of a view, in rows.
    ///
    /// # Errors
    /// [`TargetError::Cell`] if patches do not tile the view.
    pub fn nearest(&self, view: View<'_>) -> Result<Vec<u16>, TargetError> {
        self.codes.nearest(view)
    }
}

/// The linear map to `dim` values, and the side of the patches that it takes.
fn projection(
    weight: &TensorView<'_>,
    bias: Option<&TensorView<'_>>,
    dim: usize,
) -> Result<(usize, Projection), String> {
    let values = floats("weight", weight)?;
    let (patch, values) = match *weight.shape() {
        [rows, pixels] if rows == dim => {
            (patch_of(pixels).ok_or_else(|| no_patch("weight", pixels))?, values)
        }
        [rows, 3, height, width] if rows == dim && height == width && height > 1 => {
            (height, values.chunks(height * width * 3).flat_map(channels_last).collect())
        }
        _ => {
            return Err(format!(
                "`weight` must be [{dim}, patch²·3] or [{dim}, 3, patch, patch], for the codes have {dim} values, but is {:?}",
                weight.shape()
            ));
        }
    };
    let bias = match bias {
        None => vec![0.0; dim],
        Some(bias) if bias.shape() == [dim] => floats("bias", bias)?,
        Some(bias) => return Err(format!("`bias` must be [{dim}], not {:?}", bias.shape())),
    };
    Ok((patch, Projection { weight: values, bias }))
}

/// (channel, row, column) → (row, column, channel).
fn channels_last(kernel: &[f32]) -> Vec<f32> {
    let plane = kernel.len() / 3;
    (0..kernel.len()).map(|i| kernel[i % 3 * plane + i / 3]).collect()
}

/// The side of a patch that has so many values.
fn patch_of(values: usize) -> Option<usize> {
    let patch = (values / 3).isqrt();
    (patch > 1 && patch * patch * 3 == values).then_some(patch)
}

fn no_patch(name: &str, values: usize) -> String {
    format!(
        "`{name}` has rows of {values} values, which is no patch²·3 of a patch of at least 2 pixels"
    )
}

fn floats(name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>, String> {
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("`{name}` must be of 32-bit floats, not {:?}", tensor.dtype()));
    }
    let (values, _) = tensor.data().as_chunks();
    Ok(values.iter().map(|&value| f32::from_le_bytes(value)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    type Tensor<'a> = (&'a str, Vec<usize>, Vec<f32>);

    fn file(tensors: &[Tensor<'_>], input: Option<&str>) -> Vec<u8> {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        let metadata = input.map(|input| HashMap::from([(INPUT.to_owned(), input.to_owned())]));
        safetensors::serialize(views, metadata).unwrap()
    }

    fn ramp(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn a_file_says_patch_and_codes() {
        let bytes = file(&[("codes", vec![5, 48], ramp(5 * 48))], None);
        let layout = Codebook::parse(&bytes).unwrap().layout().clone();
        assert_eq!((layout.cell, layout.codes), (4, 5));
        assert_eq!(layout.blake3, blake3::hash(&bytes).to_hex().to_string());
        let other = file(&[("codes", vec![5, 48], ramp(5 * 48))], Some("normalised"));
        assert_ne!(Codebook::parse(&other).unwrap().layout().blake3, layout.blake3);
    }

    #[test]
    fn a_kernel_is_read_as_the_linear_map_that_it_is() {
        let codes = ("codes", vec![7, 2], ramp(14));
        let rows = ramp(2 * 48);
        let kernel: Vec<f32> = rows
            .chunks(48)
            .flat_map(|row| {
                (0..3).flat_map(move |channel| (0..16).map(move |at| row[at * 3 + channel]))
            })
            .collect();
        let bias = ("bias", vec![2], vec![0.1, -0.2]);
        let flat = file(&[codes.clone(), ("weight", vec![2, 48], rows), bias.clone()], None);
        let deep = file(&[codes, ("weight", vec![2, 3, 4, 4], kernel), bias], None);
        let rgb: Vec<u8> = (0..16 * 16 * 3).map(|i| (i * i / 5 + i) as u8).collect();
        let view = View::new(&rgb, 16).unwrap();
        let found = [flat, deep].map(|bytes| Codebook::parse(&bytes).unwrap().nearest(view));
        assert_eq!(found[0], found[1]);
        let codes = found[0].as_ref().unwrap();
        assert!(codes.iter().any(|code| *code != codes[0]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let codes = || ("codes", vec![5, 48], ramp(5 * 48));
        let cases: [(Vec<u8>, &str); 12] = [
            (b"not safetensors".to_vec(), "no safetensors file"),
            (file(&[("code", vec![5, 48], ramp(240))], None), "are code"),
            (file(&[("codes", vec![240], ramp(240))], None), "[codes, dim]"),
            (file(&[("codes", vec![5, 47], ramp(235))], None), "no patch²·3"),
            (file(&[("codes", vec![1, 48], ramp(48))], None), "2 to 65536"),
            (file(&[("codes", vec![5, 0], vec![])], None), "[codes, dim]"),
            (
                file(&[codes(), ("weight", vec![48, 3, 0, 0], vec![])], None),
                "[48, 3, patch, patch]",
            ),
            (file(&[("codes", vec![2, 48], [1e30; 96].to_vec())], None), "no finite number"),
            (file(&[codes()], Some("lab")), "`lab`"),
            (file(&[codes(), ("bias", vec![48], ramp(48))], None), "no `weight`"),
            (file(&[codes(), ("weight", vec![47, 48], ramp(47 * 48))], None), "[48, patch²·3]"),
            (
                file(
                    &[codes(), ("weight", vec![48, 48], ramp(48 * 48)), ("bias", vec![3], ramp(3))],
                    None,
                ),
                "`bias` must be [48]",
            ),
        ];
        for (bytes, expected) in cases {
            let error = Codebook::parse(&bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
