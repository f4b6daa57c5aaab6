//! The training loop: shards → a run's folder of checkpoints and metrics.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Tensor;
use kernels::input::Sent;
use kernels::optim::Clip;
use kernels::{Optimize, Trainable, asked};
use shards::{ShardSet, ShardSource};

use super::batch::Loaded;
use super::clock::{Clock, Stopwatch};
pub use super::error::TrainError;
use super::guard::{Told, Watch};
use super::optim::Gradient;
use super::schedule::Schedule;
use super::slices::Slices;
use super::step::Timing;
pub use super::trainee::Resume;
use super::trainee::Trainee;
use super::unseen::Made;
use super::{begin, told};
use crate::checkpoint::CheckpointFolder;
use crate::data::order::batches_per_epoch;
use crate::data::{DataError, Loader, Position, RowRef};
use crate::metrics::{MetricsWriter, Record};
use crate::model::ModelConfig;
use crate::profile::Profile;
use crate::progress::Console;
use crate::ranks::Seat;
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

/// What all ranks of a run have in common.
pub struct Job<'a> {
    /// Where it reads and writes.
    pub paths: &'a RunPaths,
    /// What decides it.
    pub settings: &'a Settings,
    /// The checkpoint that it goes on from.
    pub resume: Option<&'a Resume>,
    /// The set.
    pub dataset: Arc<ShardSet>,
    /// The network's sizes.
    pub network: ModelConfig,
    /// Raised when it is to end.
    pub stop: &'a AtomicBool,
}

/// What a rank has of its own.
pub struct Part<'a, B: Trainable> {
    /// Its place among the others.
    pub seat: Seat,
    /// What computes.
    pub device: B::Device,
    /// How its views are spread over that.
    pub slices: Slices,
    /// The devices of this process, where they add gradients by themselves.
    pub adds: Vec<B::Device>,
    /// Its views of each batch.
    pub loader: Loader,
    /// What is told by it.
    pub console: &'a Console,
}

/// Trains until the schedule, `max_steps` or the stop ends it, and leaves a checkpoint: the first
/// rank does.
///
/// # Errors
/// [`TrainError`]; what was published before it stays whole.
pub fn run<B: Trainable>(job: &Job<'_>, part: Part<'_, B>) -> Result<Trained, TrainError> {
    let (settings, console) = (job.settings, part.console);
    let mut run = Run::<B>::open(job, part)?;
    run.tell();
    run.begin_profile();
    while run.trainee.step < run.last_step && !run.is_stopped()? {
        let step = run.trainee.step + 1;
        let lr = run.schedule.at(run.trainee.step);
        let due = Due {
            log: step % settings.log_every == 0 || step == run.last_step,
            save: step % settings.checkpoint_every == 0,
        };

        let timing = run.clock.step(due.log);
        let Accumulated { gradient, mut made, position } = run.accumulate(step, timing)?;
        let gradient = run.add(gradient)?;
        // What is saved has been looked at.
        if due.log || due.save || settings.clip_grad.is_some() {
            made.norm = Some(gradient.norm());
        }
        let norm = made.norm.clone();
        run.watch.unseen.keep(made);
        if !Run::<B>::QUEUED {
            run.look()?;
        }
        run.finish(&gradient, norm, lr, position, timing);
        if due.log || run.watch.unseen.full() {
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
        run.seat.reached(step);
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
    made: Made<B::InnerBackend, Vec<RowRef>>,
    /// Where the next step goes on.
    position: Position,
}

/// A run at work.
struct Run<'a, B: Trainable> {
    job: &'a Job<'a>,
    seat: Seat,
    device: B::Device,
    adds: Vec<B::Device>,
    slices: Slices,
    console: &'a Console,
    batches_per_epoch: u64,
    schedule: Schedule,
    last_step: u64,
    trainee: Trainee<B>,
    loader: Loader,
    /// The batch after, or why there is none.
    ahead: Option<Result<Sent<B, Loaded<B>>, DataError>>,
    folder: CheckpointFolder,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    /// The first rank has them.
    metrics: Option<MetricsWriter>,
    /// What steps gave.
    watch: Watch<B::InnerBackend>,
    /// The shards' trouble has been told.
    told: bool,
    begun: Stopwatch,
    /// Since the last line of metrics.
    clock: Clock,
    profile: Option<Profile>,
}

impl<'a, B: Trainable> Run<'a, B> {
    /// The device works off a queue, while the host is ahead of it.
    const QUEUED: bool = <B::InnerBackend as Optimize>::QUEUED;

    /// Begins the network or takes it up again.
    fn open(job: &'a Job<'a>, part: Part<'a, B>) -> Result<Self, TrainError> {
        let Part { seat, device, slices, adds, loader, console } = part;
        let Job { paths, settings, resume, dataset, network, .. } = job;
        let folder = CheckpointFolder::of_run(&paths.out);
        let batches_per_epoch = batches_per_epoch(dataset, settings.batch_size)?;
        let schedule = begin::schedule(settings, batches_per_epoch)?;
        let earlier = resume.map(|resume| &resume.checkpoint.header);
        let saved = earlier.map(|header| header.step);
        if let Some(line) = earlier.and_then(|at| told::other_numbers(settings, &at.settings)) {
            console.message(&line);
        }
        let trainee = match resume {
            Some(resume) => Trainee::resume(resume, settings, network, &device)?,
            None => {
                if seat.is_first()
                    && let Some(&step) = folder.steps()?.last()
                {
                    return Err(TrainError::Occupied { out: paths.out.clone(), step });
                }
                Trainee::start(settings, network, &device)
            }
        };
        let metrics = match seat.is_first() {
            true => {
                begin::write_settings(&paths.out, settings)?;
                Some(MetricsWriter::open(&paths.out, trainee.step)?)
            }
            false => None,
        };
        seat.reached(trainee.step);
        Ok(Self {
            job,
            seat,
            device,
            adds,
            slices,
            console,
            batches_per_epoch,
            last_step: settings.max_steps.unwrap_or(u64::MAX).min(schedule.total_steps),
            schedule,
            trainee,
            loader,
            ahead: None,
            folder,
            saved,
            metrics,
            watch: Watch::begin(),
            told: false,
            begun: Stopwatch::start(),
            clock: Clock::start(Self::QUEUED),
            profile: None,
        })
    }

    /// Whether it is to end before its last step: all ranks do after the same one.
    fn is_stopped(&self) -> Result<bool, TrainError> {
        let own = f64::from(u8::from(self.job.stop.load(Ordering::Relaxed)));
        Ok(self.seat.add(vec![own])?.iter().any(|&asked| asked > 0.0))
    }

    /// The gradient of the whole batch, given that of this rank's part.
    fn add(&self, gradient: Gradient<B>) -> Result<Gradient<B>, TrainError> {
        if self.seat.ranks() == 1 {
            return Ok(gradient);
        }
        let (seat, optimizer) = (&self.seat, &self.trainee.optimizer);
        let (gradient, of_here) = match self.adds.as_slice() {
            [] => (gradient, false),
            devices => match optimizer.across(gradient, devices) {
                Ok(sum) => (sum, true),
                Err(own) => (own, false),
            },
        };
        if of_here && seat.in_one_process() {
            return Ok(gradient);
        }
        // What all here have is told once.
        let told = |values| if of_here && !seat.is_first_here() { vec![] } else { values };
        Ok(optimizer.summed(gradient, |values| seat.sum(told(values)))?)
    }

    /// Says what is going to be done.
    fn tell(&self) {
        let Self { job: Job { settings, dataset, network, .. }, console, trainee, .. } = self;
        let (last_step, ranks) = (self.last_step, self.seat.ranks());
        let parameters = trainee.optimizer.count();
        let steps = told::steps_left(trainee.step, last_step, settings);
        let batches = (self.batches_per_epoch, steps.as_str());
        console.message(&told::beginning(settings, dataset, network, parameters, batches, ranks));
        if let Some(warning) = told::all_warm_up(settings, &self.schedule) {
            console.message(&warning);
        }
        console.begin(trainee.step, last_step);
    }

    /// Measures the machine, if it is asked for.
    fn begin_profile(&mut self) {
        let Job { settings, network, .. } = self.job;
        if settings.profile && self.seat.is_first() {
            self.console.message("measuring what the machine does at best");
            let parameters = self.trainee.optimizer.count();
            let profile =
                Profile::begin::<B::InnerBackend>(network, settings, parameters, &self.device);
            self.profile = Some(profile);
            (self.begun, self.clock) = (Stopwatch::start(), Clock::start(Self::QUEUED));
        }
    }

    /// Forward and backward over this rank's part of the batches of step `step`; the gradient is that
    /// of their mean.
    fn accumulate(&mut self, step: u64, timing: Timing) -> Result<Accumulated<B>, TrainError> {
        let accum = self.job.settings.accum;
        let mut position = self.trainee.position;
        let mut gradient: Option<Gradient<B>> = None;
        let mut made = Made { step, batches: vec![], norm: None };
        for _ in 0..accum {
            let waiting = Instant::now();
            let loaded = self.take()?;
            self.clock.data += waiting.elapsed();
            self.clock.views += self.job.settings.batch_size as u64;
            position = loaded.batch.position.next(self.batches_per_epoch);

            let (model, loss) = (&self.trainee.model, self.job.network.loss);
            let output = self.slices.run(model, loss, &loaded, &self.device, timing);
            self.clock.batch(output.times);
            let optimizer = &self.trainee.optimizer;
            gradient = Some(optimizer.collect(gradient, output.gradients, (accum as f64).recip()));
            let batch = loaded.into_batch();
            made.batches.push((output.losses, batch.rows.clone()));
            self.loader.give_back(batch);
        }
        let gradient = gradient.expect("accum is at least 1");
        Ok(Accumulated { gradient, made, position })
    }

    /// The next batch on the device. The one after is sent there, too, if it is ready and the device
    /// works off a queue: it is copied while the device is at this one.
    fn take(&mut self) -> Result<Loaded<B>, TrainError> {
        let next = self.ahead.take().unwrap_or_else(|| {
            let batch = self.loader.next()?;
            Ok(Loaded::send(batch, &self.device))
        });
        let loaded = match next {
            Ok(sent) => sent.arrived(),
            Err(error) => return Err(self.unread(error)),
        };
        if Self::QUEUED {
            let next = self.loader.ready();
            self.ahead = next.map(|next| next.map(|batch| Loaded::send(batch, &self.device)));
        }
        Ok(loaded)
    }

    /// Looks at what steps gave since it was last looked.
    fn look(&mut self) -> Result<(), TrainError> {
        let Self { folder, seat, .. } = self;
        self.watch.look(Told { folder, out: &self.job.paths.out, seat })
    }

    /// The loss of the newest step that was looked at.
    fn loss(&self) -> Option<f64> {
        let losses = &self.watch.last.tap_losses;
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
        let clip = self.job.settings.clip_grad.zip(norm);
        let clip = clip.map(|(limit, norm)| Clip { limit, norm });
        self.trainee.apply(gradient, lr, clip, position);
        if timing == Timing::Device {
            asked::sync::<B>(&self.device);
        }
        self.clock.optimizer(optimizing.elapsed());
    }

    /// Writes a line of metrics, and begins the time of the next.
    fn log(&mut self, lr: f64) -> Result<(), TrainError> {
        let Position { epoch, batch } = self.trainee.position;
        let (views, views_per_s) = (self.clock.views as f64, self.clock.views_per_s());
        let shares = self.clock.shares();
        let waits = self.seat.gather(vec![shares.data])?;
        let Some(metrics) = &mut self.metrics else { return Ok(()) };
        let spent = self.begun.after(metrics.before());
        let record = Record {
            step: self.trainee.step,
            epoch: epoch as f64 + batch as f64 / self.batches_per_epoch as f64,
            loss: self.watch.last.tap_losses.iter().sum(),
            tap_losses: self.watch.last.tap_losses.clone(),
            lr,
            grad_norm: self.watch.last.grad_norm.unwrap_or_default(),
            views_per_s,
            shares,
            slowest: told::slowest(&waits),
            elapsed_s: Some(spent.elapsed_s),
            core_s: spent.core_s,
            profile: self
                .profile
                .as_mut()
                .map(|profile| profile.add(views, views / views_per_s, &shares)),
        };
        metrics.write(&record)?;
        self.console.record(&record);
        if let Some(trouble) = self.job.paths.shards.trouble()
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
        let Job { settings, network, dataset, .. } = self.job;
        if self.seat.is_first() {
            self.trainee.save(&self.folder, settings, network, dataset)?;
        }
        if let Some(metrics) = &self.metrics {
            metrics.keep(self.trainee.step, self.begun.after(metrics.before()))?;
        }
        self.saved = Some(self.trainee.step);
        Ok(())
    }

    /// Leaves a checkpoint of the last step.
    fn end(mut self) -> Result<Trained, TrainError> {
        let step = self.trainee.step;
        if self.saved != Some(step) {
            self.save()?;
        }
        // Nobody goes before it is saved.
        self.seat.gather(vec![])?;
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
        // Ranks of other processes have their batches, and know nothing of it.
        if !self.seat.in_one_process() {
            return error.into();
        }
        if step > 0
            && self.saved != Some(step)
            && let Err(unsaved) = self.save()
        {
            self.console.message(&format!("step {step} is lost: {unsaved}"));
            return error.into();
        }
        // Nobody goes before it is saved.
        if let Err(other) = self.seat.gather(vec![]) {
            return other.into();
        }
        match self.saved.map(|saved| self.folder.path(saved)) {
            Some(checkpoint) => TrainError::Unread { source: error, step, checkpoint },
            None => error.into(),
        }
    }
}
