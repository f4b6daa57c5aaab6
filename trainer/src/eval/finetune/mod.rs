//! Full fine-tuning: the encoder and a linear head, trained on labelled views.
//!
//! In the order in which data flows: [`stream`] (labelled rows → batches), [`augment`] (what the
//! network sees of them), [`network`] (classifier and optimizer), and the loop here.

pub mod augment;
pub mod network;
pub mod stream;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use targets::View;

use super::{EvalError, score};
use crate::checkpoint::Checkpoint;
use crate::data::sample::cut_patches;
use crate::model::{LocalMim, ModelConfig, Precision, state};
use crate::progress::Console;
use crate::train::optim::Gradients;
use crate::train::schedule::Schedule;
use augment::{Augment, Mix};
use network::{Classifier, Optimizer, Paths, cross_entropy, rules};
use stream::{Labelled, Views};

/// Views that one thread takes at once on the CPU.
const SLICE_VIEWS: usize = 8;

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
pub struct Compute<B: Backend> {
    /// The device.
    pub device: B::Device,
    /// The number format of matrix products.
    pub precision: Precision,
    /// Threads, each of which takes a few views at once; with none a batch stays whole.
    pub threads: usize,
}

/// For each row of `test` the classes by their logits, the best first, after training the encoder
/// of a checkpoint, which `path` names, and a head on `train`. Everything random follows from the
/// seed; on the CPU the number of threads does not change a bit.
///
/// # Errors
/// [`EvalError`] if a shard can't be read or the loss becomes no number.
pub fn predict<B: AutodiffBackend>(
    (checkpoint, path): (&Checkpoint, &Path),
    (train, test): (&Labelled, &Labelled),
    settings: &FinetuneSettings,
    seed: u64,
    compute: &Compute<B>,
    console: &Console,
) -> Result<Vec<Vec<u32>>, EvalError> {
    let network = &checkpoint.header.network;
    let Compute { device, precision, .. } = compute;
    let model = LocalMim::<B>::from_state(network, *precision, &checkpoint.model, device)
        .map_err(|source| EvalError::State { path: path.to_owned(), source })?;
    let classes = train.classes();
    let mut model = Classifier::new(model.encoder, network, classes, *precision, device);
    let mut optimizer = Optimizer::new(rules(&model, settings.layer_decay), settings.weight_decay);
    let pools = pools(compute.threads)?;

    let batch_size = settings.batch_size.clamp(1, train.rows());
    let batches = (train.rows() / batch_size) as u64;
    let schedule = settings.schedule(batches, batch_size);
    let augment = settings.augment();
    let depth = model.encoder.to_top().0.len();
    let bar = console.work("fine-tuning", settings.epochs * batches * batch_size as u64);
    let mut step = 0;
    for epoch in 0..settings.epochs {
        let mut sum = 0.0;
        train.epoch(seed, epoch, batch_size, |views| {
            let mut rng = random("localmim fine-tuning step", seed, step);
            let sample = prepare(views, network, &augment, classes, &mut rng);
            let paths = drop_paths(settings.drop_path, depth, batch_size, &mut rng);
            let work = |range: std::ops::Range<usize>, model: &Classifier<B>| {
                let (patches, keep) = sample.patches::<B>(&range, network, device);
                let soft = sample.soft[range.start * classes..range.end * classes].to_vec();
                let soft = Tensor::from_data(TensorData::new(soft, [range.len(), classes]), device);
                let of = |factors: &Vec<f32>| factors[range.clone()].to_vec();
                let paths: Paths = paths.iter().map(|[a, b]| [of(a), of(b)]).collect();
                let logits = model.forward(patches, keep, Some(&paths));
                let loss = cross_entropy(logits, soft, batch_size);
                let mut gradients = loss.backward();
                let gradients = Gradients::take(model, &mut gradients);
                (f64::from(state::to_host(loss.inner())[0]), gradients)
            };
            let (loss, gradients) = spread(&model, &pools, batch_size, device, &work);
            if !loss.is_finite() {
                return Err(EvalError::NotFinite { step: step + 1, value: loss });
            }
            model = optimizer.step(model.clone(), gradients.into_flat(), schedule.at(step));
            sum += loss;
            step += 1;
            bar.inc(batch_size as u64);
            Ok(())
        })?;
        let text = format!("epoch {}: loss {:.4}", epoch + 1, sum / batches.max(1) as f64);
        bar.suspend(|| console.message(&text));
    }
    bar.finish_and_clear();
    classify(&model.valid(), test, network, compute, &pools, console)
}

/// A random stream for each purpose, seed and number.
fn random(purpose: &str, seed: u64, number: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

fn pools(threads: usize) -> Result<Vec<ThreadPool>, EvalError> {
    let pool = |i| {
        let builder = ThreadPoolBuilder::new().num_threads(1);
        builder.thread_name(move |_| format!("finetune-{i}")).build()
    };
    Ok((0..threads).map(pool).collect::<Result<_, _>>()?)
}

/// A batch as the network takes it, on the host.
struct Sample {
    /// `[views, patches, 3·patch²]`.
    inputs: Vec<f32>,
    /// `[views, classes]`.
    soft: Vec<f32>,
}

impl Sample {
    fn patches<B: Backend>(
        &self,
        range: &std::ops::Range<usize>,
        network: &ModelConfig,
        device: &B::Device,
    ) -> (Tensor<B, 3>, Tensor<B, 2, Int>) {
        let (count, channels) = (network.patches(), 3 * network.patch * network.patch);
        let each = count * channels;
        let part = self.inputs[range.start * each..range.end * each].to_vec();
        let all: Vec<i32> = range.clone().flat_map(|_| 0..count as i32).collect();
        (
            Tensor::from_data(TensorData::new(part, [range.len(), count, channels]), device),
            Tensor::from_data(TensorData::new(all, [range.len(), count]), device),
        )
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
        augment::blend(&mut inputs, network.patches() * 3 * network.patch * network.patch, own);
    }
    Sample { inputs, soft: augment.soften(&views.labels, classes, mix.own(size)) }
}

/// Pictures → patches, `[views, patches, 3·patch²]`.
fn inputs(pictures: &[u8], network: &ModelConfig) -> Vec<f32> {
    let size = network.size;
    let each = network.patches() * 3 * network.patch * network.patch;
    let all: Vec<i32> = (0..network.patches() as i32).collect();
    let mut inputs = vec![0.0; pictures.len() / (size * size * 3) * each];
    let pairs = pictures.par_chunks_exact(size * size * 3).zip(inputs.par_chunks_exact_mut(each));
    pairs.for_each(|(picture, input)| {
        if let Ok(view) = View::new(picture, size) {
            cut_patches(view, network.patch, &all, input);
        }
    });
    inputs
}

/// Factors of both branches of each block and view: 0 for a share that rises to `share` in the
/// topmost block, else what keeps the mean at 1.
fn drop_paths(share: f64, depth: usize, views: usize, rng: &mut ChaCha8Rng) -> Paths {
    let of_block = |block: usize| {
        let share = share * block as f64 / (depth - 1).max(1) as f64;
        let kept = (1.0 / (1.0 - share)) as f32;
        [0, 1].map(|_| {
            (0..views).map(|_| if rng.random::<f64>() < share { 0.0 } else { kept }).collect()
        })
    };
    (0..depth).map(of_block).collect()
}

/// Losses and gradients that have come in but wait for those of slices before theirs.
struct InOrder<B: AutodiffBackend> {
    waiting: BTreeMap<usize, (f64, Gradients<B>)>,
    added: usize,
    sum: Option<(f64, Gradients<B>)>,
}

impl<B: AutodiffBackend> InOrder<B> {
    fn add(&mut self, at: usize, output: (f64, Gradients<B>)) {
        self.waiting.insert(at, output);
        while let Some((loss, gradients)) = self.waiting.remove(&self.added) {
            self.added += 1;
            self.sum = Some(match self.sum.take() {
                Some((sum, all)) => (sum + loss, all.plus(gradients)),
                None => (loss, gradients),
            });
        }
    }
}

/// Loss and gradients of a batch: whole, or cut into slices over the pools and added in order.
fn spread<B: AutodiffBackend>(
    model: &Classifier<B>,
    pools: &[ThreadPool],
    views: usize,
    device: &B::Device,
    work: &(impl Fn(std::ops::Range<usize>, &Classifier<B>) -> (f64, Gradients<B>) + Sync),
) -> (f64, Gradients<B>) {
    if pools.is_empty() {
        return work(0..views, model);
    }
    let count = views.div_ceil(SLICE_VIEWS);
    // Leaves of their own keep the slices' graphs apart; the tensors are shared.
    let models: Vec<_> = (0..count).map(|_| Mutex::new(Some(model.clone().fork(device)))).collect();
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(InOrder { waiting: BTreeMap::new(), added: 0, sum: None });
    let take = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(model) = models.get(at).and_then(|model| lock(model).take()) else { return };
            let start = at * SLICE_VIEWS;
            let output = work(start..views.min(start + SLICE_VIEWS), &model);
            lock(&sum).add(at, output);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = pools.iter().map(|pool| scope.spawn(|| pool.install(take))).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
    let sum = sum.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).sum;
    sum.expect("a batch has a view")
}

/// A thread that panics ends the step, so nobody sees what it left behind.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The best classes of each test row.
fn classify<B: AutodiffBackend>(
    model: &Classifier<B::InnerBackend>,
    test: &Labelled,
    network: &ModelConfig,
    compute: &Compute<B>,
    pools: &[ThreadPool],
    console: &Console,
) -> Result<Vec<Vec<u32>>, EvalError> {
    let bar = console.work("test rows", test.rows() as u64);
    let workers = vec![model.clone(); pools.len().max(1)];
    let parts = super::spread::spread(workers, test.groups(), |model, group| {
        let views = test.group(group)?;
        let count = views.labels.len();
        let sample = Sample { inputs: inputs(&views.pictures, network), soft: vec![] };
        let mut best = Vec::with_capacity(count);
        for start in (0..count).step_by(SLICE_VIEWS) {
            let range = start..count.min(start + SLICE_VIEWS);
            let (patches, keep) =
                sample.patches::<B::InnerBackend>(&range, network, &compute.device);
            let logits = model.forward(patches, keep, None);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_dropped_more_often_the_higher_they_are_and_the_mean_stays() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let views = 4000;
        let paths = drop_paths(0.4, 5, views, &mut rng);
        for (block, branches) in paths.iter().enumerate() {
            for factors in branches {
                let dropped = factors.iter().filter(|&&factor| factor == 0.0).count();
                let share = dropped as f64 / views as f64;
                assert!((share - 0.1 * block as f64).abs() < 0.04, "block {block}: {share}");
                let mean = factors.iter().sum::<f32>() / views as f32;
                assert!((mean - 1.0).abs() < 0.06, "block {block}: {mean}");
            }
        }
        assert!(paths[0][0].iter().all(|&factor| factor == 1.0), "the lowest is never dropped");
    }
}
