//! The training loop: shards → a run's folder of checkpoints and metrics.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kernels::Trainable;
use shards::{ShardSet, ShardSource};

use super::clock::Clock;
pub use super::error::TrainError;
use super::guard::Guard;
use super::optim::Gradients;
use super::schedule::Schedule;
use super::slices::Slices;
pub use super::trainee::Resume;
use super::trainee::Trainee;
use super::{begin, told};
use crate::checkpoint::{CheckpointError, CheckpointFolder};
use crate::data::order::batches_per_epoch;
use crate::data::{DataError, Loader, Position, RowRef};
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

        let Accumulated { tap_losses, gradients, rows, position } = run.accumulate(step)?;
        run.look(step, &gradients, &rows, due)?;
        run.finish(gradients, lr, position, due);

        console.step(step, tap_losses.iter().sum());
        if due.log {
            run.log(tap_losses, lr)?;
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
    /// The mean loss of each tap.
    tap_losses: Vec<f64>,
    /// The gradients of their sum.
    gradients: Gradients<B>,
    /// The rows of which the batches were made.
    rows: Vec<RowRef>,
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
    /// The gradient's norm, when it was last taken.
    grad_norm: f64,
    /// The shards' trouble has been told.
    told: bool,
    begun: Instant,
    /// Since the last line of metrics.
    clock: Clock,
    profile: Option<Profile>,
}

impl<'a, B: Trainable> Run<'a, B> {
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
        let saved = resume.as_ref().map(|resume| resume.checkpoint.header.step);
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
        let loader = Loader::start(Arc::clone(&dataset), loader_settings, trainee.position)?;
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
            grad_norm: 0.0,
            told: false,
            begun: Instant::now(),
            clock: Clock::start(),
            profile: None,
        })
    }

    /// Says what is going to be done.
    fn tell(&self) {
        let Self { settings, console, trainee, last_step, .. } = self;
        let parameters = trainee.optimizer.params().iter();
        let parameters = parameters.map(|param| param.shape.iter().product::<usize>()).sum();
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
            let parameters = self.trainee.optimizer.params().iter();
            let parameters = parameters.map(|param| param.shape.iter().product::<usize>()).sum();
            let profile =
                Profile::begin::<B::InnerBackend>(&self.network, settings, parameters, device);
            self.profile = Some(profile);
            (self.begun, self.clock) = (Instant::now(), Clock::start());
        }
    }

    /// Forward and backward over the batches of step `step`; losses and gradients are their means.
    fn accumulate(&mut self, step: u64) -> Result<Accumulated<B>, TrainError> {
        let accum = self.settings.accum;
        let mut position = self.trainee.position;
        let mut tap_losses = vec![0.0; self.network.taps.len()];
        let mut gradients: Option<Gradients<B>> = None;
        let mut rows = vec![];
        for _ in 0..accum {
            let waiting = Instant::now();
            let batch = match self.loader.next() {
                Ok(batch) => batch,
                Err(error) => return Err(self.unread(error)),
            };
            self.clock.data += waiting.elapsed();
            self.clock.views += batch.views as u64;
            position = batch.position.next(self.batches_per_epoch);

            let output =
                self.slices.run(&self.trainee.model, self.network.loss, &batch, self.device);
            self.clock.parts += output.times;
            let guard = self.guard(step, &batch.rows);
            for (tap, loss) in output.tap_losses.iter().enumerate() {
                guard.check(&format!("the loss of tap {}", tap + 1), *loss)?;
                tap_losses[tap] += loss / accum as f64;
            }
            let scaled = match accum {
                1 => output.gradients,
                _ => output.gradients.scale(1.0 / accum as f64),
            };
            gradients = Some(match gradients {
                Some(sum) => sum.plus(scaled),
                None => scaled,
            });
            rows.extend_from_slice(&batch.rows);
            self.loader.give_back(batch);
        }
        let gradients = gradients.expect("accum is at least 1");
        Ok(Accumulated { tap_losses, gradients, rows, position })
    }

    /// Takes the gradient's norm where it is asked for; no step is made by one that is no number.
    fn look(
        &mut self,
        step: u64,
        gradients: &Gradients<B>,
        rows: &[RowRef],
        due: Due,
    ) -> Result<(), TrainError> {
        // What is saved has been looked at.
        if due.log || due.save || self.settings.clip_grad.is_some() {
            self.grad_norm = gradients.norm();
            self.guard(step, rows).check("the gradient's norm", self.grad_norm)?;
        }
        Ok(())
    }

    /// Clips the gradients and makes one optimizer step.
    fn finish(&mut self, mut gradients: Gradients<B>, lr: f64, position: Position, due: Due) {
        let optimizing = Instant::now();
        if let Some(limit) = self.settings.clip_grad
            && self.grad_norm > limit
        {
            gradients = gradients.scale(limit / self.grad_norm);
        }
        self.trainee.apply(gradients, lr);
        if due.log {
            // Only then, so that on other steps the device may run ahead of the host.
            let _ = B::sync(self.device);
        }
        self.clock.optimizer += optimizing.elapsed();
        self.trainee.step += 1;
        self.trainee.position = position;
    }

    /// Writes a line of metrics, and begins the time of the next.
    fn log(&mut self, tap_losses: Vec<f64>, lr: f64) -> Result<(), TrainError> {
        let Position { epoch, batch } = self.trainee.position;
        let (views_per_s, shares) = (self.clock.views_per_s(), self.clock.shares());
        let views = self.clock.views as f64;
        let record = Record {
            step: self.trainee.step,
            epoch: epoch as f64 + batch as f64 / self.batches_per_epoch as f64,
            loss: tap_losses.iter().sum(),
            tap_losses,
            lr,
            grad_norm: self.grad_norm,
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
        self.clock = Clock::start();
        Ok(())
    }

    fn save(&mut self) -> Result<(), CheckpointError> {
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

    fn guard<'g>(&'g self, step: u64, rows: &'g [RowRef]) -> Guard<'g> {
        Guard { step, rows, folder: &self.folder, out: &self.paths.out }
    }
}
