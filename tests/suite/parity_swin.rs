//! The sparse Swin's forward pass, gradients and AdamW steps against the authors' code.

use std::sync::Arc;

use kernels::Trainable;
use targets::View;
use trainer::data::sample::cut_patches;
use trainer::data::spec::SampleSpec;
use trainer::data::{Batch, Content, Position, Values};
use trainer::model::mask::{MaskKind, MaskSpec, Masking};
use trainer::model::state::{State, to_host};
use trainer::model::windows::Windows;
use trainer::model::{
    Coordinates, Decay, EncoderConfig, LocalMim, ModelConfig, Precision, TargetKind,
};
use trainer::train::batch::Loaded;
use trainer::train::optim::AdamWSettings;

use crate::golden::Golden;
use crate::parity::{Kept, Processor, TOLERANCE, check_steps, over_sum, pictures, targets};

/// The metadata's `config`, in the authors' words.
#[derive(serde::Deserialize)]
struct Config {
    img: usize,
    patch: usize,
    dim: usize,
    depths: Vec<usize>,
    heads: Vec<usize>,
    window: usize,
    dec_dim: usize,
    dec_heads: usize,
    #[serde(default = "one")]
    dec_depth: usize,
    target: String,
    nbins: usize,
    mask_ratio: f64,
    lr: f64,
    betas: (f64, f64),
    wd: f64,
}

fn one() -> usize {
    1
}

impl Config {
    fn model(&self) -> ModelConfig {
        let encoder = EncoderConfig::Swin {
            patch: self.patch,
            dim: self.dim,
            depths: self.depths.clone(),
            heads: self.heads.clone(),
            window: self.window,
            coordinates: Coordinates::Published,
        };
        let target = match self.target.to_lowercase().as_str() {
            "hog" => TargetKind::Hog,
            "pixel" => TargetKind::Pixel,
            other => panic!("a target of {other}"),
        };
        let model = ModelConfig {
            decoder_dim: self.dec_dim,
            decoder_depth: self.dec_depth,
            decoder_heads: self.dec_heads,
            ..ModelConfig::local_mim(encoder, self.img, target, self.nbins)
        };
        model.check().unwrap();
        model
    }
}

/// The batch of one step. The published code masks the units whose entry in a permutation is
/// among the lowest.
fn batch(golden: &Golden, config: &Config, model: &ModelConfig, step: usize) -> Batch {
    let masks = MaskSpec::new(model, config.mask_ratio, MaskKind::Random);
    let permutation = golden.tensor("randperm");
    let units = masks.units();
    let mask = permutation.data[step * units..][..units]
        .iter()
        .map(|&place| f32::from(u8::from((place as usize) < masks.count)))
        .collect();
    let masking = Masking::in_order(mask);
    let spec = Arc::new(SampleSpec::new(model, &masks, model.size));
    let pictures = pictures(golden, model.size);
    let views = pictures.len();

    let mut patches = vec![];
    let mut values = vec![vec![]; model.taps.len()];
    for picture in &pictures {
        let view = View::new(picture, model.size).unwrap();
        let mut cut = vec![0.0; spec.one.given() * spec.one.patch_values()];
        cut_patches(view, spec.one.patch, spec.one.unit, &masking.keep, &mut cut);
        patches.extend(cut);
        for (all, target) in values.iter_mut().zip(targets(model, picture)) {
            all.extend(target);
        }
    }
    let weights = spec.one.taps.iter().map(|tap| {
        let of_view = masking.at_scale(spec.one.unit, tap.cell);
        over_sum(of_view.repeat(views).into_iter())
    });
    let values = Values {
        patches,
        keep: masking.keep.repeat(views),
        restore: masking.restore.repeat(views),
        mask: masking.mask.repeat(views),
        weights: weights.collect(),
        targets: values,
    };
    let windows = Windows::of(&model.encoder, model.size).unwrap();
    Batch {
        position: Position { epoch: 0, batch: step as u64 },
        rows: vec![],
        views,
        spec,
        windows: Some(Arc::new(windows.plan(&masking.keep))),
        content: Content::Made(values),
    }
}

/// Each unit's place → that of each of its tokens, unit by unit.
fn tokens_of(units: &[i32], inner: usize) -> Vec<f32> {
    let each = (inner * inner) as i32;
    units.iter().flat_map(|unit| (0..each).map(move |i| (unit * each + i) as f32)).collect()
}

fn check<B: Trainable>(golden: &Golden, device: &B::Device) {
    let config: Config = golden.config();
    let model_config = config.model();
    let state: State = golden
        .names("param.")
        .into_iter()
        .map(|name| (name.clone(), golden.tensor(&format!("param.{name}"))))
        .collect();
    let model = LocalMim::<B>::from_state(&model_config, Precision::F32, &state, device).unwrap();
    let (betas, weight_decay) = (config.betas, config.wd);
    let settings = AdamWSettings { betas, weight_decay, decay: Decay::Matrices };

    let first = batch(golden, &config, &model_config, 0);
    let units = model_config.units();
    let values = first.values();
    golden.assert_close("mask", &values.mask[..units], 0.0);
    for (i, tap) in first.spec.one.taps.iter().enumerate() {
        let places = tokens_of(&values.restore[..units], tap.inner);
        golden.assert_close(&format!("ids_restore.{i}"), &places, 0.0);
    }
    let on_device = Loaded::<B>::now(first, device).whole(device);
    let latents = model.encode(on_device.input);
    let predictions = model.decode(latents.clone(), on_device.restore);
    for (i, (latent, prediction)) in latents.into_iter().zip(predictions).enumerate() {
        golden.assert_close(&format!("latent.{i}"), &to_host(latent), TOLERANCE);
        let name = format!("pred.{i}");
        // The file holds every so manieth prediction.
        let [views, cells, channels] = prediction.dims();
        let kept = golden.tensor(&name).shape[1];
        let all = to_host(prediction);
        let stride = cells / kept;
        let strided: Vec<f32> = (0..views * cells)
            .filter(|at| at % cells % stride == 0)
            .flat_map(|at| all[at * channels..][..channels].to_vec())
            .collect();
        golden.assert_close(&name, &strided, TOLERANCE);
    }

    check_steps(
        (golden, Kept::Norms, &str::to_owned),
        (model, &model_config, device),
        settings,
        config.lr,
        |step| batch(golden, &config, &model_config, step),
    );
}

/// Holds a backend against every file of a sparse Swin's.
pub fn hold<B: Trainable>(device: &B::Device) {
    let files: Vec<_> = Golden::with("randperm")
        .into_iter()
        .filter(|golden| !golden.names("param.encoder.layers.").is_empty())
        .collect();
    assert!(files.len() >= 2, "one for each target");
    files.iter().for_each(|golden| check::<B>(golden, device));
}

#[test]
fn the_swin_gives_the_authors_latents_losses_gradients_and_steps() {
    hold::<Processor>(&Default::default());
}
