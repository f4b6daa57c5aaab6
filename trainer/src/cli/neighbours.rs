//! The commands that show what an encoder makes of pictures: as a table, and as a page.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use storage::Address;
use trainer::device::{self, DeviceChoice};
use trainer::embed::{self, Embedded};
use trainer::encode::pictures::Given;
use trainer::eval::score::percent;
use trainer::neighbours::{self, NeighbourSettings};
use trainer::progress::Console;
use voice::terminal::counted;

/// Which encoder, and which views.
#[derive(Debug, Args)]
pub struct EncoderArgs {
    /// A run's folder, for its newest checkpoint; a checkpoint file; or an encoder that `export` or
    /// `eval finetune` wrote
    #[arg(long, value_name = "RUN_OR_FILE")]
    checkpoint: PathBuf,
    #[command(flatten)]
    given: GivenArgs,
    /// auto, cuda:N or cpu
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// URL of an S3-compatible store for s3:// addresses
    #[arg(long)]
    endpoint: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct GivenArgs {
    /// Folders, archives, lists and pictures, at any address; each picture gives one central view
    #[arg(long, num_args = 1.., value_name = "SOURCE")]
    pictures: Vec<Address>,
    /// Shards, at any address
    #[arg(long)]
    shards: Option<Address>,
}

impl From<GivenArgs> for Given {
    fn from(args: GivenArgs) -> Self {
        match args.shards {
            Some(at) => Self::Shards(at),
            None => Self::Pictures(args.pictures),
        }
    }
}

#[derive(Debug, Args)]
pub struct EmbedArgs {
    #[command(flatten)]
    encoder: EncoderArgs,
    /// Parquet file to write: a path, or s3://, gs://, az://
    #[arg(long, default_value = "embeddings.parquet")]
    out: Address,
    /// Bring every embedding to length 1, so that a dot product is a cosine
    #[arg(long)]
    normalize: bool,
}

#[derive(Debug, Args)]
pub struct NeighboursArgs {
    #[command(flatten)]
    encoder: EncoderArgs,
    /// HTML page to write
    #[arg(long, default_value = "neighbours.html")]
    out: PathBuf,
    /// Pictures whose neighbours to show: files, or keys of the set (its column `source`)
    #[arg(long, num_args = 1.., value_name = "FILE_OR_KEY")]
    query: Vec<String>,
    #[command(flatten)]
    settings: NeighbourSettings,
}

/// Writes the table; says on standard output how large it is.
pub fn embed(args: EmbedArgs) -> anyhow::Result<ExitCode> {
    if let Some(path) = args.out.local() {
        super::spare(path)?;
    }
    let (device, line) = device::choose(args.encoder.device)?;
    super::tell(line);
    let request = embed::EmbedRequest {
        given: args.encoder.given.into(),
        checkpoint: args.encoder.checkpoint,
        storage: super::storage(args.encoder.endpoint)?,
        out: args.out,
        normalize: args.normalize,
        cache: None,
    };
    let Embedded { rows, width, checkpoint, .. } = embed::run(&request, device, &Console::new())?;
    writeln!(
        stdout(),
        "{} → {}: {} of {width} numbers",
        checkpoint.display(),
        request.out,
        counted(rows, "embedding")
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the page; says on standard output how many neighbours are of one class.
pub fn neighbours(args: NeighboursArgs) -> anyhow::Result<ExitCode> {
    super::spare(&args.out)?;
    let (device, line) = device::choose(args.encoder.device)?;
    super::tell(line);
    let request = neighbours::NeighboursRequest {
        given: args.encoder.given.into(),
        checkpoint: args.encoder.checkpoint,
        storage: super::storage(args.encoder.endpoint)?,
        queries: args.query,
        settings: args.settings,
        cache: None,
    };
    let found = neighbours::find(&request, device, &Console::new())?;
    storage::write_file(&args.out, neighbours::page(&found)).map_err(|source| {
        anyhow::Error::from(source).context(format!("can't write {}", args.out.display()))
    })?;
    if let Some(agreement) = &found.agreement {
        writeln!(
            stdout(),
            "of the {} nearest, {} are of the same class; untrained {}, chance {}",
            found.k,
            percent(agreement.trained),
            percent(agreement.untrained),
            percent(agreement.chance)
        )?;
    }
    writeln!(stdout(), "{}", args.out.display())?;
    Ok(ExitCode::SUCCESS)
}
