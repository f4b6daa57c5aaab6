//! What the system says of this process: the time that it computed and the most memory it took; and
//! a run that is measured in a process of its own, so that its peak of memory is its own.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ingest::{Settings, Silent};

/// Ticks a second in what Linux tells programs, on every machine.
const TICKS: u64 = 100;

/// The time that all threads of this process have computed, in user and system mode, to a
/// hundredth of a second.
pub fn cpu_time() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("measuring needs Linux")?;
    // The name comes second, in brackets, and may have anything in it.
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat has no name")?;
    let mut ticks = 0;
    for field in fields.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// The most memory that this process had at once, in bytes.
#[allow(dead_code, reason = "not every example measures a run")]
pub fn peak_memory() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("measuring needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("/proc/self/status has no VmHWM")?.parse::<u64>()? * 1024)
}

/// The first argument of a process that runs.
const CHILD: &str = "run";

/// What a run made, and what it took.
#[allow(dead_code, reason = "not every example measures a run")]
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Pictures.
    pub accepted: u64,
    /// Pictures.
    pub rejected: u64,
    /// Seconds.
    pub wall: f64,
    /// Seconds of all threads.
    pub cpu: f64,
    /// Bytes.
    pub peak: u64,
}

/// What a process was started for that [`measured`] starts: a source and a new folder.
#[allow(dead_code, reason = "not every example measures a run")]
pub fn as_child(args: &[String]) -> Option<(PathBuf, PathBuf)> {
    match args {
        [child, source, out] if child == CHILD => Some((source.into(), out.into())),
        _ => None,
    }
}

/// What a process of its own takes for a run of `source` into `out`.
#[allow(dead_code, reason = "not every example measures a run")]
pub fn measured(source: &Path, out: &Path) -> anyhow::Result<Cost> {
    let args = [OsStr::new(CHILD), source.as_os_str(), out.as_os_str()];
    let child = Command::new(env::current_exe()?).args(args).output()?;
    ensure!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let said = String::from_utf8_lossy(&child.stdout);
    let fields: Vec<_> = said.split_whitespace().collect();
    let [accepted, rejected, wall, cpu, peak] = fields[..] else { bail!("said: {said}") };
    Ok(Cost {
        accepted: accepted.parse()?,
        rejected: rejected.parse()?,
        wall: wall.parse()?,
        cpu: cpu.parse()?,
        peak: peak.parse()?,
    })
}

/// The run itself; tells [`measured`] what it took.
#[allow(dead_code, reason = "not every example measures a run")]
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let start = Instant::now();
    let summary = ingest::run(settings, &Silent)?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_time()?.as_secs_f64());
    let (accepted, rejected) = (summary.part.accepted, summary.manifest.rejected);
    println!("{accepted} {rejected} {wall} {cpu} {}", peak_memory()?);
    Ok(())
}
