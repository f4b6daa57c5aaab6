//! The command line.

mod analyze;
mod compare;
mod eval;
mod experiment;
mod neighbours;

use std::io::{IsTerminal, Write, stderr, stdin, stdout};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};
use shards::{Cache, ShardSource};
use storage::{Address, Notice, Storage, StorageOptions};
use trainer::checkpoint::CheckpointFolder;
use trainer::device::{self, DeviceChoice, DeviceKind};
use trainer::export;
use trainer::import::{self, Imported};
use trainer::progress::Console;
use trainer::quickstart::{self, Ending};
use trainer::report::{self, Contents};
use trainer::settings::{Options, Recipe, Settings};
use trainer::train::run::{Resume, RunPaths, Trained};
use voice::terminal::{self, tell};

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
    /// Take published weights (LocalMIM's, MAE's, SimMIM's, GreenMIM's, MaskFeat's, timm's) into a
    /// run's folder, for export and evaluation
    Import(Box<ImportArgs>),
    /// Write a run's report as one HTML page: losses, reconstructions, what was learned, rejects
    Report(ReportArgs),
    /// Judge a run's encoder by how well its features tell classes
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Write what a run's encoder makes of pictures as a Parquet file: key, label, embedding
    Embed(neighbours::EmbedArgs),
    /// Show which pictures a run's encoder takes for alike, on one HTML page
    Neighbours(neighbours::NeighboursArgs),
    /// Look into a run's encoder: where its attention goes
    #[command(subcommand)]
    Analyze(analyze::AnalyzeCommand),
    /// Set runs beside each other on one HTML page: loss and accuracy over steps and time
    Compare(compare::CompareArgs),
    /// Train every recipe equally long on the same pictures, judge the encoders, report
    Experiment(experiment::ExperimentArgs),
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
    #[arg(long, help_heading = "Data", default_value = "100GB", value_parser = voice::terminal::bytes)]
    cache_size: u64,
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
struct ImportArgs {
    /// PyTorch's .pth, or safetensors
    file: PathBuf,
    /// Folder of the run to make
    #[arg(long)]
    out: PathBuf,
    /// Side in pixels of the pictures it was made on
    #[arg(long, default_value_t = 224)]
    size: usize,
    /// Orientation bins of its HOG targets
    #[arg(long, default_value_t = 9)]
    bins: usize,
    #[command(flatten)]
    options: Options,
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
    /// Pictures of the shards, drawn at random, among which neighbours are looked for; 0 for none
    #[arg(long, default_value_t = 300)]
    neighbours: usize,
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
    let cli: Cli = terminal::flags();
    // What a library below panics with is of no use to a user without the place; keep both, and
    // leave the backtrace to RUST_BACKTRACE.
    let result = panic::catch_unwind(AssertUnwindSafe(|| dispatch(cli)));
    match result {
        Ok(Ok(code)) => code,
        // Whoever reads the output has closed it, as `head` does: there is nobody to tell.
        Ok(Err(error)) if error.chain().any(terminal::reader_gone) => {
            ExitCode::from(terminal::READER_GONE)
        }
        Ok(Err(error)) => {
            tell(format_args!("error: {}", terminal::with_causes(error.chain())));
            ExitCode::FAILURE
        }
        Err(_) => {
            tell(
                "error: an internal fault, described above, stopped the program; checkpoints \
                 already written are whole, and --resume goes on from the newest",
            );
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Some(Command::Export(args)) => {
            spare(&args.out)?;
            let (path, checkpoint) = export::find_checkpoint(&args.run, &Console::new())?;
            // Else the encoder would take the place of what it was taken from.
            let same = args
                .out
                .canonicalize()
                .is_ok_and(|out| path.canonicalize().is_ok_and(|path| path == out));
            ensure!(
                !same,
                "--out {}: the checkpoint itself; give another file",
                args.out.display()
            );
            export::export(&checkpoint, &args.out)?;
            writeln!(stdout(), "{} → {}", path.display(), args.out.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Import(args)) => {
            let settings = Settings::resolve(args.options, DeviceKind::Cpu)?;
            let imported = import::import(&args.file, &args.out, &settings, args.size, args.bins)?;
            let Imported { checkpoint, found, fresh, under, passed } = imported;
            let fresh = match fresh {
                0 => String::new(),
                count => format!("; {count} parameters of heads are not in it and begin anew"),
            };
            let passed = match (passed, under.trim_end_matches('.')) {
                (0, _) => String::new(),
                (count, "") => format!("; {count} other tensors are passed over"),
                (count, under) => {
                    let under = terminal::name(under);
                    format!("; taken from `{under}`, {count} tensors beside it are passed over")
                }
            };
            let (file, to) = (args.file.display(), checkpoint.display());
            writeln!(stdout(), "{file} → {to}: {found} parameters{fresh}{passed}")?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Report(args)) => {
            let out = args.out.unwrap_or_else(|| args.run.join("report.html"));
            spare(&out)?;
            let source = ShardSource::new(storage(args.endpoint)?, args.shards, None);
            let contents = Contents { views: args.views, sample: args.neighbours };
            report::write(&args.run, &source, &out, contents, &Console::new())?;
            writeln!(stdout(), "{}", out.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Quickstart(args)) => {
            let (device, line) = device::choose(args.device)?;
            tell(line);
            match quickstart::run(&args.out, device, &Console::new(), stop_flag()?)? {
                Ending::Report(report) => writeln!(stdout(), "report: {}", report.display())?,
                Ending::Interrupted => {
                    tell("stopped; what is done is kept, and the same command goes on from there");
                    return Ok(ExitCode::from(terminal::INTERRUPTED));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Eval(command)) => eval::run(command),
        Some(Command::Embed(args)) => neighbours::embed(args),
        Some(Command::Neighbours(args)) => neighbours::neighbours(args),
        Some(Command::Analyze(command)) => analyze::run(command),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Experiment(args)) => experiment::run(args),
        Some(Command::Recipe { name }) => {
            stdout().write_all(name.text().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        None => train(cli.train),
    }
}

/// Refuses to write over a file of a shard set.
fn spare(out: &Path) -> anyhow::Result<()> {
    if shards::set::is_of_a_set(out) {
        return Err(ingest::IngestError::OverSet(out.to_owned())).context("--out");
    }
    Ok(())
}

fn train(args: TrainArgs) -> anyhow::Result<ExitCode> {
    let shards = args.shards.clone().context("--shards names the folder of shards; see --help")?;
    let cache = args.cache_dir.as_ref().map(|folder| Cache::open(folder, args.cache_size));
    let cache = cache.transpose().context("--cache-dir")?;
    let shards = ShardSource::new(storage(args.endpoint.clone())?, shards, cache);
    let (device, line) = device::choose(args.device)?;
    tell(line);
    let Begin { settings, out, resume } = begin(&args, device)?;
    let paths = RunPaths { shards, out };
    let outcome =
        trainer::train::run_on(device, &paths, &settings, resume, &Console::new(), stop_flag()?)?;
    let Trained { step, checkpoint, interrupted } = outcome;
    if interrupted {
        writeln!(
            stdout(),
            "stopped after step {step}; saved {}; --resume goes on",
            checkpoint.display()
        )?;
        return Ok(ExitCode::from(terminal::INTERRUPTED));
    }
    writeln!(stdout(), "finished after step {step}; saved {}", checkpoint.display())?;
    Ok(ExitCode::SUCCESS)
}

/// How a run begins.
struct Begin {
    settings: Settings,
    out: PathBuf,
    resume: Option<Resume>,
}

/// Flags, files and what is in the run's folder → how the run begins.
fn begin(args: &TrainArgs, device: DeviceKind) -> anyhow::Result<Begin> {
    let from_file = match &args.config {
        Some(path) => Options::read(path)?,
        None => Options::default(),
    };
    let mut options = args.options.clone().over(from_file);
    let named = args.resume.as_ref().and_then(Option::as_ref);
    let out_of = |settings: &Settings| {
        let name = format!("{}-{}", settings.recipe.name(), settings.model.name());
        PathBuf::from("runs").join(name)
    };

    // Where a run is taken up again, its own settings stand below the flags.
    let mut resume = None;
    if let Some(path) = named {
        let (path, checkpoint) = export::find_checkpoint(path, &Console::new())?;
        resume = Some(Resume { path, checkpoint });
    } else if args.resume.is_some() {
        let out = match &args.out {
            Some(out) => out.clone(),
            None => out_of(&Settings::resolve(options.clone(), device)?),
        };
        match CheckpointFolder::of_run(&out).newest_told(&Console::new())? {
            Some((path, checkpoint)) => resume = Some(Resume { path, checkpoint }),
            None => options = begin_anew(options, &out)?,
        }
    }
    if let Some(Resume { path, checkpoint }) = &resume {
        let saved = &checkpoint.header.settings;
        tell(format_args!("resumes {} (step {})", path.display(), checkpoint.header.step));
        options = options.over(Options { max_steps: None, ..saved.to_options() });
    }

    let open_model = options.model.is_none();
    let settings = Settings::resolve(options, device)?;
    if open_model {
        let on = match device {
            DeviceKind::Cuda(_) => "CUDA",
            DeviceKind::Cpu => "the CPU",
        };
        let model = settings.model.name();
        tell(format_args!("model: {model}, the default on {on}; --model chooses another"));
    }
    let out = args.out.clone().unwrap_or_else(|| out_of(&settings));
    Ok(Begin { settings, out, resume })
}

/// The choices of a run that is taken up before its first checkpoint: those given, over its own if
/// it left any.
fn begin_anew(options: Options, out: &Path) -> anyhow::Result<Options> {
    let file = out.join("settings.toml");
    let out = out.display();
    if !file.exists() {
        tell(format_args!("{out} holds no checkpoint yet: a new run begins"));
        return Ok(options);
    }
    let own = Options { max_steps: None, ..Options::read(&file)? };
    tell(format_args!(
        "{out} holds no checkpoint yet: the run begins anew, with the settings of its settings.toml"
    ));
    Ok(options.over(own))
}

/// How shards are reached; says so when a store does not answer for a while.
fn storage(endpoint: Option<String>) -> anyhow::Result<Storage> {
    let notice = Some(Notice::new(|sentence| tell(terminal::visible(sentence))));
    Ok(Storage::new(StorageOptions { endpoint, notice, ..StorageOptions::default() })?)
}

/// A flag that Ctrl-C (or a request to terminate) raises; Ctrl-C again leaves at once.
fn stop_flag() -> anyhow::Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let mut first = None;
    ctrlc::set_handler(move || {
        // A terminal that was closed is none any more.
        let keys = stdin().is_terminal() || stderr().is_terminal();
        match asked(&mut first, Instant::now(), keys) {
            Asked::Stop => {
                STOP.store(true, Ordering::Relaxed);
                let again = "; press Ctrl-C again, a second later, to leave without saving";
                tell(format_args!("\nstopping after this step{}", if keys { again } else { "" }));
            }
            Asked::Nothing => {}
            Asked::Leave => std::process::exit(terminal::INTERRUPTED.into()),
        }
    })
    .context("Ctrl-C can't be caught")?;
    Ok(&STOP)
}

/// Signals closer together are one request: `timeout` sends two, and so does a closing terminal.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// What a signal asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Stop,
    Nothing,
    Leave,
}

/// What a signal asks for that comes `now`. Which signal it is can't be told; where there are no
/// `keys` to press, nobody asks twice in order to leave without saving.
fn asked(first: &mut Option<Instant>, now: Instant, keys: bool) -> Asked {
    match *first {
        None => {
            *first = Some(now);
            Asked::Stop
        }
        Some(first) if keys && now.duration_since(first) >= ONE_REQUEST => Asked::Leave,
        Some(_) => Asked::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<TrainArgs, clap::Error> {
        let all = ["trainer", "--shards", "s"].into_iter().chain(flags.iter().copied());
        Cli::try_parse_from(all).map(|cli| cli.train)
    }

    fn resume(flags: &[&str]) -> Option<Option<PathBuf>> {
        parse(flags).unwrap().resume
    }

    fn settings(flags: &[&str]) -> Settings {
        begin(&parse(flags).unwrap(), DeviceKind::Cpu).unwrap().settings
    }

    #[test]
    fn a_run_is_resumed_from_its_newest_checkpoint_or_from_a_file() {
        assert_eq!(resume(&[]), None);
        assert_eq!(resume(&["--resume"]), Some(None));
        assert_eq!(resume(&["--resume", "--max-steps", "3"]), Some(None));
        assert_eq!(resume(&["--resume", "file"]), Some(Some("file".into())));
    }

    #[test]
    fn a_run_without_a_checkpoint_begins_anew_with_its_own_settings() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let defaults = settings(&["--out", out]);
        let own = Settings { batch_size: 7, lr: 0.5, max_steps: Some(3), ..defaults.clone() };
        let flags = ["--out", out, "--resume", "--lr", "0.25"];
        assert_eq!(settings(&flags), Settings { lr: 0.25, ..defaults });
        let text = toml::to_string(&own).unwrap();
        std::fs::write(folder.path().join("settings.toml"), text).unwrap();
        assert_eq!(settings(&flags), Settings { lr: 0.25, max_steps: None, ..own });
    }

    #[test]
    fn the_length_that_a_flag_gives_wins_over_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, "epochs = 8\nsteps = 9").unwrap();
        let of = |flags: &[&str]| {
            let settings = settings(&[&["--config", file.to_str().unwrap()], flags].concat());
            (settings.epochs, settings.steps)
        };
        assert_eq!(of(&[]), (8, Some(9)));
        assert_eq!(of(&["--epochs", "2"]), (2, None));
        assert_eq!(of(&["--steps", "3"]), (8, Some(3)));
        let error = parse(&["--epochs", "2", "--steps", "3"]).unwrap_err().to_string();
        assert!(error.contains("--epochs") && error.contains("--steps"), "{error}");
    }

    #[test]
    fn signals_close_together_never_leave_without_saving() {
        let start = Instant::now();
        let after = |seconds: &[f64], keys| {
            let mut first = None;
            let at = |second: &f64| start + Duration::from_secs_f64(*second);
            let asked = seconds.iter().map(|second| asked(&mut first, at(second), keys));
            asked.collect::<Vec<_>>()
        };
        use Asked::{Leave, Nothing, Stop};
        assert_eq!(after(&[0.0, 0.001, 0.9], true), [Stop, Nothing, Nothing]);
        assert_eq!(after(&[0.0, 0.001, 1.0], true), [Stop, Nothing, Leave]);
        assert_eq!(after(&[0.0, 1.5, 60.0], false), [Stop, Nothing, Nothing]);
    }
}
