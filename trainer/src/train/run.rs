//! The training loop: shards → a run's folder of checkpoints and metrics.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::backend::AutodiffBackend;
use storage::{Address, Lock, Storage};
use voice::terminal::counted;

use super::clock::Clock;
pub use super::error::TrainError;
use super::optim::Gradients;
use super::schedule::Schedule;
use super::slices::Slices;
pub use super::trainee::Resume;
use super::trainee::Trainee;
use crate::checkpoint::{CheckpointError, CheckpointFolder};
use crate::data::{DataError, Dataset, Loader, LoaderSettings, RowRef, ShardSource};
use crate::metrics::{MetricsWriter, Record};
use crate::model::ModelConfig;
use crate::progress::Console;
use crate::settings::Settings;

/// The file in a run's folder that is locked while a run is at work.
const LOCK_FILE: &str = ".lock";

/// Where a run reads and writes, and how it begins.
#[derive(Debug, Clone)]
pub struct RunPaths {
    /// Where the shards lie.
    pub shards: ShardSource,
    /// The run's folder.
    pub out: PathBuf,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
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
pub fn run<B: AutodiffBackend>(
    paths: &RunPaths,
    settings: &Settings,
    resume: Option<Resume>,
    device: &B::Device,
    slices: &Slices,
    console: &Console,
    stop: &AtomicBool,
) -> Result<Outcome, TrainError> {
    // Held until the run ends, or its program does.
    let _lock = lock(&paths.out)?;
    let mut dataset = Dataset::open(paths.shards.clone())?;
    if let Some(Resume { path, checkpoint }) = &resume {
        // A run stays with the pictures it began with.
        let newest = dataset.rows();
        dataset =
            dataset.as_of(&checkpoint.header.dataset)?.ok_or_else(|| TrainError::OtherShards {
                path: path.clone(),
                shards: paths.shards.folder().to_string(),
            })?;
        if dataset.rows() != newest {
            console.message(&format!(
                "goes on with the {} rows that the run began with, of {newest} now",
                dataset.rows()
            ));
        }
    }
    let dataset = Arc::new(dataset);
    let layout = dataset.layout();
    let size = layout.size as usize;
    let network = settings.network(layout)?;
    let folder = CheckpointFolder::of_run(&paths.out);
    let batches_per_epoch = dataset.batches_per_epoch(settings.batch_size)?;
    let schedule = schedule(settings, batches_per_epoch)?;
    let last_step = settings.max_steps.unwrap_or(u64::MAX).min(schedule.total_steps);

    let resumed = resume.is_some();
    let mut trainee = match resume {
        Some(resume) => Trainee::<B>::resume(resume, settings, &network, device)?,
        None => {
            if let Some(&step) = folder.steps()?.last() {
                return Err(TrainError::Occupied { out: paths.out.clone(), step });
            }
            Trainee::<B>::start(settings, &network, device)
        }
    };
    write_settings(&paths.out, settings)?;
    let mut metrics = MetricsWriter::open(&paths.out, trainee.step)?;
    let mut loader = Loader::start(
        Arc::clone(&dataset),
        loader_settings(settings, &network, size),
        trainee.position,
    )?;

    console.message(&format!(
        "{}: {} of {} pixels, {} of {} an epoch; {} with {:.1} M parameters, {}; {}",
        settings.recipe.name(),
        counted(dataset.rows(), "row"),
        layout.size,
        counted(batches_per_epoch, "batch"),
        settings.batch_size,
        settings.model.name(),
        trainee
            .optimizer
            .params()
            .iter()
            .map(|param| param.shape.iter().product::<usize>())
            .sum::<usize>() as f64
            / 1e6,
        counted(network.taps.len() as u64, "tap"),
        steps_left(trainee.step, last_step, settings),
    ));
    if let Some(warning) = all_warm_up(settings, &schedule) {
        console.message(&warning);
    }
    console.begin(trainee.step, last_step);

    let mut saved = resumed.then_some(trainee.step);
    let mut told = false;
    let mut clock = Clock::start();
    let begun = Instant::now();
    while trainee.step < last_step && !stop.load(Ordering::Relaxed) {
        let (step, position) = (trainee.step + 1, trainee.position);
        let lr = schedule.at(trainee.step);
        let logged = step % settings.log_every == 0 || step == last_step;
        // What is saved has been looked at.
        let checked = logged || step % settings.checkpoint_every == 0;

        let mut tap_losses = vec![0.0; network.taps.len()];
        let mut gradients: Option<Gradients<B>> = None;
        for _ in 0..settings.accum {
            let waiting = Instant::now();
            let batch = match loader.next() {
                Ok(batch) => batch,
                Err(error) => {
                    // What was made of this step goes; the steps before it are kept.
                    trainee.position = position;
                    let made = saved != Some(trainee.step) && trainee.step > 0;
                    let kept = if made {
                        trainee.save(&folder, settings, &network, &dataset).map(Some)
                    } else {
                        Ok(saved.map(|step| folder.path(step)))
                    };
                    return Err(unread(error, trainee.step, kept, console));
                }
            };
            clock.data += waiting.elapsed();
            trainee.position = batch.position.next(batches_per_epoch);
            clock.views += batch.views as u64;

            let output = slices.run(&trainee.model, network.loss, &batch, device);
            clock.parts += output.times;
            let rows = batch.rows.clone();
            loader.give_back(batch);
            let guard = Guard { step, rows: &rows, folder: &folder, out: &paths.out };
            for (tap, loss) in output.tap_losses.iter().enumerate() {
                guard.check(&format!("the loss of tap {}", tap + 1), *loss)?;
                tap_losses[tap] += loss / settings.accum as f64;
            }
            let scaled = if settings.accum > 1 {
                output.gradients.scale(1.0 / settings.accum as f64)
            } else {
                output.gradients
            };
            gradients = Some(match gradients {
                Some(sum) => sum.plus(scaled),
                None => scaled,
            });
            if checked || settings.clip_grad.is_some() {
                let norm = gradients.as_ref().map_or(0.0, Gradients::norm);
                guard.check("the gradient's norm", norm)?;
                trainee.grad_norm = norm;
            }
        }

        let optimizing = Instant::now();
        let mut gradients = gradients.expect("accum is at least 1");
        if let Some(limit) = settings.clip_grad
            && trainee.grad_norm > limit
        {
            gradients = gradients.scale(limit / trainee.grad_norm);
        }
        trainee.apply(gradients, lr);
        if logged {
            // Only then, so that on other steps the device may run ahead of the host.
            let _ = B::sync(device);
        }
        clock.optimizer += optimizing.elapsed();
        trainee.step = step;

        console.step(step, tap_losses.iter().sum());
        if logged {
            let record = Record {
                step,
                epoch: trainee.position.epoch as f64
                    + trainee.position.batch as f64 / batches_per_epoch as f64,
                loss: tap_losses.iter().sum(),
                tap_losses,
                lr,
                grad_norm: trainee.grad_norm,
                views_per_s: clock.views_per_s(),
                shares: clock.shares(),
                elapsed_s: Some(metrics.elapsed_s() + begun.elapsed().as_secs_f64()),
            };
            metrics.write(&record)?;
            console.record(&record);
            if let Some(trouble) = paths.shards.trouble()
                && !told
            {
                console.message(trouble);
                told = true;
            }
            clock = Clock::start();
        }
        if step % settings.checkpoint_every == 0 {
            let path = trainee.save(&folder, settings, &network, &dataset)?;
            saved = Some(step);
            console.saved(step, &path);
        }
    }
    let interrupted = trainee.step < last_step;
    if saved != Some(trainee.step) {
        trainee.save(&folder, settings, &network, &dataset)?;
    }
    console.end();
    Ok(Outcome { step: trainee.step, checkpoint: folder.path(trainee.step), interrupted })
}

/// The lock of a run's folder.
fn lock(out: &Path) -> Result<Lock, TrainError> {
    let lock = Storage::local().lock(&Address::from(out.join(LOCK_FILE)))?;
    lock.ok_or_else(|| TrainError::Locked(out.to_owned()))
}

/// What a run says that could not go on for want of batches.
fn unread(
    error: DataError,
    step: u64,
    kept: Result<Option<PathBuf>, CheckpointError>,
    console: &Console,
) -> TrainError {
    match kept {
        Ok(Some(checkpoint)) => TrainError::Unread { source: error, step, checkpoint },
        Ok(None) => error.into(),
        Err(unsaved) => {
            console.message(&format!("step {step} is lost: {unsaved}"));
            error.into()
        }
    }
}

/// What is to be said of a schedule that is over before its warm-up is.
fn all_warm_up(settings: &Settings, schedule: &Schedule) -> Option<String> {
    let Schedule { peak, warmup_steps, total_steps, .. } = *schedule;
    if warmup_steps == 0 || warmup_steps < total_steps {
        return None;
    }
    let highest = schedule.at(total_steps.saturating_sub(1));
    let tenth = 0.1 * settings.warmup_epochs * total_steps as f64 / warmup_steps as f64;
    Some(format!(
        "WARNING: the whole schedule of {} is warm-up, which takes {warmup_steps} (--warmup-epochs {}): the rate gets no higher than {highest:.1e}, not to its peak of {peak:.1e}; give --warmup-epochs {tenth:.2} or so, or a longer schedule",
        counted(total_steps, "step"),
        settings.warmup_epochs,
    ))
}

/// Which steps a run is going to make.
fn steps_left(made: u64, last: u64, settings: &Settings) -> String {
    match (made < last, settings.max_steps) {
        (true, _) if made + 1 == last => format!("step {last}"),
        (true, _) => format!("steps {} to {last}", made + 1),
        (false, Some(most)) if most == last => format!(
            "nothing is left to do: {} made, and --max-steps is {most}",
            counted(made, "step")
        ),
        (false, _) => format!(
            "nothing is left to do: {} made, which is the whole of {}",
            counted(made, "step"),
            match settings.steps {
                Some(steps) => format!("--steps {steps}"),
                None => format!("--epochs {}", settings.epochs),
            }
        ),
    }
}

/// The schedule in optimizer steps.
fn schedule(settings: &Settings, batches_per_epoch: u64) -> Result<Schedule, TrainError> {
    let accum = settings.accum as u64;
    let batches = settings.epochs.saturating_mul(batches_per_epoch);
    if batches < accum && settings.steps.is_none() {
        return Err(TrainError::TooFew {
            batches,
            batch_size: settings.batch_size,
            accum: settings.accum,
        });
    }
    let steps_per_epoch = batches_per_epoch as f64 / accum as f64;
    Ok(Schedule {
        peak: Schedule::peak(settings.lr, settings.batch_size * settings.accum),
        floor: settings.min_lr,
        warmup_steps: (settings.warmup_epochs * steps_per_epoch).round() as u64,
        total_steps: settings.steps.unwrap_or(batches / accum),
    })
}

fn loader_settings(settings: &Settings, network: &ModelConfig, size: usize) -> LoaderSettings {
    LoaderSettings {
        batch_size: settings.batch_size,
        seed: settings.seed,
        flip: settings.flip,
        window_groups: settings.window_groups,
        prefetch_batches: settings.prefetch,
        threads: settings.loader_threads,
        ..LoaderSettings::new(network, settings.mask_ratio, settings.mask, size)
    }
}

/// Saves the resolved settings with the run.
fn write_settings(out: &Path, settings: &Settings) -> Result<(), TrainError> {
    let path = out.join("settings.toml");
    let io = |source| TrainError::Io { path: path.clone(), source };
    let text = toml::to_string(settings).map_err(|error| io(std::io::Error::other(error)))?;
    storage::write_file(&path, text).map_err(io)
}

/// Stops a run whose numbers have left the finite, before they reach the parameters.
struct Guard<'a> {
    step: u64,
    rows: &'a [RowRef],
    folder: &'a CheckpointFolder,
    out: &'a Path,
}

impl Guard<'_> {
    fn check(&self, what: &str, value: f64) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        let list = self.out.join(format!("failed-step-{}.txt", self.step));
        let lines: String = self.rows.iter().map(|row| format!("{row}\n")).collect();
        storage::write_file(&list, lines)
            .map_err(|source| TrainError::Io { path: list.clone(), source })?;
        let checkpoint = match self.folder.steps()?.last() {
            Some(&step) => self.folder.path(step).display().to_string(),
            None => "none was written yet".to_owned(),
        };
        let first: Vec<_> = self.rows.iter().take(3).map(ToString::to_string).collect();
        let more = self.rows.len().saturating_sub(first.len());
        let rows = format!("{} and {more} more", first.join(", "));
        Err(TrainError::NotFinite {
            step: self.step,
            what: what.to_owned(),
            value,
            rows,
            list,
            checkpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceKind;
    use crate::settings::Options;

    #[test]
    fn a_schedule_may_be_given_in_steps() {
        let of = |steps| {
            let options = Options {
                steps,
                epochs: Some(2),
                warmup_epochs: Some(0.5),
                accum: Some(2),
                ..Options::default()
            };
            schedule(&Settings::resolve(options, DeviceKind::Cpu).unwrap(), 8).unwrap()
        };
        assert_eq!((of(None).total_steps, of(None).warmup_steps), (8, 2));
        assert_eq!((of(Some(3)).total_steps, of(Some(3)).warmup_steps), (3, 2));
        assert_eq!(of(Some(3)).at(3), of(Some(3)).floor);
    }

    #[test]
    fn a_schedule_that_is_all_warm_up_is_told() {
        let told = |epochs, warmup_epochs| {
            let options = Options { epochs: Some(epochs), warmup_epochs, ..Options::default() };
            let settings = Settings::resolve(options, DeviceKind::Cpu).unwrap();
            all_warm_up(&settings, &schedule(&settings, 8).unwrap())
        };
        // The recipe's ten epochs of warm-up.
        let text = told(5, None).unwrap();
        assert!(text.contains("--warmup-epochs 0.50") && text.contains("peak"), "{text}");
        assert!(told(10, None).is_some());
        assert_eq!([told(11, None), told(5, Some(0.5)), told(1, Some(0.0))], [None, None, None]);
    }

    #[test]
    fn what_is_left_of_a_run_is_told() {
        let left = |made, last, max_steps| {
            let options = Options { max_steps, ..Options::default() };
            let settings = Settings::resolve(options, DeviceKind::Cpu);
            steps_left(made, last, &settings.unwrap())
        };
        assert_eq!(left(0, 9, None), "steps 1 to 9");
        assert_eq!(left(8, 9, None), "step 9");
        assert!(left(3, 2, Some(2)).contains("3 steps made, and --max-steps is 2"));
        assert!(left(9, 9, Some(20)).contains("9 steps made, which is the whole of --epochs"));
    }
}
