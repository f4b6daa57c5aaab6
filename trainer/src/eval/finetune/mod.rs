//! Full fine-tuning: the encoder and a linear head, trained on labelled views.
//!
//! In the order in which data flows: [`augment`] (what the network sees of a batch of labelled
//! views), [`network`] (the classifier), and the loop here; [`unfinished`] (what a tuning that was
//! stopped goes on from).

pub mod augment;
pub mod network;
pub mod unfinished;

use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

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
use unfinished::Unfinished;

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

/// What is tuned, on what.
#[derive(Debug, Clone, Copy)]
pub struct Tuning<'a> {
    /// The encoder that it begins with.
    pub checkpoint: &'a Checkpoint,
    /// What names it in errors.
    pub path: &'a Path,
    /// The rows to learn from.
    pub train: &'a Labelled,
    /// Those to be tested on.
    pub test: &'a Labelled,
    /// How.
    pub settings: &'a FinetuneSettings,
    /// The seed of all that is random.
    pub seed: u64,
    /// The file that it goes on from after a stop.
    pub unfinished: &'a Path,
    /// Raised when it is to stop.
    pub stop: &'a AtomicBool,
}

/// [`predict`] on a device.
///
/// # Errors
/// [`EvalError`] as there, and if the system gives no thread.
pub fn predict_on(
    device: DeviceKind,
    tuning: &Tuning<'_>,
    console: &Console,
) -> Result<(Vec<Vec<u32>>, State), EvalError> {
    match device {
        DeviceKind::Cuda(index) => {
            let (device, slices) = (CudaDevice::new(index), Slices::whole());
            let compute = Compute { device, precision: Precision::Bf16, slices, threads: 1 };
            predict::<Autodiff<Cuda>>(tuning, &compute, console)
        }
        DeviceKind::Vulkan(adapter) => {
            let (device, slices) = (adapter.device(), Slices::whole());
            let compute = Compute { device, precision: Precision::F32, slices, threads: 1 };
            predict::<Autodiff<Wgpu>>(tuning, &compute, console)
        }
        DeviceKind::Cpu => {
            let threads = rayon::current_num_threads();
            let slices = Slices::over_threads(threads).map_err(EncodeError::from)?;
            let device = Default::default();
            let compute = Compute { device, precision: Precision::F32, slices, threads };
            predict::<Autodiff<Flex>>(tuning, &compute, console)
        }
    }
}

/// For each row of `test` the classes by their logits, the best first, and the parameters of encoder
/// and head (`head.*`), after training the encoder of a checkpoint, which `path` names, and a head
/// on `train`. Everything random follows from the seed; on the CPU the number of threads does not
/// change a bit, and neither does a stop.
///
/// # Errors
/// [`EvalError`] if a shard can't be read or the loss becomes no number; [`EvalError::Stopped`] when it
/// was asked to, after what was learned was kept.
pub fn predict<B: Trainable>(
    tuning: &Tuning<'_>,
    compute: &Compute<B>,
    console: &Console,
) -> Result<(Vec<Vec<u32>>, State), EvalError> {
    let &Tuning { checkpoint, train, settings, seed, .. } = tuning;
    let (network, classes) = (&checkpoint.header.network, train.classes());
    let mut unfinished = Unfinished::new(tuning, compute.precision);
    let Begun { mut model, mut optimizer, done } =
        Begun::new(tuning, compute, unfinished.read(console))?;
    let windows = EncoderAlone::windows(network, &compute.device);
    let depth = blocks(&network.encoder);

    let batch_size = settings.batch_size.clamp(1, train.rows());
    let batches = (train.rows() / batch_size) as u64;
    let schedule = settings.schedule(batches, batch_size);
    let augment = settings.augment();
    let bar = console.work("fine-tuning", settings.epochs * batches * batch_size as u64);
    let queued = <B::InnerBackend as Optimize>::QUEUED;
    let (mut step, mut unseen) = (0, Unseen::none());
    for epoch in 0..settings.epochs {
        let mut sum = 0.0;
        if step + batches <= done {
            step += batches;
            bar.inc(batches * batch_size as u64);
            continue;
        }
        train.epoch(seed, epoch, batch_size, |views| {
            // What was made before a stop is read again, and no more.
            if step < done {
                step += 1;
                bar.inc(batch_size as u64);
                return Ok(());
            }
            let mut rng = random("localmim fine-tuning step", seed, step);
            let sample = prepare(views, network, &augment, classes, &mut rng);
            let kept = draw_branches(depth, batch_size, settings.drop_path, &mut rng);
            let whole = Whole { sample: &sample, kept: &kept, network, windows: windows.clone() };
            let output = whole.learn(&model, compute, (batch_size, depth, classes));
            let batches = vec![(output.losses, ())];
            unseen.keep(Made { step: step + 1, batches, norm: None });
            if !queued || unseen.full() {
                sum += look(&mut unseen)?;
            }
            let gradient = optimizer.collect(None, output.gradients, 1.0);
            optimizer.step(&mut model, &gradient, schedule.at(step), None);
            step += 1;
            bar.inc(batch_size as u64);
            let stopped = tuning.stop.load(Ordering::Relaxed);
            if stopped || unfinished.is_due() {
                sum += look(&mut unseen)?;
                unfinished.keep(&model, &optimizer, step)?;
            }
            if stopped { Err(EvalError::Stopped) } else { Ok(()) }
        })?;
        sum += look(&mut unseen)?;
        let made = (step - done.max(epoch * batches)).max(1);
        let text = format!("epoch {}: loss {:.4}", epoch + 1, sum / made as f64);
        bar.suspend(|| console.message(&text));
    }
    bar.finish_and_clear();
    let model = model.valid();
    let predictions = classify(&model, tuning.test, network, compute, console)?;
    Ok((predictions, state::save(&model, &alone::config(network))))
}

/// Network and optimizer before the next step.
struct Begun<B: Trainable> {
    model: Classifier<B>,
    optimizer: Optimizer<B>,
    /// Steps that were made before a stop.
    done: u64,
}

impl<B: Trainable> Begun<B> {
    /// Those of the encoder, or of what was kept.
    fn new(
        tuning: &Tuning<'_>,
        compute: &Compute<B>,
        kept: Option<Checkpoint>,
    ) -> Result<Self, EvalError> {
        let &Tuning { checkpoint, path, train, settings, seed, .. } = tuning;
        let Compute { device, precision, .. } = compute;
        let (network, head) = (&checkpoint.header.network, (train.classes(), seed));
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| EncodeError::State { path, source }
        };
        let model = Classifier::<B>::new(network, &checkpoint.model, head, *precision, device);
        let mut model = model.map_err(at(path))?;
        let alone = alone::config(network);
        if let Some(kept) = &kept {
            let loaded = state::load(model, &alone, &kept.model, device);
            model = loaded.map_err(at(tuning.unfinished))?;
        }
        let encoder = &network.encoder;
        let depth = blocks(encoder);
        let weight_decay = settings.weight_decay;
        let adamw = AdamWSettings { betas: (0.9, 0.999), weight_decay, decay: Decay::Matrices };
        let scale = |param: &ParamInfo| {
            let below = depth + 1 - depth_of(encoder, &param.name);
            settings.layer_decay.powi(below as i32)
        };
        let mut optimizer = Optimizer::with_scales(&model, &alone, adamw, scale, device);
        let mut done = 0;
        if let Some(Checkpoint { header, moments, .. }) = &kept {
            done = header.optimizer_steps;
            optimizer.load(moments, done).map_err(at(tuning.unfinished))?;
        }
        Ok(Self { model, optimizer, done })
    }
}

/// A batch before it is spread.
struct Whole<'a, B: Kernels> {
    sample: &'a Sample,
    /// Which branches of which views are kept.
    kept: &'a [f32],
    network: &'a ModelConfig,
    windows: Option<DevicePlan<B>>,
}

impl<B: Trainable> Whole<'_, B> {
    /// Losses and gradients.
    fn learn(
        &self,
        model: &Classifier<B>,
        compute: &Compute<B>,
        (batch_size, depth, classes): (usize, usize, usize),
    ) -> StepOutput<B> {
        let Compute { device, slices, .. } = compute;
        slices.spread(model, batch_size, device, |model, range| {
            let mut input = self.sample.input(&range, self.network, self.windows.clone(), device);
            input.branches = Some(branches_on(self.kept, depth, range.clone(), device));
            let soft = self.sample.soft[range.start * classes..range.end * classes].to_vec();
            let soft = Tensor::from_data(TensorData::new(soft, [range.len(), classes]), device);
            let loss = cross_entropy(model.forward(input), soft, batch_size);
            let mut gradients = loss.backward();
            StepOutput {
                gradients: Gradients::take(model, &mut gradients),
                losses: Losses::whole(vec![loss.inner()]),
                times: PartTimes::default(),
            }
        })
    }
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
