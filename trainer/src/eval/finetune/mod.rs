//! Full fine-tuning: the encoder and a linear head, trained on labelled views.
//!
//! In the order in which data flows: [`augment`] (what the network sees of a batch of labelled
//! views), [`network`] (the classifier), and the loop here.

pub mod augment;
pub mod network;

use std::ops::{Bound, Range};
use std::path::Path;

use burn::backend::cuda::CudaDevice;
use burn::backend::{Autodiff, Cuda, Flex, Wgpu};
use burn::module::AutodiffModule;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use kernels::{Kernels, Optimize, Trainable};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::EvalError;
use super::labelled::{Labelled, Views};
use super::random::random;
use super::score;
use crate::checkpoint::Checkpoint;
use crate::device::DeviceKind;
use crate::encode::EncodeError;
use crate::encode::encoder::cut_whole;
use crate::encode::spread::spread;
use crate::model::input::DevicePlan;
use crate::model::state::{ParamInfo, State};
use crate::model::{Decay, EncoderAlone, EncoderInput, ModelConfig, Precision, alone, state};
use crate::progress::Console;
use crate::range::{self, COUNT, NOT_NEGATIVE, OutOfRange, SIZE};
use crate::train::optim::{AdamWSettings, Gradients, Optimizer};
use crate::train::schedule::Schedule;
use crate::train::slices::Slices;
use crate::train::step::{Losses, PartTimes, StepOutput};
use crate::train::unseen::{Made, Unseen};
use augment::{Augment, Mix};
use network::{Classifier, blocks, branches_on, cross_entropy, depth_of, draw_branches};

/// Views that are classified at once.
const PIECE: usize = 8;

/// How the encoder is fine-tuned; the defaults follow MAE's for its base encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct FinetuneSettings {
    /// Passes over the train rows
    #[arg(long, default_value_t = 100)]
    pub epochs: u64,
    /// Epochs of linear warm-up
    #[arg(long, default_value_t = 5.0)]
    pub warmup_epochs: f64,
    /// Views a batch
    #[arg(long, default_value_t = 256)]
    pub batch_size: usize,
    /// Base learning rate; the peak is base · batch-size / 256
    #[arg(long, default_value_t = 5e-4)]
    pub lr: f64,
    /// Learning rate at the end
    #[arg(long, default_value_t = 1e-6)]
    pub min_lr: f64,
    /// What each block's learning rate is of the one's above
    #[arg(long, default_value_t = 0.65)]
    pub layer_decay: f64,
    /// Decoupled weight decay, on matrices only
    #[arg(long, default_value_t = 0.05)]
    pub weight_decay: f64,
    /// Share of residual branches dropped in the topmost block; it rises from 0 in the lowest
    #[arg(long, default_value_t = 0.1)]
    pub drop_path: f64,
    /// α of mixup's Beta(α, α); 0 for none
    #[arg(long, default_value_t = 0.8)]
    pub mixup: f64,
    /// α of cutmix's Beta(α, α); 0 for none
    #[arg(long, default_value_t = 1.0)]
    pub cutmix: f64,
    /// Label smoothing
    #[arg(long, default_value_t = 0.1)]
    pub smoothing: f64,
    /// Share of the views in which a box is erased
    #[arg(long, default_value_t = 0.25)]
    pub erase: f64,
    /// Mirror half of the views
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub flip: bool,
}

impl FinetuneSettings {
    pub(super) fn check(&self) -> Result<(), OutOfRange> {
        range::check("--epochs", self.epochs, COUNT)?;
        range::check("--batch-size", self.batch_size, SIZE)?;
        let numbers = [
            ("--lr", self.lr),
            ("--min-lr", self.min_lr),
            ("--warmup-epochs", self.warmup_epochs),
            ("--weight-decay", self.weight_decay),
            ("--mixup", self.mixup),
            ("--cutmix", self.cutmix),
        ];
        for (flag, value) in numbers {
            range::check(flag, value, NOT_NEGATIVE)?;
        }
        let shares = [
            ("--drop-path", self.drop_path),
            ("--smoothing", self.smoothing),
            ("--erase", self.erase),
        ];
        for (flag, value) in shares {
            range::check(flag, value, 0.0..1.0)?;
        }
        let up_to_1 = (Bound::Excluded(0.0), Bound::Included(1.0));
        range::check("--layer-decay", self.layer_decay, up_to_1)
    }

    fn augment(&self) -> Augment {
        Augment {
            flip: self.flip,
            erase: self.erase,
            mixup: self.mixup,
            cutmix: self.cutmix,
            smoothing: self.smoothing,
        }
    }

    fn schedule(&self, batches: u64, batch_size: usize) -> Schedule {
        Schedule {
            peak: Schedule::peak(self.lr, batch_size),
            floor: self.min_lr,
            warmup_steps: (self.warmup_epochs * batches as f64).round() as u64,
            total_steps: self.epochs * batches,
        }
    }
}

/// What computes, and how a batch is spread over it.
pub struct Compute<B: Kernels> {
    /// The device.
    pub device: B::Device,
    /// The number format of matrix products.
    pub precision: Precision,
    /// How a batch is spread.
    pub slices: Slices,
    /// Threads that classify the test rows.
    pub threads: usize,
}

/// [`predict`] on a device.
///
/// # Errors
/// [`EvalError`] as there, and if the system gives no thread.
pub fn predict_on(
    device: DeviceKind,
    from: (&Checkpoint, &Path),
    sides: (&Labelled, &Labelled),
    settings: &FinetuneSettings,
    seed: u64,
    console: &Console,
) -> Result<(Vec<Vec<u32>>, State), EvalError> {
    match device {
        DeviceKind::Cuda(index) => {
            let (device, slices) = (CudaDevice::new(index), Slices::whole());
            let compute = Compute { device, precision: Precision::Bf16, slices, threads: 1 };
            predict::<Autodiff<Cuda>>(from, sides, settings, seed, &compute, console)
        }
        DeviceKind::Vulkan(adapter) => {
            let (device, slices) = (adapter.device(), Slices::whole());
            let compute = Compute { device, precision: Precision::F32, slices, threads: 1 };
            predict::<Autodiff<Wgpu>>(from, sides, settings, seed, &compute, console)
        }
        DeviceKind::Cpu => {
            let threads = rayon::current_num_threads();
            let slices = Slices::over_threads(threads).map_err(EncodeError::from)?;
            let device = Default::default();
            let compute = Compute { device, precision: Precision::F32, slices, threads };
            predict::<Autodiff<Flex>>(from, sides, settings, seed, &compute, console)
        }
    }
}

/// For each row of `test` the classes by their logits, the best first, and the parameters of encoder
/// and head (`head.*`), after training the encoder of a checkpoint, which `path` names, and a head
/// on `train`. Everything random follows from the seed; on the CPU the number of threads does not
/// change a bit.
///
/// # Errors
/// [`EvalError`] if a shard can't be read or the loss becomes no number.
pub fn predict<B: Trainable>(
    (checkpoint, path): (&Checkpoint, &Path),
    (train, test): (&Labelled, &Labelled),
    settings: &FinetuneSettings,
    seed: u64,
    compute: &Compute<B>,
    console: &Console,
) -> Result<(Vec<Vec<u32>>, State), EvalError> {
    let Compute { device, precision, slices, .. } = compute;
    let (network, classes) = (&checkpoint.header.network, train.classes());
    let parameters = &checkpoint.model;
    let mut model = Classifier::<B>::new(network, parameters, (classes, seed), *precision, device)
        .map_err(|source| EncodeError::State { path: path.to_owned(), source })?;
    let encoder = &network.encoder;
    let depth = blocks(encoder);
    let weight_decay = settings.weight_decay;
    let adamw = AdamWSettings { betas: (0.9, 0.999), weight_decay, decay: Decay::Matrices };
    let scale = |param: &ParamInfo| {
        let below = depth + 1 - depth_of(encoder, &param.name);
        settings.layer_decay.powi(below as i32)
    };
    let mut optimizer =
        Optimizer::with_scales(&model, &alone::config(network), adamw, scale, device);
    let windows = EncoderAlone::windows(network, device);

    let batch_size = settings.batch_size.clamp(1, train.rows());
    let batches = (train.rows() / batch_size) as u64;
    let schedule = settings.schedule(batches, batch_size);
    let augment = settings.augment();
    let bar = console.work("fine-tuning", settings.epochs * batches * batch_size as u64);
    let queued = <B::InnerBackend as Optimize>::QUEUED;
    let (mut step, mut unseen) = (0, Unseen::none());
    for epoch in 0..settings.epochs {
        let mut sum = 0.0;
        train.epoch(seed, epoch, batch_size, |views| {
            let mut rng = random("localmim fine-tuning step", seed, step);
            let sample = prepare(views, network, &augment, classes, &mut rng);
            let kept = draw_branches(depth, batch_size, settings.drop_path, &mut rng);
            let output = slices.spread(&model, batch_size, device, |model, range| {
                let mut input = sample.input(&range, network, windows.clone(), device);
                input.branches = Some(branches_on(&kept, depth, range.clone(), device));
                let soft = sample.soft[range.start * classes..range.end * classes].to_vec();
                let soft = Tensor::from_data(TensorData::new(soft, [range.len(), classes]), device);
                let loss = cross_entropy(model.forward(input), soft, batch_size);
                let mut gradients = loss.backward();
                StepOutput {
                    gradients: Gradients::take(model, &mut gradients),
                    losses: Losses::whole(vec![loss.inner()]),
                    times: PartTimes::default(),
                }
            });
            let batches = vec![(output.losses, ())];
            unseen.keep(Made { step: step + 1, batches, norm: None });
            if !queued || unseen.full() {
                sum += look(&mut unseen)?;
            }
            let gradient = optimizer.collect(None, output.gradients, 1.0);
            optimizer.step(&mut model, &gradient, schedule.at(step), None);
            step += 1;
            bar.inc(batch_size as u64);
            Ok::<(), EvalError>(())
        })?;
        sum += look(&mut unseen)?;
        let text = format!("epoch {}: loss {:.4}", epoch + 1, sum / batches.max(1) as f64);
        bar.suspend(|| console.message(&text));
    }
    bar.finish_and_clear();
    let model = model.valid();
    let predictions = classify(&model, test, network, compute, console)?;
    Ok((predictions, state::save(&model, &alone::config(network))))
}

/// The sum of the losses of steps that were not looked at yet.
fn look<B: Backend>(unseen: &mut Unseen<B, ()>) -> Result<f64, EvalError> {
    let mut sum = 0.0;
    for made in unseen.read() {
        for value in made.batches.into_iter().flat_map(|(losses, ())| losses) {
            if !value.is_finite() {
                let (method, step, what) = ("fine-tuning", made.step, "the loss");
                return Err(EvalError::NotFinite { method, step, what, value });
            }
            sum += value;
        }
    }
    Ok(sum)
}

/// A batch as the network takes it, on the host.
struct Sample {
    /// `[views, patches, 3·patch²]`.
    inputs: Vec<f32>,
    /// `[views, classes]`.
    soft: Vec<f32>,
}

impl Sample {
    fn input<B: Kernels>(
        &self,
        range: &Range<usize>,
        network: &ModelConfig,
        windows: Option<DevicePlan<B>>,
        device: &B::Device,
    ) -> EncoderInput<B> {
        let each = 3 * network.size * network.size;
        let part = self.inputs[range.start * each..range.end * each].to_vec();
        EncoderInput::whole(network, part, windows, device)
    }
}

fn prepare(
    mut views: Views,
    network: &ModelConfig,
    augment: &Augment,
    classes: usize,
    rng: &mut ChaCha8Rng,
) -> Sample {
    let size = network.size;
    let base: u64 = rng.random();
    views.pictures.par_chunks_exact_mut(size * size * 3).enumerate().for_each(|(at, view)| {
        let mut rng = random("localmim fine-tuning view", base, at as u64);
        augment.alter(view, size, &mut rng);
    });
    let mix = augment.draw_mix(size, rng);
    if let Mix::Box(area) = mix {
        augment::paste(&mut views.pictures, size, area);
    }
    let mut inputs = inputs(&views.pictures, network);
    if let Mix::Blend(own) = mix {
        augment::blend(&mut inputs, 3 * size * size, own);
    }
    Sample { inputs, soft: augment.soften(&views.labels, classes, mix.own(size)) }
}

/// Pictures → patches, `[views, patches, 3·patch²]`.
fn inputs(pictures: &[u8], network: &ModelConfig) -> Vec<f32> {
    let each = 3 * network.size * network.size;
    let parts: Vec<Vec<f32>> = pictures
        .par_chunks_exact(each)
        .map(|picture| {
            let mut input = Vec::with_capacity(each);
            // Stored views have the size that was asked for.
            if cut_whole(network, picture, &mut input).is_err() {
                input.resize(each, 0.0);
            }
            input
        })
        .collect();
    parts.concat()
}

/// The best classes of each test row.
fn classify<B: Trainable>(
    model: &Classifier<B::InnerBackend>,
    test: &Labelled,
    network: &ModelConfig,
    compute: &Compute<B>,
    console: &Console,
) -> Result<Vec<Vec<u32>>, EncodeError> {
    let bar = console.work("test rows", test.rows() as u64);
    let workers = vec![model.clone(); compute.threads.max(1)];
    let windows = EncoderAlone::<B::InnerBackend>::windows(network, &compute.device);
    let parts = spread(workers, test.groups(), |model, group| {
        let views = test.group(group)?;
        let count = views.labels.len();
        let sample = Sample { inputs: inputs(&views.pictures, network), soft: vec![] };
        let mut best = Vec::with_capacity(count);
        for start in (0..count).step_by(PIECE) {
            let range = start..count.min(start + PIECE);
            let input = sample.input(&range, network, windows.clone(), &compute.device);
            let logits = model.forward(input);
            let [_, classes] = logits.dims();
            let logits = state::to_host(logits);
            best.extend(logits.chunks(classes).map(|row| score::best(row, f32::NEG_INFINITY)));
        }
        bar.inc(count as u64);
        Ok(best)
    });
    bar.finish_and_clear();
    Ok(parts?.into_iter().flatten().collect())
}
