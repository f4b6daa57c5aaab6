//! Which processes there are, as flags say it, or else what started them: torchrun or Slurm.

use std::str::FromStr;
use std::time::Duration;

use super::RanksError;
use crate::device::DeviceChoice;

/// The port where processes meet if none is given.
const PORT: u16 = 29_500;

/// The processes of a run, and which of them this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// Its number, from 0.
    pub process: usize,
    /// How many there are.
    pub processes: usize,
    /// Where the first one is found: a host, a colon, a port.
    pub rendezvous: String,
    /// How long those who are there wait for the others.
    pub wait: Duration,
}

/// What flags say of the world; each may be open.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// `--nodes`.
    pub nodes: Option<usize>,
    /// `--rank`.
    pub rank: Option<usize>,
    /// `--rendezvous`.
    pub rendezvous: Option<String>,
}

/// A world, and this process's number among those of its machine where a launcher says so.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The world.
    pub world: World,
    /// Its number on its machine.
    pub local: Option<usize>,
}

/// Flags that leave open where this process stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// A number is missing.
    #[error("--nodes {nodes} needs {flag}{hint}")]
    Open {
        /// How many processes there are.
        nodes: usize,
        /// What is missing.
        flag: &'static str,
        /// What it is good for.
        hint: &'static str,
    },
    /// It is not known how many processes there are.
    #[error("--rank and --rendezvous need --nodes, the number of processes")]
    Count,
    /// A launcher's variables are there in part.
    #[error(
        "{set}={value} is set and {missing} is not: a launcher sets both; --nodes 1 trains alone"
    )]
    Half {
        /// The variable that is there.
        set: &'static str,
        /// What it holds.
        value: String,
        /// The one that is not.
        missing: &'static str,
    },
    /// There is no such process.
    #[error("--rank {rank}: processes of --nodes {nodes} are numbered 0 to {}", nodes - 1)]
    Rank {
        /// The number.
        rank: usize,
        /// How many there are.
        nodes: usize,
    },
    /// There is none at all.
    #[error("{0}: must be 1 or more, not 0")]
    Nobody(&'static str),
    /// The address is none.
    #[error("--rendezvous {0}: expected HOST:PORT, as in node1:29500")]
    Address(String),
    /// A variable holds no number.
    #[error(
        "{name}={value}: expected a whole number; the launcher sets it, --nodes 1 disregards it"
    )]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
}

/// The variables of what started this process: number, how many, number on the machine.
const LAUNCHERS: [[&str; 3]; 2] =
    [["RANK", "WORLD_SIZE", "LOCAL_RANK"], ["SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"]];
/// Whether the store that torchrun's agent keeps is the one that its processes are to use.
const AGENT: &str = "TORCHELASTIC_USE_AGENT_STORE";

impl Asked {
    /// The world that flags and then `variable`, the environment, tell of.
    ///
    /// # Errors
    /// [`WorldError`] names what is missing or can't be.
    pub fn find(
        self,
        variable: impl Fn(&str) -> Option<String>,
        wait: Duration,
    ) -> Result<Found, WorldError> {
        let alone = World { process: 0, processes: 1, rendezvous: String::new(), wait };
        if self.nodes == Some(1) {
            return Ok(Found { world: alone, local: None });
        }
        let number = |name: &'static str| {
            let Some(value) = variable(name) else { return Ok(None) };
            match value.trim().parse::<usize>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(WorldError::Variable { name, value }),
            }
        };
        let is_set = |names: &&[&str; 3]| names[..2].iter().all(|name| variable(name).is_some());
        let launcher = LAUNCHERS.iter().find(is_set);
        let [rank, nodes, local] = match launcher {
            Some(names) => [number(names[0])?, number(names[1])?, number(names[2])?],
            None => [None; 3],
        };
        let named = self.rank.is_some() || self.rendezvous.is_some();
        if launcher.is_none() && !named && self.nodes.is_none() {
            // Slurm's stand alone in a shell of `salloc`; what is as without a launcher says nothing.
            for (set, missing, usual) in [("WORLD_SIZE", "RANK", "1"), ("RANK", "WORLD_SIZE", "0")]
            {
                if let Some(value) = variable(set).filter(|value| value.trim() != usual)
                    && variable(missing).is_none()
                {
                    return Err(WorldError::Half { set, value, missing });
                }
            }
        }
        let nodes = self.nodes.or(nodes).unwrap_or(if named { 2 } else { 1 });
        let open = |flag, hint| WorldError::Open { nodes, flag, hint };
        match nodes {
            0 => {
                let said = launcher.filter(|_| self.nodes.is_none()).map(|names| names[1]);
                return Err(WorldError::Nobody(said.unwrap_or("--nodes")));
            }
            1 => return Ok(Found { world: alone, local }),
            _ => {}
        }
        if named && self.nodes.is_none() && launcher.is_none() {
            return Err(WorldError::Count);
        }
        let rank = self.rank.or(rank);
        let rank = rank.ok_or_else(|| open("--rank", ", this process's number, from 0"))?;
        if rank >= nodes {
            return Err(WorldError::Rank { rank, nodes });
        }
        let torchrun = || Some(format!("{}:{}", variable("MASTER_ADDR")?, master_port(&variable)));
        let slurm = || Some(format!("{}:{PORT}", first_host(&variable("SLURM_JOB_NODELIST")?)?));
        let rendezvous = self.rendezvous.or_else(torchrun).or_else(slurm);
        let rendezvous = rendezvous
            .ok_or_else(|| open("--rendezvous HOST:PORT", ", where process 0 is found"))?;
        let whole = rendezvous.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !whole {
            return Err(WorldError::Address(rendezvous));
        }
        Ok(Found { world: World { process: rank, processes: nodes, rendezvous, wait }, local })
    }
}

impl World {
    /// There is one process.
    pub fn alone() -> Self {
        let wait = Duration::ZERO;
        Self { process: 0, processes: 1, rendezvous: String::new(), wait }
    }

    /// The host of the rendezvous.
    pub(super) fn host(&self) -> &str {
        self.rendezvous.rsplit_once(':').map_or("", |(host, _)| host)
    }

    /// What is wrong with the rendezvous.
    pub(super) fn fault(&self, reason: String) -> RanksError {
        RanksError::Address { address: self.rendezvous.clone(), reason }
    }
}

/// The port beside the address in `MASTER_ADDR`. Where torchrun's agent has a store of its own listen
/// at `MASTER_PORT`, and says so, it is the next one.
fn master_port(variable: impl Fn(&str) -> Option<String>) -> String {
    let is_taken = variable(AGENT).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let port = variable("MASTER_PORT").unwrap_or_else(|| PORT.to_string());
    match port.trim().parse::<u16>() {
        Ok(taken) if is_taken => taken.checked_add(1).unwrap_or(taken - 1).to_string(),
        // What is no number is told by whoever reads the address.
        _ => port,
    }
}

/// The first host of Slurm's list, as in `gpu[01-04,07],login`.
fn first_host(list: &str) -> Option<String> {
    let mut host = String::new();
    let mut rest = list.trim();
    while let Some(next) = rest.chars().next() {
        match next {
            ',' => break,
            '[' => {
                let (ranges, after) = rest[1..].split_once(']')?;
                host.push_str(ranges.split([',', '-']).next()?);
                rest = after;
            }
            _ => {
                host.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    (!host.is_empty()).then_some(host)
}

/// The devices of this process, one a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices(pub Vec<DeviceChoice>);

impl FromStr for Devices {
    type Err = String;

    /// `cpu:4` (so many ranks that share the cores), `cuda:0-7`, `cuda:0,2`, `vulkan:0,1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected cpu:COUNT, cuda:0-7, cuda:0,2 or vulkan:0,1".to_owned();
        let (kind, list) = text.split_once(':').ok_or_else(wrong)?;
        if kind == "cpu" {
            let count: usize = list.parse().map_err(|_| wrong())?;
            return match count {
                1..=1024 => Ok(Self(vec![DeviceChoice::Cpu; count])),
                _ => Err("a process has 1 to 1024 ranks".to_owned()),
            };
        }
        let of: fn(usize) -> DeviceChoice = match kind {
            "cuda" => DeviceChoice::Cuda,
            "vulkan" => DeviceChoice::Vulkan,
            _ => return Err(wrong()),
        };
        let mut indices = vec![];
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last - first >= 1024 {
                return Err(format!("{part} is no range of devices"));
            }
            indices.extend(first..=last);
        }
        let twice =
            indices.iter().find(|one| indices.iter().filter(|other| other == one).count() > 1);
        match twice {
            Some(index) => Err(format!("{kind}:{index} is there twice")),
            None => Ok(Self(indices.into_iter().map(of).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn find(asked: Asked, environment: &[(&str, &str)]) -> Result<Found, WorldError> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        asked.find(variable, WAIT)
    }

    fn world(process: usize, processes: usize, rendezvous: &str) -> World {
        World { process, processes, rendezvous: rendezvous.to_owned(), wait: WAIT }
    }

    const TORCHRUN: [(&str, &str); 5] = [
        ("RANK", "5"),
        ("WORLD_SIZE", "8"),
        ("LOCAL_RANK", "1"),
        ("MASTER_ADDR", "node0"),
        ("MASTER_PORT", "1234"),
    ];
    const SLURM: [(&str, &str); 4] = [
        ("SLURM_PROCID", "3"),
        ("SLURM_NTASKS", "4"),
        ("SLURM_LOCALID", "0"),
        ("SLURM_JOB_NODELIST", "gpu[07-09,12],login"),
    ];

    #[test]
    fn launchers_are_understood_and_flags_win_over_them() {
        let nothing = Asked::default;
        assert_eq!(find(nothing(), &[]).unwrap(), Found { world: world(0, 1, ""), local: None });
        let found = find(nothing(), &TORCHRUN).unwrap();
        assert_eq!(found, Found { world: world(5, 8, "node0:1234"), local: Some(1) });
        let found = find(nothing(), &SLURM).unwrap();
        assert_eq!(found, Found { world: world(3, 4, "gpu07:29500"), local: Some(0) });
        let flags = Asked { rank: Some(2), rendezvous: Some("[::1]:7".into()), ..nothing() };
        assert_eq!(find(flags, &SLURM).unwrap().world, world(2, 4, "[::1]:7"));
        let alone = Asked { nodes: Some(1), ..nothing() };
        assert_eq!(find(alone, &TORCHRUN).unwrap().world, world(0, 1, ""));
        // The store of torchrun's agent listens at its port.
        for (port, said, free) in
            [("1234", "True", "1235"), ("65535", "True", "65534"), ("7", "False", "7")]
        {
            let agent = [TORCHRUN.as_slice(), &[(AGENT, said)]].concat();
            let agent = agent.into_iter().filter(|(name, _)| *name != "MASTER_PORT");
            let agent = agent.chain([("MASTER_PORT", port)]).collect::<Vec<_>>();
            let found = find(nothing(), &agent).unwrap();
            assert_eq!(found.world.rendezvous, format!("node0:{free}"));
        }
        // One task of Slurm, or torchrun with one process, is a run as any other.
        let one = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")];
        assert_eq!(find(nothing(), &one).unwrap().world.processes, 1);
    }

    #[test]
    fn what_is_missing_is_named() {
        let asked = |nodes, rank, rendezvous: Option<&str>| {
            let rendezvous = rendezvous.map(str::to_owned);
            find(Asked { nodes, rank, rendezvous }, &[]).unwrap_err().to_string()
        };
        assert!(asked(Some(2), None, Some("a:1")).contains("needs --rank"));
        assert!(asked(Some(2), Some(0), None).contains("needs --rendezvous"));
        assert!(asked(None, Some(0), None).contains("number of processes"));
        assert!(asked(Some(2), Some(2), Some("a:1")).contains("numbered 0 to 1"));
        assert!(asked(Some(2), Some(1), Some("a")).contains("HOST:PORT"));
        assert!(asked(Some(0), None, None).contains("not 0"));
        let nobody = find(Asked::default(), &[("RANK", "0"), ("WORLD_SIZE", "0")]).unwrap_err();
        assert_eq!(nobody.to_string(), "WORLD_SIZE: must be 1 or more, not 0");
        let broken = [("RANK", "x"), ("WORLD_SIZE", "2")];
        let error = find(Asked::default(), &broken).unwrap_err().to_string();
        assert!(error.contains("RANK=x"), "{error}");
        for half in [("RANK", "1"), ("WORLD_SIZE", "2")] {
            let error = find(Asked::default(), &[half]).unwrap_err().to_string();
            assert!(error.contains(&format!("{}={} is set", half.0, half.1)), "{error}");
        }
        for one in [("RANK", "0"), ("WORLD_SIZE", "1"), ("SLURM_NTASKS", "4")] {
            assert_eq!(find(Asked::default(), &[one]).unwrap().world.processes, 1);
        }
    }

    #[test]
    fn the_first_host_of_slurms_lists() {
        for (list, host) in [
            ("node1", "node1"),
            ("a1,a2", "a1"),
            ("n[3-5]", "n3"),
            ("rack[1,4]n[03-04]-ib,x", "rack1n03-ib"),
        ] {
            assert_eq!(first_host(list).as_deref(), Some(host));
        }
        assert_eq!(first_host(""), None);
        assert_eq!(first_host("n[3"), None);
    }

    #[test]
    fn devices_are_read_as_written() {
        use DeviceChoice::{Cpu, Cuda, Vulkan};
        let read = |text: &str| text.parse::<Devices>().map(|devices| devices.0);
        assert_eq!(read("cpu:2").unwrap(), [Cpu, Cpu]);
        assert_eq!(read("cuda:0-2").unwrap(), [Cuda(0), Cuda(1), Cuda(2)]);
        assert_eq!(read("cuda:4,0-1").unwrap(), [Cuda(4), Cuda(0), Cuda(1)]);
        assert_eq!(read("vulkan:0,1").unwrap(), [Vulkan(0), Vulkan(1)]);
        for wrong in ["cpu", "cpu:0", "cuda", "cuda:", "cuda:2-1", "cuda:0,0-1", "auto:1", "x:1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
