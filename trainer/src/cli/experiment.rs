//! The command of the comparison.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use storage::Address;
use trainer::experiment::kept::Scale;
use trainer::experiment::outcome::ExperimentOutcome;
use trainer::experiment::plan::{Arm, Bench, SIZE};
use trainer::experiment::{self, ExperimentError, ExperimentRequest};
use trainer::model::{ModelName, Precision};
use trainer::progress::Console;
use voice::terminal::{INTERRUPTED, tell};

use super::common::{DeviceArgs, StoreArgs};
use super::stop::stop_flag;

/// Seeds of each arm, unless others are given.
const SEEDS: [u64; 3] = [0, 1, 2];

#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// Labelled pictures to train on: a folder of class folders, or an archive
    #[arg(
        required_unless_present_any = ["from", "given_before"],
        conflicts_with_all = ["given_before", "from"]
    )]
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
    /// Train nothing: put the runs in these folders of experiments together to one page in --out
    #[arg(long, value_name = "FOLDER", num_args = 1..)]
    from: Vec<PathBuf>,
    /// Take the steps and rates that this folder of an experiment has settled
    #[arg(long, value_name = "FOLDER", conflicts_with = "from")]
    like: Option<PathBuf>,
    /// The form that takes two days
    #[arg(long)]
    full: bool,
    /// Minutes that each run trains [above 0] [default: 10, or 40 with --full]
    #[arg(long)]
    minutes: Option<f64>,
    /// Pictures that classifiers learn from, and that they are tested on, twelve times a run [default: 5000,5000, or 20000,10000 with --full]
    #[arg(long, value_name = "LEARN,TEST", value_parser = judged_on)]
    judged_on: Option<(u64, u64)>,
    /// Seeds of each arm, as in 0,1 [default: 0,1,2]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(..1_000_000))]
    seeds: Option<Vec<u64>>,
    /// What is compared, as in vit-mae,swin-greenmim [default: every method, those of the encoder with --model]
    #[arg(long, value_delimiter = ',')]
    arms: Option<Vec<Arm>>,
    /// Base learning rate of an arm, which is not tried for then; may be given several times
    #[arg(long, value_name = "ARM=RATE", value_parser = rate)]
    rate: Vec<(Arm, f64)>,
    /// Side of a view in pixels
    #[arg(long, default_value_t = SIZE)]
    size: u32,
    /// Encoder of every arm, which are of its kind [default: the small ones of both families]
    #[arg(long)]
    model: Option<ModelName>,
    /// Matrix products in f32 or bf16, in every arm
    #[arg(long, default_value = "f32")]
    precision: Precision,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
}

fn rate(text: &str) -> Result<(Arm, f64), String> {
    let (arm, rate) = text.split_once('=').ok_or("expected ARM=RATE, as in vit-mae=5e-4")?;
    let rate: f64 = rate.parse().map_err(|error| format!("{rate}: {error}"))?;
    if !(rate.is_finite() && rate > 0.0) {
        return Err(format!("a rate must be above 0 and finite, not {rate}"));
    }
    Ok((arm.parse()?, rate))
}

fn judged_on(text: &str) -> Result<(u64, u64), String> {
    let counts = text.split_once(',').ok_or("expected LEARN,TEST, as in 3000,3000")?;
    let count = |text: &str| match text.trim().parse() {
        Ok(0) | Err(_) => Err(format!("a number of pictures must be 1 or more, not {text}")),
        Ok(count) => Ok(count),
    };
    Ok((count(counts.0)?, count(counts.1)?))
}

/// Makes the experiment, or puts some together; the tables go to standard output.
pub fn run(args: ExperimentArgs) -> anyhow::Result<ExitCode> {
    if !args.from.is_empty() {
        return say(&experiment::put_together(&args.from, &args.out)?, &args.out);
    }
    let pictures = args.pictures.or(args.given_before);
    let pictures = pictures.context("PICTURES is missing; see --help")?;
    let device = args.device.choose()?;
    device.holds(args.precision)?;
    let scale = if args.full { Scale::FULL } else { Scale::SMALL };
    let judged_on = args.judged_on.unwrap_or((scale.train_pictures, scale.test_pictures));
    let scale = Scale {
        minutes: args.minutes.unwrap_or(scale.minutes),
        train_pictures: judged_on.0,
        test_pictures: judged_on.1,
    };
    anyhow::ensure!(
        scale.minutes.is_finite() && scale.minutes > 0.0,
        "--minutes must be above 0 and finite"
    );
    let mut seeds = args.seeds.unwrap_or(SEEDS.to_vec());
    seeds.sort_unstable();
    seeds.dedup();
    let console = Console::new();
    if let &[seed @ 2..10] = seeds.as_slice() {
        console.message(&format!(
            "one run of each arm, from seed {seed}; for {seed} runs give --seeds {}",
            (0..seed).map(|seed| seed.to_string()).collect::<Vec<_>>().join(",")
        ));
    }
    let request = ExperimentRequest {
        pictures,
        test: args.test_pictures,
        out: args.out,
        bench: Bench { size: args.size, model: args.model, precision: args.precision },
        scale,
        seeds,
        arms: args.arms.unwrap_or_else(|| Arm::methods_on(args.model)),
        rates: args.rate,
        like: args.like,
        storage: args.store.storage()?,
    };
    match experiment::run(&request, device, &console, stop_flag()?) {
        Ok(outcome) => say(&outcome, &request.out),
        Err(ExperimentError::Stopped) => {
            tell("stopped; what is done is kept, and the same command goes on");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error.into()),
    }
}

fn say(outcome: &ExperimentOutcome, out: &Path) -> anyhow::Result<ExitCode> {
    write!(stdout(), "{}", outcome.text())?;
    tell(format!("page: {}", out.join("experiment.html").display()));
    Ok(ExitCode::SUCCESS)
}
