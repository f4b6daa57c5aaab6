//! The devices and processes that train as one.

use std::process;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use trainer::device::{self, Chosen, DeviceChoice, DeviceKind, cuda_devices};
use trainer::ranks::world::{Asked, Devices, Found, World};
use trainer::train::Place;
use voice::terminal::tell;

use super::common::DeviceArgs;

#[derive(Debug, Args)]
#[command(next_help_heading = "Several devices and machines")]
pub struct RanksArgs {
    /// Devices of this process that share each batch, as in cuda:0-7, cuda:0,2, vulkan:0,1, or cpu:4
    /// for four parts on the cores
    #[arg(long, conflicts_with = "device")]
    devices: Option<Devices>,
    /// Processes in all, each with its devices [default: torchrun's WORLD_SIZE, Slurm's
    /// SLURM_NTASKS, else 1]
    #[arg(long, value_name = "COUNT")]
    nodes: Option<usize>,
    /// Which of them this is, from 0; 0 writes what the run leaves [default: torchrun's RANK,
    /// Slurm's SLURM_PROCID]
    #[arg(long, value_name = "NUMBER")]
    rank: Option<usize>,
    /// Where the others find process 0 [default: torchrun's MASTER_ADDR and the port after
    /// MASTER_PORT, where its agent listens; else the first host of Slurm's job at port 29500]
    #[arg(long, value_name = "HOST:PORT")]
    rendezvous: Option<String>,
    /// Seconds to wait for all to be there
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u64,
}

impl RanksArgs {
    /// The processes, and the devices of this one, which are told.
    pub fn place(&self, device: DeviceArgs) -> anyhow::Result<Place> {
        let asked =
            Asked { nodes: self.nodes, rank: self.rank, rendezvous: self.rendezvous.clone() };
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Found { world, local } = asked.find(variable, Duration::from_secs(self.wait))?;
        if world.processes > 1 {
            let World { process, processes, rendezvous, .. } = &world;
            tell(format_args!(
                "process {process} of {processes}: meets the others at {rendezvous}, for which it waits {} s at most (--wait); --nodes 1 trains alone",
                self.wait
            ));
        }
        let choices = match &self.devices {
            Some(Devices(choices)) => choices.clone(),
            None => vec![own_device(device.choice(), local.unwrap_or(0), cuda_devices)],
        };
        let mut devices: Vec<DeviceKind> = vec![];
        for choice in choices {
            let Chosen { device, lines } = device::choose(choice)?;
            // Cores are told once.
            if !devices.contains(&device) {
                lines.into_iter().for_each(tell);
            }
            devices.push(device);
        }
        let ends = Arc::new(|why: &str| {
            tell(format_args!("error: {why}"));
            process::exit(1);
        });
        Ok(Place { devices, world, ends })
    }
}

/// The device of the process of number `local` on its machine, where a launcher starts several
/// that all see all devices.
fn own_device(
    choice: DeviceChoice,
    local: usize,
    cuda_devices: impl Fn() -> usize,
) -> DeviceChoice {
    match choice {
        DeviceChoice::Auto if local > 0 => match local % cuda_devices() {
            0 => DeviceChoice::Auto,
            index => DeviceChoice::Cuda(index),
        },
        choice => choice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launchers_processes_have_a_device_each() {
        use DeviceChoice::{Auto, Cpu, Cuda};
        let of = |choice, local, devices| own_device(choice, local, || devices);
        // Where each sees its own alone, that one is the first.
        assert_eq!([of(Auto, 0, 8), of(Auto, 3, 8), of(Auto, 3, 1)], [Auto, Cuda(3), Auto]);
        assert_eq!([of(Cpu, 3, 8), of(Cuda(1), 3, 8)], [Cpu, Cuda(1)]);
    }
}
