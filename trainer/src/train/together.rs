//! A run on all of its ranks: one thread each, and other processes with theirs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use burn::backend::cuda::CudaDevice;
use burn::backend::{Autodiff, Cuda, Flex, Wgpu};
use kernels::Trainable;

use super::begin;
use super::error::TrainError;
use super::run::{self, Job, Part, RunPaths, Trained};
use super::slices::Slices;
use super::trainee::Resume;
use crate::data::{Loader, Position, Share};
use crate::device::{DeviceKind, has_nccl};
use crate::progress::Console;
use crate::ranks::{Ends, RanksError, Seat, Session, World};
use crate::settings::Settings;

/// Where a run trains.
pub struct Place {
    /// The devices of this process, all of one kind; a rank each.
    pub devices: Vec<DeviceKind>,
    /// The processes.
    pub world: World,
    /// What ends the program where another rank's death does not end the run in time.
    pub ends: Ends,
}

impl Place {
    /// One device.
    pub fn of(device: DeviceKind) -> Self {
        Self { devices: vec![device], world: World::alone(), ends: Arc::new(|_: &str| ()) }
    }
}

/// What is to be trained.
pub struct TrainRequest<'a> {
    /// Where it reads and writes.
    pub paths: &'a RunPaths,
    /// What decides it.
    pub settings: &'a Settings,
    /// The checkpoint that it goes on from.
    pub resume: Option<Resume>,
    /// What is told by it.
    pub console: &'a Console,
    /// Raised when it is to end.
    pub stop: &'a AtomicBool,
}

impl TrainRequest<'_> {
    /// [`at`](Self::at) one device.
    ///
    /// # Errors
    /// As there.
    pub fn on(self, device: DeviceKind) -> Result<Trained, TrainError> {
        self.at(Place::of(device))
    }

    /// Trains on all devices of all processes, until the schedule or the stop ends it. The first rank
    /// writes what is left.
    ///
    /// # Errors
    /// [`TrainError`] as [`run::run`] has it; if a device can't multiply in the precision of the
    /// settings; and of every other process, if a rank fails or is no more.
    pub fn at(self, place: Place) -> Result<Trained, TrainError> {
        let Self { paths, settings, resume, console, stop } = self;
        for device in &place.devices {
            device.holds(settings.precision)?;
        }
        let slow = place.devices.first().and_then(|device| device.slow(settings.precision));
        if let Some(warning) = slow {
            console.message(&warning);
        }
        let Place { devices, world, ends } = place;
        let dataset = Arc::new(begin::dataset(&paths.shards, resume.as_ref(), console)?);
        let network = settings.network(dataset.layout())?;
        let job = Job { paths, settings, resume: resume.as_ref(), dataset, network, stop };
        let session = match world.processes {
            1 => Session::alone(devices.len(), ends)?,
            _ => {
                let alike = begin::alike(settings, &job.dataset, job.resume);
                Session::join(&world, devices.len(), &alike, ends, stop)?
            }
        };
        let trained = on_devices(&devices, &job, &session, console);
        match &trained {
            Ok(_) => session.leave(),
            // Known to all of them.
            Err(TrainError::Ranks(RanksError::Lost(_))) => {}
            Err(error) => session.fail(world.process, &error.to_string()),
        }
        trained
    }
}

/// Each kind of device with its backend.
fn on_devices(
    devices: &[DeviceKind],
    job: &Job<'_>,
    session: &Session,
    console: &Console,
) -> Result<Trained, TrainError> {
    let mut cuda = vec![];
    let mut vulkan = vec![];
    let mut cpu = vec![];
    let threads = (rayon::current_num_threads() / devices.len()).max(1);
    for device in devices {
        match device {
            DeviceKind::Cuda(index) => cuda.push((CudaDevice::new(*index), Slices::whole())),
            DeviceKind::Vulkan(adapter) => vulkan.push((adapter.device(), Slices::whole())),
            DeviceKind::Cpu => cpu.push((Default::default(), Slices::over_threads(threads)?)),
        }
    }
    if !cuda.is_empty() {
        let several = cuda.len() > 1;
        let adds = several && has_nccl();
        if several && !adds {
            console.message(
                "libnccl was not found: the GPUs' gradients are added on the host, which takes longer",
            );
        }
        on_all::<Autodiff<Cuda>>(cuda, adds, job, session, console)
    } else if !vulkan.is_empty() {
        on_all::<Autodiff<Wgpu>>(vulkan, false, job, session, console)
    } else {
        on_all::<Autodiff<Flex>>(cpu, false, job, session, console)
    }
}

/// A thread for each device; whether they add gradients by themselves.
fn on_all<B: Trainable>(
    devices: Vec<(B::Device, Slices)>,
    adds: bool,
    job: &Job<'_>,
    session: &Session,
    console: &Console,
) -> Result<Trained, TrainError> {
    let Job { paths, settings, .. } = job;
    let mut seats = session.group().seats();
    let ranks = seats.first().map_or(1, Seat::ranks);
    let batch_size = settings.batch_size;
    if batch_size < ranks {
        return Err(TrainError::FewViews { batch_size, ranks });
    }
    // Held until the run ends, or its program does.
    let has_first = seats.iter().any(Seat::is_first);
    let _lock = has_first.then(|| begin::lock(&paths.out)).transpose()?;
    let loaders = loaders::<B>(&devices, &seats, job)?;
    let quiet = Console::quiet();
    let all: Vec<_> = devices.iter().filter(|_| adds).map(|(device, _)| device.clone()).collect();
    let parts = seats.drain(..).zip(devices).zip(loaders).map(|((seat, device), loader)| {
        let console = if seat.is_first() { console } else { &quiet };
        let ((device, slices), adds) = (device, all.clone());
        Part::<B> { seat, device, adds, slices, loader, console }
    });
    let mut parts: Vec<_> = parts.collect();
    if ranks == 1
        && let Some(part) = parts.pop()
    {
        return run::run(job, part);
    }

    let work = |part: Part<'_, B>| {
        let rank = part.seat.rank();
        let result = catch_unwind(AssertUnwindSafe(|| run::run(job, part)));
        let result = result.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(TrainError::Panicked { rank, text: text.unwrap_or_default() })
        });
        if let Err(error) = &result
            && !is_of_another(error)
        {
            session.fail(rank, &error.to_string());
        }
        result
    };
    let mut results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(|| work(part))).collect();
        // What panics is caught within.
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    // What one rank failed of tells more than that others wait for it in vain.
    let own = |result: &Result<_, TrainError>| {
        result.as_ref().err().is_some_and(|error| !is_of_another(error))
    };
    let told = results.iter().position(own);
    let told = told.or_else(|| results.iter().position(Result::is_err)).unwrap_or_default();
    results.swap_remove(told)
}

/// Whether it is another rank that failed.
fn is_of_another(error: &TrainError) -> bool {
    matches!(error, TrainError::Ranks(RanksError::Lost(_)))
}

/// A loader for each device, of one coordinator.
fn loaders<B: Trainable>(
    devices: &[(B::Device, Slices)],
    seats: &[Seat],
    job: &Job<'_>,
) -> Result<Vec<Loader>, TrainError> {
    let Job { settings, resume, dataset, network, .. } = job;
    let size = dataset.layout().size as usize;
    let mut asked = begin::loader_settings(settings, network, size);
    if <B::InnerBackend as kernels::Optimize>::QUEUED {
        asked.threads *= devices.len();
    }
    let start = Position { epoch: 0, batch: 0 };
    let from = resume.map_or(start, |resume| resume.checkpoint.header.position);
    let share = |((device, _), seat): (&(B::Device, Slices), &Seat)| Share {
        memory: B::memory(device),
        views: seat.share(settings.batch_size),
    };
    let shares = devices.iter().zip(seats).map(share).collect();
    Ok(Loader::start_shares(shares, Arc::clone(dataset), asked, from)?)
}
