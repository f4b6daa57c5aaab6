//! Every setting of a run, said once. `form` says how a row is read.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use voice::maybe;
use voice::options::{Field, Row, Table, choice, list, number, truth, whole};

use super::form::{closed, closed_type, closed_words, free, settings};
use super::{NamedTaps, Recipe, Taps};
use crate::device::{DeviceKind, cuda_devices};
use crate::model::layers::NORM_EPSILON;
use crate::model::mask::MaskKind;
use crate::model::{
    Coordinates, Decay, HeadKind, LossKind, MaskedInput, ModelName, Positions, Precision, Start,
    TargetKind,
};
use crate::range::{COUNT, NOT_NEGATIVE, POSITIVE, SHARE, SIZE};

/// Threads, and what waits for them.
const THREADS: RangeInclusive<usize> = 1..=1024;
/// Seeds: TOML's integers are signed.
const SEED: RangeInclusive<u64> = 0..=i64::MAX as u64;

settings! {
    "Network" {
        /// Method, with its paper's defaults
        recipe: Recipe = default(Recipe::LocalmimHog), choice();
        /// Encoder
        model: ModelName = by(
            default_model,
            "vit-base-16 or swin-base-7 on a GPU, vit-tiny-16 or swin-tiny-7 on the CPU"
        ), choice();
        /// Side of the encoder's patch in pixels
        patch: usize = open("the model's"), whole();
        /// Width of the encoder; of a Swin's first stage
        width: usize = open("the model's"), whole();
        /// Blocks of the encoder; of each stage of a Swin, as in 2,2,6,2
        depths: Vec<usize> = open("the model's"), list();
        /// Attention heads of the encoder; of each stage of a Swin
        heads: Vec<usize> = open("the model's"), list();
        /// Side of a Swin's windows in tokens
        window: usize = open("the model's"), whole();
        /// How a Swin's windows are cut after merging
        coordinates: Coordinates = default(Coordinates::Spatial), choice();
        /// What a ViT adds to a token for its place
        #[serde(default)]
        positions: Positions = default(Positions::Fixed), choice();
        /// What every layer norm adds to the variance
        #[serde(default = "norm_epsilon")]
        norm_epsilon: f64 = default(NORM_EPSILON), number(), within(NOT_NEGATIVE);
        /// Side in pixels of a part of each view, at random, that the encoder is given; raw pixels
        /// only
        input_size: usize = open("the whole view"), whole();
        /// What is predicted; codes need shards made with `ingest --codebook`
        target: TargetKind = default(TargetKind::Hog), choice();
        /// Error that is minimised
        loss: LossKind = by(default_loss, "l2; of codes the cross-entropy"), choice();
        /// After which blocks, or stages of a Swin, the taps sit, from 1, as in 2,4,10,12; `top` for
        /// the last alone, `default` for 2, 4, depth-2 and depth, or each stage
        taps: Taps = default(Taps::Named(NamedTaps::Default)), Taps::kind();
        /// Target cell of each tap in pixels
        cells: Vec<usize> = open(
            "a quarter, a half, one, two patches, or the token of each stage; of codes the codebook's \
             patch, if there is one codebook"
        ), list();
        /// Each layer learns from the next tap alone
        local_gradients: bool = default(false), truth();
        /// What stands between latents and predictions
        head: HeadKind = default(HeadKind::Decoder), choice();
        /// Width of the decoders; half of it at a Swin's lowest tap
        decoder_dim: usize = default(256), whole();
        /// Transformer blocks of each decoder
        decoder_depth: usize = default(1), whole();
        /// Attention heads of the decoders
        decoder_heads: usize = default(8), whole();
        /// What the encoder is given where a patch is masked
        masked: MaskedInput = default(MaskedInput::Dropped), choice();
        /// How masks are drawn
        mask: MaskKind = default(MaskKind::Random), choice();
        /// Share of the picture that is masked
        mask_ratio: f64 = default(0.75), number(), within(SHARE);
    }

    "Optimisation" {
        /// Epochs of the whole schedule
        epochs: u64 = default(100), whole(), within(COUNT), without("--steps");
        /// Optimizer steps of the whole schedule, in place of --epochs
        steps: u64 = open(), whole(), within(COUNT);
        /// Stop after this many optimizer steps; the schedule stays as it is
        max_steps: u64 = open(), whole(), within(COUNT) => free;
        /// Views a batch
        batch_size: usize = default(256), whole(), within(SIZE);
        /// Batches whose gradients make one step
        accum: usize = default(1), whole(), within(SIZE);
        /// Base learning rate; the peak is base · batch-size · accum / 256
        lr: f64 = default(2e-4), number(), within(NOT_NEGATIVE);
        /// Learning rate at the end
        min_lr: f64 = default(0.0), number(), within(NOT_NEGATIVE);
        /// Epochs of linear warm-up
        warmup_epochs: f64 = default(10.0), number(), within(NOT_NEGATIVE);
        /// AdamW's two decay rates, as in 0.9,0.95, each at least 0 and below 1
        betas: Vec<f64> = pair(0.9, 0.95), list();
        /// Decoupled weight decay
        weight_decay: f64 = default(0.05), number(), within(NOT_NEGATIVE);
        /// What weight decay applies to
        #[serde(default)]
        decay: Decay = default(Decay::Matrices), choice();
        /// Clip the gradient to this norm
        clip_grad: f64 = open("no clipping"), number(), within(POSITIVE);
        /// Matrix products in f32 or bf16
        precision: Precision = by(default_precision, "bf16 on CUDA, else f32"), choice() => free;
        /// Whose code's first values the parameters have; early: as runs did before there was a choice
        #[serde(default)]
        start: Start = default(Start::Early), choice();
        /// Seed of parameters, order, masks and flips
        seed: u64 = default(0), whole(), within(SEED);
    }

    "Data" {
        /// Mirror half of the views
        flip: bool = default(true), truth();
        /// Row groups whose rows are shuffled together
        window_groups: usize = default(8), whole(), within(SIZE);
        /// Threads that read and prepare batches
        loader_threads: usize = by(
            default_loader_threads,
            "2, on a GPU its share of the cores"
        ), whole(), within(THREADS) => free;
        /// Batches kept ready
        prefetch: usize = default(4), whole(), within(THREADS) => free;
    }

    "Run" {
        /// Optimizer steps between two lines of metrics
        log_every: u64 = default(10), whole(), within(COUNT) => free;
        /// Optimizer steps between two checkpoints
        checkpoint_every: u64 = default(500), whole(), within(COUNT) => free;
        /// Checkpoints kept
        keep: usize = default(3), whole(), within(SIZE) => free;
        /// Tell at the end what the run made of the machine: operations and bytes of a step, the
        /// rates achieved, and the best ones, measured at the beginning
        #[serde(default)]
        profile: bool = default(false), truth() => free;
    }
}

/// All settings, in the order of the help.
pub fn rows() -> &'static [Row<Options>] {
    static ROWS: LazyLock<Vec<Row<Options>>> = LazyLock::new(|| {
        let presets: Vec<_> = Recipe::value_variants().iter().filter_map(preset).collect();
        written().into_iter().map(|row| after_recipes(row, &presets)).collect()
    });
    &ROWS
}

/// What a recipe chooses besides its name.
fn preset(recipe: &Recipe) -> Option<Options> {
    let options = Options::parse(recipe.text(), recipe.name()).ok()?;
    Some(Options { recipe: None, ..options })
}

/// The row, which says so where recipes choose: all of them, or some.
fn after_recipes(mut row: Row<Options>, presets: &[Options]) -> Row<Options> {
    let choose = presets.iter().filter(|preset| row.told(preset).is_some()).count();
    if choose == presets.len() {
        row.default = "the recipe's".into();
    } else if choose > 0 {
        row.default = format!("the recipe's, else {}", row.default);
    }
    row
}

/// A setting's flag.
fn flag(name: &str) -> &'static str {
    // Once for each row, for as long as the program runs.
    format!("--{}", name.replace('_', "-")).leak()
}

/// The settings as a part of a command line.
pub struct Choices;

impl Table for Choices {
    type Settings = Options;

    fn rows() -> Vec<&'static Row<Options>> {
        rows().iter().collect()
    }
}

fn default_model(options: &Options, device: DeviceKind) -> ModelName {
    let needs_swin = options.recipe.is_some_and(Recipe::needs_swin);
    match (needs_swin, device) {
        (false, DeviceKind::Cuda(_) | DeviceKind::Vulkan(_)) => ModelName::VitBase16,
        (false, DeviceKind::Cpu) => ModelName::VitTiny16,
        (true, DeviceKind::Cuda(_) | DeviceKind::Vulkan(_)) => ModelName::SwinBase7,
        (true, DeviceKind::Cpu) => ModelName::SwinTiny7,
    }
}

fn default_precision(_: &Options, device: DeviceKind) -> Precision {
    match device {
        DeviceKind::Cuda(_) => Precision::Bf16,
        DeviceKind::Vulkan(_) | DeviceKind::Cpu => Precision::F32,
    }
}

fn default_loss(options: &Options, _: DeviceKind) -> LossKind {
    match options.target {
        Some(TargetKind::Code) => LossKind::CrossEntropy,
        _ => LossKind::L2,
    }
}

/// On the CPU a step needs far more time than what it is made of, and the cores; a GPU waits for its
/// batches.
fn default_loader_threads(_: &Options, device: DeviceKind) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match device {
        DeviceKind::Cpu => 2,
        DeviceKind::Cuda(_) => (cores / cuda_devices()).clamp(2, 32),
        DeviceKind::Vulkan(_) => cores.clamp(2, 32),
    }
}

/// Of a run from before there was a choice.
fn norm_epsilon() -> f64 {
    NORM_EPSILON
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_row_says_what_it_is_good_for_and_shares_its_name_with_none() {
        let mut flags = BTreeSet::new();
        for row in rows() {
            assert!(flags.insert(row.flag), "{} is there twice", row.flag);
            assert!(row.help.starts_with(|c: char| c.is_uppercase()), "{}", row.flag);
            assert!(!row.help.ends_with(['.', ' ']), "{}", row.flag);
            assert!(!row.heading.is_empty(), "{}", row.flag);
        }
    }

    #[test]
    fn flags_and_keys_of_files_are_the_same() {
        let settings = Settings::resolve(Options::default(), DeviceKind::Cpu).unwrap();
        // With a value in each, so that none is left out of the file.
        let settings = Settings {
            patch: Some(16),
            width: Some(192),
            depths: Some(vec![12]),
            heads: Some(vec![3]),
            window: Some(7),
            input_size: Some(224),
            cells: Some(vec![16]),
            steps: Some(1),
            max_steps: Some(1),
            clip_grad: Some(1.0),
            ..settings
        };
        let keys = toml::Table::try_from(&settings).unwrap();
        let keys: BTreeSet<_> = keys.keys().map(|key| format!("--{key}")).collect();
        let flags: BTreeSet<_> = rows().iter().map(|row| row.flag.to_owned()).collect();
        assert_eq!(keys, flags);
    }

    #[test]
    fn what_the_help_calls_the_default_is_what_is_used() {
        // Of a recipe that says nothing.
        let settings = Settings::close(&Options::default(), DeviceKind::Cpu).to_options();
        for row in written() {
            let used = row.told(&settings).unwrap_or_default();
            let in_words =
                ["--model", "--loss", "--precision", "--loader-threads"].contains(&row.flag);
            if used.is_empty() {
                assert!(
                    row.default.contains(' ')
                        || row.default.contains("'s")
                        || row.default.is_empty()
                );
            } else if in_words {
                assert!(row.default.contains(&used), "{}: {used}", row.flag);
            } else {
                assert_eq!(row.default, used, "{}", row.flag);
            }
            row.check(&settings).unwrap();
        }
    }

    #[test]
    fn the_help_says_where_recipes_choose() {
        let default = |flag: &str| {
            let row = rows().iter().find(|row| row.flag == flag);
            row.unwrap_or_else(|| panic!("{flag}")).default.as_str()
        };
        assert_eq!(default("--recipe"), "localmim-hog");
        assert_eq!(default("--lr"), "the recipe's");
        assert_eq!(default("--norm-epsilon"), "the recipe's, else 1e-6");
        assert_eq!(default("--keep"), "3");
        assert_eq!(default("--patch"), "the model's");
        assert_eq!(default("--max-steps"), "");
    }
}
