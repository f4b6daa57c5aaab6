//! What the CUDA driver says of a device, and what its kernels are compiled with.

use std::path::{Path, PathBuf};

use cudarc::driver::result as cuda;
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use voice::terminal::counted;

/// A CUDA device.
pub struct Device {
    /// What its driver calls it.
    pub name: String,
    /// Its compute capability, as in 90.
    pub capability: i32,
}

/// A CUDA device, or why it is not there.
pub fn device(index: usize) -> Result<Device, String> {
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
    let name = cuda::device::get_name(device).map_err(failed)?;
    let attribute = |attribute| {
        // SAFETY: the driver gave the device just now.
        unsafe { cuda::device::get_attribute(device, attribute) }.map_err(failed)
    };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(Device { name, capability: 10 * major + minor })
}

/// How many devices share this machine's cores; 1 where none is.
pub fn count() -> usize {
    // SAFETY: as above.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return 1;
    }
    let count = cuda::init().and_then(|()| cuda::device::get_count());
    count.map_or(1, |count| count.max(1) as usize)
}

/// The version of what compiles kernels, NVRTC and CUDA's headers, which a machine may lack though it
/// has the driver; or what to install.
pub fn compiler() -> Result<String, String> {
    // SAFETY: as above.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err("NVRTC, which compiles its kernels, is not: install the CUDA toolkit, or its \
                    nvrtc library alone (PyPI: nvidia-cuda-nvrtc), where the loader finds it \
                    (LD_LIBRARY_PATH)"
            .into());
    }
    let named = std::env::var_os("CUDA_PATH").map(PathBuf::from);
    headers(named.as_deref(), |path| path.exists())?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is there, and writes two numbers to where it is told.
    unsafe { cudarc::nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    Ok(format!("{major}.{minor}"))
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
}
