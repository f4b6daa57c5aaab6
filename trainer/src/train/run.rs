//! The training loop: shards → a run's folder of checkpoints and metrics.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Tensor;
use kernels::optim::Clip;
use kernels::{Optimize, Trainable};
use shards::{ShardSet, ShardSource};

use super::clock::Clock;
pub use super::error::TrainError;
use super::guard::{Made, Unseen};
use super::optim::Gradient;
use super::schedule::Schedule;
use super::slices::Slices;
use super::step::Timing;
pub use super::trainee::Resume;
use super::trainee::Trainee;
use super::{begin, told};
use crate::checkpoint::CheckpointFolder;
use crate::data::order::batches_per_epoch;
use crate::data::{DataError, Loader, Position};
use crate::metrics::{MetricsWriter, Record};
use crate::model::ModelConfig;
use crate::profile::Profile;
use crate::progress::Console;
use crate::settings::Settings;

/// Where a run reads and writes.
#[derive(Debug, Clone)]
pub struct RunPaths {
    /// Where the shards lie.
    pub shards: ShardSource,
    /// The run's folder.
    pub out: PathBuf,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trained {
    /// Optimizer steps made in all.
    pub step: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
}

/// Trains until the schedule, `max_steps` or `stop` ends it, and leaves a checkpoint.
///
/// # Errors
/// [`TrainError`]; what was published before it stays whole.
pub fn run<B: Trainable>(
    paths: &RunPaths,
    settings: &Settings,
    resume: Option<Resume>,
    device: &B::Device,
    slices: &Slices,
    console: &Console,
    stop: &AtomicBool,
) -> Result<Trained, TrainError> {
    // Held until the run ends, or its program does.
    let _lock = begin::lock(&paths.out)?;
    let mut run = Run::<B>::open(paths, settings, resume, device, slices, console)?;
    run.tell();
    run.begin_profile();
    while run.trainee.step < run.last_step && !stop.load(Ordering::Relaxed) {
        let step = run.trainee.step + 1;
        let lr = run.schedule.at(run.trainee.step);
        let due = Due {
            log: step % settings.log_every == 0 || step == run.last_step,
            save: step % settings.checkpoint_every == 0,
        };

        let timing = run.clock.step(due.log);
        let Accumulated { gradient, mut made, position } = run.accumulate(step, timing)?;
        // What is saved has been looked at.
        if due.log || due.save || settings.clip_grad.is_some() {
            made.norm = Some(gradient.norm());
        }
        let norm = made.norm.clone();
        run.unseen.keep(made);
        if !Run::<B>::QUEUED {
            run.look()?;
        }
        run.finish(&gradient, norm, lr, position, timing);
        if due.log || run.unseen.full() {
            run.look()?;
        }
        console.step(step, run.loss());
        if due.log {
            run.log(lr)?;
        }
        if due.save {
            run.save()?;
            console.saved(step, &run.folder.path(step));
        }
    }
    run.end()
}

/// What is to be done after a step.
#[derive(Debug, Clone, Copy)]
struct Due {
    log: bool,
    save: bool,
}

/// What the batches of a step give together.
struct Accumulated<B: Trainable> {
    /// The gradient of the mean of their losses.
    gradient: Gradient<B>,
    /// Their losses.
    made: Made<B::InnerBackend>,
    /// Where the next step goes on.
    position: Position,
}

/// A run at work.
struct Run<'a, B: Trainable> {
    paths: &'a RunPaths,
    settings: &'a Settings,
    device: &'a B::Device,
    slices: &'a Slices,
    console: &'a Console,
    dataset: Arc<ShardSet>,
    batches_per_epoch: u64,
    network: ModelConfig,
    schedule: Schedule,
    last_step: u64,
    trainee: Trainee<B>,
    loader: Loader,
    folder: CheckpointFolder,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    metrics: MetricsWriter,
    /// What steps gave that was not looked at yet.
    unseen: Unseen<B::InnerBackend>,
    /// The shards' trouble has been told.
    told: bool,
    begun: Instant,
    /// Since the last line of metrics.
    clock: Clock,
    profile: Option<Profile>,
}

impl<'a, B: Trainable> Run<'a, B> {
    /// The device works off a queue, while the host is ahead of it.
    const QUEUED: bool = <B::InnerBackend as Optimize>::QUEUED;

    /// Opens the set, begins the network or takes it up again, and starts the loader.
    fn open(
        paths: &'a RunPaths,
        settings: &'a Settings,
        resume: Option<Resume>,
        device: &'a B::Device,
        slices: &'a Slices,
        console: &'a Console,
    ) -> Result<Self, TrainError> {
        let dataset = Arc::new(begin::dataset(&paths.shards, resume.as_ref(), console)?);
        let network = settings.network(dataset.layout())?;
        let folder = CheckpointFolder::of_run(&paths.out);
        let batches_per_epoch = batches_per_epoch(&dataset, settings.batch_size)?;
        let schedule = begin::schedule(settings, batches_per_epoch)?;
        let earlier = resume.as_ref().map(|resume| &resume.checkpoint.header);
        let saved = earlier.map(|header| header.step);
        if let Some(line) = earlier.and_then(|at| told::other_numbers(settings, &at.settings)) {
            console.message(&line);
        }
        let trainee = match resume {
            Some(resume) => Trainee::resume(resume, settings, &network, device)?,
            None => {
                if let Some(&step) = folder.steps()?.last() {
                    return Err(TrainError::Occupied { out: paths.out.clone(), step });
                }
                Trainee::start(settings, &network, device)
            }
        };
        begin::write_settings(&paths.out, settings)?;
        let metrics = MetricsWriter::open(&paths.out, trainee.step)?;
        let loader_settings =
            begin::loader_settings(settings, &network, dataset.layout().size as usize);
        let (memory, set) = (B::memory(device), Arc::clone(&dataset));
        let loader = Loader::start_in(memory, set, loader_settings, trainee.position)?;
        Ok(Self {
            paths,
            settings,
            device,
            slices,
            console,
            dataset,
            batches_per_epoch,
            network,
            last_step: settings.max_steps.unwrap_or(u64::MAX).min(schedule.total_steps),
            schedule,
            trainee,
            loader,
            folder,
            saved,
            metrics,
            unseen: Unseen::none(),
            told: false,
            begun: Instant::now(),
            clock: Clock::start(Self::QUEUED),
            profile: None,
        })
    }

    /// Says what is going to be done.
    fn tell(&self) {
        let Self { settings, console, trainee, last_step, .. } = self;
        let parameters = trainee.optimizer.count();
        let steps = told::steps_left(trainee.step, *last_step, settings);
        let batches = (self.batches_per_epoch, steps.as_str());
        console.message(&told::beginning(
            settings,
            &self.dataset,
            &self.network,
            parameters,
            batches,
        ));
        if let Some(warning) = told::all_warm_up(settings, &self.schedule) {
            console.message(&warning);
        }
        console.begin(trainee.step, *last_step);
    }

    /// Measures the machine, if it is asked for.
    fn begin_profile(&mut self) {
        if self.settings.profile {
            self.console.message("measuring what the machine does at best");
            let (settings, device) = (self.settings, self.device);
            let parameters = self.trainee.optimizer.count();
            let profile =
                Profile::begin::<B::InnerBackend>(&self.network, settings, parameters, device);
            self.profile = Some(profile);
            (self.begun, self.clock) = (Instant::now(), Clock::start(Self::QUEUED));
        }
    }

    /// Forward and backward over the batches of step `step`; the gradient is that of their mean.
    fn accumulate(&mut self, step: u64, timing: Timing) -> Result<Accumulated<B>, TrainError> {
        let accum = self.settings.accum;
        let mut position = self.trainee.position;
        let mut gradient: Option<Gradient<B>> = None;
        let mut made = Made { step, batches: vec![], norm: None };
        for _ in 0..accum {
            let waiting = Instant::now();
            let batch = match self.loader.next() {
                Ok(batch) => batch,
                Err(error) => return Err(self.unread(error)),
            };
            self.clock.data += waiting.elapsed();
            self.clock.views += batch.views as u64;
            position = batch.position.next(self.batches_per_epoch);

            let (model, loss) = (&self.trainee.model, self.network.loss);
            let output = self.slices.run(model, loss, &batch, self.device, timing);
            self.clock.batch(output.times);
            let optimizer = &self.trainee.optimizer;
            gradient = Some(optimizer.collect(gradient, output.gradients, (accum as f64).recip()));
            made.batches.push((output.losses, batch.rows.clone()));
            self.loader.give_back(batch);
        }
        let gradient = gradient.expect("accum is at least 1");
        Ok(Accumulated { gradient, made, position })
    }

    /// Looks at what steps gave since it was last looked.
    fn look(&mut self) -> Result<(), TrainError> {
        self.unseen.look(&self.folder, &self.paths.out)
    }

    /// The loss of the newest step that was looked at.
    fn loss(&self) -> Option<f64> {
        let losses = &self.unseen.last.tap_losses;
        (!losses.is_empty()).then(|| losses.iter().sum())
    }

    /// Makes one optimizer step, with the gradient clipped where that is asked for.
    fn finish(
        &mut self,
        gradient: &Gradient<B>,
        norm: Option<Tensor<B::InnerBackend, 1>>,
        lr: f64,
        position: Position,
        timing: Timing,
    ) {
        let optimizing = Instant::now();
        let clip = self.settings.clip_grad.zip(norm);
        let clip = clip.map(|(limit, norm)| Clip { limit, norm });
        self.trainee.apply(gradient, lr, clip, position);
        if timing == Timing::Device {
            let _ = B::sync(self.device);
        }
        self.clock.optimizer(optimizing.elapsed());
    }

    /// Writes a line of metrics, and begins the time of the next.
    fn log(&mut self, lr: f64) -> Result<(), TrainError> {
        let Position { epoch, batch } = self.trainee.position;
        let (views, views_per_s) = (self.clock.views as f64, self.clock.views_per_s());
        let shares = self.clock.shares();
        let record = Record {
            step: self.trainee.step,
            epoch: epoch as f64 + batch as f64 / self.batches_per_epoch as f64,
            loss: self.loss().unwrap_or_default(),
            tap_losses: self.unseen.last.tap_losses.clone(),
            lr,
            grad_norm: self.unseen.last.grad_norm.unwrap_or_default(),
            views_per_s,
            shares,
            elapsed_s: Some(self.metrics.elapsed_s() + self.begun.elapsed().as_secs_f64()),
            profile: self
                .profile
                .as_mut()
                .map(|profile| profile.add(views, views / views_per_s, &shares)),
        };
        self.metrics.write(&record)?;
        self.console.record(&record);
        if let Some(trouble) = self.paths.shards.trouble()
            && !self.told
        {
            self.console.message(trouble);
            self.told = true;
        }
        Ok(())
    }

    /// Saves the network, once nothing that it was made of is no number.
    fn save(&mut self) -> Result<(), TrainError> {
        self.look()?;
        self.trainee.save(&self.folder, self.settings, &self.network, &self.dataset)?;
        self.saved = Some(self.trainee.step);
        Ok(())
    }

    /// Leaves a checkpoint of the last step.
    fn end(mut self) -> Result<Trained, TrainError> {
        let step = self.trainee.step;
        if self.saved != Some(step) {
            self.save()?;
        }
        self.console.end();
        if let Some(profile) = &self.profile {
            self.console.message(&profile.table());
        }
        let checkpoint = self.folder.path(step);
        Ok(Trained { step, checkpoint, interrupted: step < self.last_step })
    }

    /// What a run says that can't go on for want of batches. What was made of its step goes; the
    /// steps before it are kept.
    fn unread(&mut self, error: DataError) -> TrainError {
        let step = self.trainee.step;
        if step > 0
            && self.saved != Some(step)
            && let Err(unsaved) = self.save()
        {
            self.console.message(&format!("step {step} is lost: {unsaved}"));
            return error.into();
        }
        match self.saved.map(|saved| self.folder.path(saved)) {
            Some(checkpoint) => TrainError::Unread { source: error, step, checkpoint },
            None => error.into(),
        }
    }
}
