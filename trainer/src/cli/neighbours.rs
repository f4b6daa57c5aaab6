//! The commands that show what an encoder makes of pictures: as a table, and as a page.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use storage::Address;
use trainer::embed::{self, Embedded};
use trainer::encode::pictures::Given;
use trainer::eval::score::percent;
use trainer::neighbours::{self, NeighbourSettings};
use trainer::progress::Console;
use voice::terminal::counted;

use super::common::{DeviceArgs, StoreArgs, spare};

/// Which encoder, and which views.
#[derive(Debug, Args)]
pub struct EncoderArgs {
    /// A run's folder, for its newest checkpoint; a checkpoint file; or an encoder that `export` or
    /// `eval finetune` wrote
    #[arg(required = true, conflicts_with = "checkpoint")]
    run: Option<PathBuf>,
    /// As it was given before it had a place of its own
    #[arg(long, hide = true)]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
}

impl EncoderArgs {
    fn path(&self) -> anyhow::Result<PathBuf> {
        let path = self.run.as_ref().or(self.checkpoint.as_ref());
        path.cloned().context("RUN is missing; see --help")
    }
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
        spare(path)?;
    }
    let device = args.encoder.device.choose()?;
    let request = embed::EmbedRequest {
        checkpoint: args.encoder.path()?,
        storage: args.encoder.store.storage()?,
        given: args.encoder.given.into(),
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
    spare(&args.out)?;
    let device = args.encoder.device.choose()?;
    let request = neighbours::NeighboursRequest {
        checkpoint: args.encoder.path()?,
        storage: args.encoder.store.storage()?,
        given: args.encoder.given.into(),
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
