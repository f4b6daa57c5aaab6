//! The command of the comparison.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use storage::Address;
use trainer::experiment::plan::Arm;
use trainer::experiment::{self, ExperimentError, ExperimentRequest, Scale};
use trainer::progress::Console;
use voice::terminal::{INTERRUPTED, tell};

use super::common::{DeviceArgs, StoreArgs};
use super::stop::stop_flag;

#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// Labelled pictures to train on: a folder of class folders, or an archive
    #[arg(required = true, conflicts_with = "given_before")]
    pictures: Option<Address>,
    /// As they were given before they had a place of their own
    #[arg(long = "pictures", id = "given_before", hide = true)]
    given_before: Option<Address>,
    /// Labelled pictures to be judged on, likewise [default: a part of PICTURES]
    #[arg(long)]
    test_pictures: Option<Address>,
    /// Folder for shards, runs and results
    #[arg(long, default_value = "experiment")]
    out: PathBuf,
    /// The form that takes a night
    #[arg(long)]
    full: bool,
    /// Minutes that each run trains [above 0] [default: 2, or 25 with --full]
    #[arg(long)]
    minutes: Option<f64>,
    /// Seeds of each arm [1 to 100] [default: 3]
    #[arg(long)]
    seeds: Option<u64>,
    /// What is compared, as in vit-mae,swin-greenmim [default: every recipe on its encoder]
    #[arg(long, value_delimiter = ',', value_parser = arm)]
    arms: Option<Vec<Arm>>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
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
    let pictures = args.pictures.or(args.given_before);
    let pictures = pictures.context("PICTURES is missing; see --help")?;
    let device = args.device.choose()?;
    let scale = if args.full { Scale::FULL } else { Scale::SMALL };
    let scale = Scale {
        minutes: args.minutes.unwrap_or(scale.minutes),
        seeds: args.seeds.unwrap_or(scale.seeds),
        ..scale
    };
    anyhow::ensure!(
        scale.minutes.is_finite() && scale.minutes > 0.0 && (1..=100).contains(&scale.seeds),
        "--minutes must be above 0 and finite, --seeds 1 to 100"
    );
    let request = ExperimentRequest {
        pictures,
        test: args.test_pictures,
        out: args.out,
        scale,
        arms: args.arms.unwrap_or_else(Arm::all),
        storage: args.store.storage()?,
    };
    match experiment::run(&request, device, &Console::new(), stop_flag()?) {
        Ok(outcome) => {
            write!(stdout(), "{}", outcome.text())?;
            tell(format!("page: {}", request.out.join("experiment.html").display()));
            Ok(ExitCode::SUCCESS)
        }
        Err(ExperimentError::Stopped) => {
            tell("stopped; what is done is kept, and the same command goes on");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error.into()),
    }
}
