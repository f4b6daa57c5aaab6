//! Which device a run takes: CUDA is looked for at run time, the CPU is always there.

use std::str::FromStr;

use cudarc::driver::result as cuda;

/// What `--device` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA device, or else the CPU.
    Auto,
    /// This CUDA device and no other.
    Cuda(usize),
    /// The CPU.
    Cpu,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => other
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".to_owned()),
        }
    }
}

/// The device a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// The CUDA device of this index.
    Cuda(usize),
    /// The CPU.
    Cpu,
}

/// A device that was asked for by name and is not there.
#[derive(Debug, thiserror::Error)]
#[error("--device cuda:{index}: {reason}; --device auto or cpu runs without it")]
pub struct NoDevice {
    /// The index asked for.
    pub index: usize,
    /// Why it can't be had.
    pub reason: String,
}

/// The device for a choice, and a line for the user that says which and why.
///
/// # Errors
/// [`NoDevice`] if a CUDA device was asked for by name and can't be had.
pub fn choose(choice: DeviceChoice) -> Result<(DeviceKind, String), NoDevice> {
    let cuda = |index| {
        cuda_name(index)
            .map(|name| (DeviceKind::Cuda(index), format!("device: cuda:{index}, {name}")))
    };
    let cpu = |why: String| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (DeviceKind::Cpu, format!("device: CPU, {threads} threads{why}"))
    };
    match choice {
        DeviceChoice::Cpu => Ok(cpu(String::new())),
        DeviceChoice::Cuda(index) => cuda(index).map_err(|reason| NoDevice { index, reason }),
        DeviceChoice::Auto => Ok(cuda(0).unwrap_or_else(|reason| cpu(format!(" ({reason})")))),
    }
}

/// The name of a CUDA device, or why it can't be used.
fn cuda_name(index: usize) -> Result<String, String> {
    // SAFETY: both only try to open the library by its usual names, and close it again.
    let (driver, nvrtc) = unsafe {
        (cudarc::driver::sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present())
    };
    if !driver {
        return Err("no CUDA driver was found".into());
    }
    let failed = |error: cuda::DriverError| format!("CUDA does not start: {error}");
    cuda::init().map_err(failed)?;
    let count = cuda::device::get_count().map_err(failed)?;
    if i32::try_from(index).map_or(true, |index| index >= count) {
        return Err(format!("CUDA has {count} devices"));
    }
    if !nvrtc {
        return Err("the CUDA driver is there, but not NVRTC, which compiles the kernels; \
                    install CUDA's nvrtc library"
            .into());
    }
    let device = cuda::device::get(index as i32).map_err(failed)?;
    cuda::device::get_name(device).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_written() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cpu".parse(), Ok(DeviceChoice::Cpu));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        assert!("gpu".parse::<DeviceChoice>().is_err());
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
    }

    #[test]
    fn the_cpu_is_always_to_be_had() {
        assert_eq!(choose(DeviceChoice::Cpu).unwrap().0, DeviceKind::Cpu);
        choose(DeviceChoice::Auto).unwrap();
    }

    #[test]
    fn a_cuda_device_that_is_not_there_is_named() {
        let error = choose(DeviceChoice::Cuda(999)).unwrap_err().to_string();
        assert!(error.contains("cuda:999") && error.contains("--device auto"), "{error}");
    }
}
