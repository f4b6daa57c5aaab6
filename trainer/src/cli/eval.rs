//! The commands that judge an encoder.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use storage::Address;
use trainer::device::{self, DeviceChoice};
use trainer::eval::finetune::FinetuneSettings;
use trainer::eval::knn::KnnSettings;
use trainer::eval::linear::LinearSettings;
use trainer::eval::record::Method;
use trainer::eval::score::percent;
use trainer::eval::{self, EvalRequest, Evaluated};
use trainer::progress::Console;
use voice::terminal::counted;

#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Weighted nearest neighbours on frozen features
    Knn {
        #[command(flatten)]
        common: EvalArgs,
        #[command(flatten)]
        settings: KnnSettings,
    },
    /// A linear classifier on frozen features
    Linear {
        #[command(flatten)]
        common: EvalArgs,
        #[command(flatten)]
        settings: LinearSettings,
    },
    /// The encoder trained on with a linear head; views come from the shards as they are
    Finetune {
        #[command(flatten)]
        common: EvalArgs,
        #[command(flatten)]
        settings: FinetuneSettings,
    },
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Runs' folders, for their newest checkpoints, or checkpoint files
    #[arg(long, required = true, num_args = 1.., value_name = "RUN_OR_FILE")]
    checkpoint: Vec<PathBuf>,
    /// Labelled train set: shards at any address, or a local folder of class folders or archive
    #[arg(long)]
    shards: Address,
    /// Labelled test set, likewise [default: a part of --shards]
    #[arg(long)]
    test_shards: Option<Address>,
    /// Share of the pictures that is the test set where --test-shards is not given
    #[arg(long, default_value_t = 0.2)]
    test_share: f64,
    /// Seed of that part, and of the order of training rows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// auto, cuda:N or cpu
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// URL of an S3-compatible store for s3:// addresses
    #[arg(long)]
    endpoint: Option<String>,
}

/// Judges each checkpoint; a line each on standard output.
pub fn run(command: EvalCommand) -> anyhow::Result<ExitCode> {
    let (args, method) = match command {
        EvalCommand::Knn { common, settings } => (common, Method::Knn(settings)),
        EvalCommand::Linear { common, settings } => (common, Method::Linear(settings)),
        EvalCommand::Finetune { common, settings } => (common, Method::Finetune(settings)),
    };
    let (device, line) = device::choose(args.device)?;
    super::tell(line);
    let storage = super::storage(args.endpoint)?;
    let console = Console::new();
    for checkpoint in args.checkpoint {
        let request = EvalRequest {
            checkpoint,
            storage: storage.clone(),
            train: args.shards.clone(),
            test: args.test_shards.clone(),
            test_share: args.test_share,
            methods: vec![method.clone()],
            seed: args.seed,
            cache: None,
            most: None,
        };
        let done = eval::run(&request, device, &console)?;
        for done in &done {
            say(done)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An evaluation's line on standard output.
fn say(done: &Evaluated) -> anyhow::Result<()> {
    let record = &done.record;
    let top5 = record.score.top5.map_or(String::new(), |top5| format!(", top-5 {}", percent(top5)));
    let chance = match &record.score.chance {
        None => String::new(),
        Some(chance) if chance.above => format!(" (chance {})", percent(chance.top1)),
        Some(chance) => format!(" (no better than chance, {})", percent(chance.top1)),
    };
    writeln!(
        stdout(),
        "{} of step {}: top-1 {}{chance}{top5}; {}, {}, {}; {}",
        record.method.name(),
        record.step,
        percent(record.score.top1),
        counted(record.test.rows, "test row"),
        counted(record.train.rows, "train row"),
        counted(record.score.classes.len() as u64, "class"),
        done.page.display()
    )?;
    for warning in record.score.warnings() {
        super::tell(format!("warning: {warning}"));
    }
    if let Some(weights) = &done.weights {
        super::tell(format!("weights: {}", weights.display()));
    }
    Ok(())
}
