//! The command line.

mod analyze;
mod compare;
mod eval;

use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use storage::{Address, Notice, Storage, StorageOptions};
use trainer::checkpoint::CheckpointFolder;
use trainer::data::{Cache, ShardSource};
use trainer::device::{self, DeviceChoice, DeviceKind};
use trainer::export;
use trainer::progress::Console;
use trainer::quickstart;
use trainer::report;
use trainer::settings::{Options, Recipe, Settings};
use trainer::train::run::{Outcome, Resume, RunPaths};

/// Pre-trains an encoder on a folder of shards that `ingest` made.
///
/// `trainer --shards shards/` trains with the recipe's defaults; every other flag changes one of
/// them. What a flag and the recipe both leave open is chosen for the device and said in a line.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    override_usage = "trainer --shards <SHARDS> [OPTIONS]\n       trainer <COMMAND>"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: TrainArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a run's encoder as safetensors with timm's names
    Export(ExportArgs),
    /// Write a run's report as one HTML page: losses, reconstructions, rejects
    Report(ReportArgs),
    /// Judge a run's encoder by how well its features tell classes
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Look into a run's encoder: where its attention goes
    #[command(subcommand)]
    Analyze(analyze::AnalyzeCommand),
    /// Set runs beside each other on one HTML page: loss and accuracy over steps and time
    Compare(compare::CompareArgs),
    /// Make a small picture collection, ingest it, train on it, and write a report
    Quickstart(QuickstartArgs),
    /// Print a recipe as a TOML file to copy and change for --config
    Recipe {
        /// Which
        #[arg(value_enum)]
        name: Recipe,
    },
}

#[derive(Debug, Args)]
struct TrainArgs {
    /// Folder of shards: a path, or s3://, gs://, az://, http(s)://
    #[arg(long)]
    shards: Option<Address>,
    /// Folder of the run: settings, metrics, checkpoints [default: runs/RECIPE-MODEL]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Method, with its paper's defaults
    #[arg(long, value_enum)]
    recipe: Option<Recipe>,
    /// TOML file of settings; flags win over it
    #[arg(long)]
    config: Option<PathBuf>,
    /// auto, cuda:N or cpu
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Go on from the newest checkpoint of --out, or from this file
    #[arg(long, num_args = 0..=1, value_name = "CHECKPOINT")]
    resume: Option<Option<PathBuf>>,
    /// URL of an S3-compatible store for s3:// addresses
    #[arg(long, help_heading = "Data")]
    endpoint: Option<String>,
    /// Local folder that keeps what was read of remote shards [default: nothing is kept]
    #[arg(long, help_heading = "Data")]
    cache_dir: Option<PathBuf>,
    /// Most bytes that --cache-dir may hold, as in 500GB; the longest unused go first
    #[arg(long, help_heading = "Data", default_value = "100GB")]
    cache_size: ByteSize,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// A run's folder, for its newest checkpoint, or a checkpoint file
    run: PathBuf,
    /// File to write
    #[arg(long, default_value = "encoder.safetensors")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// A run's folder
    run: PathBuf,
    /// The shards it was trained on: a path, or s3://, gs://, az://
    #[arg(long)]
    shards: Address,
    /// URL of an S3-compatible store for s3:// addresses
    #[arg(long)]
    endpoint: Option<String>,
    /// File to write [default: report.html in the run's folder]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Views to draw
    #[arg(long, default_value_t = 6)]
    views: usize,
}

#[derive(Debug, Args)]
struct QuickstartArgs {
    /// Folder for pictures, shards, run and report
    #[arg(long, default_value = "quickstart")]
    out: PathBuf,
    /// auto, cuda:N or cpu
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

/// Runs the program; errors are a sentence on standard error, panics too.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // What a library below panics with is of no use to a user without the place; keep both, and
    // leave the backtrace to RUST_BACKTRACE.
    let result = panic::catch_unwind(AssertUnwindSafe(|| dispatch(cli)));
    match result {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!(
                "error: an internal fault, described above, stopped the program; checkpoints \
                 already written are whole, and --resume goes on from the newest"
            );
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Some(Command::Export(args)) => {
            let (path, checkpoint) = export::find_checkpoint(&args.run)?;
            export::export(&checkpoint, &args.out)?;
            println!("{} → {}", path.display(), args.out.display());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Report(args)) => {
            let out = args.out.unwrap_or_else(|| args.run.join("report.html"));
            let source = ShardSource::new(storage(args.endpoint)?, args.shards, None);
            report::write(&args.run, &source, &out, args.views)?;
            println!("{}", out.display());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Quickstart(args)) => {
            let (device, line) = device::choose(args.device)?;
            eprintln!("{line}");
            let report = quickstart::run(&args.out, device, &Console::new(), stop_flag()?)?;
            println!("report: {}", report.display());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Eval(command)) => eval::run(command),
        Some(Command::Analyze(command)) => analyze::run(command),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Recipe { name }) => {
            // A closed pipe is the reader's choice, not an error.
            let _ = std::io::stdout().write_all(name.text().as_bytes());
            Ok(ExitCode::SUCCESS)
        }
        None => train(cli.train),
    }
}

fn train(args: TrainArgs) -> anyhow::Result<ExitCode> {
    let shards = args.shards.context("--shards names the folder of shards; see --help")?;
    let cache =
        args.cache_dir.map(|folder| Cache::open(&folder, args.cache_size.as_u64())).transpose()?;
    let shards = ShardSource::new(storage(args.endpoint)?, shards, cache);
    let (device, line) = device::choose(args.device)?;
    eprintln!("{line}");

    let from_file = match &args.config {
        Some(path) => Options::read(path)?,
        None => Options::default(),
    };
    let mut options = args.options.over(from_file);
    let named = args.resume.as_ref().and_then(Option::as_ref);
    let mut recipe = args.recipe;
    let out_of = |settings: &Settings| {
        let name = format!("{}-{}", settings.recipe.name(), settings.model.name());
        PathBuf::from("runs").join(name)
    };

    // Where a run is taken up again, its own settings stand below the flags.
    let mut resume = None;
    if let Some(path) = named {
        let (path, checkpoint) = export::find_checkpoint(path)?;
        resume = Some(Resume { path, checkpoint });
    } else if args.resume.is_some() {
        let out = match &args.out {
            Some(out) => out.clone(),
            None => out_of(&Settings::resolve(
                recipe.unwrap_or(Recipe::LocalmimHog),
                options.clone(),
                device,
            )?),
        };
        match CheckpointFolder::of_run(&out).newest()? {
            Some((path, checkpoint, broken)) => {
                for error in broken {
                    eprintln!("passed over: {error}");
                }
                resume = Some(Resume { path, checkpoint });
            }
            None => eprintln!("{} holds no checkpoint yet: a new run begins", out.display()),
        }
    }
    if let Some(Resume { path, checkpoint }) = &resume {
        let saved = &checkpoint.header.settings;
        eprintln!("resumes {} (step {})", path.display(), checkpoint.header.step);
        options = options.over(Options { max_steps: None, ..saved.to_options() });
        recipe = recipe.or(Some(saved.recipe));
    }

    let open_model = options.model.is_none();
    let settings = Settings::resolve(recipe.unwrap_or(Recipe::LocalmimHog), options, device)?;
    if open_model {
        let on = match device {
            DeviceKind::Cuda(_) => "CUDA",
            DeviceKind::Cpu => "the CPU",
        };
        eprintln!("model: {}, the default on {on}; --model chooses another", settings.model.name());
    }
    let out = args.out.unwrap_or_else(|| out_of(&settings));
    let paths = RunPaths { shards, out };
    let outcome =
        trainer::train::run_on(device, &paths, &settings, resume, &Console::new(), stop_flag()?)?;
    let Outcome { step, checkpoint, interrupted } = outcome;
    if interrupted {
        println!("stopped after step {step}; saved {}; --resume goes on", checkpoint.display());
        return Ok(ExitCode::from(130));
    }
    println!("finished after step {step}; saved {}", checkpoint.display());
    Ok(ExitCode::SUCCESS)
}

/// How shards are reached; says so when a store does not answer for a while.
fn storage(endpoint: Option<String>) -> anyhow::Result<Storage> {
    let notice = Some(Notice::new(|sentence| eprintln!("{sentence}")));
    Ok(Storage::new(StorageOptions { endpoint, notice, ..StorageOptions::default() })?)
}

/// A flag that Ctrl-C (or a request to terminate) raises; a second one leaves at once.
fn stop_flag() -> anyhow::Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to leave without saving");
    })
    .context("Ctrl-C can't be caught")?;
    Ok(&STOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resume(flags: &[&str]) -> Option<Option<PathBuf>> {
        let all = ["trainer", "--shards", "s"].into_iter().chain(flags.iter().copied());
        Cli::try_parse_from(all).unwrap().train.resume
    }

    #[test]
    fn a_run_is_resumed_from_its_newest_checkpoint_or_from_a_file() {
        assert_eq!(resume(&[]), None);
        assert_eq!(resume(&["--resume"]), Some(None));
        assert_eq!(resume(&["--resume", "--max-steps", "3"]), Some(None));
        assert_eq!(resume(&["--resume", "file"]), Some(Some("file".into())));
    }
}
