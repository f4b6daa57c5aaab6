//! The one place where evaluation touches the network: a frozen encoder of whole views.

use std::path::{Path, PathBuf};

use kernels::Kernels;
use targets::{TargetError, View};

use super::EncodeError;
use crate::checkpoint::Checkpoint;
use crate::data::sample::cut_patches;
use crate::model::input::DevicePlan;
use crate::model::{Encoder, EncoderAlone, EncoderInput, ModelConfig, Precision, alone, state};

/// What a feature is, for reports.
pub const FEATURE: &str =
    "mean over all patches of the latents after the topmost tap's norm, without the class token";

/// How the tokens of one view look at each other in one block. Token 0 is the class token, the
/// others are the patches in rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Heads of the block.
    pub heads: usize,
    /// Tokens of the view.
    pub tokens: usize,
    /// `[heads, queries, keys]`; a query's weights add up to 1.
    pub weights: Vec<f32>,
}

impl Attention {
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
    path: PathBuf,
}

impl<B: Kernels> Frozen<B> {
    /// The encoder of a checkpoint; `path` names it in errors.
    ///
    /// # Errors
    /// [`EncodeError::State`] if the parameters do not fit the checkpoint's own sizes.
    pub fn new(
        checkpoint: &Checkpoint,
        path: &Path,
        device: &B::Device,
    ) -> Result<Self, EncodeError> {
        let network = &checkpoint.header.network;
        let model = EncoderAlone::new(network, &checkpoint.model, Precision::F32, device)
            .map_err(|source| EncodeError::State { path: path.to_owned(), source })?;
        Ok(Self {
            model,
            windows: EncoderAlone::windows(network, device),
            network: network.clone(),
            device: device.clone(),
            path: path.to_owned(),
        })
    }

    /// Numbers a feature.
    pub fn dim(&self) -> usize {
        alone::width(&self.network)
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

    /// The features `[views, dim]` of views that [`cut`](Self::cut) prepared.
    pub fn features(&self, input: Vec<f32>) -> Vec<f32> {
        state::to_host(self.model.features(self.input(input)))
    }

    /// The attention of one view that [`cut`](Self::cut) prepared, in each block.
    ///
    /// # Errors
    /// [`EncodeError::NoAttention`] for a Swin, whose attention is one of many windows.
    pub fn attention(&self, input: Vec<f32>) -> Result<Vec<Attention>, EncodeError> {
        let Encoder::Vit(vit) = &self.model.encoder else {
            return Err(EncodeError::NoAttention { path: self.path.clone() });
        };
        let blocks = vit.attention(self.input(input)).into_iter();
        Ok(blocks
            .map(|weights| {
                let [_, heads, tokens, _] = weights.dims();
                Attention { heads, tokens, weights: state::to_host(weights) }
            })
            .collect())
    }

    fn input(&self, input: Vec<f32>) -> EncoderInput<B> {
        EncoderInput::whole(&self.network, input, self.windows.clone(), &self.device)
    }
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

    fn encoder(options: Options) -> Frozen<Flex> {
        let settings = Settings::resolve(options, DeviceKind::Cpu).unwrap();
        let network =
            settings.network(&ShardLayout::new(SIZE as u32, vec![4], 9).unwrap()).unwrap();
        let model = init(&network, Start::default(), 3);
        let header = Header::untrained(&settings, network, String::new());
        let checkpoint = Checkpoint { header, model, moments: Default::default() };
        Frozen::new(&checkpoint, Path::new("x"), &Default::default()).unwrap()
    }

    fn picture(seed: usize) -> Vec<u8> {
        (0..SIZE * SIZE * 3).map(|i| (i * (seed + 7) % 251) as u8).collect()
    }

    #[test]
    fn a_views_feature_does_not_depend_on_the_views_beside_it() {
        let swin = Options {
            model: Some(ModelName::SwinTiny7),
            width: Some(16),
            depths: Some(vec![1; 4]),
            heads: Some(vec![1, 2, 2, 2]),
            mask_ratio: Some(0.5),
            ..Options::default()
        };
        let tokens = Options {
            masked: Some(MaskedInput::Token),
            head: Some(HeadKind::Linear),
            taps: Some("top".parse().unwrap()),
            ..Options::default()
        };
        for options in [Options::default(), swin, tokens] {
            let encoder = encoder(options);
            let of = |seeds: &[usize]| {
                let mut input = Vec::new();
                seeds.iter().for_each(|&seed| encoder.cut(&picture(seed), &mut input).unwrap());
                encoder.features(input)
            };
            let both = of(&[1, 2]);
            assert_eq!(both.len(), 2 * encoder.dim());
            let alone = [of(&[1]), of(&[2])].concat();
            for (a, b) in both.iter().zip(&alone) {
                assert!((a - b).abs() < 1e-4, "{a} and {b}");
            }
            assert!(alone[..encoder.dim()] != alone[encoder.dim()..], "two views differ");
            assert!(encoder.cut(&[0; 12], &mut vec![]).is_err());
        }
    }

    #[test]
    fn a_querys_attention_adds_up_to_one() {
        let encoder = encoder(Options::default());
        let mut input = Vec::new();
        encoder.cut(&picture(1), &mut input).unwrap();
        let blocks = encoder.attention(input).unwrap();
        assert_eq!(blocks.len(), 12);
        for block in blocks {
            assert_eq!((block.heads, block.tokens), (3, 17));
            for row in (0..3).flat_map(|head| block.head(head).chunks(17)) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
            }
        }
    }
}
