//! The command line of `ingest`: flags → settings → the library.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use ingest::{Bar, IngestError, Settings, Summary, draw, inspect, read, sample};
use schemas::{IngestSettings, REJECTS_FILE, ShardLayout};

/// Turns a folder of pictures into Parquet shards for masked image modeling.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    ingest: Option<IngestArgs>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells what is in a shard set, and draws it.
    Inspect(InspectArgs),
    /// Makes a small collection of pictures, drawn procedurally, to try the programs with.
    Sample(SampleArgs),
}

#[derive(Debug, Args)]
struct IngestArgs {
    /// Folder that holds the pictures, at any depth (jpeg, png, webp, gif, bmp, tiff).
    /// A folder named like a subcommand is given as ./inspect.
    pictures: PathBuf,
    /// Folder for the shards.
    #[arg(long)]
    out: PathBuf,
    /// Views cut from each picture.
    #[arg(long, default_value_t = 1)]
    views: u32,
    /// Side of a view in pixels.
    #[arg(long, default_value_t = 224)]
    size: u32,
    /// HOG cell sizes in pixels, rising.
    #[arg(long, value_delimiter = ',', default_value = "4,8,16,32")]
    cells: Vec<u32>,
    /// HOG orientation bins a channel: 9 for ViT-B, 18 for ViT-L.
    #[arg(long, default_value_t = 9)]
    bins: u32,
    /// Seed of the crops and of the pictures' order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Worker threads; 0 takes one a core. The shards do not depend on it.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Reject JPEGs that are cut short instead of keeping them as far as they go.
    #[arg(long)]
    strict: bool,
    /// Follow symbolic links instead of passing over them.
    #[arg(long)]
    follow_links: bool,
    /// Shortest side that a picture may have, in pixels.
    #[arg(long, default_value_t = 16)]
    min_side: u32,
    /// Most pixels that a picture may have.
    #[arg(long, default_value_t = 178_956_970)]
    max_pixels: u64,
    /// Pictures a shard [default: as many as make about 320 MiB before compression].
    #[arg(long)]
    shard_pictures: Option<u32>,
    /// Most rows of a Parquet row group.
    #[arg(long, default_value_t = 64)]
    rows_per_group: u32,
    /// Zstd level of the Parquet pages; higher ones make smaller shards, more slowly.
    #[arg(long, default_value_t = 1)]
    zstd_level: i32,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// Folder that holds the shards.
    shards: PathBuf,
    /// Draw the rows' views beside their HOG at every cell size into this PNG.
    #[arg(long)]
    preview: Option<PathBuf>,
    /// Rows to show.
    #[arg(long, default_value_t = 4)]
    rows: usize,
    /// Seed that chooses them.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Args)]
struct SampleArgs {
    /// New folder for the pictures.
    folder: PathBuf,
    /// Whole pictures to make; some broken files come on top.
    #[arg(long, default_value_t = 420)]
    pictures: usize,
    /// Seed of the pictures.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl From<IngestArgs> for Settings {
    fn from(args: IngestArgs) -> Self {
        let layout = ShardLayout { size: args.size, cells: args.cells, bins: args.bins };
        let pictures_per_shard = args
            .shard_pictures
            .unwrap_or_else(|| ingest::default_pictures_per_shard(&layout, args.views));
        // The settings without a flag of their own.
        let defaults = Self::new("", "").ingest;
        Self {
            root: args.pictures,
            out: args.out,
            threads: args.threads,
            follow_links: args.follow_links,
            ingest: IngestSettings {
                layout,
                views: args.views,
                seed: args.seed,
                strict: args.strict,
                min_side: args.min_side,
                max_pixels: args.max_pixels,
                pictures_per_shard,
                rows_per_group: args.rows_per_group,
                zstd_level: args.zstd_level,
                ..defaults
            },
        }
    }
}

fn main() -> ExitCode {
    match work(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has closed it, as `head` does: no error of ours.
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn work(cli: Cli) -> anyhow::Result<()> {
    match (cli.command, cli.ingest) {
        (Some(Command::Inspect(args)), _) => inspect_set(&args),
        (Some(Command::Sample(args)), _) => make_sample(&args),
        (None, Some(args)) => ingest_pictures(args.into()),
        (None, None) => anyhow::bail!("nothing to do; see --help"),
    }
}

fn ingest_pictures(settings: Settings) -> anyhow::Result<()> {
    let bar = Bar::new();
    let result = ingest::run(&settings, &bar);
    drop(bar);
    match &result {
        Ok(summary) => tell(&settings, summary)?,
        Err(IngestError::NothingAccepted { rejected, .. }) => {
            writeln!(std::io::stdout(), "0 accepted, {rejected} rejected")?;
        }
        Err(_) => {}
    }
    result?;
    Ok(())
}

/// The closing summary; its last line is for programs too.
fn tell(settings: &Settings, summary: &Summary) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let manifest = &summary.manifest;
    let folder = settings.out.display();
    if summary.pictures == 0 {
        writeln!(out, "{folder} was finished already; nothing to do")?;
    }
    writeln!(
        out,
        "{} rows in {} shards, {}, in {folder}",
        manifest.rows,
        manifest.shards.len(),
        inspect::size(manifest.bytes)
    )?;
    if summary.pictures > 0 {
        let seconds = summary.time.as_secs_f64();
        let rate = summary.pictures as f64 / seconds;
        writeln!(out, "{} pictures in {seconds:.1} s, {rate:.0}/s", summary.pictures)?;
    }
    for (reason, count) in &summary.rejects {
        writeln!(out, "  {count:>6} rejected: {}", reason.code())?;
    }
    if manifest.rejected > 0 {
        writeln!(out, "  each is named in {}", settings.out.join(REJECTS_FILE).display())?;
    }
    if manifest.cut_short > 0 {
        writeln!(out, "  {:>6} kept though cut short (--strict rejects them)", manifest.cut_short)?;
    }
    if summary.irregular > 0 {
        writeln!(
            out,
            "  {:>6} symbolic links or special files passed over (--follow-links)",
            summary.irregular
        )?;
    }
    writeln!(out, "{} accepted, {} rejected", manifest.accepted, manifest.rejected)
}

fn inspect_set(args: &InspectArgs) -> anyhow::Result<()> {
    let set = read::ShardSet::open(&args.shards)?;
    let rows = inspect::sample(&set, args.rows, args.seed)?;
    let text = inspect::describe(set.manifest(), &set.rejects()?, &rows);
    write!(std::io::stdout(), "{text}")?;
    if let Some(path) = &args.preview {
        let sheet: draw::Canvas = inspect::preview(set.manifest(), &rows);
        let png = sheet.png().context("--preview: there is nothing to draw (see --rows)")?;
        std::fs::write(path, png).with_context(|| format!("can't write {}", path.display()))?;
        writeln!(std::io::stdout(), "\npreview in {}", path.display())?;
    }
    Ok(())
}

fn make_sample(args: &SampleArgs) -> anyhow::Result<()> {
    let made = sample::write(&args.folder, args.pictures, args.seed)?;
    writeln!(
        std::io::stdout(),
        "{} pictures and {} broken files in {}",
        made.pictures,
        made.broken,
        args.folder.display()
    )?;
    Ok(())
}
