//! The one place where evaluation touches the network: a frozen encoder of whole views.

use std::path::Path;

use burn::tensor::Tensor;
use kernels::Kernels;
use targets::{TargetError, View};

use super::EncodeError;
use crate::checkpoint::Checkpoint;
use crate::data::sample::cut_patches;
use crate::model::input::DevicePlan;
use crate::model::swin::BlockAttention;
use crate::model::windows::Windows;
use crate::model::{Encoder, EncoderAlone, EncoderInput, ModelConfig, Precision, alone, state};

/// What a feature is, for reports.
pub const FEATURE: &str =
    "mean over all patches of the latents after the topmost tap's norm, without the class token";

/// Of which layers a view's features are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Layers {
    /// The one that is exported: after the topmost tap
    Top,
    /// Each block, or stage of a Swin, up to the topmost tap; where there is no tap, latents are
    /// normed without weights
    All,
}

impl Layers {
    /// These layers of a network, counted from 1, with the width of each one's feature.
    pub fn of(self, network: &ModelConfig) -> Vec<(usize, usize)> {
        let top = alone::top(network);
        let layers = match self {
            Self::Top => top,
            Self::All => (1..=top.last().copied().unwrap_or(0)).collect(),
        };
        layers.into_iter().map(|layer| (layer, network.encoder.latent(layer).dim)).collect()
    }
}

/// How the tokens of one view look at each other in one block: each at those of its own window. A
/// ViT has one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Heads of the block.
    pub heads: usize,
    /// Patches of the block along a side of the view; a Swin has fewer from stage to stage.
    pub grid: usize,
    /// Whether a class token stands before the patches of each window.
    pub class: bool,
    /// The windows.
    pub windows: Vec<Window>,
}

/// The attention among the tokens of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Its patches, each one's number in rows.
    pub patches: Vec<usize>,
    /// Its tokens: the class token, if there is one, and its patches.
    pub tokens: usize,
    /// `[heads, queries, keys]`; a query's weights add up to 1.
    pub weights: Vec<f32>,
}

impl Window {
    /// One head's map `[queries, keys]`.
    pub fn head(&self, head: usize) -> &[f32] {
        let each = self.tokens * self.tokens;
        &self.weights[head * each..][..each]
    }
}

/// An encoder that sees every patch of a view, in f32.
#[derive(Debug, Clone)]
pub struct Frozen<B: Kernels> {
    model: EncoderAlone<B>,
    network: ModelConfig,
    windows: Option<DevicePlan<B>>,
    device: B::Device,
}

impl<B: Kernels> Frozen<B> {
    /// The encoder of a checkpoint, for features of these layers; `path` names it in errors.
    ///
    /// # Errors
    /// [`EncodeError::State`] if the parameters do not fit the checkpoint's own sizes.
    pub fn new(
        checkpoint: &Checkpoint,
        layers: Layers,
        path: &Path,
        device: &B::Device,
    ) -> Result<Self, EncodeError> {
        let network = &checkpoint.header.network;
        let taps: Vec<usize> = layers.of(network).into_iter().map(|(layer, _)| layer).collect();
        let model = EncoderAlone::new(network, &taps, &checkpoint.model, Precision::F32, device)
            .map_err(|source| EncodeError::State { path: path.to_owned(), source })?;
        Ok(Self {
            model,
            windows: EncoderAlone::windows(network, device),
            network: network.clone(),
            device: device.clone(),
        })
    }

    /// Units along a side of a view: a ViT's patches.
    pub fn grid(&self) -> usize {
        self.network.grid()
    }

    /// Appends a view, size·size·3 bytes, to `input` as the network takes it.
    ///
    /// # Errors
    /// [`TargetError`] if the picture has another size.
    pub fn cut(&self, picture: &[u8], input: &mut Vec<f32>) -> Result<(), TargetError> {
        cut_whole(&self.network, picture, input)
    }

    /// The features `[views, dim]` of views that [`cut`](Self::cut) prepared; those of several layers
    /// one behind the other.
    pub fn features(&self, input: Vec<f32>) -> Vec<f32> {
        let layers = self.model.features(self.input(input)).into_iter();
        let layers: Vec<_> = layers.map(|layer| (layer.dims()[2], state::to_host(layer))).collect();
        let views = layers.first().map_or(0, |(dim, values)| values.len() / dim);
        let of_view = |view: usize| {
            layers.iter().flat_map(move |(dim, values)| &values[view * dim..][..*dim])
        };
        (0..views).flat_map(of_view).copied().collect()
    }

    /// The attention of one view that [`cut`](Self::cut) prepared, in each block.
    pub fn attention(&self, input: Vec<f32>) -> Vec<Attention> {
        let input = self.input(input);
        match &self.model.encoder {
            Encoder::Vit(vit) => {
                let grid = self.network.grid();
                let of_block = |weights: Tensor<B, 4>| {
                    let [_, heads, tokens, _] = weights.dims();
                    let patches = (0..grid * grid).collect();
                    let window = Window { patches, tokens, weights: state::to_host(weights) };
                    Attention { heads, grid, class: true, windows: vec![window] }
                };
                vit.attention(input).into_iter().map(of_block).collect()
            }
            Encoder::Swin(swin) => {
                let windows = Windows::of(&self.network.encoder, self.network.size)
                    .expect("a Swin has windows");
                let of_block = |block| of_windows(&windows, block);
                swin.attention(input, &windows.whole()).into_iter().map(of_block).collect()
            }
        }
    }

    fn input(&self, input: Vec<f32>) -> EncoderInput<B> {
        EncoderInput::whole(&self.network, input, self.windows.clone(), &self.device)
    }
}

/// The attention of a Swin's block.
fn of_windows<B: Kernels>(windows: &Windows, block: BlockAttention<B>) -> Attention {
    let in_rows = windows.in_rows(block.stage);
    let heads = block.windows.first().map_or(0, |(_, weights)| weights.dims()[0]);
    let all = block.windows.into_iter().map(|(members, weights)| {
        let patches: Vec<usize> =
            members.into_iter().map(|token| in_rows[token as usize]).collect();
        Window { tokens: patches.len(), patches, weights: state::to_host(weights) }
    });
    Attention { heads, grid: in_rows.len().isqrt(), class: false, windows: all.collect() }
}

/// Appends a view, size·size·3 bytes, to `input` as a network takes it: all patches, unit by unit.
///
/// # Errors
/// [`TargetError`] if the picture has another size.
pub fn cut_whole(
    network: &ModelConfig,
    picture: &[u8],
    input: &mut Vec<f32>,
) -> Result<(), TargetError> {
    let view = View::new(picture, network.size)?;
    let start = input.len();
    input.resize(start + 3 * network.size * network.size, 0.0);
    let all: Vec<i32> = (0..network.units() as i32).collect();
    let (patch, unit) = (network.encoder.patch(), network.encoder.unit());
    cut_patches(view, patch, unit, &all, &mut input[start..]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use schemas::ShardLayout;

    use super::*;
    use crate::checkpoint::Header;
    use crate::device::DeviceKind;
    use crate::model::init::init;
    use crate::model::{HeadKind, MaskedInput, ModelName, Start};
    use crate::settings::{Options, Settings};

    const SIZE: usize = 64;

    fn encoder(options: Options, layers: Layers) -> (Frozen<Flex>, Vec<(usize, usize)>) {
        let settings = Settings::resolve(options, DeviceKind::Cpu).unwrap();
        let network =
            settings.network(&ShardLayout::new(SIZE as u32, vec![4], 9).unwrap()).unwrap();
        let (model, dims) = (init(&network, Start::default(), 3), layers.of(&network));
        let header = Header::untrained(&settings, network, String::new());
        let checkpoint = Checkpoint { header, model, moments: Default::default() };
        (Frozen::new(&checkpoint, layers, Path::new("x"), &Default::default()).unwrap(), dims)
    }

    #[test]
    fn the_last_of_all_layers_is_the_top_and_each_has_features_of_its_own() {
        let top_only = Options { taps: Some("top".parse().unwrap()), ..Options::default() };
        for options in [Options::default(), top_only, swin(vec![1; 4])] {
            let (all, dims) = encoder(options.clone(), Layers::All);
            let (top, of_top) = encoder(options, Layers::Top);
            assert_eq!(dims.last(), of_top.last());
            let mut input = Vec::new();
            all.cut(&picture(1), &mut input).unwrap();
            let (all, top) = (all.features(input.clone()), top.features(input));
            assert_eq!(all.len(), dims.iter().map(|(_, dim)| dim).sum::<usize>());
            assert_eq!(all[all.len() - top.len()..], top);
            let first = dims[0].1;
            assert_ne!(all[..first], all[first..2 * first]);
        }
    }

    fn picture(seed: usize) -> Vec<u8> {
        (0..SIZE * SIZE * 3).map(|i| (i * (seed + 7) % 251) as u8).collect()
    }

    #[test]
    fn a_views_feature_does_not_depend_on_the_views_beside_it() {
        let tokens = Options {
            masked: Some(MaskedInput::Token),
            head: Some(HeadKind::Linear),
            taps: Some("top".parse().unwrap()),
            ..Options::default()
        };
        for options in [Options::default(), swin(vec![1; 4]), tokens] {
            let (encoder, dims) = encoder(options, Layers::Top);
            let dim = dims[0].1;
            let of = |seeds: &[usize]| {
                let mut input = Vec::new();
                seeds.iter().for_each(|&seed| encoder.cut(&picture(seed), &mut input).unwrap());
                encoder.features(input)
            };
            let both = of(&[1, 2]);
            assert_eq!(both.len(), 2 * dim);
            let alone = [of(&[1]), of(&[2])].concat();
            for (a, b) in both.iter().zip(&alone) {
                assert!((a - b).abs() < 1e-4, "{a} and {b}");
            }
            assert!(alone[..dim] != alone[dim..], "two views differ");
            assert!(encoder.cut(&[0; 12], &mut vec![]).is_err());
        }
    }

    #[test]
    fn a_querys_attention_adds_up_to_one() {
        let (encoder, _) = encoder(Options::default(), Layers::Top);
        let mut input = Vec::new();
        encoder.cut(&picture(1), &mut input).unwrap();
        let blocks = encoder.attention(input);
        assert_eq!(blocks.len(), 12);
        for block in blocks {
            let [window] = block.windows.as_slice() else { panic!("a ViT has one window") };
            assert_eq!((block.heads, block.grid, window.tokens), (3, 4, 17));
            assert_adds_up(&block);
        }
    }

    fn assert_adds_up(block: &Attention) {
        for window in &block.windows {
            for row in (0..block.heads).flat_map(|head| window.head(head).chunks(window.tokens)) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
            }
        }
    }

    #[test]
    fn each_patch_of_a_swin_looks_at_those_of_one_window() {
        let (encoder, _) = encoder(swin(vec![2; 4]), Layers::Top);
        let mut input = Vec::new();
        encoder.cut(&picture(1), &mut input).unwrap();
        let blocks = encoder.attention(input);
        let grids: Vec<usize> = blocks.iter().map(|block| block.grid).collect();
        assert_eq!(grids, [16, 16, 8, 8, 4, 4, 2, 2]);
        for (number, block) in blocks.iter().enumerate() {
            assert_adds_up(block);
            // Every other block's windows are shifted, where there are several.
            let lead = if number % 2 == 1 && block.grid > 7 { 4 } else { 0 };
            let of =
                |patch: usize| ((patch / block.grid + lead) / 7, (patch % block.grid + lead) / 7);
            let mut all: Vec<usize> = vec![];
            for window in &block.windows {
                assert!(window.patches.iter().all(|&patch| of(patch) == of(window.patches[0])));
                all.extend(&window.patches);
            }
            all.sort_unstable();
            assert!(all.into_iter().eq(0..block.grid * block.grid));
        }
    }

    fn swin(depths: Vec<usize>) -> Options {
        Options {
            model: Some(ModelName::SwinTiny7),
            width: Some(16),
            depths: Some(depths),
            heads: Some(vec![1, 2, 2, 2]),
            mask_ratio: Some(0.5),
            ..Options::default()
        }
    }
}
