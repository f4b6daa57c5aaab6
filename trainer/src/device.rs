//! Which device a run takes: CUDA is looked for at run time, the CPU is always there.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use cudarc::driver::result as cuda;
use voice::terminal::counted;

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

/// A CUDA device that can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoDevice {
    /// It was asked for by name and is not there.
    #[error("--device cuda:{index}: {reason}; --device auto or cpu runs without it")]
    Absent {
        /// The index asked for.
        index: usize,
        /// Why it can't be had.
        reason: String,
    },
    /// It is there, but not what its kernels are compiled with.
    #[error("cuda:{index} is there, but {reason}; --device cpu runs without it")]
    Incomplete {
        /// Its index.
        index: usize,
        /// What to install.
        reason: String,
    },
}

/// The device for a choice, and a line for the user that says which and why.
///
/// # Errors
/// [`NoDevice`] if a CUDA device was asked for by name and can't be had, or if one is there whose
/// kernels could not be compiled: to run on the CPU beside it in silence would be days lost.
pub fn choose(choice: DeviceChoice) -> Result<(DeviceKind, String), NoDevice> {
    let cuda = |index| {
        let name = cuda_name(index).map_err(|reason| NoDevice::Absent { index, reason })?;
        compiler().map_err(|reason| NoDevice::Incomplete { index, reason })?;
        Ok((DeviceKind::Cuda(index), format!("device: cuda:{index}, {name}")))
    };
    let cpu = |why: String| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (DeviceKind::Cpu, format!("device: CPU, {threads} threads{why}"))
    };
    match choice {
        DeviceChoice::Cpu => Ok(cpu(String::new())),
        DeviceChoice::Cuda(index) => cuda(index),
        DeviceChoice::Auto => match cuda(0) {
            Err(NoDevice::Absent { reason, .. }) => Ok(cpu(format!(" ({reason})"))),
            other => other,
        },
    }
}

/// The name of a CUDA device, or why it is not there.
fn cuda_name(index: usize) -> Result<String, String> {
    // SAFETY: it only tries to open the library by its usual names, and closes it again.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err("no CUDA driver was found".into());
    }
    let failed = |error: cuda::DriverError| format!("CUDA does not start: {error}");
    cuda::init().map_err(failed)?;
    let count = cuda::device::get_count().map_err(failed)?;
    if i32::try_from(index).map_or(true, |index| index >= count) {
        return Err(format!("CUDA has {}", counted(count.max(0) as u64, "device")));
    }
    let device = cuda::device::get(index as i32).map_err(failed)?;
    cuda::device::get_name(device).map_err(failed)
}

/// What to install, if kernels can't be compiled: NVRTC and CUDA's headers do that, which a machine
/// may lack though it has the driver.
fn compiler() -> Result<(), String> {
    // SAFETY: as above.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err("NVRTC, which compiles its kernels, is not: install the CUDA toolkit, or its \
                    nvrtc library alone (PyPI: nvidia-cuda-nvrtc), where the loader finds it \
                    (LD_LIBRARY_PATH)"
            .into());
    }
    let named = std::env::var_os("CUDA_PATH").map(PathBuf::from);
    headers(named.as_deref(), |path| path.exists())
}

/// The headers that kernels include, of each package that CUDA is split into.
const HEADERS: [&str; 5] =
    ["cuda_runtime.h", "cuda_fp16.h", "cuda_bf16.h", "mma.h", "crt/host_defines.h"];

/// Whether CUDA's headers are where Burn's CUDA backend takes them from: in the folder that
/// `CUDA_PATH` names, or else in the first of the usual ones that is there.
fn headers(named: Option<&Path>, exists: impl Fn(&Path) -> bool) -> Result<(), String> {
    const WAY_OUT: &str = "install the CUDA toolkit, or its headers alone (PyPI: \
                           nvidia-cuda-runtime, nvidia-cuda-crt, nvidia-cuda-cccl), and let \
                           CUDA_PATH name the folder whose include/ holds cuda_runtime.h";
    let usual = || {
        let folder = |path: &str| exists(Path::new(path)).then(|| PathBuf::from(path));
        folder("/usr/local/cuda")
            .or_else(|| folder("/opt/cuda"))
            .or_else(|| folder("/usr/bin/nvcc").map(|_| PathBuf::from("/usr")))
    };
    let Some(root) = named.map(Path::to_owned).or_else(usual) else {
        return Err(format!(
            "CUDA's headers, which its kernels include, are neither in /usr/local/cuda nor in \
             /opt/cuda, and CUDA_PATH is not set: {WAY_OUT}"
        ));
    };
    let include = root.join("include");
    let missing = HEADERS.iter().find(|header| !exists(&include.join(header)));
    let Some(header) = missing else { return Ok(()) };
    let by = if named.is_some() { ", which CUDA_PATH names," } else { "" };
    Err(format!(
        "{}{by} has no include/{header}, which its kernels include: {WAY_OUT}",
        root.display()
    ))
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
    fn headers_are_looked_for_where_kernels_take_them_from() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let found = || headers(Some(root), |path| path.exists());
        for header in HEADERS {
            let error = found().unwrap_err();
            assert!(error.contains(header) && error.contains("CUDA_PATH"), "{error}");
            assert!(error.contains(&root.display().to_string()), "{error}");
            let path = root.join("include").join(header);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        found().unwrap();

        // Without CUDA_PATH the usual folders count, and the first of them alone.
        let with = |there: &[&str]| {
            headers(None, |path| {
                there.iter().any(|at| path.starts_with(at) || path == Path::new(at))
            })
        };
        let error = with(&[]).unwrap_err();
        assert!(error.contains("/usr/local/cuda") && error.contains("CUDA_PATH"), "{error}");
        with(&["/usr/local/cuda"]).unwrap();
        with(&["/opt/cuda"]).unwrap();
        with(&["/usr/bin/nvcc", "/usr/include"]).unwrap();
        let error = headers(None, |path| {
            path == Path::new("/usr/local/cuda") || path.starts_with("/opt/cuda")
        });
        assert!(error.unwrap_err().contains("/usr/local/cuda has no"));
    }

    #[test]
    fn a_cuda_device_that_is_not_there_is_named() {
        let error = choose(DeviceChoice::Cuda(999)).unwrap_err().to_string();
        assert!(error.contains("cuda:999") && error.contains("--device auto"), "{error}");
    }
}
