//! The command of the comparison.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use storage::Address;
use trainer::device::{self, DeviceChoice};
use trainer::experiment::plan::Arm;
use trainer::experiment::{self, ExperimentError, ExperimentRequest, Scale};
use trainer::progress::Console;

#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// Labelled pictures to train on: a folder of class folders, or an archive
    #[arg(long)]
    pictures: Address,
    /// Labelled pictures to be judged on, likewise [default: a part of --pictures]
    #[arg(long)]
    test_pictures: Option<Address>,
    /// Folder for shards, runs and results
    #[arg(long, default_value = "experiment")]
    out: PathBuf,
    /// The form that takes a night
    #[arg(long)]
    full: bool,
    /// Minutes that each run trains [default: 2, or 25 with --full]
    #[arg(long)]
    minutes: Option<f64>,
    /// Seeds of each arm [default: 3]
    #[arg(long)]
    seeds: Option<u64>,
    /// What is compared, as in vit-mae,swin-greenmim [default: every recipe on its encoder]
    #[arg(long, value_delimiter = ',', value_parser = arm)]
    arms: Option<Vec<Arm>>,
    /// auto, cuda:N or cpu
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

fn arm(name: &str) -> Result<Arm, String> {
    let all = Arm::all();
    all.iter().find(|arm| arm.name() == name).copied().ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|arm| arm.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Makes the experiment; its table goes to standard output.
pub fn run(args: ExperimentArgs) -> anyhow::Result<ExitCode> {
    let (device, line) = device::choose(args.device)?;
    super::tell(line);
    let scale = if args.full { Scale::FULL } else { Scale::SMALL };
    let scale = Scale {
        minutes: args.minutes.unwrap_or(scale.minutes),
        seeds: args.seeds.unwrap_or(scale.seeds),
        ..scale
    };
    anyhow::ensure!(
        scale.minutes.is_finite() && scale.minutes > 0.0 && (1..=100).contains(&scale.seeds),
        "--minutes must be above 0, and --seeds between 1 and 100"
    );
    let request = ExperimentRequest {
        pictures: args.pictures,
        test: args.test_pictures,
        out: args.out,
        scale,
        arms: args.arms.unwrap_or_else(Arm::all),
        storage: super::storage(None)?,
    };
    match experiment::run(&request, device, &Console::new(), super::stop_flag()?) {
        Ok(outcome) => {
            write!(stdout(), "{}", outcome.text())?;
            super::tell(format!("page: {}", request.out.join("experiment.html").display()));
            Ok(ExitCode::SUCCESS)
        }
        Err(ExperimentError::Stopped) => {
            super::tell("stopped; what is done is kept, and the same command goes on");
            Ok(ExitCode::from(130))
        }
        Err(error) => Err(error.into()),
    }
}
