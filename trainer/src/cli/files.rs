//! The commands that make a file of a run, a run of a file, or both of nothing.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use shards::ShardSource;
use storage::Address;
use trainer::device::DeviceKind;
use trainer::export;
use trainer::import::{self, Imported};
use trainer::progress::Console;
use trainer::quickstart::{self, Ending};
use trainer::report::{self, Contents};
use trainer::settings::table::Choices;
use trainer::settings::{Options, Settings};
use voice::options::Given;
use voice::terminal::{self, tell};

use super::common::{DeviceArgs, RunArgs, StoreArgs, spare};
use super::stop::stop_flag;

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Safetensors file to write
    #[arg(long, default_value = "encoder.safetensors")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Published weights: PyTorch's .pth, or safetensors
    file: PathBuf,
    /// Folder of the run to make
    #[arg(long)]
    out: PathBuf,
    /// Side in pixels of the pictures that it was made on
    #[arg(long, default_value_t = 224)]
    size: usize,
    /// Orientation bins of its HOG targets
    #[arg(long, default_value_t = 9)]
    bins: usize,
    #[command(flatten)]
    given: Given<Choices>,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A run's folder
    run: PathBuf,
    /// Folder of the shards it was trained on: a path, or s3://, gs://, az://, http(s)://
    #[arg(long)]
    shards: Address,
    #[command(flatten)]
    store: StoreArgs,
    /// HTML page to write [default: report.html in the run's folder]
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
pub struct QuickstartArgs {
    /// Folder for pictures, shards, run and report
    #[arg(long, default_value = "quickstart")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Writes the encoder; says on standard output of which checkpoint.
pub fn export(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let ExportArgs { run, out } = args;
    spare(&out)?;
    let (path, checkpoint) = export::find_checkpoint(&run.path()?, &Console::new())?;
    // Else the encoder would take the place of what it was taken from.
    let same =
        out.canonicalize().is_ok_and(|out| path.canonicalize().is_ok_and(|path| path == out));
    ensure!(!same, "--out {}: the checkpoint itself; give another file", out.display());
    export::export(&checkpoint, &out)?;
    writeln!(stdout(), "{} → {}", path.display(), out.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Takes weights in; says on standard output what was in the file, and what was not.
pub fn import(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::resolve(args.given.over(Options::default()), DeviceKind::Cpu)?;
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

/// Writes the page; says on standard output where it lies.
pub fn report(args: ReportArgs) -> anyhow::Result<ExitCode> {
    let out = args.out.unwrap_or_else(|| args.run.join("report.html"));
    spare(&out)?;
    let source = ShardSource::new(args.store.storage()?, args.shards, None);
    let contents = Contents { views: args.views, sample: args.neighbours };
    report::write(&args.run, &source, &out, contents, &Console::new())?;
    writeln!(stdout(), "{}", out.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Goes the whole way once; says on standard output where the report lies.
pub fn quickstart(args: QuickstartArgs) -> anyhow::Result<ExitCode> {
    let device = args.device.choose()?;
    match quickstart::run(&args.out, device, &Console::new(), stop_flag()?)? {
        Ending::Report(report) => writeln!(stdout(), "report: {}", report.display())?,
        Ending::Interrupted => {
            tell("stopped; what is done is kept, and the same command goes on from there");
            return Ok(ExitCode::from(terminal::INTERRUPTED));
        }
    }
    Ok(ExitCode::SUCCESS)
}
