//! What Vulkan's drivers say of devices.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use burn::backend::wgpu::graphics::{GraphicsApi, Vulkan};
use burn::backend::wgpu::{RuntimeOptions, WgpuDevice, WgpuRuntime, init_setup};
use cubecl::Runtime;
use cubecl::features::TypeUsage;
use cubecl::ir::{ElemType, FloatKind, StorageType};
use wgpu::{DeviceType, Instance, InstanceDescriptor};

/// A Vulkan device, as the backend tells them apart: by kind, and its place among those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adapter {
    kind: DeviceType,
    place: usize,
}

/// An adapter with its names.
pub struct Found {
    pub adapter: Adapter,
    /// What its driver calls it.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
}

impl Adapter {
    /// The device as Burn's backend takes it.
    pub fn device(self) -> WgpuDevice {
        match self.kind {
            DeviceType::DiscreteGpu => WgpuDevice::DiscreteGpu(self.place),
            DeviceType::IntegratedGpu => WgpuDevice::IntegratedGpu(self.place),
            DeviceType::VirtualGpu => WgpuDevice::VirtualGpu(self.place),
            DeviceType::Cpu => WgpuDevice::Cpu,
            DeviceType::Other => WgpuDevice::DefaultDevice,
        }
    }

    /// Starts it by Vulkan, whatever else the system has for it; or why it does not start.
    pub fn start(self) -> Result<(), String> {
        // A device starts once.
        static STARTED: Mutex<Vec<Adapter>> = Mutex::new(vec![]);
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if started.contains(&self) {
            return Ok(());
        }
        quietly(|| init_setup::<Vulkan>(&self.device(), RuntimeOptions::default()))
            .map_err(|why| format!("it does not start: {why}"))?;
        started.push(self);
        Ok(())
    }

    /// Whether it stores and converts bf16 and has products of such matrices.
    pub fn multiplies_bf16(self) -> bool {
        let client = WgpuRuntime::client(&self.device());
        let bf16 = StorageType::from(ElemType::Float(FloatKind::BF16));
        let properties = client.properties();
        let usage = properties.type_usage(bf16);
        let products = &properties.features.matmul.cmma;
        usage.is_superset(TypeUsage::Buffer | TypeUsage::Conversion)
            && (usage.contains(TypeUsage::Arithmetic)
                || products.iter().any(|product| product.a_type == bf16))
    }
}

/// The adapter of this index among all, processors included; or why there is none.
pub fn found(index: usize) -> Result<Found, String> {
    let mut all = adapters()?;
    if index < all.len() {
        return Ok(all.swap_remove(index));
    }
    Err(match all.len() {
        0 => "no Vulkan driver was found (a processor's is Mesa's; Debian: mesa-vulkan-drivers)"
            .to_owned(),
        _ => {
            let named =
                |(index, found): (usize, &Found)| format!("vulkan:{index} ({})", found.name);
            let names: Vec<_> = all.iter().enumerate().map(named).collect();
            format!("Vulkan has {}", names.join(", "))
        }
    })
}

/// The first adapter that is no processor: its index among all, and its name. Drivers are asked only
/// where the system has a device for them, since some have much to say where there is none.
pub fn gpu() -> Option<(usize, String)> {
    let devices = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg"];
    if cfg!(target_os = "linux") && !devices.iter().any(|path| Path::new(path).exists()) {
        return None;
    }
    let all = adapters().ok()?.into_iter().enumerate();
    let mut gpus = all.filter(|(_, found)| found.adapter.kind != DeviceType::Cpu);
    gpus.next().map(|(index, found)| (index, found.name))
}

/// All adapters that the backend can tell apart, in the drivers' order.
fn adapters() -> Result<Vec<Found>, String> {
    let backends = Vulkan::backend().into();
    let listed = quietly(|| {
        let descriptor =
            InstanceDescriptor { backends, ..InstanceDescriptor::new_without_display_handle() };
        let instance = Instance::new(descriptor);
        let adapters = cubecl::future::block_on(instance.enumerate_adapters(backends));
        adapters.iter().map(|adapter| adapter.get_info()).collect::<Vec<_>>()
    });
    let listed = listed.map_err(|why| format!("Vulkan does not start: {why}"))?;
    let mut found: Vec<Found> = vec![];
    for info in listed {
        let kind = info.device_type;
        let place = found.iter().filter(|other| other.adapter.kind == kind).count();
        // Of these the backend knows one.
        if place > 0 && matches!(kind, DeviceType::Cpu | DeviceType::Other) {
            continue;
        }
        found.push(Found {
            adapter: Adapter { kind, place },
            name: info.name,
            driver: format!("{} {}", info.driver, info.driver_info),
        });
    }
    Ok(found)
}

/// Runs what panics where a driver fails; the panic becomes its message, and prints nothing.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // One at a time, or one would put back the other's hook.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = Arc::new(panic::take_hook());
    let (here, others) = (thread::current().id(), Arc::clone(&before));
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() != here {
            others(info);
        }
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(Box::new(move |info| before(info)));
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        text.lines().next().unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_first_line() {
        assert_eq!(quietly(|| 1), Ok(1));
        let error = quietly(|| panic!("No device\nat all")).unwrap_err();
        assert_eq!(error, "No device");
    }

    /// Holds only where there is a Vulkan device.
    #[test]
    fn adapters_are_counted_by_kind_and_named_where_an_index_is_too_high() {
        let all = adapters().unwrap();
        for (index, one) in all.iter().enumerate() {
            let same = found(index).unwrap();
            assert_eq!((same.adapter, same.name), (one.adapter, one.name.clone()));
            let error = found(all.len()).err().unwrap();
            assert!(error.contains(&format!("vulkan:{index} ({})", one.name)), "{error}");
        }
        if all.is_empty() {
            assert!(found(0).err().unwrap().contains("mesa-vulkan-drivers"));
        }
    }
}
