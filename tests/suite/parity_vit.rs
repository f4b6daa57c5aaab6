//! The ViT's forward pass, gradients and AdamW steps against the authors' code.

use std::sync::Arc;

use kernels::Trainable;
use trainer::data::spec::SampleSpec;
use trainer::data::{Batch, Content, Position, Values};
use trainer::model::mask::{MaskKind, MaskSpec, Masking};
use trainer::model::state::{State, to_host};
use trainer::model::{
    Decay, EncoderConfig, LocalMim, ModelConfig, Precision, TapConfig, TargetKind, positions,
};
use trainer::train::batch::Loaded;
use trainer::train::optim::AdamWSettings;

use crate::golden::Golden;
use crate::parity::{Kept, Processor, TOLERANCE, check_steps, over_sum};

/// The metadata's `config`, in the authors' words; taps count from 0.
#[derive(serde::Deserialize)]
struct Config {
    img: usize,
    patch: usize,
    dim: usize,
    depth: usize,
    heads: usize,
    dec_dim: usize,
    dec_heads: usize,
    #[serde(default = "one")]
    dec_depth: usize,
    nbins: usize,
    mask_ratio: f64,
    lr: f64,
    betas: (f64, f64),
    wd: f64,
    taps: Vec<usize>,
}

fn one() -> usize {
    1
}

impl Config {
    /// The network of the file; each tap's cell follows from the shape of its target.
    fn model(&self, golden: &Golden) -> ModelConfig {
        let tap = |(i, &block): (usize, &usize)| {
            let cells = golden.tensor(&format!("target.{i}")).shape[1];
            TapConfig { layer: block + 1, cell: self.img / cells.isqrt() }
        };
        let encoder = EncoderConfig::Vit {
            patch: self.patch,
            dim: self.dim,
            depth: self.depth,
            heads: self.heads,
        };
        let model = ModelConfig {
            taps: self.taps.iter().enumerate().map(tap).collect(),
            decoder_dim: self.dec_dim,
            decoder_depth: self.dec_depth,
            decoder_heads: self.dec_heads,
            ..ModelConfig::local_mim(encoder, self.img, TargetKind::Hog, self.nbins)
        };
        model.check().unwrap();
        model
    }
}

/// `[3, size, size]` → patches in rows, each (channel, row, column).
fn patchify(image: &[f32], size: usize, patch: usize) -> Vec<Vec<f32>> {
    let grid = size / patch;
    let pixel = |p: usize, c: usize, y: usize, x: usize| {
        image[(c * size + p / grid * patch + y) * size + p % grid * patch + x]
    };
    let one = |p| {
        let channels = (0..3).flat_map(|c| (0..patch).map(move |y| (c, y)));
        channels.flat_map(|(c, y)| (0..patch).map(move |x| pixel(p, c, y, x))).collect()
    };
    (0..grid * grid).map(one).collect()
}

/// The batch of one step.
fn batch(golden: &Golden, config: &Config, model: &ModelConfig, step: usize) -> Batch {
    let images = golden.tensor("images");
    let views = images.shape[0];
    let patches = model.units();
    let visible = (patches as f64 * (1.0 - config.mask_ratio)) as usize;
    let noise = golden.tensor("noise");
    let masks: Vec<_> = noise.data[step * views * patches..][..views * patches]
        .chunks(patches)
        .map(|noise| Masking::from_noise(noise, visible))
        .collect();

    let mut pixels = vec![];
    for (image, mask) in images.data.chunks(3 * config.img * config.img).zip(&masks) {
        let all = patchify(image, config.img, config.patch);
        pixels.extend(mask.keep.iter().flat_map(|&i| all[i as usize].clone()));
    }
    let drawn = MaskSpec::new(model, config.mask_ratio, MaskKind::Random);
    let spec = SampleSpec::new(model, &drawn, model.size);
    let targets = (0..model.taps.len()).map(|i| {
        let target = golden.tensor(&format!("target.{i}"));
        assert_eq!(target.shape[1..], [spec.one.cells(i), spec.one.channels(i)]);
        target.data
    });
    let weights = model
        .taps
        .iter()
        .map(|tap| over_sum(masks.iter().flat_map(|mask| mask.at_scale(config.patch, tap.cell))));
    let values = Values {
        patches: pixels,
        keep: masks.iter().flat_map(|mask| mask.keep.clone()).collect(),
        restore: masks.iter().flat_map(|mask| mask.restore.clone()).collect(),
        mask: masks.iter().flat_map(|mask| mask.mask.clone()).collect(),
        targets: targets.collect(),
        weights: weights.collect(),
    };
    Batch {
        position: Position { epoch: 0, batch: step as u64 },
        rows: vec![],
        views,
        spec: Arc::new(spec),
        windows: None,
        content: Content::Made(values),
    }
}

fn check<B: Trainable>(golden: &Golden, device: &B::Device) {
    let config: Config = golden.config();
    let model_config = config.model(golden);
    let mut state: State = golden
        .names("param.")
        .into_iter()
        .map(|name| (name.clone(), golden.tensor(&format!("param.{name}"))))
        .collect();

    // Positions are fixed here, but parameters of the authors' network.
    let position_names: Vec<_> =
        state.keys().filter(|name| name.ends_with("pos_embed")).cloned().collect();
    assert_eq!(position_names.len(), 1 + model_config.taps.len());
    for name in position_names {
        let width = state.remove(&name).unwrap().shape[2];
        let computed = positions::sin_cos(width, model_config.grid());
        golden.assert_close(&format!("param.{name}"), &computed, 1e-6);
    }

    let model = LocalMim::<B>::from_state(&model_config, Precision::F32, &state, device).unwrap();
    let (betas, weight_decay) = (config.betas, config.wd);
    let settings = AdamWSettings { betas, weight_decay, decay: Decay::Matrices };

    let first = batch(golden, &config, &model_config, 0);
    let values = first.values();
    let restore: Vec<_> = values.restore.iter().map(|&place| place as f32).collect();
    golden.assert_close("ids_restore", &restore, 0.0);
    golden.assert_close("mask", &values.mask, 0.0);
    let first = Loaded::<B>::now(first, device).whole(device);
    let latents = model.encode(first.input);
    let predictions = model.decode(latents.clone(), first.restore);
    for (i, (latent, prediction)) in latents.into_iter().zip(predictions).enumerate() {
        golden.assert_close(&format!("latent.{i}"), &to_host(latent), TOLERANCE);
        golden.assert_close(&format!("pred.{i}"), &to_host(prediction), TOLERANCE);
    }

    check_steps(
        (golden, Kept::Gradients, &str::to_owned),
        (model, &model_config, device),
        settings,
        config.lr,
        |step| batch(golden, &config, &model_config, step),
    );
}

/// Holds a backend against every file of a ViT's.
pub fn hold<B: Trainable>(device: &B::Device) {
    let files: Vec<_> = Golden::with("noise")
        .into_iter()
        .filter(|golden| !golden.names("param.cls_token").is_empty())
        .filter(|golden| golden.names("param.decoder_embed.").is_empty())
        .collect();
    assert!(!files.is_empty());
    files.iter().for_each(|golden| check::<B>(golden, device));
}

#[test]
fn the_vit_gives_the_authors_latents_losses_gradients_and_steps() {
    hold::<Processor>(&Default::default());
}
