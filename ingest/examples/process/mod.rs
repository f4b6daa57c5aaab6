//! What the system says of this process: the time that it computed and the most memory it took.

use std::fs;
use std::time::Duration;

use anyhow::Context;

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
#[allow(dead_code, reason = "not every example asks for it")]
pub fn peak_memory() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("measuring needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("/proc/self/status has no VmHWM")?.parse::<u64>()? * 1024)
}
