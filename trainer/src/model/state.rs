//! The parameters on the host, by the names and in the shapes of the authors' PyTorch code.
//!
//! Everything that fills a network or leaves it passes through here: seeded initialisation,
//! checkpoints, exports, the reference vectors of the tests.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView};

use super::ModelConfig;
use super::config::Scale;
use super::kinds::{Decay, HeadKind};
use super::shape::EncoderConfig;

/// A tensor on the host, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// The sizes, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub data: Vec<f32>,
}

impl HostTensor {
    /// A tensor of a safetensors file; none if it is of another type than f32.
    pub fn of_view(view: &TensorView<'_>) -> Option<Self> {
        let words = (view.dtype() == Dtype::F32).then(|| view.data().as_chunks().0.iter())?;
        let data = words.map(|&word| f32::from_le_bytes(word)).collect();
        Some(Self { shape: view.shape().to_vec(), data })
    }
}

/// Parameters by name.
pub type State = BTreeMap<String, HostTensor>;

/// Parameters that do not fit the network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The network has a parameter that the state lacks.
    #[error("parameter `{0}` is missing")]
    Missing(String),
    /// The state has a parameter that the network lacks.
    #[error("parameter `{0}` belongs to another network")]
    Unknown(String),
    /// A parameter of another shape.
    #[error("parameter `{name}` has shape {found:?}, but this network's is {expected:?}")]
    Shape {
        /// The parameter.
        name: String,
        /// The shape in the network, as PyTorch has it.
        expected: Vec<usize>,
        /// The shape in the state.
        found: Vec<usize>,
    },
}

/// How a parameter lies here and how in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[in, out]` here, `[out, in]` there.
    Linear,
    /// `[in, out]` here, `[out, in, 1, 1]` there.
    Pointwise,
    /// `[3·p·p, out]` here, `[out, 3, p, p]` there.
    PatchEmbed,
    /// `[in, 2·2·out]` here, `[in, out, 2, 2]` there.
    Deconv,
    /// A norm's weight; the same in both.
    NormWeight,
    /// A class or mask token, or learned positions; the same in both.
    Token,
    /// A table of relative positions' biases; the same in both.
    Table,
    /// A bias; the same in both.
    Bias,
}

/// One parameter of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamInfo {
    /// The authors' name.
    pub name: String,
    /// How it lies in memory.
    pub kind: Kind,
    /// Its shape here.
    pub shape: Vec<usize>,
}

impl ParamInfo {
    /// Whether weight decay applies: never to biases and norms.
    pub fn decays(&self, decay: Decay) -> bool {
        match self.kind {
            Kind::Linear | Kind::Pointwise | Kind::PatchEmbed | Kind::Deconv => true,
            Kind::Table => decay == Decay::Tables,
            Kind::Token => decay == Decay::Tokens,
            Kind::NormWeight | Kind::Bias => false,
        }
    }

    /// The shape in PyTorch.
    pub fn torch_shape(&self) -> Vec<usize> {
        match (self.kind, self.shape.as_slice()) {
            (Kind::Linear, &[input, output]) => vec![output, input],
            (Kind::Pointwise, &[input, output]) => vec![output, input, 1, 1],
            (Kind::PatchEmbed, &[input, output]) => {
                let patch = (input / 3).isqrt();
                vec![output, 3, patch, patch]
            }
            (Kind::Deconv, &[input, output]) => vec![input, output / 4, 2, 2],
            (_, shape) => shape.to_vec(),
        }
    }

    /// From the layout here to PyTorch's.
    pub fn to_torch(&self, data: Vec<f32>) -> HostTensor {
        let data = match (self.kind, self.shape.as_slice()) {
            (Kind::Linear | Kind::Pointwise | Kind::PatchEmbed, &[rows, columns]) => {
                transpose(&data, rows, columns)
            }
            (Kind::Deconv, &[input, output]) => data
                .chunks(output)
                .take(input)
                .flat_map(|row| transpose(row, 4, output / 4))
                .collect(),
            _ => data,
        };
        HostTensor { shape: self.torch_shape(), data }
    }

    /// From PyTorch's layout to the one here.
    ///
    /// # Errors
    /// [`StateError::Shape`] if the tensor is another parameter's.
    pub fn from_torch(&self, tensor: &HostTensor) -> Result<Vec<f32>, StateError> {
        let expected = self.torch_shape();
        if tensor.shape != expected {
            return Err(StateError::Shape {
                name: self.name.clone(),
                expected,
                found: tensor.shape.clone(),
            });
        }
        Ok(match (self.kind, self.shape.as_slice()) {
            (Kind::Linear | Kind::Pointwise | Kind::PatchEmbed, &[rows, columns]) => {
                transpose(&tensor.data, columns, rows)
            }
            (Kind::Deconv, &[_, output]) => {
                tensor.data.chunks(output).flat_map(|row| transpose(row, output / 4, 4)).collect()
            }
            _ => tensor.data.clone(),
        })
    }
}

/// `[rows, columns]` → `[columns, rows]`.
fn transpose(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| data[row * columns + column])).collect()
}

/// Every parameter of a network, in the order in which it is visited. `model` has its encoder in a
/// field `encoder`, as [`LocalMim`](super::LocalMim) does.
pub fn table<B: Backend, M: Module<B>>(model: &M, config: &ModelConfig) -> Vec<ParamInfo> {
    let mut visitor = Table { config, path: vec![], owner: vec![], params: vec![] };
    model.visit(&mut visitor);
    visitor.params
}

struct Table<'a> {
    config: &'a ModelConfig,
    path: Vec<String>,
    owner: Vec<String>,
    params: Vec<ParamInfo>,
}

impl<B: Backend> ModuleVisitor<B> for Table<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.to_owned());
        self.owner.push(container.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
        self.owner.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let (name, kind) = describe(self.config, &path, self.owner.last().map_or("", |o| o));
        self.params.push(ParamInfo { name, kind, shape: param.shape().to_vec() });
    }
}

/// The authors' name and the kind of the parameter at a path of fields, variants of enums among
/// them.
fn describe(config: &ModelConfig, path: &[&str], owner: &str) -> (String, Kind) {
    let is_weight = path.last() == Some(&"weight");
    let kind = match (owner, is_weight) {
        ("Struct:Linear", true) => Kind::Linear,
        ("Struct:Deconv", true) => Kind::Deconv,
        ("Struct:LayerNorm", true) => Kind::NormWeight,
        ("Struct:Linear" | "Struct:Deconv" | "Struct:LayerNorm", false) => Kind::Bias,
        _ if path.last() == Some(&"relative_position_bias_table") => Kind::Table,
        _ => Kind::Token,
    };
    // The authors' ViT is one module with its decoders; their Swin's encoder stands in one of its
    // own. A decoder keeps what follows its norm in one list, `pred`: for ×4 deconvolution, norm,
    // GELU, deconvolution, projection; for ×2 deconvolution, projection; for a coarser grid
    // pooling, projection; else the projection alone, which Swin's has without a list.
    let vit = matches!(config.encoder, EncoderConfig::Vit { .. });
    match path {
        ["encoder", "Vit", "patch_embed", leaf] => {
            let kind = if is_weight { Kind::PatchEmbed } else { kind };
            (format!("patch_embed.proj.{leaf}"), kind)
        }
        ["encoder", "Vit", rest @ ..] => (rest.join("."), kind),
        ["encoder", "Swin", "patch_embed", "proj", leaf] => {
            let kind = if is_weight { Kind::PatchEmbed } else { kind };
            (format!("encoder.patch_embed.proj.{leaf}"), kind)
        }
        ["encoder", "Swin", rest @ ..] => (format!("encoder.{}", rest.join(".")), kind),
        ["decoder", tap, "Decoder", "rescale", "deconv", step, leaf] => {
            let place = if *step == "0" { 0 } else { 3 };
            (format!("decoder.{tap}.pred.{place}.{leaf}"), kind)
        }
        ["decoder", tap, "Decoder", "rescale", "norm", leaf] => {
            (format!("decoder.{tap}.pred.1.{leaf}"), kind)
        }
        ["decoder", tap, _, "pred", leaf] => {
            let tap_config = tap.parse::<usize>().ok().and_then(|tap| config.taps.get(tap));
            let place = match tap_config.and_then(|tap| config.scale(tap).ok()) {
                Some(Scale::Up4) => Some(4),
                Some(Scale::Up2 | Scale::Down(_)) => Some(1),
                _ if vit && config.head == HeadKind::Decoder => Some(0),
                _ => None,
            };
            match place {
                Some(place) => {
                    let kind = if is_weight { Kind::Pointwise } else { kind };
                    (format!("decoder.{tap}.pred.{place}.{leaf}"), kind)
                }
                None => (format!("decoder.{tap}.pred.{leaf}"), kind),
            }
        }
        ["decoder", tap, "Decoder", rest @ ..] => {
            (format!("decoder.{tap}.{}", rest.join(".")), kind)
        }
        other => (other.join("."), kind),
    }
}

/// Fills a network from `state`.
///
/// # Errors
/// [`StateError`] if a parameter is missing, of another shape, or left over.
pub fn load<B: Backend, M: Module<B>>(
    model: M,
    config: &ModelConfig,
    state: &State,
    device: &B::Device,
) -> Result<M, StateError> {
    let params = table(&model, config);
    if let Some(name) = state.keys().find(|name| !params.iter().any(|param| param.name == **name)) {
        return Err(StateError::Unknown(name.clone()));
    }
    let mut values = Vec::with_capacity(params.len());
    for param in &params {
        let tensor =
            state.get(&param.name).ok_or_else(|| StateError::Missing(param.name.clone()))?;
        values.push(param.from_torch(tensor)?);
    }
    Ok(model.map(&mut Load { values: values.into_iter(), device }))
}

struct Load<'a, B: Backend> {
    values: std::vec::IntoIter<Vec<f32>>,
    device: &'a B::Device,
}

impl<B: Backend> ModuleMapper<B> for Load<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        // One value for each parameter that `table` visited, in the same order.
        let data = self.values.next().unwrap_or_default();
        let tensor = Tensor::from_data(TensorData::new(data, tensor.shape()), self.device);
        Param::from_mapped_value(id, tensor.require_grad(), mapper)
    }
}

/// The parameters of a network.
pub fn save<B: Backend, M: Module<B>>(model: &M, config: &ModelConfig) -> State {
    let mut visitor = Save { params: table(model, config).into_iter(), state: State::new() };
    model.visit(&mut visitor);
    visitor.state
}

struct Save {
    params: std::vec::IntoIter<ParamInfo>,
    state: State,
}

impl<B: Backend> ModuleVisitor<B> for Save {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(info) = self.params.next() {
            let tensor = info.to_torch(to_host(param.val()));
            self.state.insert(info.name, tensor);
        }
    }
}

/// A tensor's values, row-major.
pub fn to_host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().expect("converted to f32 on the line")
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::model::init::init;
    use crate::model::{Coordinates, LocalMim, Precision, Start, TapConfig, TargetKind};

    fn config() -> ModelConfig {
        let tap = |layer, cell| TapConfig { layer, cell };
        let encoder = EncoderConfig::Vit { patch: 8, dim: 16, depth: 4, heads: 2 };
        ModelConfig {
            taps: vec![tap(1, 2), tap(2, 4), tap(3, 8), tap(4, 16)],
            decoder_dim: 16,
            decoder_heads: 2,
            ..ModelConfig::local_mim(encoder, 32, TargetKind::Hog, 9)
        }
    }

    fn swin() -> ModelConfig {
        let encoder = EncoderConfig::Swin {
            patch: 4,
            dim: 16,
            depths: vec![2, 1],
            heads: vec![2, 4],
            window: 4,
            coordinates: Coordinates::Spatial,
        };
        ModelConfig {
            decoder_dim: 16,
            decoder_heads: 2,
            ..ModelConfig::local_mim(encoder, 32, TargetKind::Hog, 9)
        }
    }

    #[test]
    fn a_state_goes_into_a_network_and_comes_out_the_same() {
        for config in [config(), swin()] {
            let state = init(&config, Start::default(), 7);
            let model =
                LocalMim::<Flex>::from_state(&config, Precision::F32, &state, &Default::default())
                    .unwrap();
            assert_eq!(save(&model, &config), state);
            assert_ne!(init(&config, Start::default(), 8), state);
        }
    }

    #[test]
    fn a_state_that_does_not_fit_is_named() {
        let load = |state: &State| {
            LocalMim::<Flex>::from_state(&config(), Precision::F32, state, &Default::default())
                .unwrap_err()
        };
        let mut state = init(&config(), Start::default(), 0);
        let tensor = state.remove("cls_token").unwrap();
        assert_eq!(load(&state), StateError::Missing("cls_token".into()));
        state.insert("cls_token".into(), HostTensor { shape: vec![16], data: tensor.data.clone() });
        assert!(matches!(load(&state), StateError::Shape { .. }));
        state.insert("cls_token".into(), tensor.clone());
        state.insert("head.weight".into(), tensor);
        assert_eq!(load(&state), StateError::Unknown("head.weight".into()));
    }
}
