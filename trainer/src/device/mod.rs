//! Which device a run takes: CUDA and Vulkan are looked for at run time, the CPU is always there.
//!
//! `cuda` and `vulkan` ask what there is; `kept` says where compiled kernels are kept.

mod cuda;
mod kept;
mod nccl;
mod vulkan;

use std::str::FromStr;

use kernels::cpu::bf16;

use crate::model::Precision;
pub use cuda::count as cuda_devices;
pub use nccl::has_nccl;
pub use vulkan::Adapter;

/// What `--device` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA device, or else the CPU.
    Auto,
    /// This CUDA device and no other.
    Cuda(usize),
    /// This Vulkan device, of all there are, and no other.
    Vulkan(usize),
    /// The CPU.
    Cpu,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, index) = text.split_once(':').unwrap_or((text, "0"));
        match (kind, index.parse()) {
            ("cuda", Ok(index)) => Ok(Self::Cuda(index)),
            ("vulkan", Ok(index)) => Ok(Self::Vulkan(index)),
            _ if text == "auto" => Ok(Self::Auto),
            _ if text == "cpu" => Ok(Self::Cpu),
            _ => Err("expected auto, cpu, cuda, cuda:N, vulkan or vulkan:N".to_owned()),
        }
    }
}

/// The device a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// The CUDA device of this index.
    Cuda(usize),
    /// A Vulkan device.
    Vulkan(Adapter),
    /// The CPU.
    Cpu,
}

impl DeviceKind {
    /// As messages call its kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda(_) => "CUDA",
            Self::Vulkan(_) => "Vulkan",
            Self::Cpu => "the CPU",
        }
    }

    /// Whether it can multiply matrices in this number format, if slowly.
    ///
    /// # Errors
    /// [`NoDevice::Precision`] if it can't.
    pub fn holds(self, precision: Precision) -> Result<(), NoDevice> {
        match (self, precision) {
            (Self::Vulkan(adapter), Precision::Bf16) if !adapter.multiplies_bf16() => {
                let reason = "this Vulkan device or its driver can't multiply matrices of bf16";
                Err(NoDevice::Precision(reason.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// What is to be said of a number format that it has no products of.
    pub fn slow(self, precision: Precision) -> Option<String> {
        match (self, precision) {
            (Self::Cpu, Precision::Bf16) => without_bf16(&bf16::missing()),
            _ => None,
        }
    }
}

/// What is to be said of products in bf16 on a processor that lacks `missing`.
fn without_bf16(missing: &[&str]) -> Option<String> {
    (!missing.is_empty()).then(|| {
        format!(
            "WARNING: this processor has no products in bf16 (it lacks {}): factors are rounded to \
             bf16 and multiplied in f32, which is slower than --precision f32",
            missing.join(", ")
        )
    })
}

/// A device that can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoDevice {
    /// It was asked for by name and is not there.
    #[error("{kind}:{index} can't be had: {reason}; --device auto or cpu runs without it")]
    Absent {
        /// `cuda` or `vulkan`.
        kind: &'static str,
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
    /// It can't multiply in a number format.
    #[error("--precision bf16: {0}; give --precision f32")]
    Precision(String),
}

/// A device, and what there is to say of it.
#[derive(Debug)]
pub struct Chosen {
    /// The device.
    pub device: DeviceKind,
    /// Lines for the user: which it is and why, and where its compiled kernels are kept.
    pub lines: Vec<String>,
}

/// The device for a choice. Where it is a GPU, kernels that are compiled for it are kept from then
/// on for the runs to come.
///
/// # Errors
/// [`NoDevice`] if a device was asked for by name and can't be had, or if a CUDA device is there
/// whose kernels could not be compiled: to run on the CPU beside it in silence would be days lost.
pub fn choose(choice: DeviceChoice) -> Result<Chosen, NoDevice> {
    match choice {
        DeviceChoice::Cpu => Ok(cpu("")),
        DeviceChoice::Cuda(index) => on_cuda(index),
        DeviceChoice::Vulkan(index) => on_vulkan(index),
        DeviceChoice::Auto => match on_cuda(0) {
            Err(NoDevice::Absent { reason, .. }) => {
                let other = vulkan::gpu().map(|(index, name)| {
                    format!("; {name} is there by Vulkan: --device vulkan:{index} runs on it")
                });
                Ok(cpu(&format!(" ({reason}{})", other.unwrap_or_default())))
            }
            other => other,
        },
    }
}

fn cpu(why: &str) -> Chosen {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let line = format!("device: CPU, {threads} threads{why}");
    Chosen { device: DeviceKind::Cpu, lines: vec![line] }
}

fn on_cuda(index: usize) -> Result<Chosen, NoDevice> {
    let found = cuda::device(index);
    let found = found.map_err(|reason| NoDevice::Absent { kind: "cuda", index, reason })?;
    let compiler = cuda::compiler().map_err(|reason| NoDevice::Incomplete { index, reason })?;
    let cuda::Device { name, capability } = found;
    let mut lines = vec![format!("device: cuda:{index}, {name}")];
    // What another compiler makes is not what this one does, and an older driver may refuse it.
    lines.extend(kept::keep(&name, &format!("cuda {name} sm_{capability} nvrtc {compiler}")));
    Ok(Chosen { device: DeviceKind::Cuda(index), lines })
}

fn on_vulkan(index: usize) -> Result<Chosen, NoDevice> {
    let absent = |reason| NoDevice::Absent { kind: "vulkan", index, reason };
    let found = vulkan::found(index).map_err(absent)?;
    let mut lines = vec![format!("device: vulkan:{index}, {}", found.name)];
    lines.extend(kept::keep(&found.name, &format!("vulkan {} {}", found.name, found.driver)));
    found.adapter.start().map_err(absent)?;
    Ok(Chosen { device: DeviceKind::Vulkan(found.adapter), lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_written() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cpu".parse(), Ok(DeviceChoice::Cpu));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        assert_eq!("vulkan".parse(), Ok(DeviceChoice::Vulkan(0)));
        assert_eq!("vulkan:1".parse(), Ok(DeviceChoice::Vulkan(1)));
        for wrong in ["gpu", "cuda:x", "vulkan:", "cpu:0", "auto:1", ""] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_cpu_is_always_to_be_had() {
        assert_eq!(choose(DeviceChoice::Cpu).unwrap().device, DeviceKind::Cpu);
        choose(DeviceChoice::Auto).unwrap();
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        for (choice, name) in
            [(DeviceChoice::Cuda(999), "cuda:999"), (DeviceChoice::Vulkan(999), "vulkan:999")]
        {
            let error = choose(choice).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("--device auto"), "{error}");
        }
    }

    #[test]
    fn every_processor_and_cuda_hold_f32_and_bf16() {
        for device in [DeviceKind::Cpu, DeviceKind::Cuda(0)] {
            for precision in [Precision::F32, Precision::Bf16] {
                device.holds(precision).unwrap();
            }
            assert_eq!(device.slow(Precision::F32), None);
        }
        assert_eq!(DeviceKind::Cuda(0).slow(Precision::Bf16), None);
    }

    #[test]
    fn a_processor_without_the_instructions_is_told_what_it_lacks_and_what_is_faster() {
        assert_eq!(DeviceKind::Cpu.slow(Precision::Bf16).is_none(), bf16::supported());
        assert_eq!(without_bf16(&[]), None);
        let told = without_bf16(&["avx512bw", "avx512bf16"]).unwrap();
        assert!(told.contains("lacks avx512bw, avx512bf16)"), "{told}");
        assert!(told.ends_with("--precision f32"), "{told}");
    }
}
