//! The commands that judge an encoder.

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use storage::Address;
use trainer::encode::encoder::Layers;
use trainer::eval::finetune::FinetuneSettings;
use trainer::eval::knn::KnnSettings;
use trainer::eval::linear::LinearSettings;
use trainer::eval::record::{LayerScore, Method};
use trainer::eval::score::percent;
use trainer::eval::{self, EvalError, EvalRequest, Evaluated};
use trainer::progress::Console;
use voice::terminal::{INTERRUPTED, counted, tell};

use super::common::{DeviceArgs, RunsArgs, StoreArgs};
use super::stop::stop_flag;

#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Weighted nearest neighbours on frozen features
    Knn {
        #[command(flatten)]
        common: EvalArgs,
        #[command(flatten)]
        frozen: FrozenArgs,
        #[command(flatten)]
        settings: KnnSettings,
    },
    /// A linear classifier on frozen features
    Linear {
        #[command(flatten)]
        common: EvalArgs,
        #[command(flatten)]
        frozen: FrozenArgs,
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
    #[command(flatten)]
    runs: RunsArgs,
    /// Labelled train set: shards at any address, or a local folder of class folders or archive
    #[arg(long)]
    shards: Address,
    /// Labelled test set, likewise [default: a part of --shards]
    #[arg(long)]
    test_shards: Option<Address>,
    /// Share of the pictures that is the test set where --test-shards is not given [above 0 and
    /// below 1]
    #[arg(long, default_value_t = 0.2)]
    test_share: f64,
    /// Seed of that part, and of the order of training rows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct FrozenArgs {
    /// Layers whose features are judged, each alone; the best counts
    #[arg(long, value_enum, default_value = "top")]
    layers: Layers,
}

/// Judges each checkpoint; a line each on standard output.
pub fn run(command: EvalCommand) -> anyhow::Result<ExitCode> {
    let (args, layers, method) = match command {
        EvalCommand::Knn { common, frozen, settings } => {
            (common, frozen.layers, Method::Knn(settings))
        }
        EvalCommand::Linear { common, frozen, settings } => {
            (common, frozen.layers, Method::Linear(settings))
        }
        EvalCommand::Finetune { common, settings } => {
            (common, Layers::Top, Method::Finetune(settings))
        }
    };
    // Only a tuning takes long enough to be stopped and gone on with.
    let stop = if matches!(method, Method::Finetune(_)) { Some(stop_flag()?) } else { None };
    let device = args.device.choose()?;
    let storage = args.store.storage()?;
    let console = Console::new();
    for checkpoint in args.runs.paths() {
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
            layers,
            stop,
        };
        let done = match eval::run(&request, device, &console) {
            Err(EvalError::Stopped) => {
                tell("stopped; what was learned is kept, and the same command goes on");
                return Ok(ExitCode::from(INTERRUPTED));
            }
            done => done?,
        };
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
    if !record.layers.is_empty() {
        let layer = |of: &LayerScore| format!("{} {}", of.layer, percent(of.top1));
        let layers: Vec<_> = record.layers.iter().map(layer).collect();
        tell(format!("top-1 by layer: {}", layers.join(", ")));
    }
    for warning in record.warnings() {
        tell(format!("warning: {warning}"));
    }
    if let Some(weights) = &done.weights {
        tell(format!("weights: {}", weights.display()));
    }
    Ok(())
}
