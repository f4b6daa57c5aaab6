//! SimMIM, GreenMIM and MAE against their authors' code: weights taken in as they publish them, then
//! the forward pass, gradients and AdamW steps.

use std::path::Path;
use std::sync::Arc;

use kernels::Trainable;
use targets::View;
use trainer::checkpoint::Checkpoint;
use trainer::data::sample::cut_patches;
use trainer::data::spec::SampleSpec;
use trainer::data::{Batch, Content, Position, Values};
use trainer::device::DeviceKind;
use trainer::import::{import, name_here};
use trainer::model::mask::{MaskKind, MaskSpec, Masking};
use trainer::model::state::{State, table, to_host};
use trainer::model::windows::Windows;
use trainer::model::{Coordinates, LocalMim, MaskedInput, ModelConfig, ModelName, Precision};
use trainer::settings::{Options, Recipe, Settings};
use trainer::train::batch::Loaded;
use trainer::train::optim::AdamWSettings;

use crate::golden::Golden;
use crate::import::write;
use crate::parity::{Kept, Processor, TOLERANCE, check_steps, over_sum, pictures, targets};

/// One number, or one a stage.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Each {
    All(usize),
    Stages(Vec<usize>),
}

impl Each {
    fn numbers(&self) -> Vec<usize> {
        match self {
            Self::All(number) => vec![*number],
            Self::Stages(numbers) => numbers.clone(),
        }
    }
}

/// The metadata's `config`, in the authors' words.
#[derive(serde::Deserialize)]
struct Config {
    method: String,
    img: usize,
    patch: usize,
    dim: usize,
    #[serde(alias = "depth")]
    depths: Each,
    heads: Each,
    window: Option<usize>,
    coordinates: Option<Coordinates>,
    mask_ratio: f64,
    dec_dim: Option<usize>,
    dec_depth: Option<usize>,
    dec_heads: Option<usize>,
    ln_eps: Option<f64>,
    lr: f64,
    betas: (f64, f64),
    wd: f64,
    #[serde(default)]
    no_decay: Vec<String>,
}

impl Config {
    /// The recipe of the method, at the file's sizes.
    fn settings(&self) -> Settings {
        let recipe = match self.method.as_str() {
            "simmim" => Recipe::Simmim,
            "greenmim" => Recipe::Greenmim,
            "mae" => Recipe::Mae,
            other => panic!("a method of {other}"),
        };
        let swin = recipe.needs_swin();
        let options = Options {
            recipe: Some(recipe),
            model: Some(if swin { ModelName::SwinTiny7 } else { ModelName::VitTiny16 }),
            patch: Some(self.patch),
            width: Some(self.dim),
            depths: Some(self.depths.numbers()),
            heads: Some(self.heads.numbers()),
            window: self.window,
            coordinates: self.coordinates,
            norm_epsilon: self.ln_eps,
            input_size: (recipe == Recipe::Simmim).then_some(self.img),
            decoder_dim: self.dec_dim,
            decoder_depth: self.dec_depth,
            decoder_heads: self.dec_heads,
            mask_ratio: Some(self.mask_ratio),
            ..Options::default()
        };
        Settings::resolve(options, DeviceKind::Cpu).unwrap()
    }
}

/// The masks of a step's views, each with the visible units in rows; one for all in some methods.
fn masks(golden: &Golden, network: &ModelConfig, step: usize, views: usize) -> Vec<Masking> {
    let masks = golden.tensor("unit_masks");
    let units = network.units();
    let of_a_step = masks.data.len() / masks.shape[0];
    let of_step = &masks.data[step * of_a_step..][..of_a_step];
    let masking = |view: usize| {
        let mask = of_step[view * units % of_a_step..][..units].to_vec();
        match network.masked {
            MaskedInput::Token => Masking::tokens(mask),
            MaskedInput::Dropped => Masking::in_order(mask),
        }
    };
    (0..views).map(masking).collect()
}

/// The batch of one step.
fn batch(golden: &Golden, network: &ModelConfig, mask_ratio: f64, step: usize) -> Batch {
    let pictures = pictures(golden, network.size);
    let views = pictures.len();
    let masks = masks(golden, network, step, views);
    let (patch, unit) = (network.encoder.patch(), network.encoder.unit());
    let [tap] = network.taps.as_slice() else { panic!("a method with one tap") };
    let (mut patches, mut values) = (vec![], vec![]);
    for (picture, masking) in pictures.iter().zip(&masks) {
        let view = View::new(picture, network.size).unwrap();
        let mut cut = vec![0.0; masking.keep.len() * unit * unit * 3];
        cut_patches(view, patch, unit, &masking.keep, &mut cut);
        patches.extend(cut);
        values.extend(targets(network, picture).swap_remove(0));
    }
    let of_all = |part: fn(&Masking) -> &[i32]| masks.iter().flat_map(part).copied().collect();
    let weights = masks.iter().flat_map(|masking| masking.at_scale(unit, tap.cell));
    let values = Values {
        patches,
        keep: of_all(|masking| &masking.keep),
        restore: of_all(|masking| &masking.restore),
        mask: masks.iter().flat_map(|masking| masking.mask.clone()).collect(),
        targets: vec![values],
        weights: vec![over_sum(weights)],
    };
    let windows = Windows::of(&network.encoder, network.size);
    let drawn = MaskSpec::new(network, mask_ratio, MaskKind::Random);
    Batch {
        position: Position { epoch: 0, batch: step as u64 },
        rows: vec![],
        views,
        spec: Arc::new(SampleSpec::new(network, &drawn, network.size)),
        windows: windows.map(|windows| Arc::new(windows.plan(&masks[0].keep))),
        content: Content::Made(values),
    }
}

/// Every so manieth value of predictions, which are `[views, units, rows · columns · channels]`, as
/// the file has them: of a picture's rows and columns, or of a unit's values.
fn thinned(golden: &Golden, prediction: &[f32], network: &ModelConfig) -> Vec<f32> {
    let stride = golden.tensor("pred_stride").data[0] as usize;
    if golden.tensor("pred").shape.len() == 3 {
        let each = network.channels(&network.taps[0]);
        return prediction
            .chunks(each)
            .flat_map(|unit| unit.iter().step_by(stride))
            .copied()
            .collect();
    }
    let (size, unit) = (network.size, network.encoder.unit());
    let grid = size / unit;
    let mut out = vec![];
    for view in prediction.chunks(3 * size * size) {
        for channel in 0..3 {
            for y in (0..size).step_by(stride) {
                for x in (0..size).step_by(stride) {
                    let at = y / unit * grid + x / unit;
                    let within = y % unit * unit + x % unit;
                    out.push(view[(at * unit * unit + within) * 3 + channel]);
                }
            }
        }
    }
    out
}

/// Takes the file's parameters in, as its authors name and shape them.
fn taken_in(golden: &Golden, settings: &Settings, size: usize, folder: &Path) -> Checkpoint {
    let published = golden.names("param.").into_iter();
    let published: State =
        published.map(|name| (name.clone(), golden.tensor(&format!("param.{name}")))).collect();
    let file = folder.join("published.safetensors");
    write(&file, &published);
    let imported = import(&file, &folder.join("run"), settings, size, 9).unwrap();
    assert_eq!((imported.fresh, imported.passed), (0, 0), "{}", golden.path.display());
    Checkpoint::read(&imported.checkpoint).unwrap()
}

fn check<B: Trainable>(golden: &Golden, device: &B::Device) {
    let config: Config = golden.config();
    let settings = config.settings();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = taken_in(golden, &settings, config.img, folder.path());
    let network = &checkpoint.header.network;
    let model =
        LocalMim::<B>::from_state(network, Precision::F32, &checkpoint.model, device).unwrap();

    // Which parameters decay, by the recipe and by the authors.
    let here = |name: &str| name_here(name, network);
    let spared: Vec<String> = config.no_decay.iter().map(|name| here(name)).collect();
    if !spared.is_empty() {
        for param in table(&model, network) {
            let decays = !spared.contains(&param.name);
            assert_eq!(param.decays(settings.decay), decays, "{}", param.name);
        }
    }

    let first = batch(golden, network, config.mask_ratio, 0);
    let first = Loaded::<B>::now(first, device).whole(device);
    let latents = model.encode(first.input);
    golden.assert_close("latent", &to_host(latents[0].clone()), TOLERANCE);
    let prediction = model.decode(latents, first.restore).swap_remove(0);
    golden.assert_close("pred", &thinned(golden, &to_host(prediction), network), TOLERANCE);

    let adamw =
        AdamWSettings { betas: config.betas, weight_decay: config.wd, decay: settings.decay };
    check_steps((golden, Kept::Norms, &here), (model, network, device), adamw, config.lr, |step| {
        batch(golden, network, config.mask_ratio, step)
    });
}

/// Holds a backend against the files of all other methods.
pub fn hold<B: Trainable>(device: &B::Device) {
    let files = Golden::with("unit_masks");
    let methods: Vec<String> =
        files.iter().map(|golden| golden.config::<Config>().method).collect();
    for method in ["simmim", "greenmim"] {
        assert!(methods.iter().any(|found| found == method), "{method}");
    }
    files.iter().for_each(|golden| check::<B>(golden, device));
}

#[test]
fn each_method_gives_its_authors_latents_losses_gradients_and_steps() {
    hold::<Processor>(&Default::default());
}
